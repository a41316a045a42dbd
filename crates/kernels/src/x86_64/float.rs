//! Matrix kernels for AVX2 and weights that are floating-point numbers. The operations and their order are those of
//! [`crate::linear`].
//!
//! BF16's definition takes subnormal numbers as zero, step by step, which AVX2 has no instruction for. But they hardly ever
//! occur, and the CPU notes when one does: products are computed as if there were none, and again in full if there was.
#![expect(unsafe_code, reason = "calls of functions compiled for AVX2; the proof is an argument")]

use super::linear::MAX_TILE;
use super::unpack::{self, prefetch_one_of};
use crate::Avx2;
use crate::acts::Floats;
use crate::format::{Float, FloatKind};
use crate::linear::Sums;
use std::arch::asm;
use std::arch::x86_64::*;
use std::ops::Range;

/// 16 weights, or sums.
type Sixteen = [__m256; 2];

/// Multiplies some groups of rows with some tokens. A group's `sums` lie one behind the other.
pub(crate) fn float<W: Float>(
    _: Avx2,
    groups: &[u8],
    acts: &Floats,
    tokens: Range<usize>,
    sums: &mut [Sums],
) {
    let group_bytes = acts.n_cols / W::UNIT * W::UNIT_BYTES;
    assert_eq!(groups.len() * tokens.len(), group_bytes * sums.len(), "sums for all groups");
    assert_eq!(acts.values.len(), acts.n_cols * acts.n_tokens, "activations as numbers");
    assert!(acts.tile <= MAX_TILE && tokens.start.is_multiple_of(acts.tile), "begins at a tile");
    assert!(tokens.end == acts.n_tokens || tokens.end.is_multiple_of(acts.tile), "whole tiles");
    assert!(tokens.end <= acts.n_tokens, "tokens that there are");
    if sums.is_empty() || groups.is_empty() {
        return;
    }
    let all = All { groups, group_bytes, acts, tokens };
    // SAFETY: an `Avx2` value proves that the CPU has these instructions; the shapes are checked.
    unsafe {
        if W::KIND != FloatKind::BF16 {
            return all.multiply::<W, false>(sums);
        }
        forget_subnormals();
        all.multiply::<W, false>(sums);
        if met_subnormals(sums) {
            all.multiply::<W, true>(sums);
        }
    }
}

/// Tokens of a tile of activations. Three tiles are multiplied as two of six tokens, which fill the registers.
const TILE: usize = 4;

/// The exception that MXCSR notes when an operand was subnormal.
const DENORMAL: u32 = 1 << 1;

/// Clears what MXCSR has noted of it.
///
/// # Safety
/// The CPU has SSE.
unsafe fn forget_subnormals() {
    let mut csr = 0_u32;
    // SAFETY: 32 bits are written and read. Only an exception changes, which is allowed: no `preserves_flags`.
    unsafe {
        asm!("stmxcsr [{0}]", in(reg) &raw mut csr, options(nostack));
        csr &= !DENORMAL;
        asm!("ldmxcsr [{0}]", in(reg) &raw const csr, options(nostack));
    }
}

/// Whether a number was subnormal in what led to `sums` since [`forget_subnormals`], or is one of them. (A sum on the way is
/// an operand of the next step.)
///
/// # Safety
/// The CPU has AVX2.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn met_subnormals(sums: &mut [Sums]) -> bool {
    let mut csr = 0_u32;
    // SAFETY: 32 bits are written. The sums are an operand, so that they are computed before.
    unsafe {
        asm!("/* {1} */ stmxcsr [{0}]", in(reg) &raw mut csr, in(reg) sums.as_mut_ptr(), options(nostack));
    }
    csr & DENORMAL != 0 || sums.as_flattened().iter().any(|sum| sum.is_subnormal())
}

/// A product.
struct All<'a> {
    groups: &'a [u8],
    group_bytes: usize,
    acts: &'a Floats,
    tokens: Range<usize>,
}

