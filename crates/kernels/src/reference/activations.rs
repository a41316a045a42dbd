//! Activations in the formats the dot products want, and rows of embedding tables.

use dequant::GgmlType;

use super::f16::{f32_to_bf16, f32_to_f16};

/// The type to which ggml converts activations before a product with weights of type `ty`; `None` if
/// [`vec_dot`](super::vec_dot) does not know `ty`.
#[must_use]
pub const fn act_type(ty: GgmlType) -> Option<GgmlType> {
    match ty {
        GgmlType::F32 | GgmlType::F16 | GgmlType::BF16 => Some(ty),
        GgmlType::Q4_0 | GgmlType::Q5_0 | GgmlType::Q8_0 => Some(GgmlType::Q8_0),
        GgmlType::Q4_1 | GgmlType::Q5_1 => Some(GgmlType::Q8_1),
        GgmlType::Q2_K | GgmlType::Q3_K | GgmlType::Q4_K | GgmlType::Q5_K | GgmlType::Q6_K => {
            Some(GgmlType::Q8_K)
        }
        _ => None,
    }
}

/// Converts a row of activations to type `to` (an [`act_type`]), as raw little-endian blocks.
///
/// F16 and BF16 round to nearest even. Q8_0 and Q8_1 scale by `1 / d` with `d = amax / 127` not yet rounded to
/// f16, and round halves away from zero; Q8_K scales by `-127 / max` and rounds halves to even.
///
/// # Panics
/// If `to` is no activation type, or `x` and `out` do not have the lengths of the same whole number of blocks.
pub fn quantize_row(to: GgmlType, x: &[f32], out: &mut [u8]) {
    assert_eq!(
        to.row_bytes(x.len()),
        Some(out.len()),
        "quantize_row: {} elements of {}",
        x.len(),
        to.name()
    );
    match to {
        GgmlType::F32 => each::<1, 4>(x, out, |x, out| *out = x[0].to_le_bytes()),
        GgmlType::F16 => each::<1, 2>(x, out, |x, out| *out = f32_to_f16(x[0]).to_le_bytes()),
        GgmlType::BF16 => each::<1, 2>(x, out, |x, out| *out = f32_to_bf16(x[0]).to_le_bytes()),
        GgmlType::Q8_0 => each(x, out, quantize_q8_0),
        GgmlType::Q8_1 => each(x, out, quantize_q8_1),
        GgmlType::Q8_K => each(x, out, quantize_q8_k),
        _ => unreachable!("{} is no activation type", to.name()),
    }
}

/// Applies `f` to each block of `N` elements and `B` bytes.
fn each<const N: usize, const B: usize>(
    x: &[f32],
    out: &mut [u8],
    f: impl Fn(&[f32; N], &mut [u8; B]),
) {
    for (x, out) in x.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        f(x, out);
    }
}

/// Writes the codes of 32 elements; returns their unrounded scale and their sum.
fn codes32(x: &[f32; 32], qs: &mut [u8]) -> (f32, i32) {
    let amax = x.iter().fold(0.0_f32, |max, x| if max > x.abs() { max } else { x.abs() });
    let d = amax / 127.0;
    let id = if d == 0.0 { 0.0 } else { 1.0 / d };
    let mut sum = 0;
    for (q, &x) in qs.iter_mut().zip(x) {
        let code = to_i8((x * id).round());
        *q = code.cast_unsigned();
        sum += i32::from(code);
    }
    (d, sum)
}

/// The integer `x` as x86 converts it: modulo 256, and 0 for what is no 32-bit integer.
#[expect(clippy::cast_possible_truncation, reason = "modulo 256 is what is wanted")]
fn to_i8(x: f32) -> i8 {
    if x.abs() < 2_147_483_648.0 { x as i32 as i8 } else { 0 }
}

fn quantize_q8_0(x: &[f32; 32], out: &mut [u8; 34]) {
    let (d, _) = codes32(x, &mut out[2..]);
    out[..2].copy_from_slice(&f32_to_f16(d).to_le_bytes());
}

fn quantize_q8_1(x: &[f32; 32], out: &mut [u8; 36]) {
    let (d, sum) = codes32(x, &mut out[4..]);
    out[..2].copy_from_slice(&f32_to_f16(d).to_le_bytes());
    out[2..4].copy_from_slice(&f32_to_f16(sum as f32 * d).to_le_bytes());
}

fn quantize_q8_k(x: &[f32; 256], out: &mut [u8; 292]) {
    out.fill(0);
    let max = x.iter().fold(0.0_f32, |max, &x| if x.abs() > max.abs() { x } else { max });
    if max == 0.0 {
        return;
    }
    let iscale = -127.0 / max;
    let mut sums = [0_i16; 16];
    for (i, &x) in x.iter().enumerate() {
        let code = nearest(iscale * x).min(127);
        let code = to_i8(code as f32);
        out[4 + i] = code.cast_unsigned();
        sums[i / 16] += i16::from(code);
    }
    out[..4].copy_from_slice(&(1.0 / iscale).to_le_bytes());
    for (bytes, sum) in out[260..].as_chunks_mut().0.iter_mut().zip(sums) {
        *bytes = sum.to_le_bytes();
    }
}

/// The nearest integer, halves to even, for |x| < 2^22: in the low bits after adding 1.5 * 2^23.
fn nearest(x: f32) -> i32 {
    let bits = (x + 12_582_912.0).to_bits() & 0x007f_ffff;
    bits.cast_signed() - 0x0040_0000
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
