//! Activations, quantized once for all the matrices that read them.
//!
//! # Layout
//! Tokens are taken in tiles, as many as the instruction set computes together; the last tile may have fewer. A tile
//! is one sequential stream, block by block, with the tile's `t` tokens innermost:
//!
//! ```text
//! codes    [tile][block][quad][t][4]    i8: one 32-bit load repeated in all lanes meets a quad line of weights
//!       or [tile][block][8 cols][t][8]  i8: two tokens meet two rows (see [`Isa::run`])
//! wide     [tile][block][pair][t][2]    the same codes as i16, for weights that need 16-bit products
//! lanes    [tile][block][group][t][2]   i16: minus the sums over a group's columns 0, 1 and 2, 3 (modulo 4)
//! minus    [tile][block][group][t]      i32: minus the sum over a group's columns
//! sums16   [tile][block][8][t][2]       i16: sums over 16 columns; sums32 [tile][block][4][t][2] over 32
//! d, s     [tile][block][t]             f32
//! floats   [tile][column][t]            f32
//! pairs    [tile][pair][t][2]           bf16
//! ```
//!
//! A product with a bias, `sum (q - b) a`, is `sum q a - b sum a`: that is what `lanes` is for, where sums of
//! 16-bit products begin, and `minus`, where 32-bit ones do. Minimums use `s` or the sums.

mod forms;
mod quantize;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod tile;

pub use forms::{ActForm, ActForms};

use crate::linear::GatedScratch;
use crate::team::{Cells, Field, FieldPart};
use crate::{Isa, RowNorm, Team};
use quantize::FloatPart;
pub(crate) use quantize::{Part, Place, Rows};
use std::sync::Mutex;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) use tile::TileActs;

/// Two i16 that meet two columns of weights.
pub(crate) type Pair = [i16; 2];

/// Groups of columns of a block of `k` with a sum of their own in `lanes` and `minus`.
pub(crate) const fn groups(k: usize) -> usize {
    if k == 256 { 16 } else { 1 }
}

/// Rows in blocks of integer codes.
#[derive(Debug, Default)]
pub(crate) struct Codes {
    /// Columns of a block.
    pub(crate) k: usize,
    pub(crate) n_tokens: usize,
    /// Tokens of a tile.
    pub(crate) tile: usize,
    /// Consecutive codes of a token in its tile: 4 or 8.
    pub(crate) run: usize,
    pub(crate) codes: Vec<i8>,
    /// Empty unless asked for.
    pub(crate) wide: Vec<Pair>,
    pub(crate) lanes: Vec<Pair>,
    /// Empty unless the instruction set reads it.
    pub(crate) minus: Vec<i32>,
    /// Blocks of 256 only.
    pub(crate) sums16: Vec<Pair>,
    /// Blocks of 256 only.
    pub(crate) sums32: Vec<Pair>,
    /// Scales.
    pub(crate) d: Vec<f32>,
    /// Scale times sum of codes, rounded to F16 (blocks of 32 only).
    pub(crate) s: Vec<f32>,
}

/// Rows of floating-point numbers.
#[derive(Debug, Default)]
pub(crate) struct Floats {
    pub(crate) n_tokens: usize,
    /// Columns, padded to whole units of the format.
    pub(crate) n_cols: usize,
    /// Tokens of a tile.
    pub(crate) tile: usize,
    /// The columns in the order in which they are multiplied.
    pub(crate) values: Vec<f32>,
    /// Pairs of BF16, instead of `values` where the instruction set multiplies these.
    pub(crate) pairs: Vec<u32>,
}

/// The rows `[n_tokens, n_cols]` that matrices are multiplied with, in the forms these need. Keeps its memory
/// from one use to the next.
#[derive(Debug, Default)]
pub struct Acts {
    n_tokens: usize,
    n_cols: usize,
    forms: ActForms,
    q8: Codes,
    q8k: Codes,
    f16: Floats,
    bf16: Floats,
    f32: Floats,
    /// Normalized rows, a tile for each thread.
    scratch: Vec<f32>,
    /// For each thread.
    gated: Vec<GatedScratch>,
}