impl All<'_> {
    /// Stores all sums, tile by tile; with `FLUSH`, what is subnormal is zero.
    ///
    /// # Safety
    /// The CPU has AVX2; as the assertions of [`float`].
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn multiply<W: Float, const FLUSH: bool>(&self, sums: &mut [Sums]) {
        let (tokens, acts) = (self.tokens.clone(), self.acts);
        // Two columns of BF16 at once would not leave the registers for it.
        let sixes = W::UNIT == 1 && acts.tile == TILE;
        let mut first = tokens.start;
        while first < tokens.end {
            let to = sums[first - tokens.start..].as_mut_ptr();
            let six = sixes && tokens.end - first >= 3 * TILE;
            // SAFETY: the tiles' activations, and the first group's sums.
            unsafe {
                if six {
                    let tile = |i| acts.tile(0, first + i * TILE).as_chunks().0.iter();
                    self.tile::<W, FLUSH, 6, 1>(tile(0).zip(tile(1)).map(four_and_two), to);
                    self.tile::<W, FLUSH, 6, 1>(tile(1).zip(tile(2)).map(two_and_four), to.add(6));
                } else {
                    self.one_tile::<W, FLUSH>(acts.tile_len(first), acts.tile(0, first), to);
                }
            }
            first += if six { 3 * TILE } else { acts.tile_len(first) };
        }
    }

    /// A tile of `t` tokens.
    ///
    /// # Safety
    /// As for `multiply`; `x` and the sums from `to` on are those of the tile.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn one_tile<W: Float, const FLUSH: bool>(&self, t: usize, x: &[f32], to: *mut Sums) {
        // SAFETY: the caller's promise.
        unsafe {
            match t {
                1 => self.tile::<W, FLUSH, 1, 4>(columns(x), to),
                2 => self.tile::<W, FLUSH, 2, 2>(columns(x), to),
                3 => self.tile::<W, FLUSH, 3, 1>(columns(x), to),
                4 => self.tile::<W, FLUSH, 4, 1>(columns(x), to),
                5 => self.tile::<W, FLUSH, 5, 1>(columns(x), to),
                _ => self.tile::<W, FLUSH, MAX_TILE, 1>(columns(x), to),
            }
        }
    }

    /// All groups, `G` at a time: as many chains of additions as keep the CPU busy.
    ///
    /// # Safety
    /// As for `multiply`; `x` and the sums from `to` on are those of `T` tokens.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn tile<'a, W: Float, const FLUSH: bool, const T: usize, const G: usize>(
        &self,
        x: impl Columns<'a, T>,
        to: *mut Sums,
    ) {
        let (n_bytes, n_tokens) = (self.group_bytes, self.tokens.len());
        let n_groups = self.groups.len() / n_bytes;
        let mut g = 0;
        // SAFETY: groups below `n_groups`, and their sums.
        unsafe {
            let at = |g: usize| (self.groups.as_ptr().add(g * n_bytes), to.add(g * n_tokens));
            while g + G <= n_groups {
                stream::<W, FLUSH, T, G>(at(g), n_bytes, n_tokens, x.clone());
                g += G;
            }
            while g < n_groups {
                stream::<W, FLUSH, T, 1>(at(g), n_bytes, n_tokens, x.clone());
                g += 1;
            }
        }
    }
}

/// The activations of `T` tokens, column by column.
trait Columns<'a, const T: usize>: Iterator<Item = [&'a f32; T]> + Clone {}
impl<'a, const T: usize, I: Iterator<Item = [&'a f32; T]> + Clone> Columns<'a, T> for I {}

/// Those of a tile.
fn columns<const T: usize>(tile: &[f32]) -> impl Columns<'_, T> {
    tile.as_chunks().0.iter().map(<[f32; T]>::each_ref)
}

/// Of two tiles' tokens the first six.
fn four_and_two<'a>((a, b): (&'a [f32; TILE], &'a [f32; TILE])) -> [&'a f32; 6] {
    [&a[0], &a[1], &a[2], &a[3], &b[0], &b[1]]
}

