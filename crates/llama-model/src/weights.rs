//! A model's tensors by role, each checked against the hyper-parameters, in the form an arithmetic wants.

mod loader;

pub(crate) use loader::Loader;

use crate::arch::{Arch, NormKind};
use crate::arith::Arithmetic;
use crate::hparams::{Hparams, LayerRope};
use gguf_parse::{GgmlType, Gguf};
use std::ops::Range;
use std::sync::Arc;

/// A tensor of the file, or some of its rows, read where it lies. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct FileTensor {
    gguf: Arc<Gguf>,
    name: String,
    pub(crate) ty: GgmlType,
    /// Rows of this matrix, which are those of the tensor from `first_row` on.
    pub(crate) n_rows: usize,
    pub(crate) n_cols: usize,
    first_row: usize,
    /// Rows of the whole tensor.
    n_rows_all: usize,
}

impl FileTensor {
    /// Some of its rows.
    fn rows(&self, rows: Range<usize>) -> Self {
        let first_row = self.first_row + rows.start;
        Self { first_row, n_rows: rows.len(), ..self.clone() }
    }

    /// Its bytes.
    pub(crate) fn data(&self) -> &[u8] {
        // The loader found it, and an open file does not change: never empty.
        let all = self.gguf.find_tensor(&self.name).map_or(&[][..], |view| view.data);
        let row_bytes = all.len() / self.n_rows_all;
        &all[self.first_row * row_bytes..(self.first_row + self.n_rows) * row_bytes]
    }

    /// Its bytes in slices of some megabytes, each with its first row, a multiple of 16.
    pub(crate) fn slices(&self) -> impl Iterator<Item = (usize, &[u8])> {
        const BYTES: usize = 4 << 20;
        let data = self.data();
        let row_bytes = data.len() / self.n_rows;
        let n = (BYTES / row_bytes.max(1)).next_multiple_of(16);
        data.chunks((n * row_bytes).max(1)).enumerate().map(move |(i, slice)| (i * n, slice))
    }

    /// Tells the system that `bytes` of it are not needed for now: they stop to take memory until they are read again.
    pub(crate) fn release(&self, bytes: &[u8]) {
        self.gguf.release(bytes);
    }

    /// Row `i` as f32, exactly.
    pub(crate) fn dequantize_row(&self, i: usize, out: &mut [f32]) {
        self.dequantize_row_of(self.data(), i, out);
    }

    /// The same for who has [`Self::data`] at hand.
    pub(crate) fn dequantize_row_of(&self, data: &[u8], i: usize, out: &mut [f32]) {
        let n_bytes = data.len() / self.n_rows;
        let row = &data[i * n_bytes..(i + 1) * n_bytes];
        // The loader checked type and shape.
        let done = dequant::dequantize(self.ty, row, out);
        debug_assert!(done.is_ok(), "{}: {done:?}", self.name);
    }
}

/// A matrix with the bias that may go with it.
pub(crate) struct Linear<A: Arithmetic> {
    /// `[n_out, n_in]`.
    pub(crate) weight: A::Matrix,
    /// `[n_out]`.
    pub(crate) bias: Option<Vec<A::Real>>,
    /// Elements of an output row.
    pub(crate) n_out: usize,
}

/// A normalization of rows of `n` elements.
#[derive(Clone)]
pub(crate) struct Norm<R> {
    pub(crate) kind: NormKind,
    pub(crate) eps: f32,
    pub(crate) n: usize,
    /// One or more times `[n]`: each row takes the next, then they begin again.
    pub(crate) weight: Vec<R>,
    /// `[n]`
    pub(crate) bias: Option<Vec<R>>,
}

