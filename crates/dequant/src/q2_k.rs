//! Q2_K: 256 weights of 2 bits in 16 sub-blocks with 4-bit scales and minimums. 2.625 bits a weight.
//!
//! ```text
//! byte   0 ……… 15     16 ………… 79   80  81  82    83
//!        scales[16]   qs[64]       d (F16) dmin (F16)
//! scales[j]: low nibble = scale, high nibble = minimum of weights 16 j ..
//! qs[32 h + l], h = 0, 1: bits 2 k, 2 k + 1 = weight 128 h + 32 k + l
//! x = (d * scale) * q - dmin * minimum
//! ```
//! Source: `block_q2_K` in ggml's `ggml-common.h`; `dequantize_row_q2_K` in `ggml-quants.c`.
use crate::f16_to_f32;

/// 256 weights of 2 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct BlockQ2_K {
    /// Scales and minimums, 4 bits each.
    pub scales: [u8; 16],
    /// Codes 0..=3, four a byte.
    pub qs: [u8; 64],
    /// Scale of the scales, F16.
    pub d: [u8; 2],
    /// Scale of the minimums, F16.
    pub dmin: [u8; 2],
}

impl BlockQ2_K {
    /// The scale of the scales.
    #[inline]
    #[must_use]
    pub fn scale(&self) -> f32 {
        f16_to_f32(self.d)
    }
    /// The scale of the minimums.
    #[inline]
    #[must_use]
    pub fn min_scale(&self) -> f32 {
        f16_to_f32(self.dmin)
    }
    /// Scales and minimums, 0..=15, of the 16 sub-blocks of 16 weights.
    #[inline]
    #[must_use]
    pub fn scales_mins(&self) -> ([u8; 16], [u8; 16]) {
        (self.scales.map(|s| s & 15), self.scales.map(|s| s >> 4))
    }
    /// The codes, 0..=3, in weight order.
    #[inline]
    #[must_use]
    pub fn codes(&self) -> [u8; 256] {
        two_bits(&self.qs)
    }
    /// The weights.
    #[inline]
    #[must_use]
    pub fn decode(&self) -> [f32; 256] {
        let (d, dmin) = (self.scale(), self.min_scale());
        let (scales, mins) = self.scales_mins();
        let codes = self.codes();
        let mut out = [0.0; 256];
        let groups = out.as_chunks_mut::<16>().0.iter_mut().zip(codes.as_chunks::<16>().0);
        for (j, (out, codes)) in groups.enumerate() {
            let (dl, ml) = (d * f32::from(scales[j]), dmin * f32::from(mins[j]));
            *out = codes.map(|q| dl * f32::from(q) - ml);
        }
        out
    }
}

/// The order of 2-bit fields that Q2_K and Q3_K share.
#[inline]
pub(crate) fn two_bits(qs: &[u8; 64]) -> [u8; 256] {
    let mut codes = [0; 256];
    for (half, qs) in codes.as_chunks_mut::<128>().0.iter_mut().zip(qs.as_chunks::<32>().0) {
        for (k, quarter) in half.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            *quarter = qs.map(|q| q >> (2 * k) & 3);
        }
    }
    codes
}
