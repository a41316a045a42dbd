//! MXFP4: 32 weights that are floating-point numbers of 4 bits, one scale that is a power of two. 4.25 bits a weight.
//!
//! ```text
//! byte   0        1 ………… 16
//!        e (E8M0) qs[16]
//! qs[j]: low nibble = weight j, high nibble = weight j + 16
//! x = table[q] * 2^(e - 128)        the table holds the numbers (E2M1) times two, which the scale takes back
//! ```
//! Source: `block_mxfp4` and `kvalues_fp4` in ggml's `ggml-common.h`; `dequantize_row_mxfp4` in `ggml-quants.c`,
//! `ggml_e8m0_to_fp32_half` in `ggml-impl.h`. The format: OCP Microscaling Formats, version 1.0.
use crate::iq4_nl::look_up;

/// What the codes of MXFP4 stand for: twice the numbers of one sign bit, two of exponent and one of mantissa.
pub const MXFP4_VALUES: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// 32 floating-point numbers of 4 bits with one scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct BlockMXFP4 {
    /// Exponent of the scale, E8M0.
    pub e: u8,
    /// Codes, two a byte.
    pub qs: [u8; 16],
}

impl BlockMXFP4 {
    /// The scale of [`Self::values`]: 2^(e - 128). For 255, which the format reserves for NaN, it is 2^127, as in ggml.
    #[inline]
    #[must_use]
    pub fn scale(&self) -> f32 {
        e8m0_to_f32_half(self.e)
    }
    /// The scale as the format has it: NaN for 255.
    #[inline]
    pub(crate) fn scale_or_nan(&self) -> f32 {
        if self.e == u8::MAX { f32::NAN } else { self.scale() }
    }
    /// What the codes stand for, in weight order.
    #[inline]
    #[must_use]
    pub fn values(&self) -> [i8; 32] {
        look_up(&MXFP4_VALUES, &self.qs)
    }
    /// The weights.
    #[inline]
    #[must_use]
    pub fn decode(&self) -> [f32; 32] {
        let d = self.scale();
        self.values().map(|q| f32::from(q) * d)
    }
}

/// 2^(e - 128), half of what an E8M0 number stands for; exact, for 0 and 1 a subnormal number.
#[inline]
#[must_use]
pub fn e8m0_to_f32_half(e: u8) -> f32 {
    let bits = if e < 2 { 0x0020_0000 << e } else { (u32::from(e) - 1) << 23 };
    f32::from_bits(bits)
}
