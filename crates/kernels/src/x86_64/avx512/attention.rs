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
use crate::attention::{CHUNK, common};
use crate::kv_cache::{BLOCK, from_f16};
use std::arch::x86_64::*;
use std::ops::Range;

/// Queries of a register tile.
const TILE: usize = 6;

/// As [`crate::scalar::attention::scores`].
pub(crate) fn scores(_: Avx512, q: &[f32], keys: &[u16], dk: usize, at: usize, out: &mut [f32]) {
    let n_blocks = keys.len() / (BLOCK * dk);
    let n_queries = q.len() / dk;
    assert!(
        keys.len() == n_blocks * BLOCK * dk && q.len() == n_queries * dk,
        "whole blocks and queries"
    );
    assert!(
        at + n_blocks * BLOCK <= CHUNK && out.len() == n_queries * CHUNK,
        "room for the scores"
    );
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
    assert_eq!(p.len(), seen.len() * CHUNK, "probabilities of every query");
    assert_eq!(out.len(), seen.len() * (dv + 2), "a row for every query");
    let n_positions = values.len() / dv;
    assert!(
        n_positions <= CHUNK && seen.iter().all(|seen| seen.end <= n_positions),
        "positions of the chunk"
    );
    let queries =
        p.chunks(TILE * CHUNK).zip(seen.chunks(TILE)).zip(out.chunks_mut(TILE * (dv + 2)));
    for ((p, seen), out) in queries {
        // SAFETY: an `Avx512` value proves that the CPU has these instructions; the shapes are checked.
        unsafe { few_queries(p, values, dv, seen, out) };
    }
}

/// # Safety
/// As the assertions of [`values`]; at most [`TILE`] queries.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn few_queries(
    p: &[f32],
    values: &[u16],
    dv: usize,
    seen: &[Range<usize>],
    out: &mut [f32],
) {
    for (row, seen) in out.chunks_exact_mut(dv + 2).zip(seen) {
        if !seen.is_empty() {
            row[2..].fill(0.0);
        }
    }
    let all = common(seen);
    let v =
        Values { p: p.as_ptr(), v: values.as_ptr(), dv, range: all.clone(), out: out.as_mut_ptr() };
    // SAFETY: the same queries' probabilities, positions and rows; each range is within what its query sees.
    unsafe {
        for (i, seen) in seen.iter().enumerate() {
            v.one_query(i, seen.start..seen.end.min(all.start));
        }
        match seen.len() {
            1 => v.weigh::<1>(),
            2 => v.weigh::<2>(),
            3 => v.weigh::<3>(),
            4 => v.weigh::<4>(),
            5 => v.weigh::<5>(),
            _ => v.weigh::<TILE>(),
        }
        for (i, seen) in seen.iter().enumerate() {
            v.one_query(i, seen.start.max(all.end)..seen.end);
        }
    }
}

/// Values to be weighted by the probabilities of some queries.
#[derive(Clone)]
struct Values {
    /// Rows of [`CHUNK`].
    p: *const f32,
    /// Rows of `dv`.
    v: *const u16,
    dv: usize,
    /// Positions.
    range: Range<usize>,
    /// Rows `m, l, o[dv]`.
    out: *mut f32,
}

impl Values {
    /// Continues the sums of query `i` over `range`.
    ///
    /// # Safety
    /// As [`Self::weigh`] for that query; `range` is empty or within the chunk's positions.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn one_query(&self, i: usize, range: Range<usize>) {
        if !range.is_empty() {
            // SAFETY: the caller's promise.
            unsafe {
                let (p, out) = (self.p.add(i * CHUNK), self.out.add(i * (self.dv + 2)));
                Self { p, out, range, ..*self }.weigh::<1>();
            }
        }
    }

    /// Continues the sums of `Q` queries, 64 dimensions at a time.
    ///
    /// # Safety
    /// `p` and `out` have `Q` rows; `v` has the positions of `range`.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn weigh<const Q: usize>(&self) {
        let mut d = 0;
        // SAFETY: dimensions below `dv`.
        unsafe {
            while d + 64 <= self.dv {
                self.vectors::<Q, 4>(d);
                d += 64;
            }
            while d + 16 <= self.dv {
                self.vectors::<Q, 1>(d);
                d += 16;
            }
            while d < self.dv {
                self.dimension::<Q>(d);
                d += 1;
            }
        }
    }

    /// # Safety
    /// As [`Self::weigh`]; `d + 16 D <= dv`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn vectors<const Q: usize, const D: usize>(&self, d: usize) {
        let mut acc = [[_mm512_setzero_ps(); D]; Q];
        // SAFETY: rows and dimensions are there.
        unsafe {
            let out = self.out.add(2 + d);
            for (i, acc) in acc.iter_mut().enumerate() {
                for (j, acc) in acc.iter_mut().enumerate() {
                    *acc = _mm512_loadu_ps(out.add(i * (self.dv + 2) + 16 * j));
                }
            }
            for pos in self.range.clone() {
                let v = self.v.add(pos * self.dv + d);
                let mut lines = [_mm512_setzero_ps(); D];
                for (j, line) in lines.iter_mut().enumerate() {
                    *line = halves(v.add(16 * j).cast());
                }
                for (i, acc) in acc.iter_mut().enumerate() {
                    let p = _mm512_set1_ps(*self.p.add(i * CHUNK + pos));
                    for (acc, v) in acc.iter_mut().zip(lines) {
                        *acc = _mm512_fmadd_ps(p, v, *acc);
                    }
                }
            }
            for (i, acc) in acc.iter().enumerate() {
                for (j, acc) in acc.iter().enumerate() {
                    _mm512_storeu_ps(out.add(i * (self.dv + 2) + 16 * j), *acc);
                }
            }
        }
    }

    /// # Safety
    /// As [`Self::weigh`]; `d < dv`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn dimension<const Q: usize>(&self, d: usize) {
        for i in 0..Q {
            // SAFETY: rows and dimensions are there.
            unsafe {
                let out = self.out.add(i * (self.dv + 2) + 2 + d);
                for pos in self.range.clone() {
                    let v = from_f16(*self.v.add(pos * self.dv + d));
                    *out = (*self.p.add(i * CHUNK + pos)).mul_add(v, *out);
                }
            }
        }
    }
}
