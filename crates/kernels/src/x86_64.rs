//! Kernels for x86-64. Every entry takes the proof that the CPU has the instructions it is compiled for.

pub(crate) mod attention;
pub(crate) mod avx512;
mod dot;
pub(crate) mod elementwise;
pub(crate) mod float;
pub(crate) mod linear;
pub(crate) mod peak;
pub(crate) mod quantize;
mod tile;
mod unpack;
