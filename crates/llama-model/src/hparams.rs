//! Hyper-parameters: what the metadata says of a model's shape, checked before anything is allocated.
//!
//! | GGUF key (`llama.` or another architecture's prefix) | field | Hugging Face config | paper |
//! |---|---|---|---|
//! | `block_count` | `n_layer` | `num_hidden_layers` | L |
//! | `embedding_length` | `n_embd` | `hidden_size` | d_model |
//! | `attention.head_count` | `n_head` | `num_attention_heads` | h |
//! | `attention.head_count_kv` | `n_head_kv` | `num_key_value_heads` | groups of GQA |
//! | `attention.key_length` | `n_embd_head` | `head_dim` | d_k |
//! | `feed_forward_length` | `n_ff` | `intermediate_size` | d_ff |
//! | `context_length` | `n_ctx_train` | `max_position_embeddings` | n_ctx |
//! | `attention.layer_norm_rms_epsilon`, `attention.layer_norm_epsilon` | `norm_eps` | `rms_norm_eps`, `layer_norm_eps` | epsilon |
//! | `rope.freq_base` | `rope.freq_base` | `rope_theta` | base of theta_i |
//! | `rope.dimension_count` | `rope.n_rot` | `head_dim * partial_rotary_factor` | d of RoPE |
//! | `rope.scaling.*` | `rope.*` | `rope_scaling` | s of PI and YaRN |
//! | `attention.sliding_window` | `n_swa` | `sliding_window` | window |
//! | `expert_count`, `expert_used_count` | `experts` | `num_experts`, `num_experts_per_tok` | n, k of top-k gating |

mod keys;
mod moe;
mod positions;
mod scales;

pub(crate) use moe::Experts;
pub(crate) use scales::{Factor, Scaling};

use crate::ModelError;
use crate::arch::{ARCHS, Arch, NormKind, Sum, arch_names};
use gguf_parse::Gguf;
use kernels::RopeKind;
use keys::Keys;

/// The most layers and heads a model may have (llama.cpp's `LLAMA_MAX_LAYERS` is 512).
const MAX_LAYERS: u32 = 512;
const MAX_HEADS: u32 = 65_536;

/// Rotary position embedding: RoFormer (arXiv 2104.09864), position interpolation (2306.15595), YaRN (2309.00071).
#[derive(Debug, Clone, PartialEq)]
pub struct RopeParams {
    /// Which elements form a pair.
    pub kind: RopeKind,
    /// How many elements of a head are rotated; even.
    pub n_rot: usize,
    /// Base of the frequencies.
    pub freq_base: f32,
    /// Positions are multiplied by it: 1 / the scaling factor.
    pub freq_scale: f32,
    /// YaRN: share of extrapolation, 0 without YaRN.
    pub ext_factor: f32,
    /// Magnitude of the rotation (llama.cpp's `attn_factor`, with YaRN's own correction cancelled).
    pub attn_factor: f32,
    /// YaRN: rotations at which a dimension counts as high-frequency.
    pub beta_fast: f32,
    /// YaRN: rotations at which a dimension counts as low-frequency.
    pub beta_slow: f32,
    /// The context that the model was first trained with.
    pub n_ctx_orig: usize,
}

/// The shape of a model. Sizes are elements.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Hparams {
    /// `general.architecture`.
    pub arch: &'static str,
    /// Layers.
    pub n_layer: usize,
    /// Width of the residual stream.
    pub n_embd: usize,
    /// Query heads.
    pub n_head: usize,
    /// Key and value heads; divides `n_head`.
    pub n_head_kv: usize,
    /// Elements of a head.
    pub n_embd_head: usize,
    /// Width of the feed-forward block, of an expert where there are some.
    pub n_ff: usize,
    /// Tokens of the vocabulary.
    pub n_vocab: usize,
    /// The context the model was trained for.
    pub n_ctx_train: usize,
    /// Epsilon of RMSNorm or LayerNorm.
    pub norm_eps: f32,
    /// Rotary position embedding, as most layers have it.
    pub rope: RopeParams,
    /// That of layers with a window where it is another.
    pub(crate) rope_swa: Option<RopeParams>,
    /// What differs from layer to layer.
    pub(crate) layers: Vec<LayerParams>,
    /// Whether positions are embedded.
    position_embd: bool,
    /// Factors and caps.
    pub(crate) scaling: Scaling,
    /// How a block's halves are added up; never `ByKey` or `ByFfnNorm`.
    pub(crate) sum: Sum,
    /// Mixture of experts.
    pub(crate) experts: Option<Experts>,
}

/// What differs from layer to layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LayerParams {
    /// A query sees the last so many positions only, its own included.
    pub(crate) n_swa: Option<usize>,
    /// What is rotated how.
    pub(crate) rope: LayerRope,
}

