//! The dot product of a weight row and an activation row: the one operation inside a matrix product.

use dequant::GgmlType;

use super::f16::{bf16_to_f32, f16_to_f32};
use super::{dot_k, dot_legacy};

/// One element of a matrix product: the dot product of a row of weights of type `ty` with a row of activations of
/// type [`act_type(ty)`](super::act_type), both as raw little-endian blocks, each covering the same elements.
///
/// Types and orders:
/// - F32, F16, BF16: product rounded to f32, sum in f64, rounded to f32 at the end.
/// - Types with blocks of 32: integer sum per block, scaled in f32, added in f32 block by block.
/// - K-quants (blocks of 256): Q2_K as above with the minimums subtracted first; the others keep eight f32 sums
///   (element index modulo 8), subtract the minimums in an f32 of their own, and add the eight to it at the end.
///
/// # Panics
/// If a row is no whole number of blocks, the rows do not cover the same elements, or `ty` has no dot product
/// here ([`act_type`](super::act_type) is `None`).
#[must_use]
pub fn vec_dot(ty: GgmlType, w_row: &[u8], act_row: &[u8]) -> f32 {
    match ty {
        GgmlType::F32 => dot_float(w_row, act_row, f32::from_le_bytes),
        GgmlType::F16 => dot_float(w_row, act_row, |b| f16_to_f32(u16::from_le_bytes(b))),
        GgmlType::BF16 => dot_float(w_row, act_row, |b| bf16_to_f32(u16::from_le_bytes(b))),
        GgmlType::Q4_0 => dot_legacy::q4_0(w_row, act_row),
        GgmlType::Q4_1 => dot_legacy::q4_1(w_row, act_row),
        GgmlType::Q5_0 => dot_legacy::q5_0(w_row, act_row),
        GgmlType::Q5_1 => dot_legacy::q5_1(w_row, act_row),
        GgmlType::Q8_0 => dot_legacy::q8_0(w_row, act_row),
        GgmlType::Q2_K => dot_k::q2_k(w_row, act_row),
        GgmlType::Q3_K => dot_k::q3_k(w_row, act_row),
        GgmlType::Q4_K => dot_k::q4_k(w_row, act_row),
        GgmlType::Q5_K => dot_k::q5_k(w_row, act_row),
        GgmlType::Q6_K => dot_k::q6_k(w_row, act_row),
        _ => unreachable!("no dot product for {}", ty.name()),
    }
}

/// Products in f32, their sum in f64.
#[expect(clippy::cast_possible_truncation, reason = "rounding is what is wanted")]
fn dot_float<const N: usize>(w: &[u8], a: &[u8], to_f32: impl Fn([u8; N]) -> f32) -> f32 {
    let sum =
        blocks::<N, N>(w, a).fold(0.0, |sum, (&w, &a)| sum + f64::from(to_f32(w) * to_f32(a)));
    sum as f32
}

/// The pairs of blocks of two rows.
pub(super) fn blocks<'a, const W: usize, const A: usize>(
    w: &'a [u8],
    a: &'a [u8],
) -> impl Iterator<Item = (&'a [u8; W], &'a [u8; A])> {
    let ((w, w_rest), (a, a_rest)) = (w.as_chunks(), a.as_chunks());
    assert!(w_rest.is_empty() && a_rest.is_empty(), "vec_dot: a row is no whole number of blocks");
    assert_eq!(w.len(), a.len(), "vec_dot: the rows differ in length");
    w.iter().zip(a)
}

/// The f16 at byte `at` of a block.
#[inline]
pub(super) fn f16_at(block: &[u8], at: usize) -> f32 {
    f16_to_f32(u16::from_le_bytes([block[at], block[at + 1]]))
}
