//! Q3_K: 256 weights of 3 bits in 16 sub-blocks with signed 6-bit scales. 3.4375 bits a weight.
//!
//! ```text
//! byte   0 ……… 31    32 ………… 95   96 ……… 107   108 109
//!        hmask[32]   qs[64]       scales[12]   d (F16)
//! qs[32 h + l], h = 0, 1: bits 2 k, 2 k + 1 = low bits of weight 128 h + 32 k + l
//! hmask[l]: bit 4 h + k = the high bit of weight 128 h + 32 k + l
//! scales, j = 0..16:  low 4 bits: nibble j / 8 of byte j % 8
//!                     high 2 bits: bits 2 (j / 4), 2 (j / 4) + 1 of byte 8 + j % 4
//! x = (d * (scale - 32)) * (q - 4)
//! ```
//! Source: `block_q3_K` in ggml's `ggml-common.h`; `dequantize_row_q3_K` in `ggml-quants.c`.
use crate::f16_to_f32;
use crate::q2_k::two_bits;

/// 256 weights of 3 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct BlockQ3_K {
    /// High bits of the codes.
    pub hmask: [u8; 32],
    /// Low two bits of the codes, four weights a byte.
    pub qs: [u8; 64],
    /// Scales, 6 bits each.
    pub scales: [u8; 12],
    /// Scale of the scales, F16.
    pub d: [u8; 2],
}

impl BlockQ3_K {
    /// The scale of the scales.
    #[inline]
    #[must_use]
    pub fn scale(&self) -> f32 {
        f16_to_f32(self.d)
    }
    /// The signed scales, -32..=31, of the 16 sub-blocks of 16 weights.
    #[inline]
    #[must_use]
    pub fn scales(&self) -> [i8; 16] {
        let s = &self.scales;
        std::array::from_fn(|j| {
            let low = s[j % 8] >> (4 * (j / 8)) & 15;
            let high = s[8 + j % 4] >> (2 * (j / 4)) & 3;
            (low | high << 4).cast_signed() - 32
        })
    }
    /// The signed codes, -4..=3, in weight order.
    #[inline]
    #[must_use]
    pub fn codes(&self) -> [i8; 256] {
        let mut codes = two_bits(&self.qs).map(|q| q.cast_signed() - 4);
        for (bit, group) in codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            for (q, mask) in group.iter_mut().zip(&self.hmask) {
                *q += (mask >> bit & 1).cast_signed() * 4;
            }
        }
        codes
    }
    /// The weights.
    #[inline]
    #[must_use]
    pub fn decode(&self) -> [f32; 256] {
        let d = self.scale();
        let (scales, codes) = (self.scales(), self.codes());
        let mut out = [0.0; 256];
        let groups = out.as_chunks_mut::<16>().0.iter_mut().zip(codes.as_chunks::<16>().0);
        for ((out, codes), scale) in groups.zip(scales) {
            let dl = d * f32::from(scale);
            *out = codes.map(|q| dl * f32::from(q));
        }
        out
    }
}
