//! What the kernels of attention have in common whatever their instructions: shapes, and which positions a few queries
//! can take together.

use super::{BLOCK, CHUNK};
use crate::kv_cache::number::{Number, Numbers};
use std::ops::Range;

/// Checks the arguments of a kernel like [`crate::scalar::attention::scores`]; returns how many blocks of keys there are.
pub(crate) fn check_scores<T: Number>(
    q: &[f32],
    keys: Numbers<'_>,
    dk: usize,
    at: usize,
    out: &[f32],
) -> usize {
    let (n_blocks, n_queries) = (keys.n_rows::<T>(BLOCK * dk), q.len() / dk);
    assert!(dk.is_multiple_of(T::HEAD_MULTIPLE), "whole groups of dimensions");
    assert_eq!(q.len(), n_queries * dk, "whole queries");
    let room = at + n_blocks * BLOCK <= CHUNK && out.len() == n_queries * CHUNK;
    assert!(room, "room for the scores");
    n_blocks
}

/// Values of positions that some queries see, to be weighted by their probabilities and added to their sums.
pub(crate) struct Values<'a> {
    p: &'a [f32],
    v: Numbers<'a>,
    dv: usize,
    range: Range<usize>,
    out: &'a mut [f32],
}

impl Values<'_> {
    /// Queries.
    pub(crate) fn n_queries(&self) -> usize {
        self.p.len() / CHUNK
    }

    /// Dimensions.
    pub(crate) fn dv(&self) -> usize {
        self.dv
    }

    /// Positions, below [`CHUNK`].
    pub(crate) fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// Probabilities: a row of [`CHUNK`] for each query.
    pub(crate) fn p(&self) -> *const f32 {
        self.p.as_ptr()
    }

    /// Codes of values, a row of `dv` for each position of the chunk up to the last of [`Self::range`].
    pub(crate) fn codes(&self) -> *const u8 {
        self.v.codes.as_ptr()
    }

    /// Their scales, if the type has them: one for each 32 dimensions.
    pub(crate) fn scales(&self) -> *const u8 {
        self.v.scales.as_ptr()
    }

    /// A row `m, l, o[dv]` for each query.
    pub(crate) fn out(&mut self) -> *mut f32 {
        self.out.as_mut_ptr()
    }

    /// Continues the sums of the dimensions from `d` on, which fill no vector.
    #[inline(always)]
    pub(crate) fn rest<T: Number>(&mut self, d: usize) {
        for (p, out) in self.p.chunks_exact(CHUNK).zip(self.out.chunks_exact_mut(self.dv + 2)) {
            for (d, out) in (d..self.dv).zip(&mut out[2 + d..]) {
                for pos in self.range.clone() {
                    *out = p[pos].mul_add(self.v.get::<T>(pos * self.dv + d), *out);
                }
            }
        }
    }
}

/// As [`crate::scalar::attention::values`]: `weigh` is called with up to `tile` queries that see the same positions, and
/// with single ones for what only they see, positions ascending for each.
pub(crate) fn values<T: Number>(
    p: &[f32],
    v: Numbers<'_>,
    dv: usize,
    seen: &[Range<usize>],
    out: &mut [f32],
    tile: usize,
    weigh: impl Fn(Values<'_>),
) {
    assert_eq!(p.len(), seen.len() * CHUNK, "probabilities of every query");
    assert_eq!(out.len(), seen.len() * (dv + 2), "a row for every query");
    let n_positions = v.n_rows::<T>(dv);
    let inside = seen.iter().all(|seen| seen.end <= n_positions);
    assert!(n_positions <= CHUNK && inside, "positions of the chunk");
    let weigh = |p: &[f32], range: Range<usize>, out: &mut [f32]| {
        if !range.is_empty() {
            weigh(Values { p, v, dv, range, out });
        }
    };
    let queries =
        p.chunks(tile * CHUNK).zip(seen.chunks(tile)).zip(out.chunks_mut(tile * (dv + 2)));
    for ((p, seen), out) in queries {
        let all = common(seen);
        for ((p, seen), out) in p.chunks(CHUNK).zip(seen).zip(out.chunks_mut(dv + 2)) {
            if !seen.is_empty() {
                out[2..].fill(0.0);
            }
            weigh(p, seen.start..seen.end.min(all.start), out);
        }
        weigh(p, all.clone(), out);
        for ((p, seen), out) in p.chunks(CHUNK).zip(seen).zip(out.chunks_mut(dv + 2)) {
            weigh(p, seen.start.max(all.end)..seen.end, out);
        }
    }
}

/// The positions that all queries see; if there are none, an empty range after all positions.
fn common(seen: &[Range<usize>]) -> Range<usize> {
    let start = seen.iter().map(|seen| seen.start).max().unwrap_or(0);
    let end = seen.iter().map(|seen| seen.end).min().unwrap_or(0);
    if start < end && seen.iter().all(|seen| !seen.is_empty()) { start..end } else { CHUNK..CHUNK }
}
