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
//! a pair first, and with subnormal numbers taken as zero, which is what x86's instruction for it does (Zen 4 was tried:
//! 20 million random products, the same bits). All instruction sets and all batch sizes compute just this.

use crate::acts::{Codes, Floats};
use crate::format::{Float, Format, ROWS, with_format};
use crate::team::{BlockMut, Columns, Schedule, Target};
use crate::{Acts, Isa, Matrix, Team, scalar};
use std::ops::Range;

/// Tokens that are multiplied with a group of rows before the next group is begun: their activations stay in the
/// second-level cache, their sums in the first. Half a micro-batch of 512, rounded up to whole tiles.
const SWEEP: usize = 260;
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
/// codes, from sums of zero: one for each token and group, group by group.
type QuantKernel = fn(Isa, groups: &[u8], acts: &Codes, tokens: Range<usize>, sums: &mut [Sums]);
/// The same, but the sums go straight to where the output is: a store now and then hides behind the arithmetic, where many
/// at once would wait for the cache. `false` if the instruction set has no such kernel.
type QuantRows = fn(Isa, groups: &[u8], &Codes, tokens: Range<usize>, Target<'_>) -> bool;
/// As [`QuantRows`] for floating-point weights.
type FloatRows = fn(Isa, groups: &[u8], &Floats, tokens: Range<usize>, Target<'_>) -> bool;
/// As [`QuantKernel`] for floating-point weights.
type FloatKernel = fn(Isa, groups: &[u8], acts: &Floats, tokens: Range<usize>, sums: &mut [Sums]);

fn quant<F: Format>(isa: Isa, group: &[u8], acts: &Codes, tokens: Range<usize>, sums: &mut [Sums]) {
    match isa {
        Isa::Scalar => scalar::linear::quant::<F>(group, acts, tokens, sums),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(token) => crate::x86_64::linear::quant::<F>(token, group, acts, tokens, sums),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(token) => {
            let target = Target::of(sums, tokens.len());
            crate::x86_64::avx512::linear::quant::<F>(token, group, acts, tokens, target);
        }
        #[cfg(target_arch = "aarch64")]
        Isa::Neon(token) => {
            let target = Target::of(sums, tokens.len());
            crate::aarch64::linear::quant::<F>(token, group, acts, tokens, target);
        }
    }
}

fn quant_rows<F: Format>(
    isa: Isa,
    groups: &[u8],
    acts: &Codes,
    tokens: Range<usize>,
    target: Target<'_>,
) -> bool {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(token) => {
            crate::x86_64::avx512::linear::quant::<F>(token, groups, acts, tokens, target);
            true
        }
        #[cfg(target_arch = "aarch64")]
        Isa::Neon(token) => {
            crate::aarch64::linear::quant::<F>(token, groups, acts, tokens, target);
            true
        }
        _ => {
            let _ = (groups, acts, tokens, target);
            false
        }
    }
}

fn float_rows<W: Float>(
    isa: Isa,
    groups: &[u8],
    acts: &Floats,
    tokens: Range<usize>,
    target: Target<'_>,
) -> bool {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(token) if crate::x86_64::avx512::float::knows::<W>(token) => {
            crate::x86_64::avx512::float::float::<W>(token, groups, acts, tokens, target);
            true
        }
        #[cfg(target_arch = "aarch64")]
        Isa::Neon(token) => {
            crate::aarch64::float::float::<W>(token, groups, acts, tokens, target);
            true
        }
        _ => {
            let _ = (groups, acts, tokens, target);
            false
        }
    }
}

fn float<W: Float>(isa: Isa, group: &[u8], acts: &Floats, tokens: Range<usize>, sums: &mut [Sums]) {
    match isa {
        Isa::Scalar => scalar::linear::float::<W>(group, acts, tokens, sums),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(token) => crate::x86_64::linear::float::<W>(token, group, acts, tokens, sums),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(token) => {
            if crate::x86_64::avx512::float::knows::<W>(token) {
                let target = Target::of(sums, tokens.len());
                return crate::x86_64::avx512::float::float::<W>(
                    token, group, acts, tokens, target,
                );
            }
            let n_tokens = tokens.len();
            let bytes = group.len() / (sums.len() / n_tokens.max(1)).max(1);
            for (group, sums) in group.chunks(bytes.max(1)).zip(sums.chunks_mut(n_tokens.max(1))) {
                let (token, tokens) = (token.avx2(), tokens.clone());
                crate::x86_64::linear::float::<W>(token, group, acts, tokens, sums);
            }
        }
        #[cfg(target_arch = "aarch64")]
        Isa::Neon(token) => {
            let target = Target::of(sums, tokens.len());
            crate::aarch64::float::float::<W>(token, group, acts, tokens, target);
        }
    }
}

/// A matrix with its kernel and its activations.
enum Kernel<'a> {
    Quant(QuantKernel, QuantRows, &'a Codes),
    Float(FloatKernel, FloatRows, &'a Floats),
}

/// What a thread needs of a [`Linear`].
struct Product<'a> {
    isa: Isa,
    w: &'a Matrix,
    kernel: Kernel<'a>,
    bias: Option<&'a [f32]>,
    add: bool,
}