/// Of two tiles' tokens the last six.
fn two_and_four<'a>((a, b): (&'a [f32; TILE], &'a [f32; TILE])) -> [&'a f32; 6] {
    [&a[2], &a[3], &b[0], &b[1], &b[2], &b[3]]
}

/// A unit's columns of 16 rows, in the order of their multiplication: one, or two for BF16.
///
/// # Safety
/// `from` is readable for a unit.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn unit_of<W: Float, const FLUSH: bool>(from: *const u8) -> [Sixteen; 2] {
    let half = 8 * W::UNIT * W::BYTES;
    // SAFETY: 8 rows of a unit each.
    unsafe {
        if W::KIND != FloatKind::BF16 {
            let w = [unpack::floats(W::KIND, from), unpack::floats(W::KIND, from.add(half))];
            return [w, [_mm256_setzero_ps(); 2]];
        }
        let (low, high) = (unpack::bf16_pair(from), unpack::bf16_pair(from.add(half)));
        let mut columns = [[low[0], high[0]], [low[1], high[1]]];
        if FLUSH {
            for w in columns.as_flattened_mut() {
                *w = flush(*w);
            }
        }
        columns
    }
}

/// Stores the sums of `T` tokens and `G` groups.
///
/// # Safety
/// `groups` points to as many groups of `n_bytes`, with as many columns as `x` has of each token; `to` to `T` sums of each,
/// `stride` apart.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn stream<'a, W: Float, const FLUSH: bool, const T: usize, const G: usize>(
    (groups, to): (*const u8, *mut Sums),
    n_bytes: usize,
    stride: usize,
    mut x: impl Columns<'a, T>,
) {
    let mut sums = [[[_mm256_setzero_ps(); 2]; T]; G];
    let mut at = 0_usize;
    while let Some(first) = x.next() {
        let second = if W::UNIT == 2 { x.next() } else { None };
        for (g, sums) in sums.iter_mut().enumerate() {
            // SAFETY: a unit of group `g`.
            let w = unsafe {
                let group = groups.add(g * n_bytes);
                if at.is_multiple_of(64) {
                    prefetch_one_of::<G>(group, at, n_bytes);
                }
                unit_of::<W, FLUSH>(group.add(at))
            };
            step::<FLUSH, T>(&w[0], first, sums);
            if let Some(second) = second {
                step::<FLUSH, T>(&w[1], second, sums);
            }
        }
        at += W::UNIT_BYTES;
    }
    for (g, sums) in sums.iter().enumerate() {
        for (t, sum) in sums.iter().enumerate() {
            // SAFETY: the caller's promise.
            store(sum, unsafe { &mut *to.add(g * stride + t) });
        }
    }
}

/// One column.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn step<const FLUSH: bool, const T: usize>(w: &Sixteen, x: [&f32; T], sums: &mut [Sixteen; T]) {
    for (sum, x) in sums.iter_mut().zip(x) {
        let x = _mm256_broadcast_ss(x);
        *sum = [_mm256_fmadd_ps(w[0], x, sum[0]), _mm256_fmadd_ps(w[1], x, sum[1])];
        if FLUSH {
            *sum = [flush(sum[0]), flush(sum[1])];
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn store(sum: &Sixteen, to: &mut Sums) {
    // SAFETY: 8 numbers each.
    unsafe {
        _mm256_storeu_ps(to.as_mut_ptr(), sum[0]);
        _mm256_storeu_ps(to[8..].as_mut_ptr(), sum[1]);
    }
}

/// As [`crate::math::flush`].
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn flush(x: __m256) -> __m256 {
    let sign = _mm256_set1_ps(-0.0);
    let magnitude = _mm256_andnot_ps(sign, x);
    // Not below: a NaN stays.
    let normal = _mm256_cmp_ps::<_CMP_NLT_UQ>(magnitude, _mm256_set1_ps(f32::MIN_POSITIVE));
    _mm256_and_ps(x, _mm256_or_ps(sign, normal))
}
