//! The two products of attention for AVX-512. The operations and their order are those of [`crate::attention`].
//!
//! Lanes are positions in the first (keys lie in lines of 16 positions) and dimensions in the second. A tile of
//! queries shares the conversion of the cache's numbers.
#![expect(
    unsafe_code,
    reason = "calls of functions compiled for AVX-512, and loads through pointers"
)]

use super::unpack::halves;
use crate::Avx512;
use crate::attention::CHUNK;
use crate::attention::frame::{self, Values};
use crate::kv_cache::BLOCK;
use crate::kv_cache::number::{F16, F32, GROUP, Number, Numbers, Q8_0};
use std::arch::x86_64::*;
use std::ops::Range;

/// Queries of a register tile.
const TILE: usize = 6;

/// Numbers of the cache, 16 at a time.
pub(crate) trait Sixteen: Number {
    /// # Safety
    /// 16 codes are readable, and the CPU has AVX-512.
    unsafe fn load(codes: *const u8, scales: __m512) -> __m512;
}

impl Sixteen for F32 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn load(codes: *const u8, _: __m512) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_loadu_ps(codes.cast()) }
    }
}

impl Sixteen for F16 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn load(codes: *const u8, _: __m512) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { halves(codes) }
    }
}

impl Sixteen for Q8_0 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn load(codes: *const u8, scales: __m512) -> __m512 {
        // SAFETY: the caller's promise.
        let codes = unsafe { _mm_loadu_si128(codes.cast()) };
        _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(codes)), scales)
    }
}

/// As [`crate::scalar::attention::scores`].
pub(crate) fn scores<T: Sixteen>(
    _: Avx512,
    q: &[f32],
    keys: Numbers<'_>,
    dk: usize,
    at: usize,
    out: &mut [f32],
) {
    let n_blocks = frame::check_scores::<T>(q, keys, dk, at, out);
    for (q, out) in q.chunks(TILE * dk).zip(out.chunks_mut(TILE * CHUNK)) {
        let (n, q, out) = (q.len() / dk, q.as_ptr(), out[at..].as_mut_ptr());
        // SAFETY: an `Avx512` value proves that the CPU has these instructions; the shapes are checked.
        unsafe {
            match n {
                1 => score_blocks::<T, 1>(q, keys, dk, n_blocks, out),
                2 => score_blocks::<T, 2>(q, keys, dk, n_blocks, out),
                3 => score_blocks::<T, 3>(q, keys, dk, n_blocks, out),
                4 => score_blocks::<T, 4>(q, keys, dk, n_blocks, out),
                5 => score_blocks::<T, 5>(q, keys, dk, n_blocks, out),
                _ => score_blocks::<T, TILE>(q, keys, dk, n_blocks, out),
            }
        }
    }
}

/// All `n_blocks` for `Q` queries.
///
/// # Safety
/// `q` holds `Q` queries; `out` has `Q` rows, [`CHUNK`] apart, with room for the blocks, which are there.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn score_blocks<T: Sixteen, const Q: usize>(
    q: *const f32,
    keys: Numbers<'_>,
    dk: usize,
    n_blocks: usize,
    out: *mut f32,
) {
    let mut b = 0;
    // SAFETY: the caller's promise.
    unsafe {
        while b + 4 <= n_blocks {
            score::<T, Q, 4>(q, keys.rows::<T>(b..b + 4, BLOCK * dk), dk, out.add(b * BLOCK));
            b += 4;
        }
        while b < n_blocks {
            score::<T, Q, 1>(q, keys.rows::<T>(b..b + 1, BLOCK * dk), dk, out.add(b * BLOCK));
            b += 1;
        }
    }
}

