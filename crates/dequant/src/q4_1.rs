//! Q4_1: 32 weights of 4 bits, scale and minimum. 5 bits a weight.
//!
//! ```text
//! byte   0   1   2   3   4 ………… 19
//!        d (F16) m (F16) qs[16]
//! qs[j]: low nibble = weight j, high nibble = weight j + 16
//! x = q * d + m
//! ```
//! Source: `block_q4_1` in ggml's `ggml-common.h`; `dequantize_row_q4_1` and `quantize_row_q4_1_ref` in `ggml-quants.c`.
use crate::block::low_byte;
use crate::{f16_to_f32, f32_to_f16};

/// 32 weights of 4 bits with scale and minimum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct BlockQ4_1 {
    /// Scale, F16.
    pub d: [u8; 2],
    /// Minimum, F16.
    pub m: [u8; 2],
    /// Codes 0..=15, two a byte.
    pub qs: [u8; 16],
}

impl BlockQ4_1 {
    /// The scale.
    #[inline]
    #[must_use]
    pub fn scale(&self) -> f32 {
        f16_to_f32(self.d)
    }
    /// The minimum: the value of code 0.
    #[inline]
    #[must_use]
    pub fn min(&self) -> f32 {
        f16_to_f32(self.m)
    }
    /// The codes, 0..=15, in weight order.
    #[inline]
    #[must_use]
    pub fn codes(&self) -> [u8; 32] {
        let mut codes = [0; 32];
        for (j, q) in self.qs.iter().enumerate() {
            codes[j] = q & 15;
            codes[j + 16] = q >> 4;
        }
        codes
    }
    /// The weights.
    #[inline]
    #[must_use]
    pub fn decode(&self) -> [f32; 32] {
        let (d, m) = (self.scale(), self.min());
        self.codes().map(|q| f32::from(q) * d + m)
    }
    /// The block nearest to `x` whose codes 0 and 15 are the smallest and the largest weight.
    #[must_use]
    pub fn encode(x: &[f32; 32]) -> Self {
        let (min, max) = min_max(x);
        let d = (max - min) / 15.0;
        let id = if d == 0.0 { 0.0 } else { 1.0 / d };
        let mut qs = [0; 16];
        for (j, q) in qs.iter_mut().enumerate() {
            let [low, high] = [x[j], x[j + 16]].map(|v| low_byte((v - min) * id + 0.5).min(15));
            *q = low | high << 4;
        }
        Self { d: f32_to_f16(d), m: f32_to_f16(min), qs }
    }
}

/// Smallest and largest element; NaN is passed over.
pub(crate) fn min_max(x: &[f32]) -> (f32, f32) {
    let (mut min, mut max) = (f32::MAX, -f32::MAX);
    for &v in x {
        if v < min {
            min = v;
        }
        if v > max {
            max = v;
        }
    }
    (min, max)
}
