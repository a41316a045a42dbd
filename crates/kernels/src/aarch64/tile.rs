//! The micro-kernel: 16 or 8 rows times a tile of tokens.
//!
//! Rows are lanes. `sdot` multiplies a vector of a quad line (4 rows of 4 codes) with 4 activations, one 32-bit element of
//! a register, repeated in all lanes, and adds the four products to 32-bit sums. A format's bias is in the value that the
//! sums begin with, or has been subtracted before: codes fit in signed bytes either way.
#![expect(unsafe_code, reason = "loads through pointers; each function says what must be readable")]

use super::source::Source;
use crate::acts::{Pair, TileActs};
use crate::format::{CHUNK, Format};
use std::arch::aarch64::*;
use std::arch::asm;

/// Where the sums of a tile are.
#[derive(Clone, Copy)]
pub(super) struct Acc {
    /// 16 sums of the first token.
    pub(super) at: *mut f32,
    /// From one token's to the next.
    pub(super) stride: usize,
    /// Whether they begin with zero, whatever is there.
    pub(super) fresh: bool,
}

/// Integer sums of `R` vectors of rows for `T` tokens.
type Ints<const T: usize, const R: usize> = [[int32x4_t; R]; T];

// The functions below that are always inlined have no features of their own (that is not allowed together), so NEON's
// operations, which every such CPU has, are unsafe in them.

/// Adds products with element `LANE` of `a`.
///
/// # Safety
/// The CPU has dot products.
#[inline(always)]
unsafe fn dot<const LANE: usize, const R: usize>(
    sums: &mut [int32x4_t; R],
    w: &[int8x16_t; R],
    a: int8x16_t,
) {
    for (sum, w) in sums.iter_mut().zip(w) {
        // SAFETY: only the sum changes.
        unsafe {
            asm!(
                "sdot {sum:v}.4s, {w:v}.16b, {a:v}.4b[{lane}]",
                sum = inout(vreg) *sum,
                w = in(vreg) *w,
                a = in(vreg) a,
                lane = const LANE,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
    }
}

/// The same for element `i` of some registers, a number that the compiler knows.
///
/// # Safety
/// As [`dot`].
#[inline(always)]
unsafe fn dot_element<const T: usize, const R: usize>(
    sums: &mut [int32x4_t; R],
    w: &[int8x16_t; R],
    a: &[int8x16_t; T],
    i: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match i % 4 {
            0 => dot::<0, R>(sums, w, a[i / 4]),
            1 => dot::<1, R>(sums, w, a[i / 4]),
            2 => dot::<2, R>(sums, w, a[i / 4]),
            _ => dot::<3, R>(sums, w, a[i / 4]),
        }
    }
}

/// Products of one quad, `quad` of four, with all tokens. Written out: the compiler need not unroll a loop to know
/// the elements.
///
/// # Safety
/// As [`dot`].
#[inline(always)]
unsafe fn dot_quad<const T: usize, const R: usize>(
    sums: &mut Ints<T, R>,
    w: &[int8x16_t; R],
    a: &[int8x16_t; T],
    quad: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        if let Some(sums) = sums.get_mut(0) {
            dot_element(sums, w, a, quad * T);
        }
        if let Some(sums) = sums.get_mut(1) {
            dot_element(sums, w, a, quad * T + 1);
        }
        if let Some(sums) = sums.get_mut(2) {
            dot_element(sums, w, a, quad * T + 2);
        }
        if let Some(sums) = sums.get_mut(3) {
            dot_element(sums, w, a, quad * T + 3);
        }
    }
}

