//! Matrices times activations.

use crate::{Acts, Isa, Matrix, Team};

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

/// Several products of the same activations in one parallel region.
/// # Panics
/// On shapes that do not match; if `acts` was not prepared in the form that a matrix needs.
pub fn linears(isa: Isa, team: &Team, acts: &Acts, products: &mut [Linear<'_>]) {
    let _ = (isa, team, acts, products);
    unimplemented!()
}
