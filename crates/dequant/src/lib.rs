//! ggml tensor blocks to f32 and back, scalar and exact: the definition of every tensor type.
//!
//! One format is one module: its block's bytes drawn, its struct with accessors for integer kernels, and `decode`
//! (and `encode`) as ggml's scalar code computes them, operation by operation. Module `block` holds the table of types.
//!
//! NaN: which payload arithmetic gives a NaN is the processor's business (and Rust promises none), so "bit-identical"
//! means "bit-identical or both NaN".
//!
//! Re-exports [`GgmlType`] so that kernels need not depend on the parser.
mod activations;
mod block;
mod error;
mod fit;
mod float;
mod iq4_nl;
mod iq4_xs;
mod k_scales;
mod mxfp4;
mod q2_k;
mod q3_k;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_0;
mod q8_1;
mod q8_k;

pub use activations::{quantize_q8_0, quantize_q8_1, quantize_q8_k};
pub use block::{Block, Quantize, as_bytes, blocks, blocks_mut};
pub use error::DequantError;
pub use float::{BlockBF16, BlockF16, BlockF32, bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
pub use gguf_parse::GgmlType;
pub use iq4_nl::{BlockIQ4_NL, IQ4_VALUES};
pub use iq4_xs::BlockIQ4_XS;
pub use mxfp4::{BlockMXFP4, MXFP4_VALUES, e8m0_to_f32_half};
pub use q2_k::BlockQ2_K;
pub use q3_k::BlockQ3_K;
pub use q4_0::BlockQ4_0;
pub use q4_1::BlockQ4_1;
pub use q4_k::BlockQ4_K;
pub use q5_0::BlockQ5_0;
pub use q5_1::BlockQ5_1;
pub use q5_k::BlockQ5_K;
pub use q6_k::BlockQ6_K;
pub use q8_0::BlockQ8_0;
pub use q8_1::BlockQ8_1;
pub use q8_k::BlockQ8_K;

use block::with_block;

/// Whether [`dequantize`] knows `ty`.
#[must_use]
pub fn is_supported(ty: GgmlType) -> bool {
    with_block!(tensor ty, B => B::N_ELEMS).is_some()
}

/// Blocks to f32, bit-identical to ggml's `dequantize_row_*`.
/// # Errors
/// An unsupported type; lengths that do not match.
pub fn dequantize(ty: GgmlType, bytes: &[u8], out: &mut [f32]) -> Result<(), DequantError> {
    with_block!(tensor ty, B => dequantize_blocks::<B>(bytes, out))
        .unwrap_or(Err(DequantError::Unsupported { ty }))
}

fn dequantize_blocks<B: Block>(bytes: &[u8], out: &mut [f32]) -> Result<(), DequantError> {
    let blocks = blocks::<B>(bytes)?;
    if blocks.len().checked_mul(B::N_ELEMS) != Some(out.len()) {
        return Err(DequantError::Length { ty: B::TYPE, n_bytes: bytes.len(), n_elems: out.len() });
    }
    for (block, out) in blocks.iter().zip(out.chunks_exact_mut(B::N_ELEMS)) {
        block.dequantize(out);
    }
    Ok(())
}

/// Checks that no scale (of a float type: no value) is infinite or NaN. Codes are not looked at: each has a meaning.
/// # Errors
/// An unsupported type; bytes that are no whole number of blocks; [`DequantError::NotFinite`] with the first block.
pub fn check_finite(ty: GgmlType, bytes: &[u8]) -> Result<(), DequantError> {
    with_block!(tensor ty, B => check_blocks::<B>(bytes))
        .unwrap_or(Err(DequantError::Unsupported { ty }))
}

fn check_blocks<B: Block>(bytes: &[u8]) -> Result<(), DequantError> {
    match blocks::<B>(bytes)?.iter().position(|block| !block.is_finite()) {
        Some(block) => Err(DequantError::NotFinite { ty: B::TYPE, block }),
        None => Ok(()),
    }
}

/// Whether [`quantize`] knows `ty`.
#[must_use]
pub fn is_target(ty: GgmlType) -> bool {
    with_block!(target ty, B => B::N_ELEMS).is_some()
}

/// f32 to blocks, byte-identical to ggml's `ggml_quantize_chunk` without an importance matrix. `src` holds rows of
/// `n_per_row` elements; a block does not cross rows.
/// # Errors
/// An unsupported type; lengths that do not match.
pub fn quantize(
    ty: GgmlType,
    src: &[f32],
    n_per_row: usize,
    out: &mut [u8],
) -> Result<(), DequantError> {
    with_block!(target ty, B => quantize_blocks::<B>(src, n_per_row, out))
        .unwrap_or(Err(DequantError::Unsupported { ty }))
}

fn quantize_blocks<B: Quantize>(
    src: &[f32],
    n_per_row: usize,
    out: &mut [u8],
) -> Result<(), DequantError> {
    if !n_per_row.is_multiple_of(B::N_ELEMS) {
        return Err(DequantError::PartialRow { ty: B::TYPE, n_per_row });
    }
    let (n_bytes, n_elems) = (out.len(), src.len());
    let blocks = blocks_mut::<B>(out)?;
    if !n_elems.is_multiple_of(n_per_row) || blocks.len().checked_mul(B::N_ELEMS) != Some(n_elems) {
        return Err(DequantError::Length { ty: B::TYPE, n_bytes, n_elems });
    }
    for (block, x) in blocks.iter_mut().zip(src.chunks_exact(B::N_ELEMS)) {
        *block = B::quantize(x);
    }
    Ok(())
}
