//! Matrices times activations.
//!
//! # The definition
//! For weights in blocks of integer codes, and activations in blocks of the same columns, output element `r` is
//!
//! ```text
//! acc = 0
//! for each block, ascending:
//!     isum = sum of code * activation code * group scale           exact, in integers
//!     acc  = fma(f32(isum) * d[r], d_a, acc)
//!     if there are minimums m:    acc = fma(m[r], s_a, acc)                         (Q4_1, Q5_1)
//!     if there are integer ones:  acc = fma(-(f32(imin) * dmin[r]), d_a, acc)       (Q2_K, Q4_K, Q5_K)
//!         imin = sum of minimum * sum of the group's activation codes
//! ```
//!
//! and for floating-point weights `acc = fma(w, x, acc)`, column by column; for BF16 pair by pair, the second column of
//! a pair first, and with subnormal numbers taken as zero, which is what x86's instruction for it does (Zen 4 and
//! Emerald Rapids were tried: 20 million random products and more, the same bits). All instruction sets and all batch
//! sizes compute just this.

mod gated;

pub(crate) use gated::GatedScratch;
pub use gated::{Gate, Gated, gated};

use crate::acts::{Codes, Floats};
use crate::format::{Float, Format, ROWS, with_format};
use crate::matrix::Panels;
use crate::team::{BlockMut, Columns, Schedule, Target};
use crate::{Acts, Isa, Matrix, Team, scalar};
use std::ops::Range;

/// Tokens that are multiplied with a group of rows before the next group is begun: their activations stay in the
/// second-level cache, their sums in the first. Half a micro-batch of 512, rounded up to whole tiles.
const SWEEP: usize = 260;
/// Codes of activations that may stay there, in bytes: short rows are taken by twice as many tokens, so that weights are
/// unpacked half as often.
const SWEEP_BYTES: usize = 400 << 10;
/// The most groups of rows that a kernel takes together.
const MAX_GROUPS: usize = 4;
/// From this many tokens on, threads take groups of rows as they come.
const DYNAMIC_FROM: usize = 12;

/// One product: `out = w * x (+ bias)`, or added to `out`.
#[derive(Debug)]
pub struct Linear<'a> {
    /// The weights, `[n_rows, n_cols]`.
    pub w: &'a Matrix,
    /// `[n_rows]`.
    pub bias: Option<&'a [f32]>,
    /// `[n_tokens, n_rows]`.
    pub out: &'a mut [f32],
    /// Add to `out` (`out = out + (w * x + bias)`) instead of overwriting it.
    pub add: bool,
}

/// Sums of 16 rows, one entry per token.
pub(crate) type Sums = [f32; ROWS];