/// Adds the products of 16 columns, half `half` of a chunk, to `sums`.
///
/// # Safety
/// As [`blocks`].
#[inline(always)]
unsafe fn half_chunk<F: Format, S: Source<F>, const T: usize, const R: usize, const V: usize>(
    w: S,
    (b, chunk, half): (usize, usize, usize),
    codes: *const i8,
    sums: &mut Ints<T, R>,
) {
    // SAFETY: 4 quads of `T` tokens from quad `8 chunk + 4 half` on; the caller's promise for the weights.
    unsafe {
        let mut a = [vdupq_n_s8(0); T];
        let codes = codes.add((8 * chunk + 4 * half) * T * 4);
        for (i, a) in a.iter_mut().enumerate() {
            *a = vld1q_s8(codes.add(16 * i));
        }
        let quads = w.pair::<R>(b, chunk, 2 * half, V);
        dot_quad(sums, &quads[0], &a, 0);
        dot_quad(sums, &quads[1], &a, 1);
        let quads = w.pair::<R>(b, chunk, 2 * half + 1, V);
        dot_quad(sums, &quads[0], &a, 2);
        dot_quad(sums, &quads[1], &a, 3);
    }
}

/// Begins or continues the sums of `T` tokens (at most 4) by `n_blocks` blocks, for `R` vectors of rows from vector `V` on.
///
/// # Safety
/// `w` has that many blocks; `a` is a tile of `T` tokens with as many; `acc` has sums of `T` tokens. `V + R <= 4`.
#[target_feature(enable = "neon,dotprod")]
pub(super) unsafe fn blocks<
    F: Format,
    S: Source<F>,
    const T: usize,
    const R: usize,
    const V: usize,
>(
    w: S,
    n_blocks: usize,
    mut a: TileActs,
    acc: Acc,
) {
    let mut sums = [[vdupq_n_f32(0.0); R]; T];
    // SAFETY: the caller's promise.
    unsafe {
        let at = acc.at.add(4 * V);
        if !acc.fresh {
            for (t, sums) in sums.iter_mut().enumerate() {
                for (r, sum) in sums.iter_mut().enumerate() {
                    *sum = vld1q_f32(at.add(acc.stride * t + 4 * r));
                }
            }
        }
        for b in 0..n_blocks {
            let total = block::<F, S, T, R, V>(w, b, a);
            step::<F, S, T, R, V>(&total, w, b, a, &mut sums);
            a = a.next::<F>(T);
        }
        for (t, sums) in sums.iter().enumerate() {
            for (r, sum) in sums.iter().enumerate() {
                vst1q_f32(at.add(acc.stride * t + 4 * r), *sum);
            }
        }
    }
}

/// The scaled integer sums of block `b`.
///
/// # Safety
/// As [`blocks`].
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn block<F: Format, S: Source<F>, const T: usize, const R: usize, const V: usize>(
    w: S,
    b: usize,
    a: TileActs,
) -> Ints<T, R> {
    let mut total = [[vdupq_n_s32(0); R]; T];
    // SAFETY: the caller's promise.
    unsafe {
        for chunk in 0..F::CHUNKS {
            if F::GROUP < CHUNK {
                // (No loop: halves are numbers that the compiler knows.)
                let j = 2 * chunk;
                let mut sums = start::<F, S, T, R>(a, j);
                half_chunk::<F, S, T, R, V>(w, (b, chunk, 0), a.codes, &mut sums);
                add_scaled::<T, R, V>(&mut total, &sums, w.scales(b, j));
                let mut sums = start::<F, S, T, R>(a, j + 1);
                half_chunk::<F, S, T, R, V>(w, (b, chunk, 1), a.codes, &mut sums);
                add_scaled::<T, R, V>(&mut total, &sums, w.scales(b, j + 1));
            } else {
                let mut sums = start::<F, S, T, R>(a, chunk);
                half_chunk::<F, S, T, R, V>(w, (b, chunk, 0), a.codes, &mut sums);
                half_chunk::<F, S, T, R, V>(w, (b, chunk, 1), a.codes, &mut sums);
                if !F::HEADER.has_scales() {
                    return sums;
                }
                add_scaled::<T, R, V>(&mut total, &sums, w.scales(b, chunk));
            }
        }
    }
    total
}

