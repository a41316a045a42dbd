//! Activations in the formats the dot products want, and rows of embedding tables.

use dequant::{
    BlockBF16, BlockF16, BlockF32, BlockQ8_0, BlockQ8_1, BlockQ8_K, GgmlType, Quantize, blocks_mut,
};

/// The type to which ggml converts activations before a product with weights of type `ty`; `None` if
/// [`vec_dot`](super::vec_dot) does not know `ty`.
#[must_use]
pub const fn act_type(ty: GgmlType) -> Option<GgmlType> {
    match ty {
        GgmlType::F32 | GgmlType::F16 | GgmlType::BF16 => Some(ty),
        GgmlType::Q4_0 | GgmlType::Q5_0 | GgmlType::Q8_0 | GgmlType::IQ4_NL | GgmlType::MXFP4 => {
            Some(GgmlType::Q8_0)
        }
        GgmlType::Q4_1 | GgmlType::Q5_1 => Some(GgmlType::Q8_1),
        GgmlType::Q2_K
        | GgmlType::Q3_K
        | GgmlType::Q4_K
        | GgmlType::Q5_K
        | GgmlType::Q6_K
        | GgmlType::IQ4_XS => Some(GgmlType::Q8_K),
        _ => None,
    }
}

/// Converts a row of activations to type `to` (an [`act_type`]), as raw little-endian blocks.
///
/// F16 and BF16 round to nearest even. Q8_0 and Q8_1 scale by `1 / d` with `d = amax / 127` not yet rounded to
/// f16, and round halves away from zero; Q8_K scales by `-127 / max` and rounds halves to even. (ggml's SIMD code
/// for Q8_0 and Q8_1 does otherwise and gives other codes.)
///
/// # Panics
/// If `to` is no activation type, or `x` and `out` are not the same whole number of blocks.
pub fn quantize_row(to: GgmlType, x: &[f32], out: &mut [u8]) {
    match to {
        GgmlType::F32 => quantize::<BlockF32>(x, out),
        GgmlType::F16 => quantize::<BlockF16>(x, out),
        GgmlType::BF16 => quantize::<BlockBF16>(x, out),
        GgmlType::Q8_0 => quantize::<BlockQ8_0>(x, out),
        GgmlType::Q8_1 => quantize::<BlockQ8_1>(x, out),
        GgmlType::Q8_K => quantize::<BlockQ8_K>(x, out),
        _ => unreachable!("{} is no activation type", to.name()),
    }
}

fn quantize<B: Quantize>(x: &[f32], out: &mut [u8]) {
    let (ty, n) = (B::TYPE, x.len());
    assert_eq!(ty.row_bytes(n), Some(out.len()), "quantize_row: {n} elements of {}", ty.name());
    let blocks = blocks_mut::<B>(out).unwrap_or_default();
    for (block, x) in blocks.iter_mut().zip(x.chunks_exact(B::N_ELEMS)) {
        *block = B::quantize(x);
    }
}

/// Row `row` of a table of type `ty` with `out.len()` columns, as f32: what ggml's `get_rows` gives for one id.
///
/// # Panics
/// If the table has no such row, or the type cannot be dequantized.
pub fn get_row(ty: GgmlType, table: &[u8], row: usize, out: &mut [f32]) {
    let n_bytes = ty.row_bytes(out.len()).unwrap_or(0);
    let bytes = table.get(row * n_bytes..(row + 1) * n_bytes).unwrap_or(&[]);
    let done = dequant::dequantize(ty, bytes, out);
    assert!(
        done.is_ok(),
        "get_row: row {row} of a table of {} bytes of {}",
        table.len(),
        ty.name()
    );
}
