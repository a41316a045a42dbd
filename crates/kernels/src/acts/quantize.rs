//! f32 rows to blocks of codes, in the layout of the parent module.

use super::{ActForm, Codes, Floats, Pair};
use crate::norm::dispatch;
use crate::{Isa, math, scalar};
use std::ops::Range;

/// Rows of activations.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) n_cols: usize,
    /// The token of the first row.
    pub(crate) first: usize,
}

impl<'a> Rows<'a> {
    /// Tokens.
    #[inline(always)]
    pub(crate) fn tokens(&self) -> Range<usize> {
        self.first..self.first + self.x.len() / self.n_cols
    }

    /// The row of `token`.
    #[inline(always)]
    pub(crate) fn row(&self, token: usize) -> &'a [f32] {
        &self.x[(token - self.first) * self.n_cols..][..self.n_cols]
    }

    /// The rows of some tokens.
    pub(crate) fn of(&self, tokens: Range<usize>) -> Self {
        let rows =
            (tokens.start - self.first) * self.n_cols..(tokens.end - self.first) * self.n_cols;
        Self { x: &self.x[rows], first: tokens.start, ..*self }
    }
}

/// Whole tiles of a [`Codes`], to be written.
pub(crate) struct Part<'a> {
    pub(crate) k: usize,
    /// Tokens of a tile.
    pub(crate) tile: usize,
    /// See [`Codes`].
    pub(crate) run: usize,
    pub(crate) n_blocks: usize,
    pub(crate) tokens: Range<usize>,
    pub(crate) codes: &'a mut [i8],
    pub(crate) wide: &'a mut [Pair],
    pub(crate) lanes: &'a mut [Pair],
    pub(crate) minus: &'a mut [i32],
    pub(crate) sums16: &'a mut [Pair],
    pub(crate) sums32: &'a mut [Pair],
    pub(crate) d: &'a mut [f32],
    pub(crate) s: &'a mut [f32],
}

/// Where a token's block begins in the arrays of a part.
pub(crate) struct Place {
    /// Blocks before the token's tile's: to be multiplied with the length of a block in an array.
    pub(crate) base: usize,
    /// The token in its tile.
    pub(crate) at: usize,
    /// Tokens of the tile.
    pub(crate) t: usize,
}

impl<'a> Part<'a> {
    /// All tokens.
    #[inline(always)]
    pub(super) fn whole(to: &'a mut Codes) -> Self {
        Part {
            k: to.k,
            tile: to.tile,
            run: to.run,
            n_blocks: to.n_blocks(),
            tokens: 0..to.n_tokens,
            codes: &mut to.codes,
            wide: &mut to.wide,
            lanes: &mut to.lanes,
            minus: &mut to.minus,
            sums16: &mut to.sums16,
            sums32: &mut to.sums32,
            d: &mut to.d,
            s: &mut to.s,
        }
    }

    /// The first `n` tokens, whole tiles, and the rest.
    pub(super) fn split_at(self, n: usize) -> (Self, Self) {
        let total = self.tokens.len().max(1);
        let middle = self.tokens.start + n;
        let (codes, codes2) = cut(self.codes, n, total);
        let (wide, wide2) = cut(self.wide, n, total);
        let (lanes, lanes2) = cut(self.lanes, n, total);
        let (minus, minus2) = cut(self.minus, n, total);
        let (sums16, sums16_2) = cut(self.sums16, n, total);
        let (sums32, sums32_2) = cut(self.sums32, n, total);
        let (d, d2) = cut(self.d, n, total);
        let (s, s2) = cut(self.s, n, total);
        let (k, tile, run, n_blocks) = (self.k, self.tile, self.run, self.n_blocks);
        let tokens = self.tokens.start..middle;
        (
            Part {
                k,
                tile,
                run,
                n_blocks,
                tokens,
                codes,
                wide,
                lanes,
                minus,
                sums16,
                sums32,
                d,
                s,
            },
            Part {
                k,
                tile,
                run,
                n_blocks,
                tokens: middle..self.tokens.end,
                codes: codes2,
                wide: wide2,
                lanes: lanes2,
                minus: minus2,
                sums16: sums16_2,
                sums32: sums32_2,
                d: d2,
                s: s2,
            },
        )
    }

    /// The place of the first block of token `token`, which is one of the part's. The next one is `t` further on.
    #[inline(always)]
    pub(crate) fn place(&self, token: usize) -> Place {
        let first = token / self.tile * self.tile;
        let t = self.tile.min(self.tokens.end - first);
        let base = (first - self.tokens.start) * self.n_blocks;
        Place { base, at: token - first, t }
    }

