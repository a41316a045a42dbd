//! Random weights of every tensor type: all codes and sub-scales are random bits, the block's own scales are chosen
//! so that the weights have the wanted root mean square. So each bit of a block counts, which is more than a file
//! made by a quantizer can promise.

use super::random::Random;
use crate::ModelError;
use gguf_parse::GgmlType;
use half::{bf16, f16};

/// Where a block holds its f16 scales, and what codes and sub-scales alone amount to.
struct Layout {
    /// Byte offset of the scale `d`.
    d: usize,
    /// Byte offset of the offset (`m`, or `dmin` of K-quants) and what it is as a multiple of `d`, so that the mean
    /// of the weights is about zero.
    offset: Option<(usize, f32)>,
    /// Root mean square of a weight at `d = 1` when every bit of the block is random.
    rms: f32,
    /// Whether quantizers write negative scales for this type.
    signed: bool,
}

impl Layout {
    /// `None` for types that are no blocks, or not known here.
    ///
    /// The root mean squares follow from uniform codes. Q6_K: `d * scale * (q - 32)` with an 8-bit scale (73.9) and
    /// a 6-bit code (18.5). Q4_K: `d * scale * q - dmin * min` with 6-bit scales and a 4-bit code. IQ4_XS: `d * scale *
    /// table[q]` with a 6-bit scale (18.5) and IQ4_NL's table (67.4). And so on.
    fn of(ty: GgmlType) -> Option<Self> {
        let (d, offset, rms, signed) = match ty {
            GgmlType::Q4_0 => (0, None, 4.637, true),
            GgmlType::Q4_1 => (0, Some((2, -7.5)), 4.610, false),
            GgmlType::Q5_0 => (0, None, 9.247, true),
            GgmlType::Q5_1 => (0, Some((2, -15.5)), 9.233, false),
            GgmlType::Q8_0 => (0, None, 73.90, false),
            GgmlType::Q2_K => (80, Some((82, 1.5)), 13.88, false),
            GgmlType::Q3_K => (108, None, 43.32, true),
            GgmlType::Q4_K => (0, Some((2, 7.5)), 258.3, false),
            GgmlType::Q5_K => (0, Some((2, 15.5)), 526.9, false),
            GgmlType::Q6_K => (208, None, 1365.0, true),
            GgmlType::IQ4_NL => (0, None, 67.44, true),
            GgmlType::IQ4_XS => (0, None, 1246.0, true),
            _ => return None,
        };
        Some(Self { d, offset, rms, signed })
    }
}

/// Random weights with mean zero and the root mean square `rms`: `bytes` is a whole number of blocks of `ty`.
///
/// # Errors
/// A type that cannot be generated.
pub(super) fn fill_weights(
    ty: GgmlType,
    rms: f32,
    random: &mut Random,
    bytes: &mut [u8],
) -> Result<(), ModelError> {
    // A uniform value in -x..x has the root mean square x / sqrt(3).
    let reach = rms * 3f32.sqrt();
    let mut value = || random.uniform(-reach, reach);
    match ty {
        GgmlType::F32 => {
            bytes.chunks_exact_mut(4).for_each(|b| b.copy_from_slice(&value().to_le_bytes()))
        }
        GgmlType::F16 => put_halves(bytes, || f16::from_f32(value()).to_bits()),
        GgmlType::BF16 => put_halves(bytes, || bf16::from_f32(value()).to_bits()),
        GgmlType::MXFP4 => {
            for block in bytes.chunks_exact_mut(ty.block_bytes()) {
                random.fill(block);
                block[0] = exponent(rms * random.uniform(0.5, 1.5));
            }
        }
        _ => {
            let layout = Layout::of(ty).ok_or_else(|| ModelError::Argument {
                what: "the tensor type of a random model",
                found: ty.name().to_owned(),
                allowed: "a type that can be generated".to_owned(),
            })?;
            for block in bytes.chunks_exact_mut(ty.block_bytes()) {
                random.fill(block);
                put_scales(&layout, rms, random, block);
            }
        }
    }
    Ok(())
}

/// The exponent of an MXFP4 block whose random codes then have about this root mean square; that of the table is 5.85.
fn exponent(rms: f32) -> u8 {
    // The power of two that is nearest in its exponent.
    let scale = rms / 5.852 * std::f32::consts::SQRT_2;
    let [exponent, ..] = (scale.to_bits() << 1).to_be_bytes();
    exponent.saturating_add(1)
}

fn put_halves(bytes: &mut [u8], mut value: impl FnMut() -> u16) {
    bytes.chunks_exact_mut(2).for_each(|b| b.copy_from_slice(&value().to_le_bytes()));
}

fn put_scales(layout: &Layout, rms: f32, random: &mut Random, block: &mut [u8]) {
    // Scales differ by a factor of up to three from block to block; sqrt(13/12) is the root mean square of 0.5..1.5.
    let d = rms / layout.rms / (13f32 / 12.0).sqrt() * random.uniform(0.5, 1.5);
    let d = if layout.signed { d * random.sign() } else { d };
    let mut put = |at: usize, value: f32| {
        block[at..at + 2].copy_from_slice(&f16::from_f32(value).to_bits().to_le_bytes());
    };
    put(layout.d, d);
    if let Some((at, ratio)) = layout.offset {
        put(at, d * ratio * random.uniform(0.95, 1.05));
    }
}
