//! Row-wise and element-wise operations.
//!
//! A sum of squares is taken in 16 lanes, element `i` in lane `i % 16`, each lane ascending by fused multiply-adds;
//! the lanes are then added in halves (8 and 8, 4 and 4, ...). Everything else is per element.

use crate::{Gate, Isa, Team};

/// Elements that a thread should have at least: below, waking the others costs more than it gains.
const GRAIN: usize = 16 * 1024;

/// Calls the AVX2 or the scalar form of an operation.
macro_rules! dispatch {
    ($isa:expr, $name:ident($($arg:expr),*)) => {
        match $isa {
            $crate::Isa::Scalar => $crate::scalar::elementwise::$name($($arg),*),
            #[cfg(target_arch = "x86_64")]
            $crate::Isa::Avx2(token) => $crate::x86_64::elementwise::$name(token, $($arg),*),
            #[cfg(target_arch = "x86_64")]
            $crate::Isa::Avx512(token) => $crate::x86_64::avx512::elementwise::$name(token, $($arg),*),
            // The compiler finds these vectors: they are on every such CPU.
            #[cfg(target_arch = "aarch64")]
            $crate::Isa::Neon(_) => $crate::scalar::elementwise::$name($($arg),*),
        }
    };
}
pub(crate) use dispatch;

/// `out = x / sqrt(mean(x^2) + eps) * weight` for each row of `x`, `[n_rows, weight.len()]`.
/// # Panics
/// On shapes that do not match.
pub fn rms_norm(isa: Isa, team: &Team, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "rms_norm: input and output");
    for_rows(team, weight.len(), out, &|first, rows| {
        let x = &x[first..first + rows.len()];
        dispatch!(isa, rms_norm(x, weight, eps, rows));
    });
}

/// [`rms_norm`] in place: for the norms of single heads.
/// # Panics
/// If `x` is no whole number of rows.
pub fn rms_norm_in_place(isa: Isa, team: &Team, x: &mut [f32], weight: &[f32], eps: f32) {
    for_rows(team, weight.len(), x, &|_, rows| {
        dispatch!(isa, rms_norm_in_place(rows, weight, eps));
    });
}

/// A LayerNorm (arXiv 1607.06450).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerNorm<'a> {
    /// Elements of a row.
    pub n: usize,
    /// One or more times `[n]`: row `i` takes the `i`-th, and after the last the first again.
    pub weight: &'a [f32],
    /// `[n]`
    pub bias: Option<&'a [f32]>,
    /// Added to the variance.
    pub eps: f32,
}

/// `out = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias` for each row of `x`, `[n_rows, n]`. The mean's sum is
/// taken in 16 lanes as the squares' is.
/// # Panics
/// On shapes that do not match.
pub fn layer_norm(isa: Isa, team: &Team, norm: &LayerNorm<'_>, x: &[f32], out: &mut [f32]) {
    let LayerNorm { n, weight, bias, .. } = *norm;
    assert_eq!(x.len(), out.len(), "layer_norm: input and output");
    assert!(n > 0 && weight.len().is_multiple_of(n) && !weight.is_empty(), "layer_norm: weights");
    assert!(bias.is_none_or(|bias| bias.len() == n), "layer_norm: bias");
    for_rows(team, n, out, &|first, rows| {
        let x = &x[first..first + rows.len()];
        dispatch!(isa, layer_norm(x, norm, first, rows));
    });
}

/// The norm of a row, whichever it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RowNorm<'a> {
    /// As [`rms_norm`].
    Rms {
        /// `[n_cols]`
        weight: &'a [f32],
        /// Added to the mean of squares.
        eps: f32,
    },
    /// As [`layer_norm`].
    Layer(LayerNorm<'a>),
}

impl RowNorm<'_> {
    /// Normalizes whole rows, of which the first is row `row`.
    pub(crate) fn rows(&self, isa: Isa, x: &[f32], row: usize, out: &mut [f32]) {
        match *self {
            RowNorm::Rms { weight, eps } => dispatch!(isa, rms_norm(x, weight, eps, out)),
            RowNorm::Layer(norm) => dispatch!(isa, layer_norm(x, &norm, row * norm.n, out)),
        }
    }

    /// Elements of a row.
    /// # Panics
    /// On shapes that do not match.
    pub(crate) fn n_cols(&self) -> usize {
        match *self {
            RowNorm::Rms { weight, .. } => weight.len(),
            RowNorm::Layer(LayerNorm { n, weight, bias, .. }) => {
                let whole = n > 0 && weight.len().is_multiple_of(n) && !weight.is_empty();
                assert!(whole && bias.is_none_or(|bias| bias.len() == n), "layer_norm: weights");
                n
            }
        }
    }
}

