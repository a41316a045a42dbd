//! Activations to blocks of codes. The same codes and scales as `dequant`'s `quantize_q8_1` and `quantize_q8_k`, written
//! so that the compiler finds the vectors; inlined into functions compiled for wider instruction sets too.
//!
//! A NaN makes its block's scale NaN, so that it reaches the outputs. (ggml's code for a NaN is 0: it would vanish.)

use crate::acts::{Pair, Part, Rows};

/// One token's block: codes in column order and what is derived from them.
struct Block<const K: usize> {
    codes: [i8; K],
    d: f32,
}

/// Quantizes all blocks of `part`.
#[inline(always)]
pub(crate) fn fill(part: &mut Part<'_>, rows: Rows<'_>) {
    if part.k == 32 {
        fill_blocks::<32, 1>(part, rows, block_32);
    } else {
        fill_blocks::<256, 16>(part, rows, block_256);
    }
}

#[inline(always)]
fn fill_blocks<const K: usize, const GROUPS: usize>(
    part: &mut Part<'_>,
    rows: Rows<'_>,
    quantize: impl Fn(&[f32; K]) -> Block<K>,
) {
    let start = part.blocks.start;
    for token in 0..rows.n_tokens {
        let blocks = rows.row(token).as_chunks::<K>().0;
        for (i, x) in blocks[start..part.blocks.end].iter().enumerate() {
            let block = if has_nan(x) { Block { codes: [0; K], d: f32::NAN } } else { quantize(x) };
            store::<K, GROUPS>(part, i, token, &block);
        }
    }
}

#[inline(always)]
fn has_nan(x: &[f32]) -> bool {
    x.iter().fold(false, |any, x| any | x.is_nan())
}

/// The largest magnitude. In lanes: the order does not matter without NaN.
#[inline(always)]
fn max_magnitude(x: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 8];
    for x in x.as_chunks::<8>().0 {
        for (lane, x) in lanes.iter_mut().zip(x) {
            *lane = if x.abs() > *lane { x.abs() } else { *lane };
        }
    }
    lanes.iter().fold(0.0, |max, &lane| if lane > max { lane } else { max })
}

/// As Q8_1: halves away from zero.
#[inline(always)]
fn block_32(x: &[f32; 32]) -> Block<32> {
    let d = max_magnitude(x) / 127.0;
    let id = if d == 0.0 { 0.0 } else { 1.0 / d };
    let mut codes = [0; 32];
    // The reciprocal of a tiny scale is infinite; ggml's codes are 0 then.
    if id.is_finite() {
        for (code, x) in codes.iter_mut().zip(x) {
            let v = x * id;
            let whole = v.trunc();
            // Exact: both are multiples of the last place of `v`.
            let away = if (v - whole).abs() >= 0.5 { 1.0_f32.copysign(v) } else { 0.0 };
            *code = to_code(whole + away);
        }
    }
    Block { codes, d }
}

/// As Q8_K: the first number of largest magnitude becomes -127, halves to even.
#[inline(always)]
fn block_256(x: &[f32; 256]) -> Block<256> {
    let amax = max_magnitude(x);
    let mut codes = [0; 256];
    if amax == 0.0 {
        return Block { codes, d: 0.0 };
    }
    let max = x.iter().copied().find(|x| x.abs() == amax).unwrap_or(amax);
    let iscale = -127.0 / max;
    // Infinite for a tiny maximum, zero for an infinite one; ggml's codes are 0 then.
    if iscale.is_finite() && iscale != 0.0 {
        for (code, x) in codes.iter_mut().zip(x) {
            *code = to_code((iscale * x).round_ties_even());
        }
    }
    Block { codes, d: 1.0 / iscale }
}

/// A whole number within -127..=127, or a NaN (which becomes 0).
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "whole and in range")]
fn to_code(x: f32) -> i8 {
    x as i8
}

/// Stores block `block` of the part, of token `token`.
#[inline(always)]
fn store<const K: usize, const GROUPS: usize>(
    part: &mut Part<'_>,
    block: usize,
    token: usize,
    q: &Block<K>,
) {
    let place = part.place(block, token);
    let (base, at, t) = (place.base, place.at, place.t);
    let quads = q.codes.as_chunks::<4>().0;
    let to = &mut part.codes[base * K..][..t * K];
    if t == 1 {
        to.copy_from_slice(&q.codes);
    } else {
        for (to, quad) in to.as_chunks_mut::<4>().0[at..].iter_mut().step_by(t).zip(quads) {
            *to = *quad;
        }
    }
    if !part.wide.is_empty() {
        let to = &mut part.wide[base * K / 2..][..t * K / 2];
        let pairs = q.codes.as_chunks::<2>().0;
        for (to, pair) in to[at..].iter_mut().step_by(t).zip(pairs) {
            *to = pair.map(i16::from);
        }
    }
    let lanes = lane_sums::<K, GROUPS>(quads);
    put(&mut part.lanes[base * GROUPS..], at, t, lanes);
    let index = block * part.n_tokens + token;
    if K == 256 {
        part.d[index] = q.d;
        let sums: [i16; GROUPS] = lanes.map(|[a, b]| a + b);
        let (pairs, fours) = (sums.as_chunks::<2>().0, sums.as_chunks::<4>().0);
        put(&mut part.sums16[base * 8..], at, t, pairs.iter().copied());
        put(&mut part.sums32[base * 4..], at, t, fours.iter().map(|&[a, b, c, d]| [a + b, c + d]));
    } else {
        // Scale and scaled sum are F16; the sum is taken with the scale before its rounding.
        let sum = lanes.iter().map(|[a, b]| a + b).sum::<i16>();
        part.d[index] = round_to_f16(q.d);
        part.s[index] = round_to_f16(f32::from(sum) * q.d);
    }
}

/// Sums over the columns 0, 1 and 2, 3 modulo 4, of each group.
#[inline(always)]
fn lane_sums<const K: usize, const GROUPS: usize>(quads: &[[i8; 4]]) -> [Pair; GROUPS] {
    let mut lanes = [[0; 2]; GROUPS];
    for (lanes, group) in lanes.iter_mut().zip(quads.chunks_exact(K / GROUPS / 4)) {
        for &[a, b, c, d] in group {
            lanes[0] += i16::from(a) + i16::from(b);
            lanes[1] += i16::from(c) + i16::from(d);
        }
    }
    lanes
}

/// Writes elements `step` apart, beginning at `at`.
#[inline(always)]
fn put<T>(to: &mut [T], at: usize, step: usize, from: impl IntoIterator<Item = T>) {
    for (to, from) in to[at..].iter_mut().step_by(step).zip(from) {
        *to = from;
    }
}

#[inline(always)]
fn round_to_f16(x: f32) -> f32 {
    dequant::f16_to_f32(dequant::f32_to_f16(x))
}
