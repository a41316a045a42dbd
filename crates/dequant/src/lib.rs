//! ggml tensor blocks to f32 and back, scalar and exact: the definition of every tensor type.
//!
//! Re-exports [`GgmlType`] so that kernels need not depend on the parser.
pub use gguf_parse::GgmlType;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DequantError {
    /// The type has no dequantizer (or quantizer) here.
    #[error("tensor type {} is not supported", ty.name())]
    Unsupported {
        /// The type.
        ty: GgmlType,
    },
    /// Bytes and elements do not match.
    #[error("{} data has {n_bytes} bytes for {n_elems} elements", ty.name())]
    Length {
        /// The type.
        ty: GgmlType,
        /// Bytes given.
        n_bytes: usize,
        /// Elements given.
        n_elems: usize,
    },
}

/// Whether [`dequantize`] knows `ty`.
#[must_use]
pub fn is_supported(ty: GgmlType) -> bool {
    let _ = ty;
    unimplemented!()
}

/// Blocks to f32, bit-identical to ggml's `dequantize_row_*`.
/// # Errors
/// An unsupported type; lengths that do not match.
pub fn dequantize(ty: GgmlType, bytes: &[u8], out: &mut [f32]) -> Result<(), DequantError> {
    let _ = (ty, bytes, out);
    unimplemented!()
}

/// f32 to blocks, byte-identical to ggml's `ggml_quantize_chunk` without an importance matrix. `n_per_row` matters to K-quants.
/// # Errors
/// An unsupported type; lengths that do not match.
pub fn quantize(
    ty: GgmlType,
    src: &[f32],
    n_per_row: usize,
    out: &mut [u8],
) -> Result<(), DequantError> {
    let _ = (ty, src, n_per_row, out);
    unimplemented!()
}