/// Fewer elements than this are prepared by the caller alone.
const PARALLEL_FROM: usize = 16 * 1024;

/// Whole tiles in all the forms of an [`Acts`], to be written.
struct Parts<'a> {
    /// Of 32 and of 256.
    codes: [Option<Part<'a>>; 2],
    floats: [Option<FloatPart<'a>>; 3],
}

impl<'a> Parts<'a> {
    #[inline(always)]
    fn whole(acts: &'a mut Acts) -> Self {
        let Acts { forms, q8, q8k, f16, bf16, f32, .. } = acts;
        let has = |form| forms.contains(form);
        let codes = [
            (has(ActForm::Q8_0) || has(ActForm::Q8_0Wide)).then(|| Part::whole(q8)),
            has(ActForm::Q8_K).then(|| Part::whole(q8k)),
        ];
        let floats = [(ActForm::F16, f16), (ActForm::BF16, bf16), (ActForm::F32, f32)];
        Self {
            codes,
            floats: floats.map(|(form, to)| has(form).then(|| FloatPart::whole(to, form))),
        }
    }

    /// The first `n` tokens, whole tiles, and the rest.
    fn split_at(self, n: usize) -> (Self, Self) {
        let [a, b] = self.codes.map(|part| part.map(|part| part.split_at(n)).unzip());
        let [c, d, e] = self.floats.map(|part| part.map(|part| part.split_at(n)).unzip());
        (
            Self { codes: [a.0, b.0], floats: [c.0, d.0, e.0] },
            Self { codes: [a.1, b.1], floats: [c.1, d.1, e.1] },
        )
    }

    /// Brings rows into all forms, tile by tile if they are normalized on the way, in a `buffer` for a tile.
    fn fill(&mut self, isa: Isa, norm: Option<&RowNorm<'_>>, rows: Rows<'_>, buffer: &mut [f32]) {
        let Some(norm) = norm else { return self.fill_from(isa, rows) };
        let tokens = rows.tokens();
        for first in tokens.clone().step_by(isa.tile()) {
            let rows = rows.of(first..tokens.end.min(first + isa.tile()));
            let normed = &mut buffer[..rows.x.len()];
            norm.rows(isa, rows.x, first, normed);
            self.fill_from(isa, Rows { x: normed, ..rows });
        }
    }

    fn fill_from(&mut self, isa: Isa, rows: Rows<'_>) {
        self.codes.iter_mut().flatten().for_each(|part| part.fill(isa, rows));
        self.floats.iter_mut().flatten().for_each(|part| part.fill(isa, rows));
    }
}

impl Acts {
    /// An empty workspace.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Brings `x`, `[n_tokens, n_cols]`, into every form of `forms`; the forms of before are gone. Codes and scales
    /// are bit-identical to those of `dequant::quantize_q8_0`, `quantize_q8_1` and `quantize_q8_k`.
    /// # Panics
    /// If `x` is no whole number of rows, or a form needs whole blocks and `n_cols` is none.
    pub fn prepare(&mut self, isa: Isa, team: &Team, forms: ActForms, x: &[f32], n_cols: usize) {
        self.bring(isa, team, forms, None, x, n_cols);
    }

    /// The same of normalized rows: a tile of them is normalized, then brought into the forms.
    /// # Panics
    /// As [`Self::prepare`], and if the norm is none of rows of `n_cols`.
    pub fn prepare_normed(
        &mut self,
        isa: Isa,
        team: &Team,
        forms: ActForms,
        norm: &RowNorm<'_>,
        x: &[f32],
    ) {
        let n_cols = norm.n_cols();
        self.bring(isa, team, forms, Some(norm), x, n_cols);
    }

    fn bring(
        &mut self,
        isa: Isa,
        team: &Team,
        forms: ActForms,
        norm: Option<&RowNorm<'_>>,
        x: &[f32],
        n_cols: usize,
    ) {
        let n_tokens = x.len().checked_div(n_cols).unwrap_or(0);
        assert_eq!(n_tokens * n_cols, x.len(), "activations are whole rows of {n_cols}");
        self.reshape(isa, forms, n_tokens, n_cols);
        if n_tokens == 0 {
            return;
        }
        let (rows, tile) = (Rows { x, n_cols, first: 0 }, isa.tile());
        let n_threads = if x.len() < PARALLEL_FROM { 1 } else { team.n_threads() };
        let normed = if norm.is_some() { tile * n_cols } else { 0 };
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.resize(scratch.len().max(n_threads * normed), 0.0);
        let mut parts = Parts::whole(self);
        if n_threads == 1 {
            parts.fill(isa, norm, rows, &mut scratch[..normed]);
        } else {
            let mut shares = Vec::with_capacity(n_threads);
            let mut rest = &mut scratch[..];
            for tid in 0..n_threads {
                let (mine, others) = parts.split_at(team.range_of(tid, n_tokens, tile).len());
                let (buffer, behind) = rest.split_at_mut(normed);
                shares.push(Mutex::new(Some((mine, buffer))));
                (parts, rest) = (others, behind);
            }
            team.run(&|tid| {
                let share = shares[tid].lock().ok().and_then(|mut slot| slot.take());
                if let Some((mut part, buffer)) = share {
                    part.fill(isa, norm, rows.of(team.range_of(tid, n_tokens, tile)), buffer);
                }
            });
        }
        self.scratch = scratch;
    }

    /// As [`Self::prepare`], by the calling thread alone.
    pub(crate) fn prepare_alone(&mut self, isa: Isa, forms: ActForms, x: &[f32], n_cols: usize) {
        let rows = Rows { x, n_cols, first: 0 };
        self.reshape(isa, forms, rows.tokens().len(), n_cols);
        Parts::whole(self).fill_from(isa, rows);
    }

    /// Makes room for `n_tokens` rows in some forms.
    fn reshape(&mut self, isa: Isa, forms: ActForms, n_tokens: usize, n_cols: usize) {
        (self.n_tokens, self.n_cols, self.forms) = (n_tokens, n_cols, forms);
        let wide = forms.contains(ActForm::Q8_0Wide);
        if forms.contains(ActForm::Q8_0) || wide {
            self.q8.reshape(isa, n_tokens, n_cols, 32, wide && !isa.starts_with_minus());
        }
        if forms.contains(ActForm::Q8_K) {
            self.q8k.reshape(isa, n_tokens, n_cols, 256, false);
        }
        for (form, floats) in [
            (ActForm::F16, &mut self.f16),
            (ActForm::BF16, &mut self.bf16),
            (ActForm::F32, &mut self.f32),
        ] {
            if forms.contains(form) {
                floats.reshape(isa, n_tokens, n_cols, form);
            }
        }
    }

    /// Rows prepared.
    #[must_use]
    pub fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    /// Elements of a row.
    #[must_use]
    pub fn n_cols(&self) -> usize {
        self.n_cols
    }

    /// Memory of [`crate::gated`].
    pub(crate) fn gated_scratch(&mut self) -> &mut Vec<GatedScratch> {
        &mut self.gated
    }

    /// Whether `form` has been prepared.
    pub(crate) fn has(&self, form: ActForm) -> bool {
        self.forms.contains(form)
    }

    /// The codes in blocks of `k`.
    pub(crate) fn codes(&self, k: usize) -> &Codes {
        if k == self.q8k.k { &self.q8k } else { &self.q8 }
    }

    /// Makes room for rows in some forms, to be written part by part with [`Self::put_into`].
    pub(crate) fn field(
        &mut self,
        isa: Isa,
        forms: ActForms,
        n_tokens: usize,
        n_cols: usize,
    ) -> Field<'_> {
        self.reshape(isa, forms, n_tokens, n_cols);
        let Self { q8, q8k, f16, bf16, f32, .. } = self;
        // All that there can be: `cells` of two kinds of codes and three of numbers.
        let mut arrays = Vec::with_capacity(2 * 8 + 3 * 2);
        if forms.contains(ActForm::Q8_0) || forms.contains(ActForm::Q8_0Wide) {
            q8.cells(&mut arrays);
        }
        if forms.contains(ActForm::Q8_K) {
            q8k.cells(&mut arrays);
        }
        for (form, floats) in [(ActForm::F16, f16), (ActForm::BF16, bf16), (ActForm::F32, f32)] {
            if forms.contains(form) {
                floats.cells(&mut arrays);
            }
        }
        Field { arrays, n_tokens, n_cols, tile: isa.tile() }
    }

    /// Writes all that is prepared here, some tokens and columns, to where they belong in the field of another.
    pub(crate) fn put_into(&self, part: &mut FieldPart<'_>) {
        let Self { forms, q8, q8k, f16, bf16, f32, .. } = self;
        let mut array = 0;
        if forms.contains(ActForm::Q8_0) || forms.contains(ActForm::Q8_0Wide) {
            q8.put_into(part, &mut array);
        }
        if forms.contains(ActForm::Q8_K) {
            q8k.put_into(part, &mut array);
        }
        for (form, floats) in [(ActForm::F16, f16), (ActForm::BF16, bf16), (ActForm::F32, f32)] {
            if forms.contains(form) {
                floats.put_into(part, &mut array);
            }
        }
    }

    /// Whether both hold the same bits, for tests.
    #[cfg(test)]
    pub(crate) fn same_forms(&self, other: &Self) -> bool {
        let show = |acts: &Self| {
            let Self { n_tokens, n_cols, forms, q8, q8k, f16, bf16, f32, .. } = acts;
            format!("{n_tokens} {n_cols} {forms:?} {q8:?} {q8k:?} {f16:?} {bf16:?} {f32:?}")
        };
        show(self) == show(other)
    }

    /// The numbers of a floating-point form.
    pub(crate) fn floats(&self, form: ActForm) -> &Floats {
        match form {
            ActForm::F16 => &self.f16,
            ActForm::BF16 => &self.bf16,
            _ => &self.f32,
        }
    }
}

