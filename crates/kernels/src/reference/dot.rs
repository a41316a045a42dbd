//! The dot product of a weight row and an activation row: the one operation inside a matrix product.

use dequant::{
    Block, BlockBF16, BlockF16, BlockF32, BlockQ2_K, BlockQ3_K, BlockQ4_0, BlockQ4_1, BlockQ4_K,
    BlockQ5_0, BlockQ5_1, BlockQ5_K, BlockQ6_K, BlockQ8_0, BlockQ8_1, BlockQ8_K, GgmlType,
    bf16_to_f32,
};

use super::f16::f16_to_f32;

/// One element of a matrix product: the dot product of a row of weights of type `ty` with a row of activations of
/// type [`act_type(ty)`](super::act_type), both as raw little-endian blocks that cover the same elements.
///
/// Types and orders:
/// - F32, F16, BF16: product rounded to f32, sum in f64, rounded to f32 at the end.
/// - Types with blocks of 32: integer sum per block, scaled in f32, added in f32 block by block. The order of the
///   factors differs from type to type, and shows in the last bit.
/// - Q2_K: the same, the minimums' part subtracted before the block is added.
/// - The other K-quants: eight f32 sums (element index modulo 8) and one of the minimums' parts, over the whole row;
///   the eight are added to the one at the end.
///
/// # Panics
/// If a row is no whole number of blocks, the rows do not cover the same elements, or `ty` has no dot product
/// here ([`act_type`](super::act_type) is `None`).
#[must_use]
pub fn vec_dot(ty: GgmlType, w_row: &[u8], act_row: &[u8]) -> f32 {
    let (w, a) = (w_row, act_row);
    match ty {
        GgmlType::F32 => float::<BlockF32>(w, a, |b| f32::from_le_bytes(b.x)),
        GgmlType::F16 => float::<BlockF16>(w, a, |b| f16_to_f32(u16::from_le_bytes(b.x))),
        GgmlType::BF16 => float::<BlockBF16>(w, a, |b| bf16_to_f32(b.x)),
        GgmlType::Q4_0 => by_block(w, a, q4_0),
        GgmlType::Q4_1 => by_block(w, a, q4_1),
        GgmlType::Q5_0 => by_block(w, a, q5_0),
        GgmlType::Q5_1 => by_block(w, a, q5_1),
        GgmlType::Q8_0 => by_block(w, a, q8_0),
        GgmlType::Q2_K => by_block(w, a, q2_k),
        GgmlType::Q3_K => by_lane(w, a, q3_k),
        GgmlType::Q4_K => by_lane(w, a, q4_k),
        GgmlType::Q5_K => by_lane(w, a, q5_k),
        GgmlType::Q6_K => by_lane(w, a, q6_k),
        _ => unreachable!("no dot product for {}", ty.name()),
    }
}

/// The blocks of two rows, pair by pair.
fn pairs<'a, W: Block, A: Block>(w: &'a [u8], a: &'a [u8]) -> impl Iterator<Item = (&'a W, &'a A)> {
    let (w, a) = (blocks::<W>(w), blocks::<A>(a));
    assert_eq!(w.len(), a.len(), "vec_dot: the rows differ in length");
    w.iter().zip(a)
}

fn blocks<B: Block>(bytes: &[u8]) -> &[B] {
    assert!(
        bytes.len().is_multiple_of(size_of::<B>()),
        "vec_dot: {} bytes are no whole number of blocks",
        bytes.len()
    );
    dequant::blocks(bytes).unwrap_or_default()
}

/// Products in f32, their sum in f64.
#[expect(clippy::cast_possible_truncation, reason = "rounding is what is wanted")]
fn float<B: Block>(w: &[u8], a: &[u8], value: impl Fn(&B) -> f32) -> f32 {
    pairs::<B, B>(w, a).fold(0.0, |sum, (w, a)| sum + f64::from(value(w) * value(a))) as f32
}

/// The sum of the blocks' products, in f32.
fn by_block<W: Block, A: Block>(w: &[u8], a: &[u8], product: impl Fn(&W, &A) -> f32) -> f32 {
    pairs(w, a).fold(0.0, |sum, (w, a)| sum + product(w, a))
}

/// The sum of products of codes, as f32.
#[inline]
fn dot<T: Copy + Into<i32>, const N: usize>(w: [T; N], a: &[i8; N]) -> f32 {
    let sum: i32 = w.iter().zip(a).map(|(&w, &a)| w.into() * i32::from(a)).sum();
    sum as f32
}

fn q4_0(w: &BlockQ4_0, a: &BlockQ8_0) -> f32 {
    dot(w.codes(), &a.qs) * w.scale() * a.scale()
}

