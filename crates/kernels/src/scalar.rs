//! Every kernel in plain Rust: the definition that the SIMD kernels match bit for bit, and what runs where there
//! are none. `f32::mul_add` is a fused multiply-add on every machine: it rounds once.

pub(crate) mod attention;
pub(crate) mod elementwise;
pub(crate) mod linear;
pub(crate) mod quantize;
