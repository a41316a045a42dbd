//! Rotary position embeddings (arXiv 2104.09864), with linear and YaRN scaling (arXiv 2309.00071).
//!
//! The angle of pair `i` at position `pos` is `pos * freq[i]`. Frequencies and angles are f64, cosines and sines are
//! rounded to f32 once: as close to the truth as f32 gets. (ggml multiplies f32 angles up pair by pair; at a position
//! of some thousand its last pairs are off by 1e-4 and more.)

use crate::math::{ln64, pow64, sin_cos64};
use crate::{Isa, KernelError, Team, scalar};

/// Elements that a thread should have at least.
const GRAIN: usize = 16 * 1024;

/// Which elements of a head form a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RopeKind {
    /// `(2i, 2i + 1)`: llama.
    #[default]
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
    /// YaRN, with ggml's parameters.
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
#[derive(Debug, Clone, PartialEq)]
pub struct RopeTable {
    kind: RopeKind,
    /// Radians per position, by pair.
    freq: Vec<f64>,
    /// Factor of cosines and sines.
    magnitude: f64,
}

impl RopeTable {
    /// Checks the parameters and computes the frequencies.
    /// # Errors
    /// Parameters that are not finite, not positive, or do not fit together.
    pub fn new(params: &RopeParams<'_>) -> Result<Self, KernelError> {
        params.check()?;
        let n_pairs = params.n_rot / 2;
        let base = f64::from(params.freq_base);
        let freq = (0..n_pairs).map(|i| {
            let factor = params.freq_factors.map_or(1.0, |factors| f64::from(factors[i]));
            let exponent = -2.0 * i as f64 / params.n_rot as f64;
            pow64(base, exponent) / factor * params.squeeze(i)
        });
        Ok(Self { kind: params.kind, freq: freq.collect(), magnitude: params.magnitude() })
    }
}

impl RopeParams<'_> {
    fn check(&self) -> Result<(), KernelError> {
        let error = |field, value| Err(KernelError::RopeParams { field, value });
        if self.n_rot == 0 || !self.n_rot.is_multiple_of(2) {
            return error("n_rot", self.n_rot as f64);
        }
        let positive = |field, value: f32| match value > 0.0 && value.is_finite() {
            true => Ok(()),
            false => error(field, f64::from(value)),
        };
        positive("freq_base", self.freq_base)?;
        if let Some(factors) = self.freq_factors {
            if factors.len() != self.n_rot / 2 {
                return error("number of freq_factors", factors.len() as f64);
            }
            factors.iter().try_for_each(|&factor| positive("freq_factors", factor))?;
        }
        match self.scaling {
            RopeScaling::None => Ok(()),
            RopeScaling::Linear { freq_scale } => positive("freq_scale", freq_scale),
            RopeScaling::Yarn {
                freq_scale,
                ext_factor,
                attn_factor,
                beta_fast,
                beta_slow,
                n_ctx_orig,
            } => {
                positive("freq_scale", freq_scale)?;
                positive("attn_factor", attn_factor)?;
                positive("beta_fast", beta_fast)?;
                positive("beta_slow", beta_slow)?;
                if n_ctx_orig == 0 {
                    return error("n_ctx_orig", 0.0);
                }
                if ext_factor != 0.0 && self.freq_base == 1.0 {
                    return error("freq_base", 1.0);
                }
                if ext_factor.is_finite() {
                    Ok(())
                } else {
                    error("ext_factor", f64::from(ext_factor))
                }
            }
        }
    }

    /// The factor of pair `i`'s angles: 1 where it is not interpolated, `freq_scale` where it is fully.
    fn squeeze(&self, i: usize) -> f64 {
        match self.scaling {
            RopeScaling::None => 1.0,
            RopeScaling::Linear { freq_scale } => f64::from(freq_scale),
            RopeScaling::Yarn {
                freq_scale, ext_factor, beta_fast, beta_slow, n_ctx_orig, ..
            } => {
                let freq_scale = f64::from(freq_scale);
                if ext_factor == 0.0 {
                    return freq_scale;
                }
                let low = self.turning_pair(n_ctx_orig, beta_fast).floor().max(0.0);
                let high =
                    self.turning_pair(n_ctx_orig, beta_slow).ceil().min(self.n_rot as f64 - 1.0);
                let ramp = ((i as f64 - low) / (high - low).max(0.001)).clamp(0.0, 1.0);
                let mix = (1.0 - ramp) * f64::from(ext_factor);
                freq_scale * (1.0 - mix) + mix
            }
        }
    }

    /// The (fractional) pair that turns `n` times over the original context.
    fn turning_pair(&self, n_ctx_orig: usize, n: f32) -> f64 {
        let turns = n_ctx_orig as f64 / (f64::from(n) * std::f64::consts::TAU);
        self.n_rot as f64 * ln64(turns) / (2.0 * ln64(f64::from(self.freq_base)))
    }

    fn magnitude(&self) -> f64 {
        match self.scaling {
            RopeScaling::Yarn { freq_scale, ext_factor, attn_factor, .. } => {
                let own =
                    if ext_factor == 0.0 { 1.0 } else { 1.0 - 0.1 * ln64(f64::from(freq_scale)) };
                f64::from(attn_factor) * own
            }
            RopeScaling::None | RopeScaling::Linear { .. } => 1.0,
        }
    }
}

