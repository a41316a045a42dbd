//! The two products of attention for NEON. The operations and their order are those of [`crate::attention`].
//!
//! Lanes are positions in the first (keys lie in lines of 16 positions) and dimensions in the second. A tile of
//! queries shares the conversion of the cache's F16.
#![expect(unsafe_code, reason = "loads and stores through pointers")]

use super::unpack::{halves, widen};
use crate::Neon;
use crate::attention::CHUNK;
use crate::attention::frame::{self, Values};
use crate::kv_cache::BLOCK;
use std::arch::aarch64::*;
use std::ops::Range;

/// Queries of a register tile.
const TILE: usize = 4;

/// As [`crate::scalar::attention::scores`].
pub(crate) fn scores(_: Neon, q: &[f32], keys: &[u16], dk: usize, at: usize, out: &mut [f32]) {
    frame::check_scores(q, keys, dk, at, out);
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
    frame::values(p, values, dv, seen, out, TILE, |v| {
        // SAFETY: the proof; as many queries.
        unsafe {
            match v.n_queries() {
                1 => weigh::<1, 8>(v),
                2 => weigh::<2, 4>(v),
                3 => weigh::<3, 2>(v),
                _ => weigh::<TILE, 2>(v),
            }
        }
    });
}

/// Continues the sums of `Q` queries, `D` times 8 dimensions at a time.
///
/// # Safety
/// There are `Q` queries.
#[target_feature(enable = "neon")]
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
#[target_feature(enable = "neon")]
unsafe fn vectors<const Q: usize, const D: usize>(values: &mut Values<'_>, d: usize) {
    let (p, range, width) = (values.p(), values.range(), values.dv() + 2);
    let mut acc = [[[vdupq_n_f32(0.0); 2]; D]; Q];
    // SAFETY: rows and dimensions are there.
    unsafe {
        let out = values.out().add(2 + d);
        for (i, acc) in acc.iter_mut().enumerate() {
            for (j, acc) in acc.as_flattened_mut().iter_mut().enumerate() {
                *acc = vld1q_f32(out.add(i * width + 4 * j));
            }
        }
        for pos in range {
            let v = values.v().add(pos * values.dv() + d);
            for j in 0..D {
                let v = widen(vld1q_u16(v.add(8 * j)));
                for (i, acc) in acc.iter_mut().enumerate() {
                    let p = *p.add(i * CHUNK + pos);
                    acc[j][0] = vfmaq_n_f32(acc[j][0], v[0], p);
                    acc[j][1] = vfmaq_n_f32(acc[j][1], v[1], p);
                }
            }
        }
        for (i, acc) in acc.iter().enumerate() {
            for (j, acc) in acc.as_flattened().iter().enumerate() {
                vst1q_f32(out.add(i * width + 4 * j), *acc);
            }
        }
    }
}
