//! Matrix kernels for AVX-512. The operations and their order are those of [`crate::linear`].
#![expect(
    unsafe_code,
    reason = "calls of functions compiled for AVX-512; the proof is an argument"
)]

use super::source::{COLUMNS, GROUPS, Packed, Panel, Source, Unpacked};
use super::tile::{self, Acc};
use crate::Avx512;
use crate::acts::{Codes, TileActs};
use crate::format::Format;
use crate::team::Target;
use std::ops::Range;

/// The most tokens of a tile.
const TILE: usize = 6;

/// For more tokens than this, weights are unpacked once for all of them. (Unpacking in registers costs little beside six
/// tokens' products. What pays is that a panel has two groups: twice as many chains of products that do not wait for each
/// other, which CPUs with two `vpdpbusd` a clock need.)
const PANEL_FROM: usize = 20 * TILE;

/// Whether a sum is complete when it is first stored, so that it can be added to what is there.
pub(crate) fn adds(n_tokens: usize, n_cols: usize) -> bool {
    n_tokens <= PANEL_FROM || n_cols <= COLUMNS
}

/// Multiplies some groups of rows with some tokens in blocks of codes.
pub(crate) fn quant<F: Format>(
    _: Avx512,
    groups: &[u8],
    acts: &Codes,
    tokens: Range<usize>,
    target: Target<'_>,
) {
    let (n_blocks, n_groups) = (acts.n_blocks(), target.n_groups);
    assert_eq!(groups.len(), n_groups * n_blocks * F::BYTES, "groups of the activations' blocks");
    assert!(acts.k == F::K && tokens.end <= acts.n_tokens, "activations for these weights");
    assert!(acts.tile == TILE && tokens.start.is_multiple_of(TILE), "tokens begin at a tile");
    assert!(tokens.end == acts.n_tokens || tokens.end.is_multiple_of(TILE), "whole tiles");
    assert!(TileActs::complete::<F>(acts, tile::bias::<F>() > 0), "all that the format needs");
    assert!(!target.add || adds(tokens.len(), n_blocks * F::K), "sums in one go");
    if tokens.is_empty() || n_blocks == 0 {
        return;
    }
    let w = Packed { groups: groups.as_ptr(), group_bytes: n_blocks * F::BYTES };
    // SAFETY: an `Avx512` value proves that the CPU has these instructions; the shapes are checked.
    unsafe {
        if n_groups == GROUPS && tokens.len() > PANEL_FROM {
            panels::<F>(w, acts, tokens, target);
        } else {
            direct::<F>(w, acts, tokens, target);
        }
    }
}

/// Codes are unpacked in registers, tile by tile.
///
/// # Safety
/// As the assertions of [`quant`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn direct<F: Format>(w: Packed, acts: &Codes, tokens: Range<usize>, mut target: Target<'_>) {
    for g in 0..target.n_groups {
        let w = Packed { groups: w.groups.wrapping_add(g * w.group_bytes), ..w };
        for first in tokens.clone().step_by(TILE) {
            let t = acts.tile_len(first);
            let at = [target.at(first - tokens.start, t, g)];
            let acc = Acc { at, stride: target.stride, fresh: true, add: target.add };
            let a = TileActs::new::<F>(acts, 0, first);
            // SAFETY: the tile has `t` tokens, with as many times 16 sums.
            unsafe { one_tile::<F, Packed, 1>(w, acts.n_blocks(), a, t, acc) };
        }
    }
}

/// Many tokens: some columns of two groups are unpacked once and meet all tiles.
///
/// # Safety
/// As the assertions of [`quant`]; there are two groups.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn panels<F: Format>(w: Packed, acts: &Codes, tokens: Range<usize>, mut target: Target<'_>) {
    let mut panel = Panel::new();
    for block in (0..acts.n_blocks()).step_by(COLUMNS / F::K) {
        let n_blocks = (acts.n_blocks() - block).min(COLUMNS / F::K);
        let from = Packed { groups: w.groups.wrapping_add(block * F::BYTES), ..w };
        // SAFETY: blocks of both groups.
        unsafe { panel.fill::<F>(from, n_blocks) };
        for first in tokens.clone().step_by(TILE) {
            let t = acts.tile_len(first);
            let row = first - tokens.start;
            let at = [target.at(row, t, 0), target.at(row, t, 1)];
            let acc = Acc { at, stride: target.stride, fresh: block == 0, add: target.add };
            let a = TileActs::new::<F>(acts, block, first);
            // SAFETY: the tile has `t` tokens, with as many times 16 sums in each group.
            unsafe { one_tile::<F, Unpacked<'_>, GROUPS>(Unpacked(&panel), n_blocks, a, t, acc) };
        }
    }
}

/// Begins or continues the sums of a tile of `t` tokens.
///
/// # Safety
/// As [`tile::blocks`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn one_tile<F: Format, S: Source<F>, const G: usize>(
    w: S,
    n_blocks: usize,
    a: TileActs,
    t: usize,
    acc: Acc<G>,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match t {
            1 => tile::blocks::<F, S, 1, G>(w, n_blocks, a, acc),
            2 => tile::blocks::<F, S, 2, G>(w, n_blocks, a, acc),
            3 => tile::blocks::<F, S, 3, G>(w, n_blocks, a, acc),
            4 => tile::blocks::<F, S, 4, G>(w, n_blocks, a, acc),
            5 => tile::blocks::<F, S, 5, G>(w, n_blocks, a, acc),
            _ => tile::blocks::<F, S, TILE, G>(w, n_blocks, a, acc),
        }
    }
}
