//! The tensor table of a random model: shapes are innermost first.

use super::{Shape, SynthOptions, SynthRopeScaling, SynthTensor, SynthValue, Values};
use crate::arch::{Arch, BlockNorms, FfnKind, NormKind, QkNorm, SharedExpert, Sum};
use gguf_parse::GgmlType;

pub(super) fn tensors(options: &SynthOptions, arch: &'static Arch) -> Vec<SynthTensor> {
    let shape = &options.shape;
    let mut list = TensorList { options, arch, tensors: Vec::new() };
    let tied = options.tied_output || arch.tied;
    let values = Values::Weights(if tied { 2.0 / (shape.n_embd as f32).sqrt() } else { 1.0 });
    list.push("token_embd.weight".to_owned(), &[shape.n_embd, shape.n_vocab], options.ty, values);
    if arch.position_embd {
        let (ne, values) = ([shape.n_embd, shape.n_ctx_train], Values::Weights(1.0));
        list.push("position_embd.weight".to_owned(), &ne, GgmlType::F32, values);
    }
    list.norm("output_norm", shape.n_embd);
    if !tied {
        list.linear("output", "output", shape.n_embd, shape.n_vocab);
    }
    let n_pairs = options.n_rot.unwrap_or(shape.n_embd_head) / 2;
    if options.rope_freqs {
        list.vector("rope_freqs.weight", n_pairs, Values::Uniform(1.0, 8.0));
    }
    if matches!(options.rope_scaling, SynthRopeScaling::Long { .. }) {
        list.vector("rope_factors_long.weight", n_pairs, Values::Uniform(1.0, 8.0));
        list.vector("rope_factors_short.weight", n_pairs, Values::Uniform(1.0, 1.5));
    }
    for il in 0..shape.n_layer {
        list.layer(&format!("blk.{il}."));
    }
    list.tensors
}

struct TensorList<'a> {
    options: &'a SynthOptions,
    arch: &'static Arch,
    tensors: Vec<SynthTensor>,
}