impl Codes {
    /// Blocks of a row.
    pub(crate) fn n_blocks(&self) -> usize {
        self.d.len().checked_div(self.n_tokens).unwrap_or(0)
    }

    /// Groups of columns whose sums are in `lanes`: per 16 in a block of 256, the whole of a block of 32.
    pub(crate) fn groups(&self) -> usize {
        groups(self.k)
    }

    /// Tokens in the tile that begins at `first`.
    pub(crate) fn tile_len(&self, first: usize) -> usize {
        self.tile.min(self.n_tokens - first)
    }

    /// Blocks before block `block` of the tile that begins at `first`: to be multiplied with the length of a block in
    /// an array.
    pub(crate) fn base(&self, block: usize, first: usize) -> usize {
        first * self.n_blocks() + block * self.tile_len(first)
    }

    /// Where `token`'s `block` is in `d` and `s`.
    pub(crate) fn index(&self, block: usize, token: usize) -> usize {
        let first = token / self.tile * self.tile;
        self.base(block, first) + token - first
    }

    /// The codes of `token`'s `block`, in order, into the first `k` of `out`. For scalar code and tests.
    pub(crate) fn block_codes(&self, block: usize, token: usize, out: &mut [i8; 256]) {
        let first = token / self.tile * self.tile;
        let t = self.tile_len(first);
        let tile = &self.codes[self.base(block, first) * self.k..][..t * self.k];
        let runs = tile.chunks_exact(self.run).skip(token - first).step_by(t);
        for (to, run) in out.chunks_exact_mut(self.run).zip(runs) {
            to.copy_from_slice(run);
        }
    }