/// Adds a sub-block's sums times its scales.
#[inline]
#[target_feature(enable = "neon")]
fn add_scaled<const T: usize, const R: usize, const V: usize>(
    total: &mut Ints<T, R>,
    sums: &Ints<T, R>,
    scales: [int32x4_t; 4],
) {
    for (total, sums) in total.iter_mut().zip(sums) {
        for r in 0..R {
            total[r] = vmlaq_s32(total[r], sums[r], scales[V + r]);
        }
    }
}

/// What the sums of sub-block `j` begin with: minus the bias times the sum of the activations.
///
/// # Safety
/// As [`blocks`].
#[inline]
#[target_feature(enable = "neon")]
unsafe fn start<F: Format, S: Source<F>, const T: usize, const R: usize>(
    a: TileActs,
    j: usize,
) -> Ints<T, R> {
    let mut sums = [[vdupq_n_s32(0); R]; T];
    if S::BIASED {
        for (t, sums) in sums.iter_mut().enumerate() {
            // SAFETY: group `j` of token `t`.
            let minus = unsafe { vld1q_dup_s32(a.minus.add(j * T + t)) };
            *sums = [vmulq_s32(minus, vdupq_n_s32(F::BIAS)); R];
        }
    }
    sums
}

/// The f32 step of a block: see [`crate::linear`].
///
/// # Safety
/// As [`blocks`].
#[inline]
#[target_feature(enable = "neon")]
unsafe fn step<F: Format, S: Source<F>, const T: usize, const R: usize, const V: usize>(
    total: &Ints<T, R>,
    w: S,
    b: usize,
    a: TileActs,
    sums: &mut [[float32x4_t; R]; T],
) {
    // SAFETY: the caller's promise.
    let d_w = unsafe { w.d(b) };
    for (t, sums) in sums.iter_mut().enumerate() {
        // SAFETY: token `t` of the tile.
        let d = unsafe { *a.d.add(t) };
        for (r, sum) in sums.iter_mut().enumerate() {
            let isum = vmulq_f32(vcvtq_f32_s32(total[t][r]), d_w[V + r]);
            *sum = vfmaq_n_f32(*sum, isum, d);
        }
    }
    if F::HEADER.has_m() {
        // SAFETY: the format has them.
        let m = unsafe { w.m(b) };
        for (t, sums) in sums.iter_mut().enumerate() {
            // SAFETY: token `t`; `s` is there for blocks of 32.
            let s = unsafe { *a.s.add(t) };
            for (r, sum) in sums.iter_mut().enumerate() {
                *sum = vfmaq_n_f32(*sum, m[V + r], s);
            }
        }
    }
    if F::HEADER.has_mins() {
        // SAFETY: the caller's promise; the format has them.
        let (mins, m) = unsafe { (mins::<F, S, T, R, V>(w, b, a.sums), w.m(b)) };
        for (t, sums) in sums.iter_mut().enumerate() {
            // SAFETY: token `t` of the tile.
            let d = unsafe { *a.d.add(t) };
            for (r, sum) in sums.iter_mut().enumerate() {
                let imin = vmulq_f32(vcvtq_f32_s32(mins[t][r]), m[V + r]);
                *sum = vfmsq_n_f32(*sum, imin, d);
            }
        }
    }
}

/// The integer minimums times the sums of their columns.
///
/// # Safety
/// As [`blocks`]; the format has minimums; `sums` are those of the block.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn mins<F: Format, S: Source<F>, const T: usize, const R: usize, const V: usize>(
    w: S,
    b: usize,
    sums: *const Pair,
) -> Ints<T, R> {
    let mut total = [[vdupq_n_s32(0); R]; T];
    for j in 0..F::K / F::GROUP / 2 {
        // SAFETY: both sub-blocks of pair `j`.
        let (first, second) = unsafe { (w.mins(b, 2 * j), w.mins(b, 2 * j + 1)) };
        let (first, second) = (quarters(first), quarters(second));
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

/// Four rows each.
#[inline]
#[target_feature(enable = "neon")]
fn quarters([a, b]: [int16x8_t; 2]) -> [int16x4_t; 4] {
    [vget_low_s16(a), vget_high_s16(a), vget_low_s16(b), vget_high_s16(b)]
}