impl TensorList<'_> {
    fn layer(&mut self, blk: &str) {
        let Shape { n_embd, n_ff, .. } = self.options.shape;
        let norms = self.arch.block_norms;
        if norms != BlockNorms::Behind {
            self.norm(&format!("{blk}attn_norm"), n_embd);
        }
        if self.arch.sum == Sum::FfnAttnX && self.options.parallel {
            self.norm(&format!("{blk}attn_norm_2"), n_embd);
        }
        self.attention(blk);
        let behind = matches!(norms, BlockNorms::Behind | BlockNorms::Around);
        if behind {
            self.norm(&format!("{blk}post_attention_norm"), n_embd);
        }
        let own_norm = !(self.arch.sum == Sum::ByFfnNorm && self.options.parallel);
        if own_norm && matches!(norms, BlockNorms::Before | BlockNorms::Around) {
            self.norm(&format!("{blk}ffn_norm"), n_embd);
        }
        match self.options.experts {
            None => self.dense(blk, n_ff),
            Some((n_expert, n_used)) => self.experts(blk, n_expert, n_used),
        }
        if behind {
            self.norm(&format!("{blk}post_ffw_norm"), n_embd);
        }
    }

    fn attention(&mut self, blk: &str) {
        let Shape { n_embd, n_head, n_head_kv, n_embd_head, .. } = self.options.shape;
        let (n_q, n_kv) = (n_head * n_embd_head, n_head_kv * n_embd_head);
        if self.options.fused_qkv {
            self.linear(blk, "attn_qkv", n_embd, n_q + 2 * n_kv);
        } else {
            self.linear(blk, "attn_q", n_embd, n_q);
            self.linear(blk, "attn_k", n_embd, n_kv);
            self.linear(blk, "attn_v", n_embd, n_kv);
        }
        for (part, n_head) in [("attn_q_norm", n_head), ("attn_k_norm", n_head_kv)] {
            let ne = match self.arch.qk_norm {
                QkNorm::Head => vec![n_embd_head],
                QkNorm::Row => vec![n_head * n_embd_head],
                QkNorm::EachHead if self.options.head_norms => vec![n_embd_head, n_head],
                QkNorm::None | QkNorm::EachHead => continue,
            };
            let name = format!("{blk}{part}.weight");
            self.push(name, &ne, GgmlType::F32, Values::Uniform(0.5, 1.5));
        }
        self.linear(blk, "attn_output", n_q, n_embd);
    }

    fn dense(&mut self, blk: &str, n_ff: usize) {
        let n_embd = self.options.shape.n_embd;
        match self.arch.ffn {
            FfnKind::Gated => {
                self.linear(blk, "ffn_gate", n_embd, n_ff);
                self.linear(blk, "ffn_up", n_embd, n_ff);
            }
            FfnKind::GatedFused => self.linear(blk, "ffn_up", n_embd, 2 * n_ff),
            FfnKind::Plain => self.linear(blk, "ffn_up", n_embd, n_ff),
        }
        self.linear(blk, "ffn_down", n_ff, n_embd);
    }

    fn experts(&mut self, blk: &str, n_expert: usize, n_used: usize) {
        let Shape { n_embd, n_ff, .. } = self.options.shape;
        let ty = self.options.ty;
        let kind = self.arch.moe;
        let weights = |n_in: usize| Values::Weights(1.0 / (n_in as f32).sqrt());
        let size = |wanted: &str| {
            let found = self.options.keys.iter().find(|(key, _)| *key == wanted)?;
            match found.1 {
                SynthValue::U32(n) => Some(n as usize),
                _ => None,
            }
        };
        let width = match kind {
            Some(kind) if kind.required => {
                size("expert_feed_forward_length").unwrap_or(n_ff / n_used)
            }
            _ => n_ff,
        };
        let shared = size("expert_shared_feed_forward_length");
        // What scores experts is small and stays F32.
        let (gate, ne) = (format!("{blk}ffn_gate_inp.weight"), [n_embd, n_expert]);
        self.push(gate, &ne, GgmlType::F32, weights(n_embd));
        for (part, n_in, n_out) in
            [("gate", n_embd, width), ("up", n_embd, width), ("down", width, n_embd)]
        {
            let name = format!("{blk}ffn_{part}_exps.weight");
            self.push(name, &[n_in, n_out, n_expert], ty, weights(n_in));
        }
        let gated = kind.is_some_and(|kind| kind.shared == SharedExpert::Gated);
        let shared = if gated { Some(shared.unwrap_or(n_ff)) } else { shared };
        if let Some(width) = shared {
            for (part, n_in, n_out) in
                [("gate", n_embd, width), ("up", n_embd, width), ("down", width, n_embd)]
            {
                let name = format!("{blk}ffn_{part}_shexp.weight");
                self.push(name, &[n_in, n_out], ty, weights(n_in));
            }
        }
        if gated {
            let name = format!("{blk}ffn_gate_inp_shexp.weight");
            self.push(name, &[n_embd], GgmlType::F32, weights(n_embd));
        }
    }

    /// A matrix whose outputs have about the root mean square of its inputs, and its bias if it has one. `blk` is the
    /// layer's prefix, or the same as `part` for a tensor of no layer.
    fn linear(&mut self, blk: &str, part: &str, n_in: usize, n_out: usize) {
        let name = if blk == part { part.to_owned() } else { format!("{blk}{part}") };
        let values = Values::Weights(1.0 / (n_in as f32).sqrt());
        self.push(format!("{name}.weight"), &[n_in, n_out], self.options.ty, values);
        let wanted = match part {
            "attn_q" | "attn_k" | "attn_v" | "attn_qkv" => self.options.qkv_bias,
            "attn_output" => self.options.attn_output_bias,
            "output" => false,
            _ => self.options.ffn_bias,
        };
        let required = |name: &&str| name.strip_suffix(".bias") == Some(part);
        if wanted || self.arch.required.iter().any(required) {
            self.vector(&format!("{name}.bias"), n_out, Values::Uniform(-0.5, 0.5));
        }
    }

    fn norm(&mut self, name: &str, n: usize) {
        self.vector(&format!("{name}.weight"), n, Values::Uniform(0.5, 1.5));
        // Command-R's LayerNorm has no bias.
        let has_bias = self.arch.required.contains(&"attn_norm.bias");
        if self.arch.norm == NormKind::Layer && has_bias {
            self.vector(&format!("{name}.bias"), n, Values::Uniform(-0.5, 0.5));
        }
    }

    fn vector(&mut self, name: &str, n: usize, values: Values) {
        self.push(name.to_owned(), &[n], GgmlType::F32, values);
    }

    fn push(&mut self, name: String, ne: &[usize], ty: GgmlType, values: Values) {
        let ne = ne.iter().map(|&n| n as u64).collect();
        self.tensors.push(SynthTensor { name, ne, ty, values });
    }
}