    fn reshape(&mut self, isa: Isa, n_tokens: usize, n_cols: usize, k: usize, wide: bool) {
        assert!(n_cols.is_multiple_of(k), "{n_cols} columns are no whole number of blocks of {k}");
        let n_blocks = n_cols / k * n_tokens;
        (self.k, self.n_tokens, self.tile, self.run) = (k, n_tokens, isa.tile(), isa.run());
        let long = k == 256;
        self.codes.resize(n_blocks * k, 0);
        self.wide.resize(if wide { n_blocks * k / 2 } else { 0 }, [0; 2]);
        let minus = isa.starts_with_minus();
        self.lanes.resize(if minus { 0 } else { n_blocks * self.groups() }, [0; 2]);
        self.minus.resize(if minus { n_blocks * self.groups() } else { 0 }, 0);
        self.sums16.resize(if long { n_blocks * 8 } else { 0 }, [0; 2]);
        self.sums32.resize(if long { n_blocks * 4 } else { 0 }, [0; 2]);
        self.d.resize(n_blocks, 0.0);
        self.s.resize(if long { 0 } else { n_blocks }, 0.0);
    }

    /// Its arrays, in the order of [`Self::put_into`].
    fn cells<'a>(&'a mut self, arrays: &mut Vec<Cells<'a>>) {
        let (k, n) = (self.k, self.d.len());
        arrays.extend([
            Cells::of(&mut self.codes, k, n),
            Cells::of(&mut self.wide, k, n),
            Cells::of(&mut self.lanes, k, n),
            Cells::of(&mut self.minus, k, n),
            Cells::of(&mut self.sums16, k, n),
            Cells::of(&mut self.sums32, k, n),
            Cells::of(&mut self.d, k, n),
            Cells::of(&mut self.s, k, n),
        ]);
    }

    fn put_into(&self, part: &mut FieldPart<'_>, array: &mut usize) {
        part.put(*array, &self.codes);
        part.put(*array + 1, &self.wide);
        part.put(*array + 2, &self.lanes);
        part.put(*array + 3, &self.minus);
        part.put(*array + 4, &self.sums16);
        part.put(*array + 5, &self.sums32);
        part.put(*array + 6, &self.d);
        part.put(*array + 7, &self.s);
        *array += 8;
    }
}

