//! Activations, quantized once for all the matrices that read them.
//!
//! # Layout
//! Tokens are taken in tiles of [`TILE`]; the last tile may have fewer. Everything is stored block by block, and in
//! a block tile by tile, with the tile's `t` tokens innermost:
//!
//! ```text
//! codes    [block][tile][quad][t][4]      i8: one 32-bit load repeated in all lanes meets a quad line of weights
//! wide     [block][tile][pair][t][2]      the same codes as i16, for weights that need 16-bit products
//! lanes    [block][tile][group][t][2]     i16: sums over a group's columns 0, 1 and 2, 3 (modulo 4)
//! sums16   [block][tile][8][t][2]         i16: sums over 16 columns; sums32 [block][tile][4][t][2] over 32
//! d, s     [block][token]                 f32
//! floats   [block of 32][tile][column][t] f32
//! ```
//!
//! A product with a bias, `sum (q - b) a`, is `sum q a - b sum a`: that is what `lanes` is for, in the lanes in which
//! 16-bit products are added up. Minimums use `s` or the sums.

mod forms;
mod quantize;

pub use forms::{ActForm, ActForms};

use crate::format::CHUNK;
use crate::{Isa, Team, math};
pub(crate) use quantize::{Part, Rows};

/// Tokens computed together.
pub(crate) const TILE: usize = 4;

/// Two i16 that meet two columns of weights.
pub(crate) type Pair = [i16; 2];

/// Rows in blocks of integer codes.
#[derive(Debug, Default)]
pub(crate) struct Codes {
    /// Columns of a block.
    pub(crate) k: usize,
    pub(crate) n_tokens: usize,
    pub(crate) codes: Vec<i8>,
    /// Empty unless asked for.
    pub(crate) wide: Vec<Pair>,
    pub(crate) lanes: Vec<Pair>,
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
    pub(crate) n_cols: usize,
    pub(crate) values: Vec<f32>,
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
            self.q8.prepare(isa, team, rows, 32, wide);
        }
        if forms.contains(ActForm::Q8_K) {
            self.q8k.prepare(isa, team, rows, 256, false);
        }
        if forms.contains(ActForm::F16) {
            self.f16.prepare(team, rows, math::round_to_f16);
        }
        if forms.contains(ActForm::BF16) {
            self.bf16.prepare(team, rows, |x| dequant::bf16_to_f32(dequant::f32_to_bf16(x)));
        }
        if forms.contains(ActForm::F32) {
            self.f32.prepare(team, rows, |x| x);
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

/// Tokens in the tile that begins at `first`.
pub(crate) fn tile_len(n_tokens: usize, first: usize) -> usize {
    TILE.min(n_tokens - first)
}

impl Codes {
    /// Blocks of a row.
    pub(crate) fn n_blocks(&self) -> usize {
        self.d.len().checked_div(self.n_tokens).unwrap_or(0)
    }

    /// Groups of columns whose sums are in `lanes`: per 16 in a block of 256, the whole of a block of 32.
    pub(crate) fn groups(&self) -> usize {
        if self.k == 256 { 16 } else { 1 }
    }

    /// The codes of `token`'s `block`, in order, into the first `k` of `out`. For scalar code and tests.
    pub(crate) fn block_codes(&self, block: usize, token: usize, out: &mut [i8; 256]) {
        let first = token / TILE * TILE;
        let t = tile_len(self.n_tokens, first);
        let tile = &self.codes[(block * self.n_tokens + first) * self.k..][..t * self.k];
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
        (self.k, self.n_tokens) = (k, rows.n_tokens);
        let long = k == 256;
        self.codes.resize(n_blocks * k, 0);
        self.wide.resize(if wide { n_blocks * k / 2 } else { 0 }, [0; 2]);
        self.lanes.resize(n_blocks * self.groups(), [0; 2]);
        self.sums16.resize(if long { n_blocks * 8 } else { 0 }, [0; 2]);
        self.sums32.resize(if long { n_blocks * 4 } else { 0 }, [0; 2]);
        self.d.resize(n_blocks, 0.0);
        self.s.resize(if long { 0 } else { n_blocks }, 0.0);
        quantize::quantize(isa, team, rows, Part::whole(self));
    }
}

impl Floats {
    fn prepare(&mut self, team: &Team, rows: Rows<'_>, round: impl Fn(f32) -> f32 + Sync) {
        (self.n_tokens, self.n_cols) = (rows.n_tokens, rows.n_cols);
        self.values.resize(rows.x.len(), 0.0);
        team.for_chunks_mut(&mut self.values, CHUNK * rows.n_tokens, &|block, out| {
            let columns = block * CHUNK..rows.n_cols.min((block + 1) * CHUNK);
            let n = columns.len();
            for (i, tile) in out.chunks_mut(TILE * n).enumerate() {
                let t = tile.len() / n;
                for j in 0..t {
                    let row = &rows.row(i * TILE + j)[columns.clone()];
                    for (to, &x) in tile[j..].iter_mut().step_by(t).zip(row) {
                        *to = round(x);
                    }
                }
            }
        });
    }

    /// The first value of the tile that begins at `token` in the block of 32 columns, and columns in that block.
    pub(crate) fn tile(&self, block: usize, token: usize) -> &[f32] {
        let n = CHUNK.min(self.n_cols - block * CHUNK);
        let start = block * CHUNK * self.n_tokens + token * n;
        &self.values[start..][..tile_len(self.n_tokens, token) * n]
    }
}

#[cfg(test)]
mod tests;
