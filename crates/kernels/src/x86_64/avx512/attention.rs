//! The two products of attention for AVX-512. The operations and their order are those of [`crate::attention`].
//!
//! Lanes are positions in the first (keys lie in lines of 16 positions) and dimensions in the second. A tile of
//! queries shares the conversion of the cache's F16.
#![expect(
    unsafe_code,
    reason = "calls of functions compiled for AVX-512, and loads through pointers"
)]

use super::unpack::halves;
use crate::Avx512;
use crate::attention::CHUNK;
use crate::attention::frame::{self, Values};
use crate::kv_cache::BLOCK;
use std::arch::x86_64::*;
use std::ops::Range;

/// Queries of a register tile.
const TILE: usize = 6;

/// As [`crate::scalar::attention::scores`].
pub(crate) fn scores(_: Avx512, q: &[f32], keys: &[u16], dk: usize, at: usize, out: &mut [f32]) {
    frame::check_scores(q, keys, dk, at, out);
    for (q, out) in q.chunks(TILE * dk).zip(out.chunks_mut(TILE * CHUNK)) {
        let (n, q, out) = (q.len() / dk, q.as_ptr(), out[at..].as_mut_ptr());
        // SAFETY: an `Avx512` value proves that the CPU has these instructions; the shapes are checked.
        unsafe {
            match n {
                1 => score_blocks::<1>(q, keys, dk, out),
                2 => score_blocks::<2>(q, keys, dk, out),
                3 => score_blocks::<3>(q, keys, dk, out),
                4 => score_blocks::<4>(q, keys, dk, out),
                5 => score_blocks::<5>(q, keys, dk, out),
                _ => score_blocks::<TILE>(q, keys, dk, out),
            }
        }
    }
}

/// All blocks for `Q` queries.
///
/// # Safety
/// `q` holds `Q` queries; `out` has `Q` rows, [`CHUNK`] apart, with room for the blocks.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn score_blocks<const Q: usize>(q: *const f32, keys: &[u16], dk: usize, mut out: *mut f32) {
    let fours = keys.chunks_exact(4 * BLOCK * dk);
    let rest = fours.remainder();
    // SAFETY: the caller's promise.
    unsafe {
        for blocks in fours {
            score::<Q, 4>(q, blocks.as_ptr(), dk, out);
            out = out.add(4 * BLOCK);
        }
        for block in rest.chunks_exact(BLOCK * dk) {
            score::<Q, 1>(q, block.as_ptr(), dk, out);
            out = out.add(BLOCK);
        }
    }
}

/// `B` blocks of 16 positions for `Q` queries.
///
/// # Safety
/// As [`score_blocks`]; the blocks are whole.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn score<const Q: usize, const B: usize>(
    q: *const f32,
    blocks: *const u16,
    dk: usize,
    out: *mut f32,
) {
    let mut acc = [[_mm512_setzero_ps(); B]; Q];
    for d in 0..dk {
        // SAFETY: line `d` of each block, dimension `d` of each query.
        unsafe {
            let mut k = [_mm512_setzero_ps(); B];
            for (b, k) in k.iter_mut().enumerate() {
                *k = halves(blocks.add((b * dk + d) * BLOCK).cast());
            }
            for (i, acc) in acc.iter_mut().enumerate() {
                let q = _mm512_set1_ps(*q.add(i * dk + d));
                for (acc, k) in acc.iter_mut().zip(k) {
                    *acc = _mm512_fmadd_ps(q, k, *acc);
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
pub(crate) fn values(
    _: Avx512,
    p: &[f32],
    values: &[u16],
    dv: usize,
    seen: &[Range<usize>],
    out: &mut [f32],
) {
    frame::values(p, values, dv, seen, out, TILE, |v| {
        // SAFETY: an `Avx512` value proves that the CPU has these instructions; as many queries.
        unsafe {
            match v.n_queries() {
                1 => weigh::<1>(v),
                2 => weigh::<2>(v),
                3 => weigh::<3>(v),
                4 => weigh::<4>(v),
                5 => weigh::<5>(v),
                _ => weigh::<TILE>(v),
            }
        }
    });
}

/// Continues the sums of `Q` queries, 64 dimensions at a time.
///
/// # Safety
/// There are `Q` queries.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn weigh<const Q: usize>(mut values: Values<'_>) {
    let (dv, mut d) = (values.dv(), 0);
    // SAFETY: dimensions below `dv`.
    unsafe {
        while d + 64 <= dv {
            vectors::<Q, 4>(&mut values, d);
            d += 64;
        }
        while d + 16 <= dv {
            vectors::<Q, 1>(&mut values, d);
            d += 16;
        }
    }
    values.rest(d);
}

/// # Safety
/// As [`weigh`]; `d + 16 D <= dv`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn vectors<const Q: usize, const D: usize>(values: &mut Values<'_>, d: usize) {
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
            let v = values.v().add(pos * values.dv() + d);
            let mut lines = [_mm512_setzero_ps(); D];
            for (j, line) in lines.iter_mut().enumerate() {
                *line = halves(v.add(16 * j).cast());
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
