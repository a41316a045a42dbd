//! Operations on single elements: sums, products, activations.
//!
//! Where a function takes a row, the row is what ggml calls one: the innermost dimension. It matters for SiLU,
//! whose last `n % 4` elements use the C library's exponential.

use super::expf::expf_lane;
use super::f16::{f16_to_f32, f32_to_f16};

/// Asserts that two rows have the length of the output.
fn same_len(op: &str, a: usize, b: usize, out: usize) {
    assert!(a == out && b == out, "{op}: rows of {a} and {b} elements into {out}");
}

/// `out = a + b`.
///
/// # Panics
/// If the lengths differ.
pub fn add(a: &[f32], b: &[f32], out: &mut [f32]) {
    same_len("add", a.len(), b.len(), out.len());
    for ((o, &a), &b) in out.iter_mut().zip(a).zip(b) {
        *o = a + b;
    }
}

/// `out = a * b`.
///
/// # Panics
/// If the lengths differ.
pub fn mul(a: &[f32], b: &[f32], out: &mut [f32]) {
    same_len("mul", a.len(), b.len(), out.len());
    for ((o, &a), &b) in out.iter_mut().zip(a).zip(b) {
        *o = a * b;
    }
}

/// `x = x * s`.
pub fn scale(x: &mut [f32], s: f32) {
    for x in x {
        *x *= s;
    }
}

/// `x = x * s + b`, rounded twice (ggml's scale node with a bias).
pub fn scale_bias(x: &mut [f32], s: f32, b: f32) {
    for x in x {
        *x = *x * s + b;
    }
}

/// `x = max(x, 0)`; a NaN becomes 0.
pub fn relu(x: &mut [f32]) {
    for x in x {
        *x = if *x > 0.0 { *x } else { 0.0 };
    }
}

/// `x = tanh(x)`, by the C library.
pub fn tanh(x: &mut [f32]) {
    for x in x {
        *x = x.tanh();
    }
}

/// `out = silu(x) = x / (1 + exp(-x))`, over a row: ggml's polynomial for whole fours, the C library for the rest.
///
/// # Panics
/// If the lengths differ.
pub fn silu(x: &[f32], out: &mut [f32]) {
    same_len("silu", x.len(), x.len(), out.len());
    let fours = x.len() - x.len() % 4;
    for (i, (o, &x)) in out.iter_mut().zip(x).enumerate() {
        *o = silu_at(i < fours, x);
    }
}

/// `out = silu(gate) * up`, over a row of the feed-forward layer (SwiGLU).
///
/// # Panics
/// If the lengths differ.
pub fn swiglu(gate: &[f32], up: &[f32], out: &mut [f32]) {
    same_len("swiglu", gate.len(), up.len(), out.len());
    let fours = gate.len() - gate.len() % 4;
    for (i, ((o, &g), &u)) in out.iter_mut().zip(gate).zip(up).enumerate() {
        *o = silu_at(i < fours, g) * u;
    }
}

/// SiLU of one element, in a whole four or in the rest of the row.
fn silu_at(in_four: bool, x: f32) -> f32 {
    // ggml's lanes compute 0 - x, its scalar code -x: only the sign of a zero differs, and exp forgets it.
    let e = if in_four { expf_lane(0.0 - x) } else { (-x).exp() };
    x / (1.0 + e)
}

/// `out = gelu(x)` (tanh form) as ggml looks it up: argument and result rounded to f16 for -10 < x < 10, 0 below
/// and `x` above.
///
/// # Panics
/// If the lengths differ.
pub fn gelu(x: &[f32], out: &mut [f32]) {
    same_len("gelu", x.len(), x.len(), out.len());
    for (o, &x) in out.iter_mut().zip(x) {
        *o = gelu_table(x);
    }
}

/// `out = gelu(gate) * up` (GEGLU), with the GELU of [`gelu`].
///
/// # Panics
/// If the lengths differ.
pub fn geglu(gate: &[f32], up: &[f32], out: &mut [f32]) {
    same_len("geglu", gate.len(), up.len(), out.len());
    for ((o, &g), &u) in out.iter_mut().zip(gate).zip(up) {
        // Below -10 ggml writes 0 without looking at `up`.
        *o = if g <= -10.0 { 0.0 } else { gelu_table(g) * u };
    }
}

/// `out = x * sigmoid(1.702 x)` as ggml looks it up: argument and result rounded to f16.
///
/// # Panics
/// If the lengths differ.
pub fn gelu_quick(x: &[f32], out: &mut [f32]) {
    same_len("gelu_quick", x.len(), x.len(), out.len());
    for (o, &x) in out.iter_mut().zip(x) {
        let x = f16_to_f32(f32_to_f16(x));
        let y = x * (1.0 / (1.0 + (-1.702 * x).exp()));
        *o = f16_to_f32(f32_to_f16(y));
    }
}

/// GELU of one element through the f16 table's rounding.
fn gelu_table(x: f32) -> f32 {
    const SQRT_2_OVER_PI: f32 = f32::from_bits(0x3f4c_422a);
    if x <= -10.0 {
        return 0.0;
    }
    if x >= 10.0 {
        return x;
    }
    let x = f16_to_f32(f32_to_f16(x));
    let inner = SQRT_2_OVER_PI * x * (1.0 + 0.044_715 * x * x);
    f16_to_f32(f32_to_f16(0.5 * x * (1.0 + inner.tanh())))
}