impl Floats {
    fn reshape(&mut self, isa: Isa, n_tokens: usize, n_cols: usize, form: ActForm) {
        let n_cols = if form == ActForm::BF16 { n_cols.next_multiple_of(2) } else { n_cols };
        (self.n_tokens, self.n_cols, self.tile) = (n_tokens, n_cols, isa.tile());
        let (n, paired) = (n_tokens * n_cols, form == ActForm::BF16 && isa.multiplies_bf16());
        self.values.resize(if paired { 0 } else { n }, 0.0);
        self.pairs.resize(if paired { n / 2 } else { 0 }, 0);
    }

    /// Its arrays, in the order of [`Self::put_into`].
    fn cells<'a>(&'a mut self, arrays: &mut Vec<Cells<'a>>) {
        let n = self.n_tokens * self.n_cols;
        // A pair belongs to two columns.
        arrays
            .extend([Cells::of(&mut self.values, 2, n / 2), Cells::of(&mut self.pairs, 2, n / 2)]);
    }

    fn put_into(&self, part: &mut FieldPart<'_>, array: &mut usize) {
        part.put(*array, &self.values);
        part.put(*array + 1, &self.pairs);
        *array += 2;
    }

    /// Tokens in the tile that begins at `first`.
    pub(crate) fn tile_len(&self, first: usize) -> usize {
        self.tile.min(self.n_tokens - first)
    }

    /// The tile that begins at token `first`, of the columns from `column` on.
    pub(crate) fn tile(&self, column: usize, first: usize) -> &[f32] {
        let t = self.tile_len(first);
        &self.values[first * self.n_cols..][column * t..t * self.n_cols]
    }

    /// The same as pairs of BF16, from `pair` on.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "no such instruction set"))]
    pub(crate) fn pair_tile(&self, pair: usize, first: usize) -> &[u32] {
        let (t, n) = (self.tile_len(first), self.n_cols / 2);
        &self.pairs[first * n..][pair * t..t * n]
    }
}

#[cfg(test)]
mod tests;
