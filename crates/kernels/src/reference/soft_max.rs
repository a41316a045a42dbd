//! Softmax over a row of attention scores.

use super::expf::expf_lane;

/// `row = softmax(scale * row + mask)`, in place, over all of `row` (masked and padding cells included).
///
/// Multiply, then add the mask, each rounded to f32. The exponentials come from ggml's polynomial for the first
/// `n - n % 4` elements and from the C library for the rest. Each four are added in f32 as
/// `(a0 + a1) + (a2 + a3)`, those sums in f64. The factor `1 / sum` is rounded to f32 once.
///
/// # Panics
/// If `mask` and `row` differ in length.
pub fn soft_max(row: &mut [f32], mask: Option<&[f32]>, scale: f32) {
    for x in row.iter_mut() {
        *x *= scale;
    }
    if let Some(mask) = mask {
        assert_eq!(mask.len(), row.len(), "soft_max: the mask has another length");
        for (x, &m) in row.iter_mut().zip(mask) {
            *x += m;
        }
    }
    let max = row.iter().fold(f32::NEG_INFINITY, |max, &x| if max > x { max } else { x });
    let (head, tail) = row.as_chunks_mut::<4>();
    for x in head.as_flattened_mut() {
        *x = expf_lane(*x - max);
    }
    for x in tail {
        *x = (*x - max).exp();
    }
    let factor = reciprocal(sum4(row, |x| x));
    for x in row {
        *x *= factor;
    }
}

/// The sum of `f` over a row: fours in f32 as `(a0 + a1) + (a2 + a3)`, then in f64; the rest one by one in f64.
pub(super) fn sum4(row: &[f32], f: impl Fn(f32) -> f32) -> f64 {
    let (head, tail) = row.as_chunks::<4>();
    let sum =
        head.iter().fold(0.0, |sum, &[a, b, c, d]| sum + f64::from((f(a) + f(b)) + (f(c) + f(d))));
    tail.iter().fold(sum, |sum, &x| sum + f64::from(f(x)))
}

/// `1 / sum`, divided in f64 and rounded to f32.
#[expect(clippy::cast_possible_truncation, reason = "rounding is what is wanted")]
fn reciprocal(sum: f64) -> f32 {
    (1.0 / sum) as f32
}
