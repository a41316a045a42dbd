//! Matrix kernels for AVX-512. The operations and their order are those of [`crate::linear`].
#![expect(
    unsafe_code,
    reason = "calls of functions compiled for AVX-512; the proof is an argument"
)]

use super::source::{COLUMNS, GROUPS, Packed, Panel, Source, Unpacked};
use super::tile::{self, TileActs};
use crate::Avx512;
use crate::acts::Codes;
use crate::format::Format;
use crate::linear::Sums;
use std::ops::Range;

/// The most tokens of a tile.
const TILE: usize = 6;

/// Multiplies some groups of rows with some tokens in blocks of codes.
pub(crate) fn quant<F: Format>(
    _: Avx512,
    groups: &[u8],
    acts: &Codes,
    tokens: Range<usize>,
    sums: &mut [Sums],
) {
    let n_blocks = acts.n_blocks();
    let n_groups = sums.len() / tokens.len().max(1);
    assert_eq!(groups.len(), n_groups * n_blocks * F::BYTES, "groups of the activations' blocks");
    assert_eq!(sums.len(), tokens.len() * n_groups, "sums for every token");
    assert!(acts.k == F::K && tokens.end <= acts.n_tokens, "activations for these weights");
    assert!(acts.tile == TILE && tokens.start.is_multiple_of(TILE), "tokens begin at a tile");
    assert!(tokens.end == acts.n_tokens || tokens.end.is_multiple_of(TILE), "whole tiles");
    assert!(TileActs::complete::<F>(acts), "all that the format needs");
    if tokens.is_empty() || n_blocks == 0 {
        return;
    }
    let w = Packed { groups: groups.as_ptr(), group_bytes: n_blocks * F::BYTES };
    // SAFETY: an `Avx512` value proves that the CPU has these instructions; the shapes are checked.
    unsafe {
        if n_groups == GROUPS && tokens.len() > TILE {
            panels::<F>(w, acts, tokens, sums);
        } else {
            direct::<F>(w, acts, tokens, sums, n_groups);
        }
    }
}

/// Few tokens: codes go from memory to registers once, so they are unpacked there. (A tile takes them as they are;
/// a second tile finds them in the cache.)
///
/// # Safety
/// As the assertions of [`quant`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn direct<F: Format>(
    w: Packed,
    acts: &Codes,
    tokens: Range<usize>,
    sums: &mut [Sums],
    n_groups: usize,
) {
    for g in 0..n_groups {
        let w = Packed { groups: w.groups.wrapping_add(g * w.group_bytes), ..w };
        let sums = &mut sums[g * tokens.len()..][..tokens.len()];
        for first in tokens.clone().step_by(TILE) {
            let t = acts.tile_len(first);
            let acc = [sums[first - tokens.start..][..t].as_mut_ptr().cast()];
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
unsafe fn panels<F: Format>(w: Packed, acts: &Codes, tokens: Range<usize>, sums: &mut [Sums]) {
    let mut panel = Panel::new();
    let (first_group, second_group) = sums.split_at_mut(tokens.len());
    for block in (0..acts.n_blocks()).step_by(COLUMNS / F::K) {
        let n_blocks = (acts.n_blocks() - block).min(COLUMNS / F::K);
        let from = Packed { groups: w.groups.wrapping_add(block * F::BYTES), ..w };
        // SAFETY: blocks of both groups.
        unsafe { panel.fill::<F>(from, n_blocks) };
        for first in tokens.clone().step_by(TILE) {
            let t = acts.tile_len(first);
            let range = first - tokens.start..first - tokens.start + t;
            let acc = [
                first_group[range.clone()].as_mut_ptr().cast(),
                second_group[range].as_mut_ptr().cast(),
            ];
            let a = TileActs::new::<F>(acts, block, first);
            // SAFETY: the tile has `t` tokens, with as many times 16 sums in each group.
            unsafe { one_tile::<F, Unpacked<'_>, GROUPS>(Unpacked(&panel), n_blocks, a, t, acc) };
        }
    }
}

/// Continues the sums of a tile of `t` tokens.
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
    acc: [*mut f32; G],
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