fn q4_1(w: &BlockQ4_1, a: &BlockQ8_1) -> f32 {
    (w.scale() * a.scale()) * dot(w.codes(), &a.qs) + w.min() * a.scaled_sum()
}

fn q5_0(w: &BlockQ5_0, a: &BlockQ8_0) -> f32 {
    (w.scale() * a.scale()) * dot(w.codes(), &a.qs)
}

fn q5_1(w: &BlockQ5_1, a: &BlockQ8_1) -> f32 {
    (w.scale() * a.scale()) * dot(w.codes(), &a.qs) + w.min() * a.scaled_sum()
}

fn q8_0(w: &BlockQ8_0, a: &BlockQ8_0) -> f32 {
    dot(w.codes(), &a.qs) * (w.scale() * a.scale())
}

fn q2_k(w: &BlockQ2_K, a: &BlockQ8_K) -> f32 {
    let (scales, mins) = w.scales_mins();
    let codes = w.codes();
    let groups = codes.as_chunks::<16>().0.iter().zip(a.qs.as_chunks::<16>().0).zip(scales);
    let dots = groups.map(|((w, a), scale)| {
        let group: i32 = w.iter().zip(a).map(|(&w, &a)| i32::from(w) * i32::from(a)).sum();
        group * i32::from(scale)
    });
    let minimums: i32 =
        a.sums().into_iter().zip(mins).map(|(s, m)| i32::from(s) * i32::from(m)).sum();
    (a.scale() * w.scale()) * dots.sum::<i32>() as f32
        - (a.scale() * w.min_scale()) * minimums as f32
}

/// What a block of a K-quant adds to the sums of its row.
struct Parts {
    /// By element index modulo 8.
    lanes: [f32; 8],
    /// What the minimums take away.
    minimums: f32,
}

/// The sums of the parts, in f32, then their sum.
fn by_lane<W: Block>(w: &[u8], a: &[u8], parts: impl Fn(&W, &BlockQ8_K) -> Parts) -> f32 {
    let (mut lanes, mut sum) = ([0.0; 8], 0.0);
    for (w, a) in pairs(w, a) {
        let parts = parts(w, a);
        for (lane, part) in lanes.iter_mut().zip(parts.lanes) {
            *lane += part;
        }
        sum -= parts.minimums;
    }
    lanes.into_iter().fold(sum, |sum, lane| sum + lane)
}

/// Eight sums of products, each group of 16 codes times its integer scale, times `d`.
#[inline]
fn lanes<T: Copy + Into<i32>>(
    codes: [T; 256],
    scales: [i32; 16],
    a: &BlockQ8_K,
    d: f32,
) -> [f32; 8] {
    let mut sums = [0; 8];
    for (j, (w, a)) in codes.as_chunks::<8>().0.iter().zip(a.qs.as_chunks::<8>().0).enumerate() {
        for ((sum, &w), &a) in sums.iter_mut().zip(w).zip(a) {
            *sum += scales[j / 2] * (w.into() * i32::from(a));
        }
    }
    sums.map(|sum: i32| d * sum as f32)
}

fn q3_k(w: &BlockQ3_K, a: &BlockQ8_K) -> Parts {
    let lanes = lanes(w.codes(), w.scales().map(i32::from), a, w.scale() * a.scale());
    Parts { lanes, minimums: 0.0 }
}

fn q4_k(w: &BlockQ4_K, a: &BlockQ8_K) -> Parts {
    with_minimums(w.codes(), w.scales_mins(), a, w.scale() * a.scale(), w.min_scale() * a.scale())
}

fn q5_k(w: &BlockQ5_K, a: &BlockQ8_K) -> Parts {
    with_minimums(w.codes(), w.scales_mins(), a, w.scale() * a.scale(), w.min_scale() * a.scale())
}

/// Q4_K and Q5_K: scales and minimums by 32 codes.
#[inline]
fn with_minimums(
    codes: [u8; 256],
    (scales, mins): ([u8; 8], [u8; 8]),
    a: &BlockQ8_K,
    d: f32,
    dmin: f32,
) -> Parts {
    let scales = std::array::from_fn(|j| i32::from(scales[j / 2]));
    let minimums: i32 = a
        .sums()
        .into_iter()
        .enumerate()
        .map(|(j, sum)| i32::from(sum) * i32::from(mins[j / 2]))
        .sum();
    Parts { lanes: lanes(codes, scales, a, d), minimums: dmin * minimums as f32 }
}

fn q6_k(w: &BlockQ6_K, a: &BlockQ8_K) -> Parts {
    let lanes = lanes(w.codes(), w.scales.map(i32::from), a, w.scale() * a.scale());
    Parts { lanes, minimums: 0.0 }
}
