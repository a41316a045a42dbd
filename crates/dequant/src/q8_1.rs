//! Q8_1: 32 activations of 8 bits, scale and scaled sum; the partner of Q4_1 and Q5_1 in a dot product.
//!
//! ```text
//! byte   0   1   2   3   4 ………… 35
//!        d (F16) s (F16) qs[32], signed
//! x = q * d        s = d * (sum of q), d before its rounding to F16
//! ```
//! Source: `block_q8_1` in ggml's `ggml-common.h`; `quantize_row_q8_1_ref` in `ggml-quants.c`. No tensor of a file
//! has this type.
use crate::q8_0::round_to_127;
use crate::{f16_to_f32, f32_to_f16};

/// 32 activations of 8 bits with scale and scaled sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct BlockQ8_1 {
    /// Scale, F16.
    pub d: [u8; 2],
    /// Scale times the sum of the codes, F16: what a weight's minimum is multiplied with.
    pub s: [u8; 2],
    /// Codes, -127..=127.
    pub qs: [i8; 32],
}

impl BlockQ8_1 {
    /// All zeros.
    pub const ZERO: Self = Self { d: [0; 2], s: [0; 2], qs: [0; 32] };

    /// The scale.
    #[inline]
    #[must_use]
    pub fn scale(&self) -> f32 {
        f16_to_f32(self.d)
    }
    /// The scaled sum.
    #[inline]
    #[must_use]
    pub fn scaled_sum(&self) -> f32 {
        f16_to_f32(self.s)
    }
    /// The codes, in order.
    #[inline]
    #[must_use]
    pub fn codes(&self) -> [i8; 32] {
        self.qs
    }
    /// The numbers.
    #[inline]
    #[must_use]
    pub fn decode(&self) -> [f32; 32] {
        let d = self.scale();
        self.qs.map(|q| f32::from(q) * d)
    }
    /// The block nearest to `x`, the number of largest magnitude at ±127. Halves round away from zero.
    #[must_use]
    pub fn encode(x: &[f32; 32]) -> Self {
        let (d, qs) = round_to_127(x);
        // At most 32 * 127: exact in i16 and in f32.
        let sum: i16 = qs.iter().map(|&q| i16::from(q)).sum();
        Self { d: f32_to_f16(d), s: f32_to_f16(f32::from(sum) * d), qs }
    }
}
