//! From a node's name to the stage of the pipeline it belongs to, in plain words.

use crate::reader::Node;
use serde::Serialize;

/// A stage between the text and the next token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Stage {
    /// Text to ids.
    Tokenizer,
    /// What a tensor's blocks mean.
    Weights,
    /// Rows of the embedding.
    Embedding,
    /// RMSNorm of a layer, and other norms in it.
    RmsNorm,
    /// The products that make query, key and value.
    Projection,
    /// The rotation by position.
    Rope,
    /// Keys and values kept.
    KvCache,
    /// Products of query and keys.
    Scores,
    /// From scores to weights: scale, mask, softmax.
    Softmax,
    /// Weighted values and their projection.
    AttentionOutput,
    /// Sums with the residual stream.
    Residual,
    /// The feed-forward block.
    Ffn,
    /// The last norm.
    OutputNorm,
    /// From the last state to logits.
    OutputProjection,
    /// Logits to the next token.
    Sampler,
    /// None of these: a name that is not known here.
    Other,
}

impl Stage {
    /// In plain words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tokenizer => "tokenizer",
            Self::Weights => "weights (dequantization)",
            Self::Embedding => "embedding",
            Self::RmsNorm => "RMSNorm",
            Self::Projection => "Q/K/V projection",
            Self::Rope => "RoPE",
            Self::KvCache => "KV cache",
            Self::Scores => "attention scores",
            Self::Softmax => "softmax",
            Self::AttentionOutput => "attention output",
            Self::Residual => "residual stream",
            Self::Ffn => "FFN",
            Self::OutputNorm => "output norm",
            Self::OutputProjection => "output projection",
            Self::Sampler => "sampler",
            Self::Other => "unnamed node",
        }
    }

    /// Where to look when nothing more is known.
    pub(crate) fn advice(self) -> &'static str {
        match self {
            Self::Tokenizer => {
                "compare `lockstep tokenize` with your ids: BOS, the space in front, special tokens, merges"
            }
            Self::Weights => {
                "dequantize a row of this tensor and compare it with `dequant`: order of nibbles, of sub-blocks, scales, high bits"
            }
            Self::Embedding => {
                "look at row lookup and dequantization of token_embd.weight, and at a scale the architecture may want"
            }
            Self::RmsNorm => {
                "check epsilon, that it stands inside the root, the mean over n_embd, and that the weight is multiplied in once"
            }
            Self::Projection => {
                "check which tensor is multiplied, its orientation, the bias, and the permutation of Q and K rows for NORM and NEOX"
            }
            Self::Rope => {
                "check the pairs (NORM: neighbors, NEOX: halves), position, base, dimensions and scaling"
            }
            Self::KvCache => {
                "check where each position is written and which cells are read, behind a truncation too"
            }
            Self::Scores => {
                "check which key head belongs to a query head (groups, not turns), and which cells are read"
            }
            Self::Softmax => {
                "check the scale 1/sqrt(n_embd_head), the causal mask, a softcap, and the subtraction of the maximum"
            }
            Self::AttentionOutput => {
                "check the sum over values, the order of the heads, and attn_output.weight"
            }
            Self::Residual => {
                "check that the sum has both of its terms, and that the stream is not overwritten before it is added"
            }
            Self::Ffn => {
                "check the activation, which of gate and up it is applied to, and ffn_down"
            }
            Self::OutputNorm => {
                "check epsilon and output_norm.weight, and that the last row is taken"
            }
            Self::OutputProjection => {
                "check whether output.weight exists or the embedding is tied, its orientation, and a softcap"
            }
            Self::Sampler => {
                "the logits agree: look at the sampler chain, its order, its seed, and ties"
            }
            Self::Other => {
                "find out which operation of the graph this is; `ops` in the metadata would tell"
            }
        }
    }
}

/// The stage of a node.
pub(crate) fn stage_of(node: &Node) -> Stage {
    let (label, op) = (node.label(), node.op.as_deref());
    match label {
        "norm" | "result_norm" if node.layer().is_none() => Stage::OutputNorm,
        "Qcur" | "Kcur" if op == Some("ROPE") || (op.is_none() && node.occurrence > 0) => {
            Stage::Rope
        }
        "Qcur" | "Kcur" | "Vcur" => Stage::Projection,
        "kq" => Stage::Scores,
        "kqv" | "kqv_out" => Stage::AttentionOutput,
        "ffn_inp" | "l_out" => Stage::Residual,
        "result_output" => Stage::OutputProjection,
        "node" if matches!(op, Some("MUL_MAT" | "ADD")) => Stage::AttentionOutput,
        _ if label.starts_with("rope_table") => Stage::Rope,
        _ if label.contains("embd") || label.starts_with("inp_") => Stage::Embedding,
        _ if label.contains("norm") => Stage::RmsNorm,
        _ if label.starts_with("cache_") => Stage::KvCache,
        _ if label.starts_with("kq_soft") => Stage::Softmax,
        _ if label.starts_with("kq") => Stage::Scores,
        _ if label.starts_with("attn") => Stage::AttentionOutput,
        _ if label.starts_with("ffn") => Stage::Ffn,
        _ if label.starts_with("result") => Stage::OutputProjection,
        _ => Stage::Other,
    }
}

/// The tensor that made a node, if one did: `blk.3.attn_q.weight`.
pub(crate) fn tensor_of(node: &Node) -> Option<String> {
    let part = match node.label() {
        "embd" => return Some("token_embd.weight".to_owned()),
        "result_norm" => return Some("output_norm.weight".to_owned()),
        "result_output" => return Some("output.weight".to_owned()),
        "Qcur" => "attn_q",
        "Kcur" => "attn_k",
        "Vcur" => "attn_v",
        "attn_out" => "attn_output",
        "ffn_out" => "ffn_down",
        label @ ("attn_norm" | "ffn_norm" | "ffn_gate" | "ffn_up" | "ffn_down") => label,
        _ => return None,
    };
    let kind = if node.op.as_deref() == Some("ADD") { "bias" } else { "weight" };
    Some(format!("blk.{}.{part}.{kind}", node.layer()?))
}
