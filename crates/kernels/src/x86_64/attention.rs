//! The two products of attention for AVX2. The operations and their order are those of [`crate::attention`].
//!
//! Lanes are positions in the first (keys lie in lines of 16 positions) and dimensions in the second. A tile of
//! queries shares the conversion of the cache's numbers.
#![expect(unsafe_code, reason = "calls of functions compiled for AVX2, and loads through pointers")]

use super::unpack::{fetch, halves};
use crate::Avx2;
use crate::attention::CHUNK;
use crate::attention::frame::{self, Values};
use crate::kv_cache::BLOCK;
use crate::kv_cache::number::{F16, F32, GROUP, Number, Numbers, Q8_0};
use std::arch::x86_64::*;
use std::ops::Range;

/// Queries of a register tile.
const TILE: usize = 6;
/// How far ahead of its use a cache is fetched for few queries, whose arithmetic is soon done, in bytes.
const AHEAD: usize = 4096;
/// The most queries that are few.
const FEW: usize = 3;

/// Numbers of the cache, 8 at a time.
pub(crate) trait Eight: Number {
    /// # Safety
    /// 8 codes are readable, and the CPU has AVX2.
    unsafe fn load(codes: *const u8, scales: __m256) -> __m256;
}

impl Eight for F32 {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load(codes: *const u8, _: __m256) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_ps(codes.cast()) }
    }
}

impl Eight for F16 {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load(codes: *const u8, _: __m256) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { halves(codes) }
    }
}

impl Eight for Q8_0 {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load(codes: *const u8, scales: __m256) -> __m256 {
        // SAFETY: the caller's promise.
        let codes = unsafe { _mm_loadl_epi64(codes.cast()) };
        _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes)), scales)
    }
}

/// As [`crate::scalar::attention::scores`].
pub(crate) fn scores<T: Eight>(
    _: Avx2,
    q: &[f32],
    keys: Numbers<'_>,
    dk: usize,
    at: usize,
    out: &mut [f32],
) {
    let n_blocks = frame::check_scores::<T>(q, keys, dk, at, out);
    for (q, out) in q.chunks(TILE * dk).zip(out.chunks_mut(TILE * CHUNK)) {
        let (n, q, out) = (q.len() / dk, q.as_ptr(), out[at..].as_mut_ptr());
        // SAFETY: an `Avx2` value proves that the CPU has these instructions; the shapes are checked.
        // Few queries: two blocks at a time, so that there are enough independent chains.
        unsafe {
            match n {
                1 => score_blocks::<T, 1, 2>(q, keys, dk, n_blocks, out),
                2 => score_blocks::<T, 2, 2>(q, keys, dk, n_blocks, out),
                3 => score_blocks::<T, 3, 2>(q, keys, dk, n_blocks, out),
                4 => score_blocks::<T, 4, 1>(q, keys, dk, n_blocks, out),
                5 => score_blocks::<T, 5, 1>(q, keys, dk, n_blocks, out),
                _ => score_blocks::<T, TILE, 1>(q, keys, dk, n_blocks, out),
            }
        }
    }
}