/// `B` blocks of 16 positions for `Q` queries.
///
/// # Safety
/// As [`score_blocks`]; `keys` are the `B` blocks.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn score<T: Sixteen, const Q: usize, const B: usize>(
    q: *const f32,
    keys: Numbers<'_>,
    dk: usize,
    out: *mut f32,
) {
    let (codes, scales) = (keys.codes.as_ptr(), keys.scales.as_ptr());
    let mut acc = [[_mm512_setzero_ps(); B]; Q];
    for first in (0..dk).step_by(GROUP) {
        let mut of_group = [_mm512_setzero_ps(); B];
        if T::SCALED {
            for (b, of_block) in of_group.iter_mut().enumerate() {
                // SAFETY: the block's scales of this group, 16 halves.
                *of_block = unsafe { halves(scales.add((b * dk + first) / GROUP * BLOCK * 2)) };
            }
        }
        for d in first..dk.min(first + GROUP) {
            // SAFETY: line `d` of each block, dimension `d` of each query.
            unsafe {
                let mut k = of_group;
                for (b, k) in k.iter_mut().enumerate() {
                    *k = T::load(codes.add((b * dk + d) * BLOCK * T::BYTES), *k);
                }
                for (i, acc) in acc.iter_mut().enumerate() {
                    let q = _mm512_set1_ps(*q.add(i * dk + d));
                    for (acc, k) in acc.iter_mut().zip(k) {
                        *acc = _mm512_fmadd_ps(q, k, *acc);
                    }
                }
            }
        }
    }
    for (i, acc) in acc.iter().enumerate() {
        for (b, acc) in acc.iter().enumerate() {
            // SAFETY: 16 scores of block `b` in row `i`.
            unsafe { _mm512_storeu_ps(out.add(i * CHUNK + b * BLOCK), *acc) };
        }
    }
}

/// As [`crate::scalar::attention::values`].
pub(crate) fn values<T: Sixteen>(
    _: Avx512,
    p: &[f32],
    values: Numbers<'_>,
    dv: usize,
    seen: &[Range<usize>],
    out: &mut [f32],
) {
    frame::values::<T>(p, values, dv, seen, out, TILE, |v| {
        // SAFETY: an `Avx512` value proves that the CPU has these instructions; as many queries.
        unsafe {
            match v.n_queries() {
                1 => weigh::<T, 1>(v),
                2 => weigh::<T, 2>(v),
                3 => weigh::<T, 3>(v),
                4 => weigh::<T, 4>(v),
                5 => weigh::<T, 5>(v),
                _ => weigh::<T, TILE>(v),
            }
        }
    });
}

/// Continues the sums of `Q` queries, 64 dimensions at a time.
///
/// # Safety
/// There are `Q` queries.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn weigh<T: Sixteen, const Q: usize>(mut values: Values<'_>) {
    let (dv, mut d) = (values.dv(), 0);
    // SAFETY: dimensions below `dv`.
    unsafe {
        while d + 64 <= dv {
            vectors::<T, Q, 4>(&mut values, d);
            d += 64;
        }
        while d + 16 <= dv {
            vectors::<T, Q, 1>(&mut values, d);
            d += 16;
        }
    }
    values.rest::<T>(d);
}

/// # Safety
/// As [`weigh`]; `d + 16 D <= dv`, and `d` is a multiple of `16 D`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn vectors<T: Sixteen, const Q: usize, const D: usize>(values: &mut Values<'_>, d: usize) {
    let (p, range, width) = (values.p(), values.range(), values.dv() + 2);
    let mut acc = [[_mm512_setzero_ps(); D]; Q];
    // SAFETY: rows and dimensions are there.
    unsafe {
        let out = values.out().add(2 + d);
        for (i, acc) in acc.iter_mut().enumerate() {
            for (j, acc) in acc.iter_mut().enumerate() {
                *acc = _mm512_loadu_ps(out.add(i * width + 16 * j));
            }
        }
        for pos in range {
            let first = pos * values.dv() + d;
            let mut lines = [_mm512_setzero_ps(); D];
            let mut scale = _mm512_setzero_ps();
            for (j, line) in lines.iter_mut().enumerate() {
                if T::SCALED && (16 * j).is_multiple_of(GROUP) {
                    scale = broadcast(values.scales().add((first + 16 * j) / GROUP * 2));
                }
                *line = T::load(values.codes().add((first + 16 * j) * T::BYTES), scale);
            }
            for (i, acc) in acc.iter_mut().enumerate() {
                let p = _mm512_set1_ps(*p.add(i * CHUNK + pos));
                for (acc, v) in acc.iter_mut().zip(lines) {
                    *acc = _mm512_fmadd_ps(p, v, *acc);
                }
            }
        }
        for (i, acc) in acc.iter().enumerate() {
            for (j, acc) in acc.iter().enumerate() {
                _mm512_storeu_ps(out.add(i * width + 16 * j), *acc);
            }
        }
    }
}

/// One F16 number in all lanes.
///
/// # Safety
/// `from` is readable for 2 bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn broadcast(from: *const u8) -> __m512 {
    // SAFETY: the caller's promise.
    let half = unsafe { from.cast::<i16>().read_unaligned() };
    _mm512_cvtph_ps(_mm256_set1_epi16(half))
}
