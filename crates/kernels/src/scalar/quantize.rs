//! Activations to blocks of codes. The same codes and scales as `dequant`'s `quantize_q8_1` and `quantize_q8_k`, in the
//! layout of [`crate::acts`]. The frame is inlined into functions for other instruction sets, which bring their own blocks.
//!
//! A NaN makes its block's scale NaN, so that it reaches the outputs. (ggml's code for a NaN is 0: it would vanish.)

use crate::acts::{Pair, Part, Place, Rows};
use crate::math;

/// One token's block: codes in column order, the scale, sums over the columns 0, 1 and 2, 3 modulo 4 of each group
/// (where [`crate::acts::Codes::lanes`] is not wanted, any two numbers of the same sum).
pub(crate) struct Block<const K: usize, const GROUPS: usize> {
    pub(crate) codes: [i8; K],
    pub(crate) d: f32,
    pub(crate) lanes: [Pair; GROUPS],
}

impl<const K: usize, const GROUPS: usize> Block<K, GROUPS> {
    /// Codes of 0.
    #[inline(always)]
    pub(crate) fn zero(d: f32) -> Self {
        Self { codes: [0; K], d, lanes: [[0; 2]; GROUPS] }
    }
}

/// A way to quantize blocks. (A trait and no function argument: that would not be inlined into functions compiled for
/// other instruction sets.)
pub(crate) trait Quantize<const K: usize, const GROUPS: usize>: Copy {
    /// Quantizes a block.
    fn block(self, x: &[f32; K]) -> Block<K, GROUPS>;
}

/// Quantizes all blocks of `part` whose tokens are in `rows`.
#[inline(always)]
pub(crate) fn fill(
    part: &mut Part<'_>,
    rows: Rows<'_>,
    q8: impl Quantize<32, 1>,
    q8k: impl Quantize<256, 16>,
) {
    if part.k == 32 {
        fill_blocks(part, rows, q8);
    } else {
        fill_blocks(part, rows, q8k);
    }
}

#[inline(always)]
fn fill_blocks<const K: usize, const GROUPS: usize>(
    part: &mut Part<'_>,
    rows: Rows<'_>,
    q: impl Quantize<K, GROUPS>,
) {
    for token in rows.tokens() {
        let mut place = part.place(token);
        for x in rows.row(token).as_chunks::<K>().0 {
            store(part, &place, &q.block(x));
            place.base += place.t;
        }
    }
}

/// A block of 32 to be filled with codes, and the factor that makes them of numbers whose largest magnitude is `amax`
/// (a NaN if one of them is). With a factor of 0 the block is complete: there is a NaN, or ggml's codes are 0 because its
/// factor is infinite (a tiny scale).
#[inline(always)]
pub(crate) fn begin_32(amax: f32) -> (Block<32, 1>, f32) {
    let d = amax / 127.0;
    let id = if d == 0.0 { 0.0 } else { 1.0 / d };
    (Block::zero(d), if id.is_finite() { id } else { 0.0 })
}

/// The same for a block of 256: the first number of largest magnitude, with its sign, decides.
#[inline(always)]
pub(crate) fn begin_256(x: &[f32; 256], amax: f32) -> (Block<256, 16>, f32) {
    let (d, factor) = scale_256(x.iter().copied().find(|x| x.abs() == amax).unwrap_or(amax));
    (Block::zero(d), factor)
}

/// The scale of a block of 256 whose number of largest magnitude is `max`, and the factor.
#[inline(always)]
pub(crate) fn scale_256(max: f32) -> (f32, f32) {
    if max == 0.0 {
        return (0.0, 0.0);
    }
    let iscale = -127.0 / max;
    (1.0 / iscale, if iscale.is_finite() { iscale } else { 0.0 })
}

/// The largest magnitude; a NaN if there is one.
fn max_magnitude(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |max, x| if x.abs() > max || x.is_nan() { x.abs() } else { max })
}

/// As Q8_1: halves away from zero.
#[derive(Clone, Copy)]
pub(crate) struct Q8;

