//! Q5_1: 32 weights of 5 bits, scale and minimum. 6 bits a weight.
//!
//! ```text
//! byte   0   1   2   3   4 … 7   8 ………… 23
//!        d (F16) m (F16) qh[4]   qs[16]
//! qs[j]: low nibble = weight j, high nibble = weight j + 16
//! qh as u32, little-endian: bit j = the fifth bit of weight j
//! x = q * d + m
//! ```
//! Source: `block_q5_1` in ggml's `ggml-common.h`; `dequantize_row_q5_1` and `quantize_row_q5_1_ref` in `ggml-quants.c`.
use crate::block::low_byte;
use crate::q4_1::min_max;
use crate::q5_0::{pack, unpack};
use crate::{f16_to_f32, f32_to_f16};

/// 32 weights of 5 bits with scale and minimum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct BlockQ5_1 {
    /// Scale, F16.
    pub d: [u8; 2],
    /// Minimum, F16.
    pub m: [u8; 2],
    /// Fifth bits.
    pub qh: [u8; 4],
    /// Lower four bits, two weights a byte.
    pub qs: [u8; 16],
}

impl BlockQ5_1 {
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
    /// The codes, 0..=31, in weight order.
    #[inline]
    #[must_use]
    pub fn codes(&self) -> [u8; 32] {
        unpack(self.qh, &self.qs)
    }
    /// The weights.
    #[inline]
    #[must_use]
    pub fn decode(&self) -> [f32; 32] {
        let (d, m) = (self.scale(), self.min());
        self.codes().map(|q| f32::from(q) * d + m)
    }
    /// The block nearest to `x` whose codes 0 and 31 are the smallest and the largest weight.
    #[must_use]
    pub fn encode(x: &[f32; 32]) -> Self {
        let (min, max) = min_max(x);
        let d = (max - min) / 31.0;
        let id = if d == 0.0 { 0.0 } else { 1.0 / d };
        let (qh, qs) = pack(&x.map(|v| low_byte((v - min) * id + 0.5)));
        Self { d: f32_to_f16(d), m: f32_to_f16(min), qh, qs }
    }
}
