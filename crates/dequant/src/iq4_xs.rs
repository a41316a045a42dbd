//! IQ4_XS: 256 weights of 4 bits in 8 sub-blocks with 6-bit scales; codes as in IQ4_NL. 4.25 bits a weight.
//!
//! ```text
//! byte   0   1   2    3      4 ……… 7     8 ………… 135
//!        d (F16) scales_h    scales_l[4] qs[128]
//! scale of sub-block j, 0..=63: nibble j % 2 of scales_l[j / 2], above it bits 2 j, 2 j + 1 of scales_h as u16
//! qs[16 j + l], j = 0..8: low nibble = weight 32 j + l, high nibble = weight 32 j + 16 + l
//! x = (d * (scale - 32)) * table[q]
//! ```
//! Source: `block_iq4_xs` in ggml's `ggml-common.h`; `dequantize_row_iq4_xs` in `ggml-quants.c`.
use crate::f16_to_f32;
use crate::iq4_nl::{IQ4_VALUES, look_up};

/// 256 weights of 4 bits, uneven steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct BlockIQ4_XS {
    /// Scale of the scales, F16.
    pub d: [u8; 2],
    /// Upper two bits of the scales.
    pub scales_h: [u8; 2],
    /// Lower four bits of the scales, two a byte.
    pub scales_l: [u8; 4],
    /// Codes, two a byte.
    pub qs: [u8; 128],
}

impl BlockIQ4_XS {
    /// The scale of the scales.
    #[inline]
    #[must_use]
    pub fn scale(&self) -> f32 {
        f16_to_f32(self.d)
    }
    /// The signed scales, -32..=31, of the 8 sub-blocks of 32 weights.
    #[inline]
    #[must_use]
    pub fn scales(&self) -> [i8; 8] {
        let high = u16::from_le_bytes(self.scales_h);
        std::array::from_fn(|j| {
            let low = self.scales_l[j / 2] >> (4 * (j % 2)) & 15;
            let [high, _] = (high >> (2 * j) & 3).to_le_bytes();
            (low | high << 4).cast_signed() - 32
        })
    }
    /// What the codes stand for, in weight order.
    #[inline]
    #[must_use]
    pub fn values(&self) -> [i8; 256] {
        let mut values = [0; 256];
        for (to, qs) in values.as_chunks_mut().0.iter_mut().zip(self.qs.as_chunks().0) {
            *to = look_up(&IQ4_VALUES, qs);
        }
        values
    }
    /// The weights.
    #[inline]
    #[must_use]
    pub fn decode(&self) -> [f32; 256] {
        let (d, scales) = (self.scale(), self.scales());
        let mut out = self.values().map(f32::from);
        for (out, scale) in out.as_chunks_mut::<32>().0.iter_mut().zip(scales) {
            let d = d * f32::from(scale);
            *out = out.map(|q| d * q);
        }
        out
    }
}
