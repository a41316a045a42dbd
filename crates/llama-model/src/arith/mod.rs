//! The three arithmetics in which the one forward pass computes.
//!
//! [`Arithmetic`] is the vocabulary of `forward.rs`: what a transformer does, at the grain at which a fast
//! implementation can fuse (a norm, several matrices on one input, an attention block). `Reference` computes as
//! llama.cpp's scalar build does, `Oracle` in f64, `Fast` with the SIMD kernels.

mod fast;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "it is part of a test")]
mod faulty;
mod oracle;
mod reference;
mod rows;

pub(crate) use fast::Fast;
#[cfg(test)]
pub(crate) use faulty::{Fault, Faulty};
pub(crate) use oracle::Oracle;
pub(crate) use reference::Reference;

use crate::ModelError;
use crate::arch::Act;
use crate::context::{BatchToken, ContextOptions};
use crate::hparams::{Factor, Hparams, RopeParams};
use crate::trace::Traced;
use crate::weights::{FileTensor, Norm};
use gguf_parse::GgmlType;
use std::ops::{AddAssign, Div, Mul};

/// A value of the residual stream: f32, or f64 in the oracle.
pub(crate) trait Real:
    Traced
    + Copy
    + Default
    + PartialOrd
    + Send
    + Sync
    + AddAssign
    + Mul<Output = Self>
    + Div<Output = Self>
    + Into<f64>
    + 'static
{
    fn from_f32(x: f32) -> Self;
    fn from_f64(x: f64) -> Self;
    fn to_f32(self) -> f32;
}

impl Real for f32 {
    fn from_f32(x: f32) -> Self {
        x
    }
    #[expect(clippy::cast_possible_truncation, reason = "rounding is what is wanted")]
    fn from_f64(x: f64) -> Self {
        x as Self
    }
    fn to_f32(self) -> f32 {
        self
    }
}

impl Real for f64 {
    fn from_f32(x: f32) -> Self {
        Self::from(x)
    }
    fn from_f64(x: f64) -> Self {
        x
    }
    #[expect(clippy::cast_possible_truncation, reason = "the logits leave the oracle as f32")]
    fn to_f32(self) -> f32 {
        self as f32
    }
}

/// Scores and weighted values of an attention block, for a trace: `[n_head, n_tokens, …]`.
#[derive(Default)]
pub(crate) struct Scores<R> {
    /// `[n_head, n_tokens, n_kv]` before softmax, `n_kv` padded as llama.cpp pads it.
    pub(crate) kq: Vec<R>,
    /// The same on its way through a cap `c`, where there is one: `kq / c`, its tanh, that times `c`.
    pub(crate) capped: Option<[Vec<R>; 3]>,
    /// The same after softmax.
    pub(crate) kq_soft_max: Vec<R>,
    /// `[n_head, n_tokens, n_embd_head]`
    pub(crate) kqv: Vec<R>,
}

/// Shape of an attention block.
#[derive(Clone, Copy)]
pub(crate) struct Heads {
    pub(crate) n_head: usize,
    pub(crate) n_head_kv: usize,
    pub(crate) n_embd_head: usize,
    /// Of scores.
    pub(crate) scale: Factor,
    /// A query sees the last so many positions only, its own included.
    pub(crate) n_swa: Option<usize>,
    /// Scores `x` become `cap * tanh(x / cap)`.
    pub(crate) softcap: Option<f32>,
}

impl Heads {
    /// Whether a query at `pos` sees `cell`.
    pub(crate) fn sees(&self, pos: usize, cell: usize) -> bool {
        cell <= pos && self.n_swa.is_none_or(|n| pos - cell < n)
    }
}

/// Where a norm stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NormStage {
    /// Before the weight.
    Normed,
    /// Before the bias, if there is one.
    Weighted,
}

/// A matrix, and where its product goes: `out [n_tokens, n_rows]`.
pub(crate) struct Job<'a, A: Arithmetic> {
    pub(crate) weight: &'a A::Matrix,
    pub(crate) out: &'a mut [A::Real],
}

