//! Rotary position embeddings.

use crate::{Isa, KernelError, Team};

/// Which elements of a head form a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeKind {
    /// `(2i, 2i + 1)`: llama.
    Norm,
    /// `(i, i + n_rot / 2)`: GPT-NeoX, qwen, gemma.
    Neox,
}

/// How positions beyond the training context are squeezed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// Every angle times `freq_scale`.
    Linear {
        /// 1 / factor.
        freq_scale: f32,
    },
    /// YaRN (arXiv 2309.00071), with ggml's parameters.
    Yarn {
        /// 1 / factor.
        freq_scale: f32,
        /// How much of the ramp to use (1 normally).
        ext_factor: f32,
        /// Factor of all cosines and sines, before YaRN's own.
        attn_factor: f32,
        /// Rotations over the original context above which a pair is not interpolated (32 normally).
        beta_fast: f32,
        /// Rotations below which a pair is fully interpolated (1 normally).
        beta_slow: f32,
        /// The original context.
        n_ctx_orig: usize,
    },
}

/// What a [`RopeTable`] is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RopeParams<'a> {
    /// Pairing.
    pub kind: RopeKind,
    /// Elements of a head that are rotated, even; the rest stays.
    pub n_rot: usize,
    /// Base of the frequencies.
    pub freq_base: f32,
    /// Divisors of the angles, one per pair (`rope_freqs.weight`).
    pub freq_factors: Option<&'a [f32]>,
    /// Scaling.
    pub scaling: RopeScaling,
}

/// The frequencies of a model.
#[derive(Debug, Clone)]
pub struct RopeTable {
    _private: (),
}

impl RopeTable {
    /// Checks the parameters and computes the frequencies.
    /// # Errors
    /// Parameters that are not finite, not positive, or do not fit together.
    pub fn new(params: &RopeParams<'_>) -> Result<Self, KernelError> {
        let _ = params;
        unimplemented!()
    }
}

/// Cosines and sines for the positions of a batch: computed once, used by all layers.
#[derive(Debug, Clone, Default)]
pub struct RopeAngles {
    _private: (),
}

impl RopeAngles {
    /// An empty workspace.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// Computes the cosines and sines of `positions`, one per token of the batch.
    pub fn prepare(&mut self, table: &RopeTable, positions: impl Iterator<Item = usize>) {
        let _ = (table, positions);
        unimplemented!()
    }
}

/// Rotates every head of `x`, `[n_tokens, n_head, n_embd_head]`, by its token's angles.
/// # Panics
/// If `x` does not have the tokens of `angles`, or heads are shorter than `n_rot`.
pub fn rope(isa: Isa, team: &Team, angles: &RopeAngles, x: &mut [f32], n_embd_head: usize) {
    let _ = (isa, team, angles, x, n_embd_head);
    unimplemented!()
}