/// All `n_blocks` for `Q` queries, `B` at a time.
///
/// # Safety
/// `q` holds `Q` queries; `out` has `Q` rows, [`CHUNK`] apart, with room for the blocks, which are there.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn score_blocks<T: Eight, const Q: usize, const B: usize>(
    q: *const f32,
    keys: Numbers<'_>,
    dk: usize,
    n_blocks: usize,
    out: *mut f32,
) {
    let mut b = 0;
    // SAFETY: the caller's promise.
    unsafe {
        while b + B <= n_blocks {
            score::<T, Q, B>(q, keys.rows::<T>(b..b + B, BLOCK * dk), dk, out.add(b * BLOCK));
            b += B;
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
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn score<T: Eight, const Q: usize, const B: usize>(
    q: *const f32,
    keys: Numbers<'_>,
    dk: usize,
    out: *mut f32,
) {
    let (codes, scales) = (keys.codes.as_ptr(), keys.scales.as_ptr());
    let mut acc = [[[_mm256_setzero_ps(); 2]; B]; Q];
    for first in (0..dk).step_by(GROUP) {
        let mut of_group = [[_mm256_setzero_ps(); 2]; B];
        if T::SCALED {
            for (b, of_block) in of_group.iter_mut().enumerate() {
                // SAFETY: the block's scales of this group, 16 halves.
                unsafe {
                    let line = scales.add((b * dk + first) / GROUP * BLOCK * 2);
                    *of_block = [halves(line), halves(line.add(16))];
                }
            }
        }
        for d in first..dk.min(first + GROUP) {
            for (b, of_block) in of_group.iter().enumerate() {
                // SAFETY: line `d` of the block, dimension `d` of each query.
                unsafe {
                    let line = codes.add((b * dk + d) * BLOCK * T::BYTES);
                    if Q <= FEW {
                        fetch(line.wrapping_add(AHEAD));
                    }
                    let k =
                        [T::load(line, of_block[0]), T::load(line.add(8 * T::BYTES), of_block[1])];
                    for (i, acc) in acc.iter_mut().enumerate() {
                        let q = _mm256_broadcast_ss(&*q.add(i * dk + d));
                        acc[b][0] = _mm256_fmadd_ps(q, k[0], acc[b][0]);
                        acc[b][1] = _mm256_fmadd_ps(q, k[1], acc[b][1]);
                    }
                }
            }
        }
    }
    for (i, acc) in acc.iter().enumerate() {
        for (b, acc) in acc.iter().enumerate() {
            // SAFETY: 16 scores of block `b` in row `i`.
            unsafe {
                let out = out.add(i * CHUNK + b * BLOCK);
                _mm256_storeu_ps(out, acc[0]);
                _mm256_storeu_ps(out.add(8), acc[1]);
            }
        }
    }
}

/// As [`crate::scalar::attention::values`].
pub(crate) fn values<T: Eight>(
    _: Avx2,
    p: &[f32],
    values: Numbers<'_>,
    dv: usize,
    seen: &[Range<usize>],
    out: &mut [f32],
) {
    frame::values::<T>(p, values, dv, seen, out, TILE, |v| {
        // SAFETY: an `Avx2` value proves that the CPU has these instructions; as many queries.
        unsafe {
            match v.n_queries() {
                1 => weigh::<T, 1, 8>(v),
                2 => weigh::<T, 2, 4>(v),
                3 => weigh::<T, 3, 2>(v),
                4 => weigh::<T, 4, 2>(v),
                5 => weigh::<T, 5, 2>(v),
                _ => weigh::<T, TILE, 2>(v),
            }
        }
    });
}

/// Continues the sums of `Q` queries, `D` times 8 dimensions at a time.
///
/// # Safety
/// There are `Q` queries.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn weigh<T: Eight, const Q: usize, const D: usize>(mut values: Values<'_>) {
    let (dv, mut d) = (values.dv(), 0);
    // SAFETY: dimensions below `dv`.
    unsafe {
        while d + 8 * D <= dv {
            vectors::<T, Q, D>(&mut values, d);
            d += 8 * D;
        }
        while d + 8 <= dv {
            vectors::<T, Q, 1>(&mut values, d);
            d += 8;
        }
    }
    values.rest::<T>(d);
}

/// # Safety
/// As [`weigh`]; `d + 8 D <= dv`, and `d` is a multiple of `8 D`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn vectors<T: Eight, const Q: usize, const D: usize>(values: &mut Values<'_>, d: usize) {
    let (p, range, width) = (values.p(), values.range(), values.dv() + 2);
    let mut acc = [[_mm256_setzero_ps(); D]; Q];
    // SAFETY: rows and dimensions are there.
    unsafe {
        let out = values.out().add(2 + d);
        for (i, acc) in acc.iter_mut().enumerate() {
            for (j, acc) in acc.iter_mut().enumerate() {
                *acc = _mm256_loadu_ps(out.add(i * width + 8 * j));
            }
        }
        for pos in range {
            let first = pos * values.dv() + d;
            if Q <= FEW {
                fetch(values.codes().wrapping_add(first * T::BYTES + AHEAD));
            }
            let mut scale = _mm256_setzero_ps();
            let mut v = [_mm256_setzero_ps(); D];
            for (j, v) in v.iter_mut().enumerate() {
                if T::SCALED && (8 * j).is_multiple_of(GROUP) {
                    scale = broadcast(values.scales().add((first + 8 * j) / GROUP * 2));
                }
                *v = T::load(values.codes().add((first + 8 * j) * T::BYTES), scale);
            }
            for (i, acc) in acc.iter_mut().enumerate() {
                let p = _mm256_broadcast_ss(&*p.add(i * CHUNK + pos));
                for (acc, v) in acc.iter_mut().zip(v) {
                    *acc = _mm256_fmadd_ps(p, v, *acc);
                }
            }
        }
        for (i, acc) in acc.iter().enumerate() {
            for (j, acc) in acc.iter().enumerate() {
                _mm256_storeu_ps(out.add(i * width + 8 * j), *acc);
            }
        }
    }
}

/// One F16 number in all lanes.
///
/// # Safety
/// `from` is readable for 2 bytes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn broadcast(from: *const u8) -> __m256 {
    // SAFETY: the caller's promise.
    let half = unsafe { from.cast::<i16>().read_unaligned() };
    _mm256_cvtph_ps(_mm_set1_epi16(half))
}