/// How to compute.
pub(crate) trait Arithmetic: Send + Sync + Sized + 'static {
    /// Element of the residual stream.
    type Real: Real;
    /// A weight matrix.
    type Matrix: Send + Sync;
    /// A matmul's input, prepared (quantized to what the matrices multiply with).
    type Acts: Send;
    /// The K and V cache.
    type Cache: KvStore;
    /// Frequencies of RoPE.
    type Rope: Send + Sync;
    /// What RoPE and attention need of a batch's positions, computed once for all layers.
    type Positions: Default + Send;

    /// Takes a matrix of the file.
    fn matrix(&self, tensor: FileTensor) -> Result<Self::Matrix, ModelError>;
    /// Bytes that [`Self::matrix`] will allocate for `[n_rows, n_cols]` of type `ty`.
    fn matrix_bytes(&self, ty: GgmlType, n_rows: usize, n_cols: usize) -> u64;
    fn rope(params: &RopeParams, freq_factors: Option<&[f32]>) -> Result<Self::Rope, ModelError>;
    fn acts(&self, n_tokens: usize, n_cols: usize) -> Self::Acts;
    /// Fails if this arithmetic has no such cache.
    fn check_cache(hp: &Hparams, options: &ContextOptions) -> Result<(), ModelError>;
    fn cache(&self, hp: &Hparams, options: &ContextOptions) -> Result<Self::Cache, ModelError>;
    fn cache_bytes(hp: &Hparams, options: &ContextOptions) -> u64;

    /// f32 values of the file as this arithmetic holds them.
    fn reals(values: &[f32]) -> Vec<Self::Real> {
        values.iter().map(|x| Self::Real::from_f32(*x)).collect()
    }

    /// Normalizes each row of `x`. `seen` gets the rows at the stages that the arithmetic has apart.
    fn norm(
        &self,
        norm: &Norm<Self::Real>,
        x: &[Self::Real],
        out: &mut [Self::Real],
        seen: &mut dyn FnMut(NormStage, &[Self::Real]),
    );
    /// Prepares `x [n_tokens, n_cols]` for all of `weights`.
    fn prepare(
        &self,
        acts: &mut Self::Acts,
        weights: &[&Self::Matrix],
        x: &[Self::Real],
        n_cols: usize,
    );
    /// [`Self::norm`], then [`Self::prepare`] of the result, which is nowhere else to be found. Returns whether it did:
    /// only if this arithmetic does not compute the two one after the other. So with [`Self::gate_up`].
    fn prepare_normed(
        &self,
        _acts: &mut Self::Acts,
        _weights: &[&Self::Matrix],
        _norm: &Norm<Self::Real>,
        _x: &[Self::Real],
    ) -> bool {
        false
    }
    /// Multiplies the prepared input with gate and up, does as [`Self::gated`] and prepares the result for `down`, in
    /// the place of the input. Returns whether it did.
    fn gate_up(
        &self,
        _acts: &mut Self::Acts,
        _act: Act,
        [_gate, _up]: [&Self::Matrix; 2],
        _down: &Self::Matrix,
    ) -> bool {
        false
    }
    /// Multiplies the prepared input with `weight` and adds the product to `x`. What is in `product`, as long as `x`, is
    /// lost.
    fn matmul_add(
        &self,
        acts: &Self::Acts,
        weight: &Self::Matrix,
        x: &mut [Self::Real],
        product: &mut [Self::Real],
    ) {
        self.matmul(acts, &mut [Job { weight, out: &mut *product }]);
        self.add(x, product);
    }
    /// Multiplies the prepared input with several matrices.
    fn matmul(&self, acts: &Self::Acts, jobs: &mut [Job<'_, Self>]);
    /// Prepares for a batch's positions.
    fn positions(&self, rope: &Self::Rope, batch: &[BatchToken], positions: &mut Self::Positions);
    /// Rotates every head of `x [n_tokens, n_heads, n_embd_head]`.
    fn rotate(
        &self,
        rope: &Self::Rope,
        positions: &Self::Positions,
        x: &mut [Self::Real],
        n_embd_head: usize,
    );
    /// Writes `k` and `v` `[n_tokens, n_embd_kv]` at the batch's positions.
    fn store(
        &self,
        cache: &mut Self::Cache,
        il: usize,
        batch: &[BatchToken],
        positions: &Self::Positions,
        k: &[Self::Real],
        v: &[Self::Real],
    );
    /// [`Self::rotate`] of the keys, then [`Self::store`]. What is in `k` afterwards is for nobody to read.
    fn store_rotated(
        &self,
        cache: &mut Self::Cache,
        at: Rotated<'_, Self>,
        k: &mut [Self::Real],
        v: &[Self::Real],
    ) {
        self.rotate(at.rope, at.positions, k, at.n_embd_head);
        self.store(cache, at.il, at.batch, at.positions, k, v);
    }
    /// Causal attention of `q [n_tokens, n_head, n_embd_head]` over the cache. `scores` is filled where the
    /// arithmetic has these values at all.
    fn attend(
        &self,
        at: Attend<'_, Self>,
        out: &mut [Self::Real],
        scores: Option<&mut Scores<Self::Real>>,
    );
    /// `x += y`, element by element.
    fn add(&self, x: &mut [Self::Real], y: &[Self::Real]);
    /// `x *= by`, element by element.
    fn scale(&self, x: &mut [Self::Real], by: Factor);
    /// `x = tanh(x)`, element by element.
    fn tanh(&self, x: &mut [Self::Real]);
    /// `out = act(x)`, element by element, rows of `n`. Of `ReluSqr` this is the first half: no square.
    fn activate(&self, act: Act, x: &[Self::Real], n: usize, out: &mut [Self::Real]);
    /// `out = act(gate) * up`, element by element; all `[n_tokens, n_ff]`.
    fn gated(
        &self,
        act: Act,
        gate: &[Self::Real],
        up: &[Self::Real],
        n_ff: usize,
        out: &mut [Self::Real],
    );
    /// Softmax of each row of `n`.
    fn soft_max(&self, x: &mut [Self::Real], n: usize);
    /// The natural logarithm.
    fn ln(x: f64) -> f64 {
        x.ln()
    }
}

/// What [`Arithmetic::attend`] reads.
pub(crate) struct Attend<'a, A: Arithmetic> {
    pub(crate) cache: &'a A::Cache,
    pub(crate) il: usize,
    pub(crate) heads: Heads,
    pub(crate) batch: &'a [BatchToken],
    pub(crate) positions: &'a A::Positions,
    /// `[n_tokens, n_head, n_embd_head]`
    pub(crate) q: &'a [A::Real],
}