/// Several products of the same activations in one parallel region.
/// # Panics
/// On shapes that do not match; if `acts` was not prepared in the form that a matrix needs.
pub fn linears(isa: Isa, team: &Team, acts: &Acts, products: &mut [Linear<'_>]) {
    let n_tokens = acts.n_tokens();
    let mut inputs = Vec::with_capacity(products.len());
    let mut outputs = Vec::with_capacity(products.len());
    for product in products {
        check(acts, product);
        let Linear { w, bias, out, add } = product;
        inputs.push(Product { isa, w, kernel: Kernel::of(w, acts), bias: *bias, add: *add });
        let groups = if n_tokens < DYNAMIC_FROM { 1 } else { isa.groups(n_tokens) };
        outputs.push(Columns {
            data: out,
            n_cols: w.n_rows(),
            unit: ROWS * groups,
            unit_cost: w.group_bytes() * groups,
        });
    }
    if n_tokens == 0 {
        return;
    }
    let schedule = if n_tokens < DYNAMIC_FROM { Schedule::Static } else { Schedule::Dynamic };
    team.for_columns(&mut outputs, schedule, &|i, rows, out| inputs[i].compute(rows, out));
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
            F => Kernel::Quant(quant::<F>, quant_rows::<F>, acts.codes(F::K)),
            W => Kernel::Float(float::<W>, float_rows::<W>, acts.floats(form)))
        .unwrap_or_else(|| unreachable!("a matrix has a supported type"))
    }

    fn run(&self, isa: Isa, group: &[u8], tokens: Range<usize>, sums: &mut [Sums]) {
        match self {
            Kernel::Quant(kernel, _, acts) => kernel(isa, group, acts, tokens, sums),
            Kernel::Float(kernel, _, acts) => kernel(isa, group, acts, tokens, sums),
        }
    }
}

impl Product<'_> {
    /// Computes the output columns `rows`, which begin at a group.
    fn compute(&self, rows: Range<usize>, out: &mut BlockMut<'_>) {
        if self.write_rows(&rows, out) {
            return;
        }
        // Few tokens: few sums to clear.
        if out.n_rows() <= DYNAMIC_FROM {
            self.sweep::<DYNAMIC_FROM, MAX_GROUPS>(rows, out);
        } else {
            self.sweep::<SWEEP, 2>(rows, out);
        }
    }

    /// The same where nothing is to be done with the sums but to store them. `false` if that is not so.
    fn write_rows(&self, rows: &Range<usize>, out: &mut BlockMut<'_>) -> bool {
        let plain = self.bias.is_none() && !self.add && rows.len().is_multiple_of(ROWS);
        if !plain || self.w.n_cols() == 0 {
            return false;
        }
        let n_tokens = out.n_rows();
        let step = ROWS * self.isa.groups(n_tokens);
        let n = SWEEP / self.isa.tile() * self.isa.tile();
        for first in (0..n_tokens).step_by(n) {
            let tokens = first..n_tokens.min(first + n);
            for start in rows.clone().step_by(step) {
                let end = rows.end.min(start + step);
                let groups = self.w.groups(start / ROWS..end / ROWS);
                let target = out.target(tokens.clone(), start - rows.start..end - rows.start);
                let (isa, tokens) = (self.isa, tokens.clone());
                let done = match self.kernel {
                    Kernel::Quant(_, kernel, acts) => kernel(isa, groups, acts, tokens, target),
                    Kernel::Float(_, kernel, acts) => kernel(isa, groups, acts, tokens, target),
                };
                if !done {
                    return false;
                }
            }
        }
        true
    }

    /// The same, at most `N` tokens and `G` groups at a time.
    fn sweep<const N: usize, const G: usize>(&self, rows: Range<usize>, out: &mut BlockMut<'_>) {
        let mut sums = [[[0.0; ROWS]; N]; G];
        let mut clean = true;
        let n_tokens = out.n_rows();
        let step = ROWS * self.isa.groups(n_tokens).min(G);
        let n = N / self.isa.tile() * self.isa.tile();
        for first in (0..n_tokens).step_by(n) {
            let tokens = first..n_tokens.min(first + n);
            for start in rows.clone().step_by(step) {
                let end = rows.end.min(start + step);
                let groups = start / ROWS..end.div_ceil(ROWS);
                let sums = &mut sums.as_flattened_mut()[..tokens.len() * groups.len()];
                if !std::mem::take(&mut clean) {
                    sums.fill([0.0; ROWS]);
                }
                self.kernel.run(self.isa, self.w.groups(groups), tokens.clone(), sums);
                for (i, sums) in sums.chunks_exact(tokens.len()).enumerate() {
                    let start = start + i * ROWS;
                    let group = start..end.min(start + ROWS);
                    let columns = start - rows.start..group.end - rows.start;
                    let bias = self.bias.map(|bias| &bias[group]);
                    for (token, sums) in tokens.clone().zip(sums) {
                        self.finish(sums, bias, &mut out.row(token)[columns.clone()]);
                    }
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
