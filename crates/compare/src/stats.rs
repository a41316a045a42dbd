//! Numbers about two rows of values.

use serde::Serialize;

/// How two tensors differ. All sums are f64.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Stats {
    /// Sum of squared differences over the sum of B's squares.
    pub nmse: f64,
    /// The largest difference.
    pub max_error: f64,
    /// Cosine of the angle between them.
    pub cosine: f64,
    /// Root mean square of A and of B.
    pub rms: [f64; 2],
    /// Mean of A and of B.
    pub mean: [f64; 2],
    /// Values of A and of B that are not finite.
    pub n_not_finite: [usize; 2],
}

/// Statistics of two tensors of one size. Values that are not finite count as different where they differ.
pub(crate) fn stats(a: &[f64], b: &[f64]) -> Stats {
    let (mut aa, mut bb, mut ab, mut dd) = (0.0, 0.0, 0.0, 0.0);
    let (mut sums, mut max_error, mut not_finite) = ([0.0; 2], 0.0_f64, [0; 2]);
    let mut odd = false;
    for (a, b) in a.iter().zip(b) {
        not_finite[0] += usize::from(!a.is_finite());
        not_finite[1] += usize::from(!b.is_finite());
        if !a.is_finite() || !b.is_finite() {
            odd |= a.to_bits() != b.to_bits() && !(a.is_nan() && b.is_nan());
            continue;
        }
        aa += a * a;
        bb += b * b;
        ab += a * b;
        dd += (a - b) * (a - b);
        sums[0] += a;
        sums[1] += b;
        max_error = max_error.max((a - b).abs());
    }
    let n = a.len().max(1) as f64;
    let nmse = match (odd, dd == 0.0) {
        (true, _) => f64::INFINITY,
        (_, true) => 0.0,
        _ => dd / bb,
    };
    Stats {
        nmse,
        max_error: if odd { f64::INFINITY } else { max_error },
        cosine: if aa * bb == 0.0 { f64::from(u8::from(aa == bb)) } else { ab / (aa * bb).sqrt() },
        rms: [(aa / n).sqrt(), (bb / n).sqrt()],
        mean: sums.map(|s| s / n),
        n_not_finite: not_finite,
    }
}

/// Sum of products.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// NMSE alone.
pub(crate) fn nmse(a: &[f64], b: &[f64]) -> f64 {
    let (mut dd, mut bb) = (0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        dd += (a - b) * (a - b);
        bb += b * b;
    }
    if dd == 0.0 { 0.0 } else { dd / bb }
}

/// The factor by which `b` comes closest to `a`, and the NMSE that is left.
pub(crate) fn fit(a: &[f64], b: &[f64]) -> (f64, f64) {
    let bb = dot(b, b);
    if bb == 0.0 {
        return (0.0, 1.0);
    }
    let factor = dot(a, b) / bb;
    let left: f64 = a.iter().zip(b).map(|(a, b)| (a - factor * b).powi(2)).sum();
    (factor, left / dot(a, a).max(f64::MIN_POSITIVE))
}