/// One transformer block.
pub(crate) struct Layer<A: Arithmetic> {
    /// Rows of `n_embd`.
    pub(crate) attn_norm: Option<Norm<A::Real>>,
    /// What attention sees instead of `attn_norm`, which the feed-forward block sees (falcon).
    pub(crate) attn_norm_2: Option<Norm<A::Real>>,
    /// `[n_embd_q, n_embd]`
    pub(crate) attn_q: Linear<A>,
    /// `[n_embd_kv, n_embd]`
    pub(crate) attn_k: Linear<A>,
    /// `[n_embd_kv, n_embd]`
    pub(crate) attn_v: Linear<A>,
    /// Whether these three are one tensor of the file. It changes nothing but the names in a trace.
    pub(crate) fused_qkv: bool,
    /// Rows of `n_embd_head`, or of all heads.
    pub(crate) attn_q_norm: Option<Norm<A::Real>>,
    /// Likewise.
    pub(crate) attn_k_norm: Option<Norm<A::Real>>,
    /// `[n_embd, n_embd_q]`
    pub(crate) attn_output: Linear<A>,
    /// Rows of `n_embd`.
    pub(crate) attn_post_norm: Option<Norm<A::Real>>,
    /// Rows of `n_embd`.
    pub(crate) ffn_norm: Option<Norm<A::Real>>,
    pub(crate) ffn: Ffn<A>,
    /// Rows of `n_embd`.
    pub(crate) ffn_post_norm: Option<Norm<A::Real>>,
}

/// A feed-forward block.
pub(crate) enum Ffn<A: Arithmetic> {
    Dense(Dense<A>),
    Moe(Moe<A>),
}

/// A dense feed-forward block, or an expert.
pub(crate) struct Dense<A: Arithmetic> {
    /// `[n_ff, n_embd]`
    pub(crate) gate: Option<Linear<A>>,
    /// `[n_ff, n_embd]`
    pub(crate) up: Linear<A>,
    /// `[n_embd, n_ff]`
    pub(crate) down: Linear<A>,
    /// Whether gate and up are one tensor of the file, which changes the trace.
    pub(crate) fused: bool,
}

/// A mixture of experts.
pub(crate) struct Moe<A: Arithmetic> {
    /// `[n_expert, n_embd]`
    pub(crate) gate_inp: Linear<A>,
    pub(crate) experts: Vec<Dense<A>>,
    /// The expert that every token passes.
    pub(crate) shared: Option<Dense<A>>,
    /// Its weight: `[1, n_embd]`.
    pub(crate) shared_gate: Option<Linear<A>>,
}

/// A rotation, or the two of LongRoPE (arXiv 2402.13753).
pub(crate) struct Ropes<A: Arithmetic> {
    /// For contexts up to the original one.
    pub(crate) short: A::Rope,
    /// For longer ones, where it is another.
    pub(crate) long: Option<A::Rope>,
    /// The original context.
    pub(crate) n_ctx_orig: usize,
}

impl<A: Arithmetic> Ropes<A> {
    /// That of a context of `n_ctx` positions.
    pub(crate) fn of(&self, n_ctx: usize) -> &A::Rope {
        // llama.cpp's contexts are multiples of 256.
        let is_long = n_ctx.next_multiple_of(256) > self.n_ctx_orig;
        self.long.as_ref().filter(|_| is_long).unwrap_or(&self.short)
    }
}

/// All weights of a model.
pub(crate) struct Net<A: Arithmetic> {
    pub(crate) arith: A,
    pub(crate) hp: Hparams,
    pub(crate) arch: &'static Arch,
    /// `[n_vocab, n_embd]`, read row by row.
    pub(crate) token_embd: FileTensor,
    /// `[n_ctx_train, n_embd]`, read row by row.
    pub(crate) position_embd: Option<FileTensor>,
    pub(crate) layers: Vec<Layer<A>>,
    /// Rows of `n_embd`.
    pub(crate) output_norm: Norm<A::Real>,
    /// `[n_vocab, n_embd]`; the embedding again where the file has no other.
    pub(crate) output: Linear<A>,
    /// The rotation of most layers, and that of layers with a window where it is another.
    pub(crate) ropes: Vec<Ropes<A>>,
}

impl<A: Arithmetic> Net<A> {
    /// The index in `ropes` of layer `il`'s rotation.
    pub(crate) fn rope_of(&self, il: usize) -> Option<usize> {
        match self.hp.layers[il].rope {
            LayerRope::None => None,
            LayerRope::Global => Some(0),
            LayerRope::Swa => Some(1),
        }
    }
}
