//! Packed weights, matmul, attention, norms and rope for CPUs.
pub mod reference;
