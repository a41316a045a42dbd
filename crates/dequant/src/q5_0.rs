//! Q5_0: 32 weights of 5 bits, one scale. 5.5 bits a weight.
//!
//! ```text
//! byte   0   1   2 … 5   6 ………… 21
//!        d (F16) qh[4]   qs[16]
//! qs[j]: low nibble = weight j, high nibble = weight j + 16
//! qh as u32, little-endian: bit j = the fifth bit of weight j
//! x = (q - 16) * d
//! ```
//! Source: `block_q5_0` in ggml's `ggml-common.h`; `dequantize_row_q5_0` and `quantize_row_q5_0_ref` in `ggml-quants.c`.
use crate::block::low_byte;
use crate::q4_0::signed_max;
use crate::{f16_to_f32, f32_to_f16};

/// 32 weights of 5 bits with one scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct BlockQ5_0 {
    /// Scale, F16.
    pub d: [u8; 2],
    /// Fifth bits.
    pub qh: [u8; 4],
    /// Lower four bits, two weights a byte.
    pub qs: [u8; 16],
}

impl BlockQ5_0 {
    /// The scale.
    #[inline]
    #[must_use]
    pub fn scale(&self) -> f32 {
        f16_to_f32(self.d)
    }
    /// The signed codes, -16..=15, in weight order.
    #[inline]
    #[must_use]
    pub fn codes(&self) -> [i8; 32] {
        unpack(self.qh, &self.qs).map(|q| q.cast_signed() - 16)
    }
    /// The weights.
    #[inline]
    #[must_use]
    pub fn decode(&self) -> [f32; 32] {
        let d = self.scale();
        self.codes().map(|q| f32::from(q) * d)
    }
    /// The block nearest to `x`, with the scale that makes the weight of largest magnitude code 0 (that is, -16).
    #[must_use]
    pub fn encode(x: &[f32; 32]) -> Self {
        let d = signed_max(x) / -16.0;
        let id = if d == 0.0 { 0.0 } else { 1.0 / d };
        let (qh, qs) = pack(&x.map(|v| low_byte(v * id + 16.5).min(31)));
        Self { d: f32_to_f16(d), qh, qs }
    }
}

/// The five-bit codes of (`qh`, `qs`), in weight order.
#[inline]
pub(crate) fn unpack(qh: [u8; 4], qs: &[u8; 16]) -> [u8; 32] {
    let qh = u32::from_le_bytes(qh);
    let fifth = |i: usize| if qh >> i & 1 == 0 { 0 } else { 16 };
    let mut codes = [0; 32];
    for (j, q) in qs.iter().enumerate() {
        codes[j] = q & 15 | fifth(j);
        codes[j + 16] = q >> 4 | fifth(j + 16);
    }
    codes
}

/// (`qh`, `qs`) of five-bit codes.
pub(crate) fn pack(codes: &[u8; 32]) -> ([u8; 4], [u8; 16]) {
    let mut qh = 0_u32;
    for (i, q) in codes.iter().enumerate() {
        qh |= u32::from(q >> 4 & 1) << i;
    }
    let mut qs = [0; 16];
    for (j, q) in qs.iter_mut().enumerate() {
        *q = codes[j] & 15 | (codes[j + 16] & 15) << 4;
    }
    (qh.to_le_bytes(), qs)
}
