//! Matrix kernels for NEON with dot products, and with I8MM. The operations and their order are those of [`crate::linear`].
#![expect(
    unsafe_code,
    reason = "calls of functions compiled for dot products; the proof is an argument"
)]

use super::dot::{Dot, Sdot, Smmla};
use super::source::{COLUMNS, Packed, Panel, Source, Unpacked};
use super::tile::{self, Acc};
use crate::Neon;
use crate::acts::{Codes, TileActs};
use crate::format::Format;
use crate::team::Target;
use std::ops::Range;

/// The most tokens of a tile.
pub(super) const TILE: usize = 4;

/// Multiplies a group of rows with some tokens in blocks of codes.
pub(crate) fn quant<F: Format>(
    token: Neon,
    group: &[u8],
    acts: &Codes,
    tokens: Range<usize>,
    target: Target<'_>,
) {
    let n_blocks = acts.n_blocks();
    assert_eq!(group.len(), n_blocks * F::BYTES, "a group of the activations' blocks");
    assert_eq!(target.n_groups, 1, "one group at a time");
    assert_eq!(acts.run, if token.i8mm().is_some() { 8 } else { 4 }, "codes in their order");
    assert!(acts.k == F::K && tokens.end <= acts.n_tokens, "activations for these weights");
    assert!(acts.tile == TILE && tokens.start.is_multiple_of(TILE), "tokens begin at a tile");
    assert!(tokens.end == acts.n_tokens || tokens.end.is_multiple_of(TILE), "whole tiles");
    assert!(TileActs::complete::<F>(acts, F::BIAS > 0), "all that the format needs");
    if tokens.is_empty() || n_blocks == 0 {
        return;
    }
    // SAFETY: a `Neon` value proves that the CPU has dot products, as its `I8mm` does for `smmla`; the shapes are checked.
    unsafe {
        match token.i8mm() {
            _ if tokens.len() <= TILE => single::<F>(token, group, acts, tokens, target),
            None => panels::<F, Sdot<4>>(group, acts, tokens, target),
            Some(_) => panels::<F, Smmla>(group, acts, tokens, target),
        }
    }
}

/// A single tile: codes go from memory to registers once, so they are unpacked there. To weave them for less than four
/// tokens takes longer than it saves.
///
/// # Safety
/// As the assertions of [`quant`].
#[target_feature(enable = "neon,dotprod")]
unsafe fn single<F: Format>(
    token: Neon,
    group: &[u8],
    acts: &Codes,
    tokens: Range<usize>,
    mut target: Target<'_>,
) {
    let (w, n_blocks, t) = (group.as_ptr(), acts.n_blocks(), tokens.len());
    let a = TileActs::new::<F>(acts, 0, tokens.start);
    let acc = Acc { at: target.at(0, t, 0), stride: target.stride, fresh: true };
    // SAFETY: the group has as many blocks as the tile, which has `t` tokens, with as many times 16 sums.
    unsafe {
        match (token.i8mm(), t) {
            // (Codes of one token lie as they are.)
            (None, _) | (Some(_), 1) => {
                one_tile::<F, _>(Packed::<Sdot<4>>::new(w), n_blocks, a, t, acc);
            }
            (Some(_), 2) => {
                tile::blocks::<F, _, 2, 2, 4, 0>(Packed::<Sdot<8>>::new(w), n_blocks, a, acc);
            }
            (Some(_), 3) => rows::<F, _, 3, 3>(Packed::<Sdot<8>>::new(w), n_blocks, a, acc),
            (Some(_), _) => rows::<F, _, TILE, TILE>(Packed::<Smmla>::new(w), n_blocks, a, acc),
        }
    }
}

/// Many tokens: some columns are unpacked once and meet all tiles.
///
/// # Safety
/// The CPU has dot products and the instruction of `D`. As the assertions of [`quant`].
#[target_feature(enable = "neon,dotprod")]
unsafe fn panels<F: Format, D: Dot>(
    group: &[u8],
    acts: &Codes,
    tokens: Range<usize>,
    mut target: Target<'_>,
) {
    let mut panel = Panel::<D>::new();
    for block in (0..acts.n_blocks()).step_by(COLUMNS / F::K) {
        let n_blocks = (acts.n_blocks() - block).min(COLUMNS / F::K);
        let from = Packed::new(group.as_ptr().wrapping_add(block * F::BYTES));
        // SAFETY: blocks of the group.
        unsafe { panel.fill::<F>(from, n_blocks) };
        for first in tokens.clone().step_by(TILE) {
            let t = acts.tile_len(first);
            let at = target.at(first - tokens.start, t, 0);
            let acc = Acc { at, stride: target.stride, fresh: block == 0 };
            let a = TileActs::new::<F>(acts, block, first);
            // SAFETY: the tile has `t` tokens, with as many times 16 sums.
            unsafe { one_tile::<F, Unpacked<'_, D>>(Unpacked(&panel), n_blocks, a, t, acc) };
        }
    }
}

/// Begins or continues the sums of a tile of `t` tokens.
///
/// # Safety
/// As [`tile::blocks`].
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn one_tile<F: Format, S: Source<F>>(
    w: S,
    n_blocks: usize,
    a: TileActs,
    t: usize,
    acc: Acc,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match (t, S::Dot::WOVEN) {
            (1, false) => tile::blocks::<F, S, 1, 1, 4, 0>(w, n_blocks, a, acc),
            (1, true) => tile::blocks::<F, S, 1, 2, 4, 0>(w, n_blocks, a, acc),
            (2, _) => tile::blocks::<F, S, 2, 2, 4, 0>(w, n_blocks, a, acc),
            (3, false) => rows::<F, S, 3, 3>(w, n_blocks, a, acc),
            (3, true) => rows::<F, S, 3, TILE>(w, n_blocks, a, acc),
            _ => rows::<F, S, TILE, TILE>(w, n_blocks, a, acc),
        }
    }
}

/// 16 rows at once, or 8 and 8 where there are two sums for each, with and without integer scales: all stay in registers.
///
/// # Safety
/// As [`tile::blocks`].
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn rows<F: Format, S: Source<F>, const N: usize, const T: usize>(
    w: S,
    n_blocks: usize,
    a: TileActs,
    acc: Acc,
) {
    // SAFETY: the caller's promise.
    unsafe {
        if F::HEADER.has_scales() {
            tile::blocks::<F, S, N, T, 2, 0>(w, n_blocks, a, acc);
            tile::blocks::<F, S, N, T, 2, 2>(w, n_blocks, a, acc);
        } else {
            tile::blocks::<F, S, N, T, 4, 0>(w, n_blocks, a, acc);
        }
    }
}
