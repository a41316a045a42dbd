//! The two products of attention for NEON. The operations and their order are those of [`crate::attention`].
//!
//! Lanes are positions in the first (keys lie in lines of 16 positions) and dimensions in the second. A tile of
//! queries shares the conversion of the cache's F16.
#![expect(unsafe_code, reason = "loads and stores through pointers")]

use super::unpack::{halves, widen};
use crate::Neon;
use crate::attention::{CHUNK, common};
use crate::kv_cache::{BLOCK, from_f16};
use std::arch::aarch64::*;
use std::ops::Range;

/// Queries of a register tile.
const TILE: usize = 4;

/// As [`crate::scalar::attention::scores`].
pub(crate) fn scores(_: Neon, q: &[f32], keys: &[u16], dk: usize, at: usize, out: &mut [f32]) {
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
        // SAFETY: the proof; as many queries, with as many rows of output.
        unsafe {
            match n {
                1 => score_blocks::<1, 4>(q, keys, dk, out),
                2 => score_blocks::<2, 2>(q, keys, dk, out),
                3 => score_blocks::<3, 1>(q, keys, dk, out),
                _ => score_blocks::<TILE, 1>(q, keys, dk, out),
            }
        }
    }
}

/// All blocks for `Q` queries, `B` at a time: enough independent chains.
///
/// # Safety
/// `q` holds `Q` queries; `out` has `Q` rows, [`CHUNK`] apart, with room for the blocks.
#[target_feature(enable = "neon")]
unsafe fn score_blocks<const Q: usize, const B: usize>(
    q: *const f32,
    keys: &[u16],
    dk: usize,
    mut out: *mut f32,
) {
    let several = keys.chunks_exact(B * BLOCK * dk);
    let rest = several.remainder();
    // SAFETY: the caller's promise.
    unsafe {
        for blocks in several {
            score::<Q, B>(q, blocks.as_ptr(), dk, out);
            out = out.add(B * BLOCK);
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
/// As [`score_blocks`]; `blocks` points to `B` blocks.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn score<const Q: usize, const B: usize>(
    q: *const f32,
    blocks: *const u16,
    dk: usize,
    out: *mut f32,
) {
    let mut acc = [[[vdupq_n_f32(0.0); 4]; B]; Q];
    for d in 0..dk {
        for b in 0..B {
            // SAFETY: line `d` of each block, dimension `d` of each query.
            unsafe {
                let k = halves(blocks.add((b * dk + d) * BLOCK).cast());
                for (i, acc) in acc.iter_mut().enumerate() {
                    let q = *q.add(i * dk + d);
                    for (acc, k) in acc[b].iter_mut().zip(k) {
                        *acc = vfmaq_n_f32(*acc, k, q);
                    }
                }
            }
        }
    }
    for (i, acc) in acc.iter().enumerate() {
        for (j, acc) in acc.as_flattened().iter().enumerate() {
            // SAFETY: vector `j` of the blocks' scores in row `i`.
            unsafe { vst1q_f32(out.add(i * CHUNK + 4 * j), *acc) };
        }
    }
}

/// As [`crate::scalar::attention::values`].
pub(crate) fn values(
    _: Neon,
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
        // SAFETY: the proof; at most a tile of queries; the shapes are checked.
        unsafe { few_queries(p, values, dv, seen, out) };
    }
}

/// # Safety
/// As the assertions of [`values`]; at most [`TILE`] queries.
#[target_feature(enable = "neon")]
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
            1 => v.weigh::<1, 8>(),
            2 => v.weigh::<2, 4>(),
            3 => v.weigh::<3, 2>(),
            _ => v.weigh::<TILE, 2>(),
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
    #[target_feature(enable = "neon")]
    unsafe fn one_query(&self, i: usize, range: Range<usize>) {
        if !range.is_empty() {
            // SAFETY: the caller's promise.
            unsafe {
                let (p, out) = (self.p.add(i * CHUNK), self.out.add(i * (self.dv + 2)));
                Self { p, out, range, ..*self }.weigh::<1, 8>();
            }
        }
    }

    /// Continues the sums of `Q` queries, `D` times 8 dimensions at a time.
    ///
    /// # Safety
    /// `p` and `out` have `Q` rows; `v` has the positions of `range`.
    #[target_feature(enable = "neon")]
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
    #[target_feature(enable = "neon")]
    unsafe fn vectors<const Q: usize, const D: usize>(&self, d: usize) {
        let mut acc = [[[vdupq_n_f32(0.0); 2]; D]; Q];
        // SAFETY: rows and dimensions are there.
        unsafe {
            let out = self.out.add(2 + d);
            for (i, acc) in acc.iter_mut().enumerate() {
                for (j, acc) in acc.as_flattened_mut().iter_mut().enumerate() {
                    *acc = vld1q_f32(out.add(i * (self.dv + 2) + 4 * j));
                }
            }
            for pos in self.range.clone() {
                let v = self.v.add(pos * self.dv + d);
                for j in 0..D {
                    let v = widen(vld1q_u16(v.add(8 * j)));
                    for (i, acc) in acc.iter_mut().enumerate() {
                        let p = *self.p.add(i * CHUNK + pos);
                        acc[j][0] = vfmaq_n_f32(acc[j][0], v[0], p);
                        acc[j][1] = vfmaq_n_f32(acc[j][1], v[1], p);
                    }
                }
            }
            for (i, acc) in acc.iter().enumerate() {
                for (j, acc) in acc.as_flattened().iter().enumerate() {
                    vst1q_f32(out.add(i * (self.dv + 2) + 4 * j), *acc);
                }
            }
        }
    }

    /// # Safety
    /// As [`Self::weigh`]; `d < dv`.
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
