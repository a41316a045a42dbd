//! The micro-kernel: 16 or 8 rows times a tile of tokens.
//!
//! Rows are lanes. A [`Dot`] multiplies their codes with activations and adds the products to 32-bit sums; what it is, and which
//! rows and tokens are in a vector, is for the source of the weights to say. A format's bias is in the value that the
//! sums begin with, or has been subtracted before: codes fit in signed bytes either way.
#![expect(unsafe_code, reason = "loads through pointers; each function says what must be readable")]

use super::dot::{Dot, Rows, Vectors};
use super::mins::mins;
use super::source::Source;
use crate::acts::TileActs;
use crate::format::{CHUNK, Format};
use std::arch::aarch64::*;

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

/// Adds the products of 16 columns, half `half` of a chunk, to `sums`.
///
/// # Safety
/// As [`blocks`].
#[inline(always)]
unsafe fn half_chunk<
    F: Format,
    S: Source<F>,
    const N: usize,
    const T: usize,
    const R: usize,
    const V: usize,
>(
    w: S,
    (b, chunk, half): (usize, usize, usize),
    codes: *const i8,
    sums: &mut Vectors<int32x4_t, T, R>,
) {
    // SAFETY: 4 quads of `N` tokens from quad `8 chunk + 4 half` on; the caller's promise for the weights.
    unsafe {
        let a = S::Dot::codes::<N, T>(codes.add((8 * chunk + 4 * half) * N * 4));
        S::Dot::add(sums, &w.pair::<R>(b, chunk, 2 * half, V), &a, 0);
        S::Dot::add(sums, &w.pair::<R>(b, chunk, 2 * half + 1, V), &a, 1);
    }
}

/// Begins or continues the sums of `N` tokens (at most 4) by `n_blocks` blocks, for `R` times four rows from four times `V` on.
/// `T` is as [`Dot`] says.
///
/// # Safety
/// The CPU has dot products and the instruction of `S::Dot`. `w` has that many blocks; `a` is a tile of `N` tokens with as
/// many; `acc` has sums of `N` tokens. `V + R <= 4`.
#[target_feature(enable = "neon,dotprod")]
pub(super) unsafe fn blocks<
    F: Format,
    S: Source<F>,
    const N: usize,
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
            sums = S::Dot::load::<N, T, R>(at, acc.stride);
        }
        for b in 0..n_blocks {
            let total = block::<F, S, N, T, R, V>(w, b, a);
            step::<F, S, N, T, R, V>(&total, w, b, a, &mut sums);
            a = a.next::<F>(N);
        }
        S::Dot::store::<N, T, R>(&sums, at, acc.stride);
    }
}

/// The scaled integer sums of block `b`.
///
/// # Safety
/// As [`blocks`].
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn block<
    F: Format,
    S: Source<F>,
    const N: usize,
    const T: usize,
    const R: usize,
    const V: usize,
>(
    w: S,
    b: usize,
    a: TileActs,
) -> Vectors<int32x4_t, T, R> {
    let mut total = [[vdupq_n_s32(0); R]; T];
    // SAFETY: the caller's promise.
    unsafe {
        for chunk in 0..F::CHUNKS {
            if F::GROUP < CHUNK {
                // (No loop: halves are numbers that the compiler knows.)
                let j = 2 * chunk;
                let mut sums = start::<F, S, N, T, R>(a, j);
                half_chunk::<F, S, N, T, R, V>(w, (b, chunk, 0), a.codes, &mut sums);
                add_scaled::<T, R, V>(&mut total, &sums, w.scales(b, j));
                let mut sums = start::<F, S, N, T, R>(a, j + 1);
                half_chunk::<F, S, N, T, R, V>(w, (b, chunk, 1), a.codes, &mut sums);
                add_scaled::<T, R, V>(&mut total, &sums, w.scales(b, j + 1));
            } else {
                let mut sums = start::<F, S, N, T, R>(a, chunk);
                half_chunk::<F, S, N, T, R, V>(w, (b, chunk, 0), a.codes, &mut sums);
                half_chunk::<F, S, N, T, R, V>(w, (b, chunk, 1), a.codes, &mut sums);
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
    total: &mut Vectors<int32x4_t, T, R>,
    sums: &Vectors<int32x4_t, T, R>,
    scales: Rows<int32x4_t>,
) {
    for (t, (total, sums)) in total.iter_mut().zip(sums).enumerate() {
        for r in 0..R {
            total[r] = vmlaq_s32(total[r], sums[r], scales[t % 2][V + r]);
        }
    }
}

/// What the sums of sub-block `j` begin with: minus the bias times the sum of the activations.
///
/// # Safety
/// As [`blocks`].
#[inline]
#[target_feature(enable = "neon")]
unsafe fn start<F: Format, S: Source<F>, const N: usize, const T: usize, const R: usize>(
    a: TileActs,
    j: usize,
) -> Vectors<int32x4_t, T, R> {
    let mut sums = [[vdupq_n_s32(0); R]; T];
    if S::BIASED {
        // SAFETY: group `j` of the tokens.
        let minus = unsafe { S::Dot::tokens::<N, T>(a.minus.add(j * N)) };
        for (sums, minus) in sums.iter_mut().zip(minus) {
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
#[target_feature(enable = "neon,dotprod")]
unsafe fn step<
    F: Format,
    S: Source<F>,
    const N: usize,
    const T: usize,
    const R: usize,
    const V: usize,
>(
    total: &Vectors<int32x4_t, T, R>,
    w: S,
    b: usize,
    a: TileActs,
    sums: &mut Vectors<float32x4_t, T, R>,
) {
    // SAFETY: the caller's promise; the tile's tokens.
    let (d_w, d) = unsafe { (w.d(b), S::Dot::tokens_f32::<N, T>(a.d)) };
    for (t, sums) in sums.iter_mut().enumerate() {
        for (r, sum) in sums.iter_mut().enumerate() {
            let isum = vmulq_f32(vcvtq_f32_s32(total[t][r]), d_w[t % 2][V + r]);
            *sum = vfmaq_f32(*sum, isum, d[t]);
        }
    }
    if F::HEADER.has_m() {
        // SAFETY: the format has them; `s` is there for blocks of 32.
        let (m, s) = unsafe { (w.m(b), S::Dot::tokens_f32::<N, T>(a.s)) };
        for (t, sums) in sums.iter_mut().enumerate() {
            for (r, sum) in sums.iter_mut().enumerate() {
                *sum = vfmaq_f32(*sum, m[t % 2][V + r], s[t]);
            }
        }
    }
    if F::HEADER.has_mins() {
        // SAFETY: the caller's promise; the format has them.
        let (mins, m) = unsafe { (mins::<F, S, N, T, R, V>(w, b, a.sums), w.m(b)) };
        for (t, sums) in sums.iter_mut().enumerate() {
            for (r, sum) in sums.iter_mut().enumerate() {
                let imin = vmulq_f32(vcvtq_f32_s32(mins[t][r]), m[t % 2][V + r]);
                *sum = vfmsq_f32(*sum, imin, d[t]);
            }
        }
    }
}