/// Which of a model's rotations a layer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LayerRope {
    /// None.
    None,
    /// `Hparams::rope`.
    Global,
    /// `Hparams::rope_swa`.
    Swa,
}

impl Hparams {
    /// Elements of all query heads together.
    #[must_use]
    pub fn n_embd_q(&self) -> usize {
        self.n_head * self.n_embd_head
    }

    /// Elements of all key (or value) heads together.
    #[must_use]
    pub fn n_embd_kv(&self) -> usize {
        self.n_head_kv * self.n_embd_head
    }

    /// Positions that a query of layer `il` sees, its own included; `None`: all.
    #[must_use]
    pub fn n_swa(&self, il: usize) -> Option<usize> {
        self.layers.get(il)?.n_swa
    }

    /// Positions there are where they are embedded (`gpt2`); `None`: any number.
    #[must_use]
    pub fn n_positions(&self) -> Option<usize> {
        self.position_embd.then_some(self.n_ctx_train)
    }

    /// Reads and checks the hyper-parameters.
    ///
    /// # Errors
    /// An unknown architecture; a key that is missing, of the wrong type or out of its range.
    pub(crate) fn from_gguf(gguf: &Gguf) -> Result<(Self, &'static Arch), ModelError> {
        let name: &str = gguf.metadata().get("general.architecture")?;
        let Some(arch) = ARCHS.iter().find(|a| a.name == name) else {
            let found: String = name.chars().take(64).collect();
            let nearest = nearest(&found, arch_names());
            return Err(ModelError::UnknownArch { found, nearest, known: arch_names() });
        };
        let keys = Keys { metadata: gguf.metadata(), arch: arch.name };
        let n_layer = keys.dim("block_count", MAX_LAYERS)?;
        let n_embd = keys.dim("embedding_length", 1 << 24)?;
        let n_head = keys
            .uniform("attention.head_count", n_layer, MAX_HEADS)?
            .ok_or_else(|| keys.missing("attention.head_count"))?;
        let n_head_kv =
            keys.uniform("attention.head_count_kv", n_layer, MAX_HEADS)?.unwrap_or(n_head);
        if !n_head.is_multiple_of(n_head_kv) {
            return Err(keys.wrong(
                "attention.head_count_kv",
                n_head_kv,
                &format!("a divisor of {n_head} heads"),
            ));
        }
        let n_embd_head = keys.head_size(n_embd, n_head)?;
        let mut experts = keys.experts(arch)?;
        let n_ff = keys.n_ff(n_layer, &mut experts)?;
        let n_ctx_train = keys.dim("context_length", u32::MAX)?;
        let eps = match arch.norm {
            NormKind::Rms => "attention.layer_norm_rms_epsilon",
            NormKind::Layer => "attention.layer_norm_epsilon",
        };
        let norm_eps = keys.positive(eps)?.ok_or_else(|| keys.missing(eps))?;
        let rope = keys.rope(arch, n_embd_head, n_ctx_train)?;
        let (layers, rope_swa) = keys.layers(arch, n_layer, &rope)?;
        let scaling = keys.scaling(arch, [n_layer, n_embd, n_head, n_embd_head], &rope)?;
        let hparams = Self {
            arch: arch.name,
            n_layer,
            n_embd,
            n_head,
            n_head_kv,
            n_embd_head,
            n_ff,
            n_vocab: keys.n_vocab(gguf)?,
            n_ctx_train,
            norm_eps,
            rope,
            rope_swa,
            layers,
            position_embd: arch.position_embd,
            scaling,
            sum: keys.sum(arch, gguf)?,
            experts,
        };
        Ok((hparams, arch))
    }
}

/// The names most like `found`: at most three, the likest first.
fn nearest(found: &str, known: &[&'static str]) -> Vec<&'static str> {
    let mut ranked: Vec<(usize, &'static str)> =
        known.iter().map(|name| (distance(found, name), *name)).collect();
    ranked.sort_unstable();
    ranked.truncate(3);
    ranked.into_iter().map(|(_, name)| name).collect()
}

/// Letters to insert, delete or replace (Levenshtein) until `a` is `b`.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.chars()) {
            let here = (diagonal + usize::from(x != y)).min(left + 1).min(*cell + 1);
            diagonal = std::mem::replace(cell, here);
            left = here;
        }
        row[0] = i + 1;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn distances_count_letters() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("qwen2", "qwen2"), 0);
    }

    #[test]
    fn the_nearest_come_first() {
        assert_eq!(
            nearest("qwen2.5", &["llama", "qwen3", "gemma", "qwen2"])[..2],
            ["qwen2", "qwen3"]
        );
    }
}
