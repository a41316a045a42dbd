//! f32 rows to blocks of codes, in the layout of the parent module.

use super::{Codes, Pair, TILE};
use crate::{Isa, Team, scalar};
use std::ops::Range;
use std::sync::Mutex;

/// Fewer elements than this are quantized by the caller alone.
const PARALLEL_FROM: usize = 16 * 1024;

/// Rows of activations.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) n_cols: usize,
    pub(crate) n_tokens: usize,
}

impl<'a> Rows<'a> {
    /// Row `token`.
    #[inline(always)]
    pub(crate) fn row(&self, token: usize) -> &'a [f32] {
        &self.x[token * self.n_cols..][..self.n_cols]
    }
}

/// Some blocks of all tokens of a [`Codes`], to be written.
pub(crate) struct Part<'a> {
    pub(crate) k: usize,
    pub(crate) n_tokens: usize,
    pub(crate) blocks: Range<usize>,
    pub(crate) codes: &'a mut [i8],
    pub(crate) wide: &'a mut [Pair],
    pub(crate) lanes: &'a mut [Pair],
    pub(crate) sums16: &'a mut [Pair],
    pub(crate) sums32: &'a mut [Pair],
    pub(crate) d: &'a mut [f32],
    pub(crate) s: &'a mut [f32],
}

/// Where a token's block begins in the arrays of a part.
pub(crate) struct Place {
    /// Blocks before the token's tile: to be multiplied with the length of a block in an array.
    pub(crate) base: usize,
    /// The token in its tile.
    pub(crate) at: usize,
    /// Tokens of the tile.
    pub(crate) t: usize,
}

impl<'a> Part<'a> {
    /// All blocks.
    pub(super) fn whole(to: &'a mut Codes) -> Self {
        Part {
            k: to.k,
            n_tokens: to.n_tokens,
            blocks: 0..to.n_blocks(),
            codes: &mut to.codes,
            wide: &mut to.wide,
            lanes: &mut to.lanes,
            sums16: &mut to.sums16,
            sums32: &mut to.sums32,
            d: &mut to.d,
            s: &mut to.s,
        }
    }

    /// The first `n` blocks and the rest.
    fn split_at(self, n: usize) -> (Self, Self) {
        let total = self.blocks.len().max(1);
        let middle = self.blocks.start + n;
        let (codes, codes2) = cut(self.codes, n, total);
        let (wide, wide2) = cut(self.wide, n, total);
        let (lanes, lanes2) = cut(self.lanes, n, total);
        let (sums16, sums16_2) = cut(self.sums16, n, total);
        let (sums32, sums32_2) = cut(self.sums32, n, total);
        let (d, d2) = cut(self.d, n, total);
        let (s, s2) = cut(self.s, n, total);
        let (k, n_tokens) = (self.k, self.n_tokens);
        let blocks = self.blocks.start..middle;
        (
            Part { k, n_tokens, blocks, codes, wide, lanes, sums16, sums32, d, s },
            Part {
                k,
                n_tokens,
                blocks: middle..self.blocks.end,
                codes: codes2,
                wide: wide2,
                lanes: lanes2,
                sums16: sums16_2,
                sums32: sums32_2,
                d: d2,
                s: s2,
            },
        )
    }

    /// The place of block `block` of the part, of token `token`.
    #[inline(always)]
    pub(crate) fn place(&self, block: usize, token: usize) -> Place {
        let first = token / TILE * TILE;
        let t = super::tile_len(self.n_tokens, first);
        Place { base: block * self.n_tokens + first, at: token - first, t }
    }

    fn fill(&mut self, isa: Isa, rows: Rows<'_>) {
        match isa {
            Isa::Scalar => {
                scalar::quantize::fill(self, rows, scalar::quantize::Q8, scalar::quantize::Q8K)
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(token) => crate::x86_64::quantize::fill(token, self, rows),
        }
    }
}

/// `n / total` of a slice, and the rest.
fn cut<T>(slice: &mut [T], n: usize, total: usize) -> (&mut [T], &mut [T]) {
    let middle = slice.len() / total * n;
    slice.split_at_mut(middle)
}

/// Quantizes all of `part`'s blocks, on all threads if there is enough to do.
pub(super) fn quantize(isa: Isa, team: &Team, rows: Rows<'_>, mut part: Part<'_>) {
    if team.n_threads() == 1 || rows.x.len() < PARALLEL_FROM {
        part.fill(isa, rows);
        return;
    }
    let n_blocks = part.blocks.len();
    let mut parts = Vec::with_capacity(team.n_threads());
    for tid in 0..team.n_threads() {
        let (mine, rest) = part.split_at(team.range_of(tid, n_blocks, 1).len());
        parts.push(Mutex::new(Some(mine)));
        part = rest;
    }
    team.run(&|tid| {
        let mine = parts[tid].lock().ok().and_then(|mut slot| slot.take());
        if let Some(mut mine) = mine {
            mine.fill(isa, rows);
        }
    });
}
