//! Row-wise and element-wise operations.

use crate::{Isa, Team};

/// `out = x / sqrt(mean(x^2) + eps) * weight` for each row of `x`, `[n_rows, weight.len()]`.
/// # Panics
/// On shapes that do not match.
pub fn rms_norm(isa: Isa, team: &Team, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let _ = (isa, team, x, weight, eps, out);
    unimplemented!()
}

/// [`rms_norm`] in place: for the norms of single heads.
/// # Panics
/// If `x` is no whole number of rows.
pub fn rms_norm_in_place(isa: Isa, team: &Team, x: &mut [f32], weight: &[f32], eps: f32) {
    let _ = (isa, team, x, weight, eps);
    unimplemented!()
}

/// `x += y`.
/// # Panics
/// On lengths that do not match.
pub fn add(isa: Isa, team: &Team, x: &mut [f32], y: &[f32]) {
    let _ = (isa, team, x, y);
    unimplemented!()
}

/// `out = silu(gate) * up`, `silu(x) = x / (1 + exp(-x))`.
/// # Panics
/// On lengths that do not match.
pub fn swiglu(isa: Isa, team: &Team, gate: &[f32], up: &[f32], out: &mut [f32]) {
    let _ = (isa, team, gate, up, out);
    unimplemented!()
}
