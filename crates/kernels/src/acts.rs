//! Activations, quantized once for all the matrices that read them.
//!
//! # Layout
//! Tokens are taken in tiles, as many as the instruction set computes together; the last tile may have fewer. A tile
//! is one sequential stream, block by block, with the tile's `t` tokens innermost:
//!
//! ```text
//! codes    [tile][block][quad][t][4]    i8: one 32-bit load repeated in all lanes meets a quad line of weights
//! wide     [tile][block][pair][t][2]    the same codes as i16, for weights that need 16-bit products
//! lanes    [tile][block][group][t][2]   i16: sums over a group's columns 0, 1 and 2, 3 (modulo 4)
//! minus    [tile][block][group][t]      i32: minus the sum over a group's columns
//! sums16   [tile][block][8][t][2]       i16: sums over 16 columns; sums32 [tile][block][4][t][2] over 32
//! d, s     [tile][block][t]             f32
//! floats   [tile][column][t]            f32
//! pairs    [tile][pair][t][2]           bf16
//! ```
//!
//! A product with a bias, `sum (q - b) a`, is `sum q a - b sum a`: that is what `lanes` is for, in the lanes in which
//! 16-bit products are added up, and `minus`, where 32-bit ones begin. Minimums use `s` or the sums.

mod forms;
mod quantize;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod tile;

pub use forms::{ActForm, ActForms};

use crate::{Isa, Team};
pub(crate) use quantize::{Part, Place, Rows};
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
        let n_tokens = x.len().checked_div(n_cols).unwrap_or(0);
        assert_eq!(n_tokens * n_cols, x.len(), "activations are whole rows of {n_cols}");
        (self.n_tokens, self.n_cols, self.forms) = (n_tokens, n_cols, forms);
        let rows = Rows { x, n_cols, n_tokens };
        let wide = forms.contains(ActForm::Q8_0Wide);
        if forms.contains(ActForm::Q8_0) || wide {
            self.q8.prepare(isa, team, rows, 32, wide && !isa.starts_with_minus());
        }
        if forms.contains(ActForm::Q8_K) {
            self.q8k.prepare(isa, team, rows, 256, false);
        }
        if forms.contains(ActForm::F16) {
            self.f16.prepare(isa, team, rows, ActForm::F16);
        }
        if forms.contains(ActForm::BF16) {
            self.bf16.prepare(isa, team, rows, ActForm::BF16);
        }
        if forms.contains(ActForm::F32) {
            self.f32.prepare(isa, team, rows, ActForm::F32);
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

    /// Whether `form` has been prepared.
    pub(crate) fn has(&self, form: ActForm) -> bool {
        self.forms.contains(form)
    }

    /// The codes in blocks of `k`.
    pub(crate) fn codes(&self, k: usize) -> &Codes {
        if k == self.q8k.k { &self.q8k } else { &self.q8 }
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
        let quads = tile.as_chunks::<4>().0.iter().skip(token - first).step_by(t);
        for (to, quad) in out.as_chunks_mut::<4>().0.iter_mut().zip(quads) {
            *to = *quad;
        }
    }

    fn prepare(&mut self, isa: Isa, team: &Team, rows: Rows<'_>, k: usize, wide: bool) {
        assert!(
            rows.n_cols.is_multiple_of(k),
            "{} columns are no whole number of blocks of {k}",
            rows.n_cols
        );
        let n_blocks = rows.n_cols / k * rows.n_tokens;
        (self.k, self.n_tokens, self.tile) = (k, rows.n_tokens, isa.tile());
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
        quantize::quantize(isa, team, rows, Part::whole(self));
    }
}

impl Floats {
    fn prepare(&mut self, isa: Isa, team: &Team, rows: Rows<'_>, form: ActForm) {
        let n_cols =
            if form == ActForm::BF16 { rows.n_cols.next_multiple_of(2) } else { rows.n_cols };
        (self.n_tokens, self.n_cols, self.tile) = (rows.n_tokens, n_cols, isa.tile());
        let (n, paired) = (rows.n_tokens * n_cols, form == ActForm::BF16 && isa.multiplies_bf16());
        self.values.resize(if paired { 0 } else { n }, 0.0);
        self.pairs.resize(if paired { n / 2 } else { 0 }, 0);
        if n == 0 {
            return;
        }
        let tile = self.tile;
        if paired {
            team.for_chunks_mut(&mut self.pairs, tile * n_cols / 2, &|i, out| {
                let rows = rows.tile(i * tile, tile);
                let t = rows.n_tokens;
                for j in 0..t {
                    let (pairs, rest) = rows.row(j).as_chunks::<2>();
                    let rest = rest.first().map(|x| [*x, 0.0]);
                    let pairs = pairs.iter().copied().chain(rest);
                    for (to, pair) in out[j..].iter_mut().step_by(t).zip(pairs) {
                        let [[a, b], [c, d]] = pair.map(dequant::f32_to_bf16);
                        *to = u32::from_le_bytes([a, b, c, d]);
                    }
                }
            });
            return;
        }
        team.for_chunks_mut(&mut self.values, tile * n_cols, &|i, out| {
            let rows = rows.tile(i * tile, tile);
            quantize::round(isa, form, rows, n_cols, out);
        });
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
