//! Q4_0: 32 weights of 4 bits, one scale. 4.5 bits a weight.
//!
//! ```text
//! byte   0   1   2 ………… 17
//!        d (F16) qs[16]
//! qs[j]: low nibble = weight j, high nibble = weight j + 16
//! x = (q - 8) * d
//! ```
//! Source: `block_q4_0` in ggml's `ggml-common.h`; `dequantize_row_q4_0` and `quantize_row_q4_0_ref` in `ggml-quants.c`.
use crate::block::low_byte;
use crate::{f16_to_f32, f32_to_f16};

/// 32 weights of 4 bits with one scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct BlockQ4_0 {
    /// Scale, F16.
    pub d: [u8; 2],
    /// Codes 0..=15, two a byte.
    pub qs: [u8; 16],
}

impl BlockQ4_0 {
    /// The scale.
    #[inline]
    #[must_use]
    pub fn scale(&self) -> f32 {
        f16_to_f32(self.d)
    }
    /// The signed codes, -8..=7, in weight order.
    #[inline]
    #[must_use]
    pub fn codes(&self) -> [i8; 32] {
        let mut codes = [0; 32];
        for (j, q) in self.qs.iter().enumerate() {
            codes[j] = (q & 15).cast_signed() - 8;
            codes[j + 16] = (q >> 4).cast_signed() - 8;
        }
        codes
    }
    /// The weights.
    #[inline]
    #[must_use]
    pub fn decode(&self) -> [f32; 32] {
        let d = self.scale();
        self.codes().map(|q| f32::from(q) * d)
    }
    /// The block nearest to `x`, with the scale that makes the weight of largest magnitude code 0 (that is, -8).
    #[must_use]
    pub fn encode(x: &[f32; 32]) -> Self {
        let d = signed_max(x) / -8.0;
        let id = if d == 0.0 { 0.0 } else { 1.0 / d };
        let mut qs = [0; 16];
        for (j, q) in qs.iter_mut().enumerate() {
            let [low, high] = [x[j], x[j + 16]].map(|v| low_byte(v * id + 8.5).min(15));
            *q = low | high << 4;
        }
        Self { d: f32_to_f16(d), qs }
    }
}

/// The element of largest magnitude with its sign, the first of equals; 0 for no elements. NaN never wins.
pub(crate) fn signed_max(x: &[f32]) -> f32 {
    let (mut amax, mut max) = (0.0, 0.0);
    for &v in x {
        if amax < v.abs() {
            (amax, max) = (v.abs(), v);
        }
    }
    max
}