/// Cosines and sines for the positions of a batch: computed once, used by all layers.
#[derive(Debug, Clone, Default)]
pub struct RopeAngles {
    kind: RopeKind,
    n_pairs: usize,
    n_tokens: usize,
    /// `[n_tokens, n_pairs]`.
    cos: Vec<f32>,
    /// `[n_tokens, n_pairs]`.
    sin: Vec<f32>,
}

impl RopeAngles {
    /// An empty workspace.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Computes the cosines and sines of `positions`, one per token of the batch.
    #[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is what is wanted")]
    pub fn prepare(&mut self, table: &RopeTable, positions: impl Iterator<Item = usize>) {
        (self.kind, self.n_pairs, self.n_tokens) = (table.kind, table.freq.len(), 0);
        self.cos.clear();
        self.sin.clear();
        for pos in positions {
            self.n_tokens += 1;
            for freq in &table.freq {
                let (sin, cos) = sin_cos64(pos as f64 * freq);
                self.cos.push((cos * table.magnitude) as f32);
                self.sin.push((sin * table.magnitude) as f32);
            }
        }
    }
}

impl RopeAngles {
    /// Tokens.
    pub(crate) fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    /// # Panics
    /// If heads are shorter than what is rotated.
    pub(crate) fn check(&self, n_embd_head: usize) {
        let n_rot = 2 * self.n_pairs;
        assert!(n_rot <= n_embd_head, "heads of {n_embd_head} cannot rotate {n_rot}");
    }

    /// Rotates a head of a token.
    pub(crate) fn rotate(&self, isa: Isa, token: usize, head: &mut [f32]) {
        let n = self.n_pairs;
        let (cos, sin) = (&self.cos[token * n..][..n], &self.sin[token * n..][..n]);
        rotate(isa, self.kind, &mut head[..2 * n], cos, sin);
    }
}

/// Rotates every head of `x`, `[n_tokens, n_head, n_embd_head]`, by its token's angles.
/// # Panics
/// If `x` does not have the tokens of `angles`, or heads are shorter than `n_rot`.
pub fn rope(isa: Isa, team: &Team, angles: &RopeAngles, x: &mut [f32], n_embd_head: usize) {
    angles.check(n_embd_head);
    let row = x.len().checked_div(angles.n_tokens).unwrap_or(0);
    assert_eq!(row * angles.n_tokens, x.len(), "one row per token");
    assert!(row.is_multiple_of(n_embd_head), "rows of {row} are no heads of {n_embd_head}");
    if row == 0 {
        return;
    }
    let tokens = (GRAIN / row).max(angles.n_tokens.div_ceil(team.n_threads())).max(1);
    team.for_chunks_mut(x, tokens * row, &|i, part| {
        for (j, row) in part.chunks_exact_mut(row).enumerate() {
            row.chunks_exact_mut(n_embd_head)
                .for_each(|head| angles.rotate(isa, i * tokens + j, head));
        }
    });
}

fn rotate(isa: Isa, kind: RopeKind, x: &mut [f32], cos: &[f32], sin: &[f32]) {
    match (isa, kind) {
        (Isa::Scalar, RopeKind::Norm) => scalar::elementwise::rotate_pairs(x, cos, sin),
        (Isa::Scalar, RopeKind::Neox) => {
            let (a, b) = x.split_at_mut(cos.len());
            scalar::elementwise::rotate_halves(a, b, cos, sin);
        }
        #[cfg(target_arch = "aarch64")]
        (Isa::Neon(_), _) => rotate(Isa::Scalar, kind, x, cos, sin),
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512(token), _) => rotate(Isa::Avx2(token.avx2()), kind, x, cos, sin),
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx2(token), RopeKind::Norm) => {
            crate::x86_64::elementwise::rotate_pairs(token, x, cos, sin);
        }
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx2(token), RopeKind::Neox) => {
            let (a, b) = x.split_at_mut(cos.len());
            crate::x86_64::elementwise::rotate_halves(token, a, b, cos, sin);
        }
    }
}

#[cfg(test)]
mod tests;