    /// Quantizes the blocks of some of its tokens.
    pub(super) fn fill(&mut self, isa: Isa, rows: Rows<'_>) {
        match isa {
            Isa::Scalar => {
                scalar::quantize::fill(self, rows, scalar::quantize::Q8, scalar::quantize::Q8K)
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(token) => crate::x86_64::quantize::fill(token, self, rows),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(token) => crate::x86_64::avx512::quantize::fill(token, self, rows),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(token) => crate::aarch64::quantize::fill(token, self, rows),
        }
    }
}

/// `n / total` of a slice, and the rest.
fn cut<T>(slice: &mut [T], n: usize, total: usize) -> (&mut [T], &mut [T]) {
    let middle = slice.len() / total * n;
    slice.split_at_mut(middle)
}

/// Whole tiles of a [`Floats`], to be written.
pub(super) struct FloatPart<'a> {
    form: ActForm,
    /// Tokens of a tile.
    tile: usize,
    /// Columns, padded.
    n_cols: usize,
    tokens: Range<usize>,
    values: &'a mut [f32],
    pairs: &'a mut [u32],
}

impl<'a> FloatPart<'a> {
    /// All tokens.
    #[inline(always)]
    pub(super) fn whole(to: &'a mut Floats, form: ActForm) -> Self {
        FloatPart {
            form,
            tile: to.tile,
            n_cols: to.n_cols,
            tokens: 0..to.n_tokens,
            values: &mut to.values,
            pairs: &mut to.pairs,
        }
    }

    /// The first `n` tokens, whole tiles, and the rest.
    pub(super) fn split_at(self, n: usize) -> (Self, Self) {
        let total = self.tokens.len().max(1);
        let middle = self.tokens.start + n;
        let (values, values2) = cut(self.values, n, total);
        let (pairs, pairs2) = cut(self.pairs, n, total);
        let (form, tile, n_cols) = (self.form, self.tile, self.n_cols);
        let tokens = self.tokens.start..middle;
        (
            FloatPart { form, tile, n_cols, tokens, values, pairs },
            FloatPart {
                tokens: middle..self.tokens.end,
                values: values2,
                pairs: pairs2,
                form,
                tile,
                n_cols,
            },
        )
    }

    /// Rounds some of its tokens, whole tiles.
    pub(super) fn fill(&mut self, isa: Isa, rows: Rows<'_>) {
        let tokens = rows.tokens();
        for first in tokens.clone().step_by(self.tile) {
            let rows = rows.of(first..tokens.end.min(first + self.tile));
            let (t, at) = (rows.tokens().len(), (first - self.tokens.start) * self.n_cols);
            if self.pairs.is_empty() {
                round(isa, self.form, rows, self.n_cols, &mut self.values[at..][..t * self.n_cols]);
            } else {
                pair(isa, rows, &mut self.pairs[at / 2..][..t * self.n_cols / 2]);
            }
        }
    }
}

/// Columns of a row that are converted together where those of several tokens lie side by side.
const TOGETHER: usize = 64;

/// Converts a tile of rows by a function of some columns, into `[converted][t]`. It makes one number of `PER` columns; the last
/// of a row may have fewer.
fn spread<T: Copy + Default, const PER: usize>(
    rows: Rows<'_>,
    out: &mut [T],
    convert: impl Fn(&[f32], &mut [T]),
) {
    let t = rows.tokens().len();
    if t == 1 {
        return convert(rows.x, out);
    }
    for (j, token) in rows.tokens().enumerate() {
        let mut to = out[j..].iter_mut().step_by(t);
        for x in rows.row(token).chunks(TOGETHER) {
            let mut converted = [T::default(); TOGETHER];
            let converted = &mut converted[..x.len().div_ceil(PER)];
            convert(x, converted);
            converted.iter().zip(to.by_ref()).for_each(|(x, to)| *to = *x);
        }
    }
}

/// Pairs of BF16 of a tile of rows, into `[n_cols / 2][t]`.
fn pair(isa: Isa, rows: Rows<'_>, out: &mut [u32]) {
    spread::<_, 2>(rows, out, |x, pairs| dispatch!(isa, pair_bf16(x, pairs)));
}

/// Rounds a tile of rows to the numbers of `form`, into `[n_cols][t]`, columns in the order of their multiplication.
fn round(isa: Isa, form: ActForm, rows: Rows<'_>, n_cols: usize, out: &mut [f32]) {
    match form {
        ActForm::F16 => spread::<_, 1>(rows, out, |x, to| dispatch!(isa, round_f16(x, to))),
        ActForm::BF16 => {
            let t = rows.tokens().len();
            for (j, token) in rows.tokens().enumerate() {
                // Pair by pair, the second column first: see `crate::linear`.
                let row = rows.row(token);
                let column = |i: usize| row.get(i ^ 1).copied().unwrap_or(0.0);
                out[j..].iter_mut().step_by(t).zip(0..n_cols).for_each(|(to, i)| {
                    *to = math::flush(dequant::bf16_to_f32(dequant::f32_to_bf16(column(i))));
                });
            }
        }
        _ => spread::<_, 1>(rows, out, |x, to| to.copy_from_slice(x)),
    }
}
