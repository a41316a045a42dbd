//! Kernels for AVX-512 with VNNI: a line of 16 rows, positions or numbers is one register.

pub(crate) mod attention;
pub(crate) mod elementwise;
pub(crate) mod float;
pub(crate) mod linear;
pub(crate) mod quantize;
mod source;
mod tile;
mod unpack;