/// Multiplies groups of 16 rows (at most [`Isa::groups`]) with some tokens (a range that begins at a tile) in blocks of
/// codes, and leaves the sums in the target, which holds zeros unless [`Isa::stores_rows`].
type QuantKernel = fn(Isa, groups: &[u8], acts: &Codes, tokens: Range<usize>, Target<'_>);
/// The same for floating-point weights.
type FloatKernel = fn(Isa, groups: &[u8], acts: &Floats, tokens: Range<usize>, Target<'_>);

fn quant<F: Format>(isa: Isa, groups: &[u8], acts: &Codes, tokens: Range<usize>, to: Target<'_>) {
    match isa {
        Isa::Scalar => scalar::linear::quant::<F>(groups, acts, tokens, to.into_sums()),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(token) => {
            crate::x86_64::linear::quant::<F>(token, groups, acts, tokens, to.into_sums());
        }
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(token) => {
            crate::x86_64::avx512::linear::quant::<F>(token, groups, acts, tokens, to);
        }
        #[cfg(target_arch = "aarch64")]
        Isa::Neon(token) => crate::aarch64::linear::quant::<F>(token, groups, acts, tokens, to),
    }
}

fn float<W: Float>(isa: Isa, groups: &[u8], acts: &Floats, tokens: Range<usize>, to: Target<'_>) {
    match isa {
        Isa::Scalar => scalar::linear::float::<W>(groups, acts, tokens, to.into_sums()),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(token) => {
            crate::x86_64::float::float::<W>(token, groups, acts, tokens, to.into_sums());
        }
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(token) => {
            crate::x86_64::avx512::float::float::<W>(token, groups, acts, tokens, to);
        }
        #[cfg(target_arch = "aarch64")]
        Isa::Neon(token) => crate::aarch64::float::float::<W>(token, groups, acts, tokens, to),
    }
}

/// A matrix with its kernel and its activations.
enum Kernel<'a> {
    Quant(QuantKernel, &'a Codes),
    Float(FloatKernel, &'a Floats),
}

/// What a thread needs of a [`Linear`].
struct Product<'a> {
    isa: Isa,
    /// Has the memory for panels.
    team: &'a Team,
    w: &'a Matrix,
    kernel: Kernel<'a>,
    bias: Option<&'a [f32]>,
    add: bool,
}

/// Several products of the same activations in one parallel region.
/// # Panics
/// On shapes that do not match; if `acts` was not prepared in the form that a matrix needs.
pub fn linears<const N: usize>(isa: Isa, team: &Team, acts: &Acts, products: [Linear<'_>; N]) {
    let n_tokens = acts.n_tokens();
    products.iter().for_each(|product| check(acts, product));
    let inputs = products.each_ref().map(|of| Product::new(isa, team, of.w, acts, of.bias, of.add));
    let few = n_tokens < DYNAMIC_FROM;
    let groups = if few { 1 } else { isa.groups(n_tokens) };
    let outputs = products.map(|Linear { w, out, .. }| Columns {
        data: out,
        n_cols: w.n_rows(),
        unit: ROWS * groups,
        unit_cost: w.group_bytes() * groups,
    });
    if n_tokens == 0 {
        return;
    }
    let schedule = if few { Schedule::Static } else { Schedule::Dynamic };
    team.for_columns(outputs, schedule, &|i, rows, out| {
        inputs[i].compute(0..n_tokens, rows, out);
    });
}

fn check(acts: &Acts, product: &Linear<'_>) {
    let Linear { w, bias, out, .. } = product;
    assert_eq!(w.n_cols(), acts.n_cols(), "columns of the matrix and of the activations");
    assert_eq!(out.len(), acts.n_tokens() * w.n_rows(), "output of [n_tokens, n_rows]");
    assert!(bias.is_none_or(|bias| bias.len() == w.n_rows()), "bias of [n_rows]");
    let form = w.act_form();
    assert!(acts.has(form), "activations were not prepared as {form:?}");
}

impl<'a> Kernel<'a> {
    fn of(w: &Matrix, acts: &'a Acts) -> Self {
        let form = w.act_form();
        with_format!(w.ty(),
            F => Kernel::Quant(quant::<F>, acts.codes(F::K)),
            W => Kernel::Float(float::<W>, acts.floats(form)))
        .unwrap_or_else(|| unreachable!("a matrix has a supported type"))
    }

    fn run(&self, isa: Isa, groups: &[u8], tokens: Range<usize>, to: Target<'_>) {
        match self {
            Kernel::Quant(kernel, acts) => kernel(isa, groups, acts, tokens, to),
            Kernel::Float(kernel, acts) => kernel(isa, groups, acts, tokens, to),
        }
    }
}

impl<'a> Product<'a> {
    fn new(
        isa: Isa,
        team: &'a Team,
        w: &'a Matrix,
        acts: &'a Acts,
        bias: Option<&'a [f32]>,
        add: bool,
    ) -> Self {
        Product { isa, team, w, kernel: Kernel::of(w, acts), bias, add }
    }

    /// Computes the output columns `rows`, which begin at a group, of some tokens, which begin at a tile.
    fn compute(&self, tokens: Range<usize>, rows: Range<usize>, out: &mut BlockMut<'_>) {
        match self.w.panels() {
            Panels::Resident(packed) => {
                let groups = rows.start / ROWS..rows.end.div_ceil(ROWS);
                let groups = self.w.groups(packed.as_slice(), groups);
                self.multiply(groups, tokens, rows, out);
            }
            Panels::OnDemand(file) => {
                let (file, mut panel) = (file.bytes(), self.team.take_panel());
                // As many rows as a kernel takes together: they are read while they are in the nearest cache.
                let step = ROWS * self.isa.groups(tokens.len());
                for start in rows.clone().step_by(step) {
                    let part = start..rows.end.min(start + step);
                    let groups = self.w.pack_panel(file, part.clone(), &mut panel);
                    let columns = part.start - rows.start..part.end - rows.start;
                    self.multiply(groups, tokens.clone(), part, &mut out.columns(columns));
                }
                self.team.give_back_panel(panel);
            }
        }
    }

    /// The same with the packed `groups` of these rows at hand.
    fn multiply(
        &self,
        groups: &[u8],
        tokens: Range<usize>,
        rows: Range<usize>,
        out: &mut BlockMut<'_>,
    ) {
        assert_eq!(tokens.len(), out.n_rows(), "a row of output for each token");
        let (ty, n_cols) = (self.w.ty(), self.w.n_cols());
        let plain = self.bias.is_none() && rows.len().is_multiple_of(ROWS) && n_cols > 0;
        let adds = !self.add || self.isa.adds_rows(ty, tokens.len(), n_cols);
        if plain && adds && self.isa.stores_rows(ty) {
            self.store(groups, tokens, rows, out);
        } else if out.n_rows() <= DYNAMIC_FROM {
            // Few tokens: few sums to clear.
            self.sweep::<DYNAMIC_FROM, MAX_GROUPS>(groups, tokens, rows, out);
        } else {
            self.sweep::<SWEEP, 2>(groups, tokens, rows, out);
        }
    }

    /// Tokens of a sweep that stores its sums where the output is.
    fn sweep_tokens(&self) -> usize {
        match self.kernel {
            Kernel::Quant(..) => (SWEEP_BYTES / self.w.n_cols().max(1)).clamp(SWEEP, 2 * SWEEP),
            Kernel::Float(..) => SWEEP,
        }
    }

    /// `rows` of some tokens in portions of at most `n` tokens and `step` rows: (tokens, rows).
    fn portions(
        &self,
        all: Range<usize>,
        rows: Range<usize>,
        n: usize,
        step: usize,
    ) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let n = n / self.isa.tile() * self.isa.tile();
        all.clone().step_by(n).flat_map(move |first| {
            let tokens = first..all.end.min(first + n);
            let (starts, end) = (rows.clone().step_by(step), rows.end);
            starts.map(move |start| (tokens.clone(), start..end.min(start + step)))
        })
    }

    /// The same where nothing is to be done with the sums but to store them. They go straight to where the output is: a
    /// store now and then hides behind the arithmetic, where many at once would wait for the cache.
    fn store(&self, packed: &[u8], all: Range<usize>, rows: Range<usize>, out: &mut BlockMut<'_>) {
        let (first_token, first) = (all.start, rows.start);
        let step = ROWS * self.isa.groups(all.len());
        for (tokens, rows) in self.portions(all, rows, self.sweep_tokens(), step) {
            let out_rows = tokens.start - first_token..tokens.end - first_token;
            let columns = rows.start - first..rows.end - first;
            let groups = self.w.groups(packed, columns.start / ROWS..columns.end / ROWS);
            let mut to = out.target(out_rows, columns);
            to.add = self.add;
            self.kernel.run(self.isa, groups, tokens, to);
        }
    }

    /// The same, at most `N` tokens and `G` groups at a time.
    fn sweep<const N: usize, const G: usize>(
        &self,
        packed: &[u8],
        all: Range<usize>,
        rows: Range<usize>,
        out: &mut BlockMut<'_>,
    ) {
        let mut sums = [[[0.0; ROWS]; N]; G];
        let mut clean = true;
        let (first_token, first) = (all.start, rows.start);
        let step = ROWS * self.isa.groups(all.len()).min(G);
        for (tokens, rows) in self.portions(all, rows, N, step) {
            let groups = (rows.start - first) / ROWS..(rows.end - first).div_ceil(ROWS);
            let sums = &mut sums.as_flattened_mut()[..tokens.len() * groups.len()];
            if !std::mem::take(&mut clean) {
                sums.fill([0.0; ROWS]);
            }
            let to = Target::of(sums, tokens.len());
            self.kernel.run(self.isa, self.w.groups(packed, groups), tokens.clone(), to);
            for (i, sums) in sums.chunks_exact(tokens.len()).enumerate() {
                let start = rows.start + i * ROWS;
                let group = start..rows.end.min(start + ROWS);
                let columns = start - first..group.end - first;
                let bias = self.bias.map(|bias| &bias[group]);
                for (token, sums) in tokens.clone().zip(sums) {
                    self.finish(sums, bias, &mut out.row(token - first_token)[columns.clone()]);
                }
            }
        }
    }

    fn finish(&self, sums: &Sums, bias: Option<&[f32]>, out: &mut [f32]) {
        // A whole group has a length that the compiler knows.
        match out.as_chunks_mut::<ROWS>() {
            ([out], []) => self.finish_rows(sums, bias, out),
            _ => self.finish_rows(sums, bias, out),
        }
    }

    #[inline(always)]
    fn finish_rows(&self, sums: &Sums, bias: Option<&[f32]>, out: &mut [f32]) {
        let mut sums = *sums;
        if let Some(bias) = bias {
            sums.iter_mut().zip(bias).for_each(|(sum, bias)| *sum += bias);
        }
        if self.add {
            out.iter_mut().zip(&sums).for_each(|(out, sum)| *out += sum);
        } else {
            out.copy_from_slice(&sums[..out.len()]);
        }
    }
}

#[cfg(test)]
mod tests;
