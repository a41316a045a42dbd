//! The two products of attention for AVX2. The operations and their order are those of [`crate::attention`].
//!
//! Lanes are positions in the first (keys lie in lines of 16 positions) and dimensions in the second. A tile of
//! queries shares the conversion of the cache's F16.
#![expect(unsafe_code, reason = "calls of functions compiled for AVX2, and loads through pointers")]

use super::unpack::halves;
use crate::Avx2;
use crate::attention::{CHUNK, common};
use crate::kv_cache::{BLOCK, from_f16};
use std::arch::x86_64::*;
use std::ops::Range;

/// As [`crate::scalar::attention::scores`].
pub(crate) fn scores(_: Avx2, q: &[f32], keys: &[u16], dk: usize, at: usize, out: &mut [f32]) {
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
    assert_eq!(p.len(), seen.len() * CHUNK, "probabilities of every query");
    assert_eq!(out.len(), seen.len() * (dv + 2), "a row for every query");
    let n_positions = values.len() / dv;
    assert!(
        n_positions <= CHUNK && seen.iter().all(|seen| seen.end <= n_positions),
        "positions of the chunk"
    );
    // SAFETY: an `Avx2` value proves that the CPU has these instructions; the shapes are checked.
    unsafe { values_inner(p, values, dv, seen, out) };
}

/// # Safety
/// As the assertions of [`values`].
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn values_inner(
    p: &[f32],
    values: &[u16],
    dv: usize,
    seen: &[Range<usize>],
    out: &mut [f32],
) {
    let step = if seen.len().is_multiple_of(3) || seen.len() < 4 { 3 } else { 4 };
    let queries =
        p.chunks(step * CHUNK).zip(seen.chunks(step)).zip(out.chunks_mut(step * (dv + 2)));
    for ((p, seen), out) in queries {
        for (row, seen) in out.chunks_exact_mut(dv + 2).zip(seen) {
            if !seen.is_empty() {
                row[2..].fill(0.0);
            }
        }
        let all = common(seen);
        let first = seen.iter().map(|seen| seen.start..seen.end.min(all.start));
        let last = seen.iter().map(|seen| seen.start.max(all.end)..seen.end);
        // SAFETY: the same queries' probabilities, positions and rows.
        unsafe {
            first.enumerate().for_each(|(i, range)| one_query(p, values, dv, i, range, out));
            let v = Values {
                p: p.as_ptr(),
                v: values.as_ptr(),
                dv,
                range: all.clone(),
                out: out.as_mut_ptr(),
            };
            match seen.len() {
                1 => v.weigh::<1, 8>(),
                2 => v.weigh::<2, 4>(),
                3 => v.weigh::<3, 4>(),
                _ => v.weigh::<4, 2>(),
            }
            last.enumerate().for_each(|(i, range)| one_query(p, values, dv, i, range, out));
        }
    }
}

/// Continues the sums of query `i` over `range`.
///
/// # Safety
/// As [`values_inner`]; `range` is empty or within the chunk's positions.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn one_query(
    p: &[f32],
    values: &[u16],
    dv: usize,
    i: usize,
    range: Range<usize>,
    out: &mut [f32],
) {
    if !range.is_empty() {
        let (p, out) = (p[i * CHUNK..].as_ptr(), out[i * (dv + 2)..].as_mut_ptr());
        // SAFETY: the caller's promise, for one query.
        unsafe { Values { p, v: values.as_ptr(), dv, range, out }.weigh::<1, 8>() };
    }
}

/// Values to be weighted by the probabilities of some queries.
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
    /// Continues the sums of `Q` queries, `D` times 8 dimensions at a time.
    ///
    /// # Safety
    /// `p` and `out` have `Q` rows; `v` has the positions of `range`.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn weigh<const Q: usize, const D: usize>(&self) {
        let mut d = 0;
        // SAFETY: dimensions below `dv`.
        unsafe {
            while d + 8 * D <= self.dv {
                self.vectors::<Q, D>(d);
                d += 8 * D;
            }
            while d + 8 <= self.dv {
                self.vectors::<Q, 1>(d);
                d += 8;
            }
            while d < self.dv {
                self.dimension::<Q>(d);
                d += 1;
            }
        }
    }

    /// # Safety
    /// As [`Self::weigh`]; `d + 8 D <= dv`.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn vectors<const Q: usize, const D: usize>(&self, d: usize) {
        let mut acc = [[_mm256_setzero_ps(); D]; Q];
        // SAFETY: rows and dimensions are there.
        unsafe {
            let row = |i: usize| self.out.add(i * (self.dv + 2) + 2 + d);
            for (i, acc) in acc.iter_mut().enumerate() {
                for (j, acc) in acc.iter_mut().enumerate() {
                    *acc = _mm256_loadu_ps(row(i).add(8 * j));
                }
            }
            for pos in self.range.clone() {
                let v = self.v.add(pos * self.dv + d);
                let mut p = [_mm256_setzero_ps(); Q];
                for (i, p) in p.iter_mut().enumerate() {
                    *p = _mm256_broadcast_ss(&*self.p.add(i * CHUNK + pos));
                }
                for j in 0..D {
                    let v = halves(v.add(8 * j).cast());
                    for (acc, p) in acc.iter_mut().zip(p) {
                        acc[j] = _mm256_fmadd_ps(p, v, acc[j]);
                    }
                }
            }
            for (i, acc) in acc.iter().enumerate() {
                for (j, acc) in acc.iter().enumerate() {
                    _mm256_storeu_ps(row(i).add(8 * j), *acc);
                }
            }
        }
    }

    /// # Safety
    /// As [`Self::weigh`]; `d < dv`.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
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
