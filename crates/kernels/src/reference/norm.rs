//! RMSNorm and LayerNorm, without their weights (ggml multiplies by those in a node of its own).

use super::soft_max::sum4;

/// `out = x / sqrt(mean(x^2) + eps)`, over a row.
///
/// Squares in f32, their sum in f64, the mean rounded to f32 before `eps` is added, then one f32 factor
/// `1 / sqrt(..)` for all elements. ggml's fused form (norm and weight in one pass) gives the bits of
/// `rms_norm` followed by [`mul`](super::mul).
///
/// # Panics
/// If `x` and `out` differ in length.
pub fn rms_norm(x: &[f32], eps: f32, out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "rms_norm: rows differ in length");
    let sum: f64 = x.iter().fold(0.0, |sum, &v| sum + f64::from(v * v));
    let mean = narrow(sum / x.len() as f64);
    let scale = 1.0 / (mean + eps).sqrt();
    for (o, &v) in out.iter_mut().zip(x) {
        *o = v * scale;
    }
}

/// `out = (x - mean) / sqrt(var + eps)`, over a row (LayerNorm).
///
/// The mean is an f64 sum rounded to f32 and divided in f32. The squares of the centered values are added four
/// at a time in f32, `(a0 + a1) + (a2 + a3)`, and those sums in f64.
///
/// # Panics
/// If `x` and `out` differ in length.
pub fn norm(x: &[f32], eps: f32, out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "norm: rows differ in length");
    let sum: f64 = x.iter().fold(0.0, |sum, &v| sum + f64::from(v));
    let mean = narrow(sum) / x.len() as f32;
    for (o, &v) in out.iter_mut().zip(x) {
        *o = v - mean;
    }
    let squares = sum4(out, |v| v * v);
    let variance = narrow(squares / x.len() as f64);
    let scale = 1.0 / (variance + eps).sqrt();
    for o in out {
        *o *= scale;
    }
}

/// f64 to the nearest f32.
#[expect(clippy::cast_possible_truncation, reason = "rounding is what is wanted")]
fn narrow(x: f64) -> f32 {
    x as f32
}