impl Quantize<32, 1> for Q8 {
    fn block(self, x: &[f32; 32]) -> Block<32, 1> {
        let (mut block, factor) = begin_32(max_magnitude(x));
        if factor == 0.0 {
            return block;
        }
        block.codes = x.map(|x| {
            let v = x * factor;
            let whole = v.trunc();
            // Exact: both are multiples of the last place of `v`.
            to_code(whole + if (v - whole).abs() >= 0.5 { 1.0_f32.copysign(v) } else { 0.0 })
        });
        block.lanes = [lane_sums(&block.codes)];
        block
    }
}

/// As Q8_K: the first number of largest magnitude becomes -127, halves to even.
#[derive(Clone, Copy)]
pub(crate) struct Q8K;

impl Quantize<256, 16> for Q8K {
    fn block(self, x: &[f32; 256]) -> Block<256, 16> {
        let (mut block, factor) = begin_256(x, max_magnitude(x));
        if factor == 0.0 {
            return block;
        }
        block.codes = x.map(|x| to_code(factor * x));
        let groups = block.codes.as_chunks::<16>().0;
        block.lanes = std::array::from_fn(|i| lane_sums(&groups[i]));
        block
    }
}

/// A number within -127..=127, rounded to the nearest whole one, halves to even.
#[inline(always)]
fn to_code(x: f32) -> i8 {
    // The sum's last place is 1, so the addition rounds and the low bits are the result.
    let [code, ..] = (x + math::ROUND).to_bits().to_le_bytes();
    code.cast_signed()
}

/// Stores a block.
#[inline(always)]
fn store<const K: usize, const GROUPS: usize>(
    part: &mut Part<'_>,
    place: &Place,
    q: &Block<K, GROUPS>,
) {
    let (base, at, t) = (place.base, place.at, place.t);
    let to = &mut part.codes[base * K..][..t * K];
    if t == 1 {
        to.copy_from_slice(&q.codes);
    } else if part.run == 8 {
        put(to.as_chunks_mut::<8>().0, at, t, q.codes.as_chunks::<8>().0.iter().copied());
    } else {
        put(to.as_chunks_mut::<4>().0, at, t, q.codes.as_chunks::<4>().0.iter().copied());
    }
    if !part.wide.is_empty() {
        let to = &mut part.wide[base * K / 2..][..t * K / 2];
        let pairs = q.codes.as_chunks::<2>().0;
        for (to, pair) in to[at..].iter_mut().step_by(t).zip(pairs) {
            *to = pair.map(i16::from);
        }
    }
    if !part.lanes.is_empty() {
        put(&mut part.lanes[base * GROUPS..], at, t, q.lanes.map(|sums| sums.map(|sum| -sum)));
    }
    if !part.minus.is_empty() {
        let minus = q.lanes.iter().map(|[a, b]| -i32::from(a + b));
        put(&mut part.minus[base * GROUPS..], at, t, minus);
    }
    let index = base + at;
    if K == 256 {
        part.d[index] = q.d;
        let sums: [i16; GROUPS] = q.lanes.map(|[a, b]| a + b);
        let (pairs, fours) = (sums.as_chunks::<2>().0, sums.as_chunks::<4>().0);
        put(&mut part.sums16[base * 8..], at, t, pairs.iter().copied());
        put(&mut part.sums32[base * 4..], at, t, fours.iter().map(|&[a, b, c, d]| [a + b, c + d]));
    } else {
        // Scale and scaled sum are F16; the sum is taken with the scale before its rounding.
        let [[a, b], ..] = q.lanes[..] else { return };
        part.d[index] = math::round_to_f16(q.d);
        part.s[index] = math::round_to_f16(f32::from(a + b) * q.d);
    }
}

/// Sums over the columns 0, 1 and 2, 3 modulo 4.
fn lane_sums(codes: &[i8]) -> Pair {
    codes.as_chunks::<4>().0.iter().fold([0; 2], |[left, right], quad| {
        let [a, b, c, d] = quad.map(i16::from);
        [left + a + b, right + c + d]
    })
}

/// Writes elements `step` apart, beginning at `at`.
#[inline(always)]
fn put<T>(to: &mut [T], at: usize, step: usize, from: impl IntoIterator<Item = T>) {
    for (to, from) in to[at..].iter_mut().step_by(step).zip(from) {
        *to = from;
    }
}
