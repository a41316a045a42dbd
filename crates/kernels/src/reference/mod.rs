//! Scalar arithmetic that reproduces llama.cpp's scalar build bit for bit.
//!
//! "The scalar build" is ggml's CPU backend compiled for plain x86-64: SSE2 and nothing above it, no fused
//! multiply-add, no F16 conversion instructions, no repacking. Which of ggml's code paths that selects is not
//! obvious, and each function here says what it found:
//! - ggml's generic SIMD layer is off (on x86 it begins at SSE3), so dot products of floats, scaling and
//!   conversions are plain loops: products in f32, sums in f64.
//! - The exponential of SiLU and softmax is on, four lanes at a time, because it asks for SSE2 only: a polynomial
//!   with separate multiply and add. The last `n % 4` elements of a row use the C library instead.
//! - A quantized dot product is the generic one of each type. Every element of a matrix product is one
//!   [`vec_dot`] of a weight row with the activation row converted by [`quantize_row`]; [`dots`] computes many of
//!   them from [`Rows`] taken apart once.
//!
//! Numbers in, numbers out: no I/O, no `Result`, no allocation but that of [`Rows`]. Wrong lengths panic, as documented. Library
//! functions (`powf`, `sin`, `cos`, `exp`, `tanh`, `ln`) go to the system's C library, as ggml's do: the bits are
//! promised on x86-64 with glibc.

mod activations;
mod dot;
mod elementwise;
mod expf;
mod f16;
mod norm;
mod rope;
mod rows;
mod soft_max;

pub use activations::{act_type, get_row, quantize_row};
pub use dot::{dots, vec_dot, weighted_sum};
pub use elementwise::{
    add, geglu, gelu, gelu_quick, mul, relu, scale, scale_bias, silu, swiglu, tanh,
};
pub use f16::{f16_to_f32, f32_to_f16};
pub use norm::{norm, rms_norm};
pub use rope::{RopeParams, rope};
pub use rows::Rows;
pub use soft_max::soft_max;

#[cfg(test)]
mod tests;