/// `x += y`.
/// # Panics
/// On lengths that do not match.
pub fn add(isa: Isa, team: &Team, x: &mut [f32], y: &[f32]) {
    assert_eq!(x.len(), y.len(), "add: both operands");
    for_rows(team, 1, x, &|first, x| {
        let y = &y[first..first + x.len()];
        dispatch!(isa, add(x, y));
    });
}

/// `x *= by`.
pub fn scale(isa: Isa, team: &Team, x: &mut [f32], by: f32) {
    for_rows(team, 1, x, &|_, x| dispatch!(isa, scale(x, by)));
}

/// `x = tanh(x)`.
pub fn tanh(isa: Isa, team: &Team, x: &mut [f32]) {
    for_rows(team, 1, x, &|_, x| dispatch!(isa, tanh(x)));
}

/// `x = softmax(x)` for each row of `x`, `[n_rows, n]`. The exponentials are added from the first to the last.
/// # Panics
/// If `x` is no whole number of rows.
pub fn soft_max(isa: Isa, team: &Team, x: &mut [f32], n: usize) {
    for_rows(team, n, x, &|_, rows| dispatch!(isa, soft_max(rows, n)));
}

/// `out = x / (1 + exp(-x))`.
/// # Panics
/// On lengths that do not match.
pub fn silu(isa: Isa, team: &Team, x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "silu: input and output");
    for_rows(team, 1, out, &|first, out| {
        let x = &x[first..first + out.len()];
        dispatch!(isa, silu(x, out));
    });
}

/// `out = x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`.
/// # Panics
/// On lengths that do not match.
pub fn gelu(isa: Isa, team: &Team, x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "gelu: input and output");
    for_rows(team, 1, out, &|first, out| {
        let x = &x[first..first + out.len()];
        dispatch!(isa, gelu(x, out));
    });
}

/// `out = max(x, 0)`.
/// # Panics
/// On lengths that do not match.
pub fn relu(isa: Isa, team: &Team, x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "relu: input and output");
    for_rows(team, 1, out, &|first, out| {
        let x = &x[first..first + out.len()];
        dispatch!(isa, relu(x, out));
    });
}

/// `out = silu(gate) * up`, `silu(x) = x / (1 + exp(-x))`.
/// # Panics
/// On lengths that do not match.
pub fn swiglu(isa: Isa, team: &Team, gate: &[f32], up: &[f32], out: &mut [f32]) {
    assert_eq!((gate.len(), up.len()), (out.len(), out.len()), "swiglu: inputs and output");
    for_rows(team, 1, out, &|first, out| {
        let range = first..first + out.len();
        let (gate, up) = (&gate[range.clone()], &up[range]);
        dispatch!(isa, swiglu(gate, up, out));
    });
}

/// `out = gelu(gate) * up`, `gelu(x) = x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))` (gemma).
/// # Panics
/// On lengths that do not match.
pub fn geglu(isa: Isa, team: &Team, gate: &[f32], up: &[f32], out: &mut [f32]) {
    assert_eq!((gate.len(), up.len()), (out.len(), out.len()), "geglu: inputs and output");
    for_rows(team, 1, out, &|first, out| {
        let range = first..first + out.len();
        let (gate, up) = (&gate[range.clone()], &up[range]);
        dispatch!(isa, geglu(gate, up, out));
    });
}

/// `gate = act(gate) * up`.
pub(crate) fn gate_in_place(isa: Isa, act: Gate, gate: &mut [f32], up: &[f32]) {
    match act {
        Gate::Silu => dispatch!(isa, swiglu_in_place(gate, up)),
        Gate::Gelu => dispatch!(isa, geglu_in_place(gate, up)),
    }
}

/// Calls `f(first, part)` for parts of `data` that are whole rows and begin at element `first`.
fn for_rows<F>(team: &Team, n_cols: usize, data: &mut [f32], f: &F)
where
    F: Fn(usize, &mut [f32]) + Sync,
{
    assert!(
        data.len().is_multiple_of(n_cols.max(1)),
        "{} is no whole number of rows of {n_cols}",
        data.len()
    );
    let n_rows = data.len() / n_cols.max(1);
    let rows_per_chunk = (GRAIN / n_cols.max(1)).max(n_rows.div_ceil(team.n_threads())).max(1);
    let chunk = rows_per_chunk * n_cols.max(1);
    team.for_chunks_mut(data, chunk, &|i, part| f(i * chunk, part));
}

#[cfg(test)]
mod tests;
