//! The two products of attention for AVX2. The operations and their order are those of [`crate::attention`].
//!
//! Lanes are positions in the first (keys lie in lines of 16 positions) and dimensions in the second. A tile of
//! queries shares the conversion of the cache's F16.
#![expect(unsafe_code, reason = "calls of functions compiled for AVX2, and loads through pointers")]

use super::unpack::halves;
use crate::Avx2;
use crate::attention::CHUNK;
use crate::attention::frame::{self, Values};
use crate::kv_cache::BLOCK;
use std::arch::x86_64::*;
use std::ops::Range;

/// As [`crate::scalar::attention::scores`].
pub(crate) fn scores(_: Avx2, q: &[f32], keys: &[u16], dk: usize, at: usize, out: &mut [f32]) {
    frame::check_scores(q, keys, dk, at, out);
    // SAFETY: an `Avx2` value proves that the CPU has these instructions; the shapes are checked.
    unsafe { scores_inner(q, keys, dk, at, out) };
}

/// # Safety
/// As the assertions of [`scores`].
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn scores_inner(q: &[f32], keys: &[u16], dk: usize, at: usize, out: &mut [f32]) {
    let mut first = 0;
    let n_queries = q.len() / dk;
    while first < n_queries {
        let q = q[first * dk..].as_ptr();
        let out = out[first * CHUNK + at..].as_mut_ptr();
        // SAFETY: as many queries as there are, with as many rows of output.
        unsafe {
            match n_queries - first {
                1 => score_blocks::<1>(q, keys, dk, out),
                2 => score_blocks::<2>(q, keys, dk, out),
                3 => score_blocks::<3>(q, keys, dk, out),
                4 => score_blocks::<4>(q, keys, dk, out),
                5 => score_blocks::<5>(q, keys, dk, out),
                _ => score_blocks::<6>(q, keys, dk, out),
            }
        }
        first += 6;
    }
}

/// All blocks for `Q` queries.
///
/// # Safety
/// `q` holds `Q` queries; `out` has `Q` rows, [`CHUNK`] apart, with room for the blocks.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn score_blocks<const Q: usize>(q: *const f32, keys: &[u16], dk: usize, mut out: *mut f32) {
    let mut blocks = keys.chunks_exact(BLOCK * dk);
    // Few queries: two blocks at a time, so that there are enough independent chains.
    while Q <= 3 && blocks.len() >= 2 {
        let (Some(a), Some(b)) = (blocks.next(), blocks.next()) else { return };
        // SAFETY: the caller's promise.
        unsafe {
            score::<Q, 2>(q, [a.as_ptr(), b.as_ptr()], dk, out);
            out = out.add(2 * BLOCK);
        }
    }
    for block in blocks {
        // SAFETY: the caller's promise.
        unsafe {
            score::<Q, 1>(q, [block.as_ptr()], dk, out);
            out = out.add(BLOCK);
        }
    }
}

/// `B` blocks of 16 positions for `Q` queries.
///
/// # Safety
/// As [`score_blocks`]; the blocks are whole.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn score<const Q: usize, const B: usize>(
    q: *const f32,
    blocks: [*const u16; B],
    dk: usize,
    out: *mut f32,
) {
    let mut acc = [[[_mm256_setzero_ps(); 2]; B]; Q];
    for d in 0..dk {
        for (b, block) in blocks.iter().enumerate() {
            // SAFETY: line `d` of the block, dimension `d` of each query.
            unsafe {
                let line = block.add(d * BLOCK).cast::<u8>();
                let k = [halves(line), halves(line.add(16))];
                for (i, acc) in acc.iter_mut().enumerate() {
                    let q = _mm256_broadcast_ss(&*q.add(i * dk + d));
                    acc[b][0] = _mm256_fmadd_ps(q, k[0], acc[b][0]);
                    acc[b][1] = _mm256_fmadd_ps(q, k[1], acc[b][1]);
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
pub(crate) fn values(
    _: Avx2,
    p: &[f32],
    values: &[u16],
    dv: usize,
    seen: &[Range<usize>],
    out: &mut [f32],
) {
    let tile = if seen.len().is_multiple_of(3) || seen.len() < 4 { 3 } else { 4 };
    frame::values(p, values, dv, seen, out, tile, |v| {
        // SAFETY: an `Avx2` value proves that the CPU has these instructions; as many queries.
        unsafe {
            match v.n_queries() {
                1 => weigh::<1, 8>(v),
                2 => weigh::<2, 4>(v),
                3 => weigh::<3, 4>(v),
                _ => weigh::<4, 2>(v),
            }
        }
    });
}

/// Continues the sums of `Q` queries, `D` times 8 dimensions at a time.
///
/// # Safety
/// There are `Q` queries.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn weigh<const Q: usize, const D: usize>(mut values: Values<'_>) {
    let (dv, mut d) = (values.dv(), 0);
    // SAFETY: dimensions below `dv`.
    unsafe {
        while d + 8 * D <= dv {
            vectors::<Q, D>(&mut values, d);
            d += 8 * D;
        }
        while d + 8 <= dv {
            vectors::<Q, 1>(&mut values, d);
            d += 8;
        }
    }
    values.rest(d);
}

/// # Safety
/// As [`weigh`]; `d + 8 D <= dv`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn vectors<const Q: usize, const D: usize>(values: &mut Values<'_>, d: usize) {
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
            let v = values.v().add(pos * values.dv() + d);
            let mut weights = [_mm256_setzero_ps(); Q];
            for (i, weight) in weights.iter_mut().enumerate() {
                *weight = _mm256_broadcast_ss(&*p.add(i * CHUNK + pos));
            }
            for j in 0..D {
                let v = halves(v.add(8 * j).cast());
                for (acc, weight) in acc.iter_mut().zip(weights) {
                    acc[j] = _mm256_fmadd_ps(weight, v, acc[j]);
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
