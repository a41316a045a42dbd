//! Activations to blocks, as the right-hand side of an integer dot product: Q8_0 meets Q4_0, Q5_0, Q8_0, IQ4_NL and
//! MXFP4 weights; Q8_1 meets Q4_1 and Q5_1; Q8_K meets the K-quants and IQ4_XS.
//!
//! Bit-identical to ggml's `quantize_row_q8_0_ref`, `quantize_row_q8_1_ref` and `quantize_row_q8_K_ref`. Other code of
//! ggml rounds halves the other way (and so gives other codes); these are the definition.
use crate::{BlockQ8_0, BlockQ8_1, BlockQ8_K, Quantize};

/// `x` (whole blocks of 32) as Q8_0.
/// # Panics
/// If `x.len() != 32 * out.len()`.
pub fn quantize_q8_0(x: &[f32], out: &mut [BlockQ8_0]) {
    quantize(x, out);
}

/// `x` (whole blocks of 32) as Q8_1.
/// # Panics
/// If `x.len() != 32 * out.len()`.
pub fn quantize_q8_1(x: &[f32], out: &mut [BlockQ8_1]) {
    quantize(x, out);
}

/// `x` (whole blocks of 256) as Q8_K.
/// # Panics
/// If `x.len() != 256 * out.len()`.
pub fn quantize_q8_k(x: &[f32], out: &mut [BlockQ8_K]) {
    quantize(x, out);
}

fn quantize<B: Quantize>(x: &[f32], out: &mut [B]) {
    assert_eq!(x.len(), out.len() * B::N_ELEMS, "{} activations in whole blocks", B::TYPE.name());
    for (block, x) in out.iter_mut().zip(x.chunks_exact(B::N_ELEMS)) {
        *block = B::quantize(x);
    }
}
