//! Q8_0: 32 weights or activations of 8 bits, one scale. 8.5 bits a weight.
//!
//! ```text
//! byte   0   1   2 ………… 33
//!        d (F16) qs[32], signed
//! x = q * d
//! ```
//! Source: `block_q8_0` in ggml's `ggml-common.h`; `dequantize_row_q8_0` and `quantize_row_q8_0_ref` in `ggml-quants.c`.
use crate::block::low_byte;
use crate::{f16_to_f32, f32_to_f16};

/// 32 numbers of 8 bits with one scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct BlockQ8_0 {
    /// Scale, F16.
    pub d: [u8; 2],
    /// Codes, -127..=127 (a file may hold -128).
    pub qs: [i8; 32],
}

impl BlockQ8_0 {
    /// All zeros.
    pub const ZERO: Self = Self { d: [0; 2], qs: [0; 32] };

    /// The scale.
    #[inline]
    #[must_use]
    pub fn scale(&self) -> f32 {
        f16_to_f32(self.d)
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
        Self { d: f32_to_f16(d), qs }
    }
}

/// Scale before its rounding to F16, and codes.
pub(crate) fn round_to_127(x: &[f32; 32]) -> (f32, [i8; 32]) {
    let mut amax = 0.0_f32;
    for v in x.map(f32::abs) {
        // Written so that a NaN is forgotten at the next number, as in the reference; `f32::max` would differ.
        amax = if amax > v { amax } else { v };
    }
    let d = amax / 127.0;
    let id = if d == 0.0 { 0.0 } else { 1.0 / d };
    (d, x.map(|v| low_byte(half_away(v * id)).cast_signed()))
}

/// What truncation makes the nearest integer, halves away from zero. 0.5 itself would lift the number just below a
/// half; its lower neighbor does not, and the sum with a half still rounds up to the integer.
#[inline]
fn half_away(x: f32) -> f32 {
    x + 0.5_f32.next_down().copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_that_of_round() {
        for k in -300..300_i16 {
            let half = f32::from(k) * 0.5;
            for x in [half.next_down(), half, half.next_up()] {
                assert_eq!(half_away(x).trunc(), x.round(), "{x:e}");
            }
        }
    }
}
