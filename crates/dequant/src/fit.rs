//! Searches for the scale (and minimum) that fits a group of weights, as K-quants use them.
//!
//! Every sum is f32 and runs in index order: the bytes of a quantized file depend on it.
//! Source: `nearest_int`, `make_qx_quants` and `make_qkx2_quants` in ggml's `ggml-quants.c`.

use crate::q4_0::signed_max;

/// The nearest integer, halves to even, for |x| < 2²².
///
/// 1.5 · 2²³ is added: the sum's ulp is 1, so the addition itself rounds, and the low mantissa bits are the integer.
/// Out of range, and for infinities and NaN, the result is whatever those bits say, which is ggml's result too.
#[inline]
pub(crate) fn nearest_int(x: f32) -> i32 {
    ((x + 12_582_912.0).to_bits() & 0x007F_FFFF).cast_signed() - 0x0040_0000
}

/// Weights (or scales) below this are taken for zero.
pub(crate) const ALL_ZERO: f32 = 1e-15;

/// What [`scale`] found: the scale, and a code for every weight.
pub(crate) struct Scale<const N: usize> {
    /// The scale.
    pub(crate) scale: f32,
    /// Code plus `nmax`.
    pub(crate) codes: [u8; N],
}

/// The scale for which signed codes `-nmax..nmax` fit `x` best, each error weighted with `x²`.
///
/// Starts from the scale that puts the largest weight at `-nmax`, then tries 18 others near it.
pub(crate) fn scale<const N: usize>(nmax: i8, x: &[f32; N]) -> Scale<N> {
    let max = signed_max(x);
    if max.abs() < ALL_ZERO {
        return Scale { scale: 0.0, codes: [0; N] };
    }
    let top = i32::from(nmax);
    let code = |iscale: f32, v: f32| nearest_int(iscale * v).clamp(-top, top - 1);
    let sums = |iscale: f32| {
        let (mut sum_lx, mut sum_l2) = (0.0, 0.0);
        for &v in x {
            let (w, l) = (v * v, small_f32(code(iscale, v)));
            sum_lx += w * v * l;
            sum_l2 += w * l * l;
        }
        (sum_lx, sum_l2)
    };
    let codes = |iscale: f32| x.map(|v| code(iscale, v).wrapping_add(top).to_le_bytes()[0]);

    let iscale = -f32::from(nmax) / max;
    let (sum_lx, sum_l2) = sums(iscale);
    let mut best =
        Scale { scale: if sum_l2 == 0.0 { 0.0 } else { sum_lx / sum_l2 }, codes: codes(iscale) };
    let mut best_score = best.scale * sum_lx;
    for step in (-9..=9_i8).filter(|&step| step != 0) {
        let iscale = -(f32::from(nmax) + 0.1 * f32::from(step)) / max;
        let (sum_lx, sum_l2) = sums(iscale);
        if sum_l2 > 0.0 && sum_lx * sum_lx > best_score * sum_l2 {
            best = Scale { scale: sum_lx / sum_l2, codes: codes(iscale) };
            best_score = best.scale * sum_lx;
        }
    }
    best
}

/// How [`scale_min`] searches.
#[derive(Clone, Copy)]
pub(crate) struct Search {
    /// Largest code.
    pub(crate) nmax: u8,
    /// The first divisor tried is `nmax + first` codes for the range of the weights.
    pub(crate) first: f32,
    /// Divisors tried after the first, 0.1 apart.
    pub(crate) n_steps: u8,
}

/// What [`scale_min`] found.
pub(crate) struct ScaleMin {
    /// The scale.
    pub(crate) scale: f32,
    /// What is subtracted: the weight of code 0, negated.
    pub(crate) min: f32,
    /// A code for every weight.
    pub(crate) codes: [u8; 32],
}

/// Scale and minimum (at most 0) for which codes `0..=nmax` fit `x` best, each squared error weighted with
/// `weights`: a least-squares fit for every way to round that the divisors give.
pub(crate) fn scale_min(x: &[f32; 32], weights: &[f32; 32], search: Search) -> ScaleMin {
    let (mut min, mut max) = (x[0], x[0]);
    let (mut sum_w, mut sum_x) = (weights[0], weights[0] * x[0]);
    for (&v, &w) in x.iter().zip(weights).skip(1) {
        if v < min {
            min = v;
        }
        if v > max {
            max = v;
        }
        sum_w += w;
        sum_x += w * v;
    }
    if min > 0.0 {
        min = 0.0;
    }
    if max == min {
        return ScaleMin { scale: 0.0, min: -min, codes: [0; 32] };
    }
    let top = f32::from(search.nmax);
    let codes = |iscale: f32, min: f32| {
        x.map(|v| nearest_int(iscale * (v - min)).clamp(0, i32::from(search.nmax)).to_le_bytes()[0])
    };
    let error = |scale: f32, min: f32, codes: &[u8; 32]| {
        let mut sum = 0.0;
        for ((&v, &w), &l) in x.iter().zip(weights).zip(codes) {
            let diff = scale * f32::from(l) + min - v;
            sum += w * (diff * diff);
        }
        sum
    };

    let iscale = top / (max - min);
    let mut scale = 1.0 / iscale;
    let mut best = codes(iscale, min);
    let mut best_error = error(scale, min, &best);
    for step in 0..=search.n_steps {
        // `min` is that of the best fit so far: one improvement shifts the grid of the divisors after it.
        let iscale = (search.first + 0.1 * f32::from(step) + top) / (max - min);
        let tried = codes(iscale, min);
        if let Some((this_scale, this_min)) = least_squares(x, weights, &tried, sum_w, sum_x) {
            let this_error = error(this_scale, this_min, &tried);
            if this_error < best_error {
                (scale, min, best, best_error) = (this_scale, this_min, tried, this_error);
            }
        }
    }
    ScaleMin { scale, min: -min, codes: best }
}

/// Scale and minimum of the weighted least-squares line through (code, weight), the minimum held at or below 0;
/// `None` if all codes are equal.
fn least_squares(
    x: &[f32; 32],
    weights: &[f32; 32],
    codes: &[u8; 32],
    sum_w: f32,
    sum_x: f32,
) -> Option<(f32, f32)> {
    let (mut sum_l, mut sum_l2, mut sum_xl) = (0.0, 0.0, 0.0);
    for ((&v, &w), &l) in x.iter().zip(weights).zip(codes) {
        let wl = w * f32::from(l);
        sum_l += wl;
        sum_l2 += wl * f32::from(l);
        sum_xl += wl * v;
    }
    let determinant: f32 = sum_w * sum_l2 - sum_l * sum_l;
    if determinant > 0.0 {
        let scale = (sum_w * sum_xl - sum_x * sum_l) / determinant;
        let min = (sum_l2 * sum_x - sum_l * sum_xl) / determinant;
        Some(if min > 0.0 { (sum_xl / sum_l2, 0.0) } else { (scale, min) })
    } else {
        None
    }
}

/// An integer of at most 24 bits as f32, exactly.
#[inline]
#[expect(clippy::cast_precision_loss, reason = "codes have at most 8 bits")]
fn small_f32(x: i32) -> f32 {
    x as f32
}