/// Where [`Arithmetic::store_rotated`] rotates and stores.
pub(crate) struct Rotated<'a, A: Arithmetic> {
    pub(crate) il: usize,
    pub(crate) batch: &'a [BatchToken],
    pub(crate) rope: &'a A::Rope,
    pub(crate) positions: &'a A::Positions,
    pub(crate) n_embd_head: usize,
}

/// A cache of several sequences, each with `n_ctx` positions of its own.
pub(crate) trait KvStore: Send {
    /// Whether a sequence in which positions up to `end` were stored still holds all that is seen from position `len` on:
    /// layers with a window may keep no more than they need to go on.
    fn holds(&self, _len: usize, _end: usize) -> bool {
        true
    }
    /// Makes the first `len` positions of `dst` those of `src`, as far as it holds them.
    fn copy(&mut self, src: usize, dst: usize, len: usize) -> Result<(), ModelError>;
    /// Layer `il` of sequence `seq`, positions `0..len`, where positions up to `end` were stored. `None` if f32 does not
    /// hold the cache's numbers, or the layer no longer holds all positions.
    fn rows(&self, il: usize, seq: usize, len: usize, end: usize) -> Option<Rows>;
}

/// K and V of some positions, both `[n, n_embd_kv]`.
pub(crate) type Rows = (Vec<f32>, Vec<f32>);
