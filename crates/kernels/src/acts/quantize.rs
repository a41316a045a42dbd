//! f32 rows to blocks of codes, in the layout of the parent module.

use super::{Codes, Pair, TILE};
use crate::{Isa, Team};
use dequant::{BlockQ8_1, BlockQ8_K, Quantize};
use std::ops::Range;
use std::sync::Mutex;

/// Fewer elements than this are quantized by the caller alone.
const PARALLEL_FROM: usize = 16 * 1024;

/// Rows of activations.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) x: &'a [f32],
    pub(super) n_cols: usize,
    pub(super) n_tokens: usize,
}

impl<'a> Rows<'a> {
    /// Row `token`.
    pub(super) fn row(&self, token: usize) -> &'a [f32] {
        &self.x[token * self.n_cols..][..self.n_cols]
    }
}

/// Some blocks of all tokens of a [`Codes`], to be written.
pub(super) struct Part<'a> {
    k: usize,
    n_tokens: usize,
    blocks: Range<usize>,
    codes: &'a mut [i8],
    wide: &'a mut [Pair],
    lanes: &'a mut [Pair],
    sums16: &'a mut [Pair],
    sums32: &'a mut [Pair],
    d: &'a mut [f32],
    s: &'a mut [f32],
}

/// One token's block quantized, in column order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quantized {
    /// The first 32 or all 256.
    pub(crate) codes: [i8; 256],
    pub(crate) d: f32,
    /// Blocks of 32 only.
    pub(crate) s: f32,
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

    /// Stores a block: number `block` of the part, of token `token`.
    fn store(&mut self, block: usize, token: usize, q: &Quantized) {
        let first = token / TILE * TILE;
        let t = super::tile_len(self.n_tokens, first);
        let base = block * self.n_tokens + first;
        let at = token - first;
        let codes = &q.codes[..self.k];
        scatter(&mut self.codes[base * self.k..], 4 * at, 4 * t, codes.as_chunks::<4>().0);
        if !self.wide.is_empty() {
            let pairs = codes.as_chunks::<2>().0.iter().map(|pair| pair.map(i16::from));
            put(&mut self.wide[base * self.k / 2..], at, t, pairs);
        }
        let groups = if self.k == 256 { 16 } else { 1 };
        let lanes = codes.chunks_exact(self.k / groups).map(lane_sums);
        put(&mut self.lanes[base * groups..], at, t, lanes);
        if self.k == 256 {
            let sums =
                |n: usize| codes.chunks_exact(2 * n).map(move |c| [sum(&c[..n]), sum(&c[n..])]);
            put(&mut self.sums16[base * 8..], at, t, sums(16));
            put(&mut self.sums32[base * 4..], at, t, sums(32));
        } else {
            self.s[block * self.n_tokens + token] = q.s;
        }
        self.d[block * self.n_tokens + token] = q.d;
    }

    fn fill(&mut self, isa: Isa, rows: Rows<'_>) {
        for (i, block) in self.blocks.clone().enumerate() {
            for token in 0..self.n_tokens {
                let x = &rows.row(token)[block * self.k..][..self.k];
                self.store(i, token, &quantize_block(isa, x));
            }
        }
    }
}

/// `n / total` of a slice, and the rest.
fn cut<T>(slice: &mut [T], n: usize, total: usize) -> (&mut [T], &mut [T]) {
    let middle = slice.len() / total * n;
    slice.split_at_mut(middle)
}

/// Writes elements `step` apart, beginning at `at`.
fn put<T>(to: &mut [T], at: usize, step: usize, from: impl Iterator<Item = T>) {
    for (to, from) in to[at..].iter_mut().step_by(step).zip(from) {
        *to = from;
    }
}

/// Writes quads `step` bytes apart, beginning at `at`.
fn scatter(to: &mut [i8], at: usize, step: usize, from: &[[i8; 4]]) {
    for (to, from) in to[at..].chunks_mut(step).zip(from) {
        to[..4].copy_from_slice(from);
    }
}

fn sum(codes: &[i8]) -> i16 {
    codes.iter().map(|&q| i16::from(q)).sum()
}

/// Sums over the columns 0, 1 and 2, 3 modulo 4.
fn lane_sums(codes: &[i8]) -> Pair {
    let quads = codes.as_chunks::<4>().0;
    quads.iter().fold([0; 2], |[a, b], &[w, x, y, z]| {
        [a + i16::from(w) + i16::from(x), b + i16::from(y) + i16::from(z)]
    })
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

/// Quantizes 32 or 256 activations.
///
/// A NaN makes the block's scale NaN, so that it reaches the outputs. (ggml's code for a NaN is 0: it would vanish.)
fn quantize_block(isa: Isa, x: &[f32]) -> Quantized {
    let _ = isa;
    if x.iter().any(|x| x.is_nan()) {
        return Quantized { codes: [0; 256], d: f32::NAN, s: f32::NAN };
    }
    let mut codes = [0; 256];
    if x.len() == 32 {
        let q8_1 = BlockQ8_1::quantize(x);
        codes[..32].copy_from_slice(&q8_1.qs);
        Quantized { codes, d: q8_1.scale(), s: q8_1.scaled_sum() }
    } else {
        let q8k = BlockQ8_K::quantize(x);
        Quantized { codes: q8k.codes(), d: q8k.scale(), s: 0.0 }
    }
}
