//! The integer minimums of a block times the sums of their columns' activations, for a tile of tokens.
#![expect(unsafe_code, reason = "loads through pointers; each function says what must be readable")]

use super::dot::{Dot, Vectors};
use super::source::Source;
use crate::acts::Pair;
use crate::format::Format;
use std::arch::aarch64::*;

/// Bits of a sum's low part. A sum of 32 codes (of magnitude 127 at most) has 13 with its sign: the high part is a byte, too.
const LOW_BITS: i32 = 6;

/// The sums of the products of block `b`.
///
/// # Safety
/// As [`super::tile::blocks`]; the format has minimums; `sums` are those of the block.
#[inline]
#[target_feature(enable = "neon,dotprod")]
pub(super) unsafe fn mins<
    F: Format,
    S: Source<F>,
    const N: usize,
    const T: usize,
    const R: usize,
    const V: usize,
>(
    w: S,
    b: usize,
    sums: *const Pair,
) -> Vectors<int32x4_t, T, R> {
    // SAFETY: the caller's promise.
    unsafe {
        if S::Dot::WOVEN {
            woven::<F, S, N, T, R, V>(w, b, sums)
        } else {
            plain::<F, S, T, R, V>(w, b, sums)
        }
    }
}

/// In 16 bits, sub-block by sub-block.
///
/// # Safety
/// As [`mins`], for vectors that are not woven.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn plain<F: Format, S: Source<F>, const T: usize, const R: usize, const V: usize>(
    w: S,
    b: usize,
    sums: *const Pair,
) -> Vectors<int32x4_t, T, R> {
    let mut total = [[vdupq_n_s32(0); R]; T];
    for j in 0..F::K / F::GROUP / 2 {
        // SAFETY: both sub-blocks of pair `j`.
        let (first, second) = unsafe { (w.mins(b, 2 * j), w.mins(b, 2 * j + 1)) };
        for (t, total) in total.iter_mut().enumerate() {
            // SAFETY: pair `j` of sums of token `t`: 4 bytes.
            let pair = unsafe { vld1_dup_s32(sums.add(j * T + t).cast()) };
            let pair = vreinterpret_s16_s32(pair);
            for (r, total) in total.iter_mut().enumerate() {
                *total = vmlal_lane_s16::<0>(*total, first[V + r], pair);
                *total = vmlal_lane_s16::<1>(*total, second[V + r], pair);
            }
        }
    }
    total
}

/// Eight sub-blocks at once, as eight columns: the sums in two parts of a byte each.
///
/// # Safety
/// As [`mins`], for woven vectors.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn woven<
    F: Format,
    S: Source<F>,
    const N: usize,
    const T: usize,
    const R: usize,
    const V: usize,
>(
    w: S,
    b: usize,
    sums: *const Pair,
) -> Vectors<int32x4_t, T, R> {
    let (n, mut codes) = (F::K / F::GROUP / 8, [[vdupq_n_s8(0); T]; 2]);
    for (eight, codes) in codes.iter_mut().enumerate().take(n) {
        // SAFETY: the caller's promise: four pairs of each token.
        *codes = unsafe { parts::<N, T>(sums.add(4 * eight * N).cast()) };
    }
    let mut total = [[vdupq_n_s32(0); R]; T];
    // The high parts of all sub-blocks, then the low ones.
    for part in [1, 0] {
        for total in total.as_flattened_mut() {
            *total = vshlq_n_s32::<LOW_BITS>(*total);
        }
        for (eight, codes) in codes.iter().enumerate().take(n) {
            // SAFETY: the caller's promise.
            unsafe {
                let mins = w.woven_mins(b, eight);
                let mut rows = [[vdupq_n_s8(0); R]; 2];
                for r in 0..R {
                    [rows[0][r], rows[1][r]] = [mins[0][V + r], mins[1][V + r]];
                }
                S::Dot::add(&mut total, &rows, codes, part);
            }
        }
    }
    total
}

/// Four pairs of sums as eight columns of codes: the low parts of two tokens each, then the high parts.
///
/// # Safety
/// `from` points to four pairs of `N` tokens.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn parts<const N: usize, const T: usize>(from: *const i32) -> [int8x16_t; T] {
    let mut tokens = [vdupq_n_s32(0); T];
    // SAFETY: the caller's promise.
    unsafe {
        match N {
            1 => tokens[0] = vld1q_s32(from),
            2 => {
                let pairs = vld2q_s32(from);
                [tokens[0], tokens[1]] = [pairs.0, pairs.1];
            }
            3 => {
                let pairs = vld3q_s32(from);
                [tokens[0], tokens[1], tokens[2]] = [pairs.0, pairs.1, pairs.2];
            }
            _ => {
                let pairs = vld4q_s32(from);
                [tokens[0], tokens[1], tokens[2], tokens[3]] = [pairs.0, pairs.1, pairs.2, pairs.3];
            }
        }
    }
    let low = vdupq_n_s16((1 << LOW_BITS) - 1);
    let mut parts = [vdupq_n_s8(0); T];
    for p in 0..T / 2 {
        let a = vreinterpretq_s16_s32(tokens[2 * p]);
        let b = vreinterpretq_s16_s32(tokens[2 * p + 1]);
        parts[p] = low_bytes(vandq_s16(a, low), vandq_s16(b, low));
        parts[T / 2 + p] = low_bytes(vshrq_n_s16::<LOW_BITS>(a), vshrq_n_s16::<LOW_BITS>(b));
    }
    parts
}

/// The low bytes of 16-bit numbers.
#[inline]
#[target_feature(enable = "neon")]
fn low_bytes(a: int16x8_t, b: int16x8_t) -> int8x16_t {
    vuzp1q_s8(vreinterpretq_s8_s16(a), vreinterpretq_s8_s16(b))
}
