//! Kernels for AArch64. NEON is on every such CPU, so most of this is ordinary code to the compiler; what needs more
//! takes the proof that the CPU has it. Operations that are not here are those of [`crate::scalar`], in which the compiler
//! finds the vectors by itself.
//!
//! Instructions that the standard library does not offer on all compilers (dot products, conversions of F16) are
//! written as assembly, one instruction at a time.

pub(crate) mod attention;
mod dot;
pub(crate) mod float;
pub(crate) mod linear;
mod mins;
pub(crate) mod peak;
pub(crate) mod quantize;
mod source;
mod tile;
mod unpack;
