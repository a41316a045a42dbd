//! Rotary position embedding.

use crate::RopeKind;

/// What the rotation depends on besides the position. The names are ggml's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RopeParams<'a> {
    /// Elements of each head that rotate (the first ones; even).
    pub n_rot: usize,
    /// How they pair up.
    pub mode: RopeKind,
    /// Base of the angles, 10000 in the paper.
    pub freq_base: f32,
    /// Factor on all angles; 1/s for a context stretched s times, 1 for none.
    pub freq_scale: f32,
    /// YaRN: weight of the unscaled angles; 0 turns YaRN off.
    pub ext_factor: f32,
    /// Factor on the rotated values.
    pub attn_factor: f32,
    /// YaRN: rotations over the original context above which an angle is not scaled.
    pub beta_fast: f32,
    /// YaRN: rotations below which it is scaled in full.
    pub beta_slow: f32,
    /// Context length of the original training.
    pub n_ctx_orig: usize,
    /// Divisor of each pair's angle, at least `n_rot / 2` of them.
    pub freq_factors: Option<&'a [f32]>,
}

/// Rotates the heads of one token in place; `x` is `[n_head, n_embd_head]`.
///
/// The angle of pair `i` is `pos * s^i` by repeated multiplication in f32, `s = powf(freq_base, -2 / n_rot)`:
/// not a power per pair. Sine and cosine are the C library's. Elements from `n_rot` on keep their value.
///
/// # Panics
/// If `x` is no whole number of heads, `n_rot` is odd or larger than a head, or there are too few factors.
pub fn rope(x: &mut [f32], n_embd_head: usize, pos: i32, p: &RopeParams<'_>) {
    assert!(
        n_embd_head > 0 && x.len().is_multiple_of(n_embd_head),
        "rope: {} is no whole number of heads of {n_embd_head}",
        x.len()
    );
    assert!(
        p.n_rot.is_multiple_of(2) && p.n_rot <= n_embd_head,
        "rope: n_rot {} with heads of {n_embd_head}",
        p.n_rot
    );
    let half = p.n_rot / 2;
    assert!(p.freq_factors.is_none_or(|f| f.len() >= half), "rope: too few frequency factors");

    let theta_scale = p.freq_base.powf(-2.0 / p.n_rot as f32);
    let ramp = Ramp::new(p);
    let mut theta = pos as f32;
    for i in 0..half {
        let divisor = p.freq_factors.map_or(1.0, |f| f[i]);
        let (sin, cos) = ramp.sin_cos(theta / divisor, i, p);
        let (a, b) = match p.mode {
            RopeKind::Norm => (2 * i, 2 * i + 1),
            RopeKind::Neox => (i, i + half),
        };
        for head in x.chunks_exact_mut(n_embd_head) {
            let (x0, x1) = (head[a], head[b]);
            head[a] = x0 * cos - x1 * sin;
            head[b] = x0 * sin + x1 * cos;
        }
        theta *= theta_scale;
    }
}

/// YaRN's ramp between scaled and unscaled angles, and its factor on the values.
struct Ramp {
    low: f32,
    high: f32,
    magnitude: f32,
}

impl Ramp {
    fn new(p: &RopeParams<'_>) -> Self {
        let low = corr_dim(p, p.beta_fast).floor();
        let high = corr_dim(p, p.beta_slow).ceil();
        let last = p.n_rot as f32 - 1.0;
        let magnitude = if p.ext_factor == 0.0 {
            p.attn_factor
        } else {
            p.attn_factor * (1.0 + 0.1 * (1.0 / p.freq_scale).ln())
        };
        Self {
            low: if 0.0 > low { 0.0 } else { low },
            high: if last < high { last } else { high },
            magnitude,
        }
    }

    /// Sine and cosine of pair `i`, times the magnitude. `theta` is the unscaled angle.
    fn sin_cos(&self, theta: f32, i: usize, p: &RopeParams<'_>) -> (f32, f32) {
        let scaled = p.freq_scale * theta;
        let angle = if p.ext_factor == 0.0 {
            scaled
        } else {
            let mix = self.at(i) * p.ext_factor;
            scaled * (1.0 - mix) + theta * mix
        };
        (angle.sin() * self.magnitude, angle.cos() * self.magnitude)
    }

    /// 1 before the ramp, 0 after it.
    fn at(&self, i: usize) -> f32 {
        let width = self.high - self.low;
        let y = (i as f32 - self.low) / if 0.001 > width { 0.001 } else { width };
        let y = if 0.0 > y { 0.0 } else { y };
        1.0 - if 1.0 < y { 1.0 } else { y }
    }
}

/// The pair (as a real number) whose angle turns `n_turns` times over the original context.
fn corr_dim(p: &RopeParams<'_>, n_turns: f32) -> f32 {
    let turns = p.n_ctx_orig as f32 / (n_turns * 2.0 * std::f32::consts::PI);
    p.n_rot as f32 * turns.ln() / (2.0 * p.freq_base.ln())
}
