//! Kernels for x86-64. Every entry takes the proof that the CPU has the instructions it is compiled for.

pub(crate) mod elementwise;
pub(crate) mod linear;
mod tile;
mod unpack;
