//! Q4_K: 256 weights of 4 bits in 8 sub-blocks with 6-bit scales and minimums. 4.5 bits a weight.
//!
//! ```text
//! byte   0   1   2    3     4 ……… 15     16 ………… 143
//!        d (F16) dmin (F16) scales[12]   qs[128]
//! scales: see [`k_scales`](crate::k_scales)
//! qs[32 p + l], p = 0..4: low nibble = weight 64 p + l, high nibble = weight 64 p + 32 + l
//! x = (d * scale) * q - dmin * minimum
//! ```
//! Source: `block_q4_K` in ggml's `ggml-common.h`; `dequantize_row_q4_K` and `quantize_row_q4_K_ref` in `ggml-quants.c`.
use crate::fit::Search;
use crate::{f16_to_f32, k_scales};

/// 256 weights of 4 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct BlockQ4_K {
    /// Scale of the scales, F16.
    pub d: [u8; 2],
    /// Scale of the minimums, F16.
    pub dmin: [u8; 2],
    /// Scales and minimums, 6 bits each.
    pub scales: [u8; 12],
    /// Codes 0..=15, two a byte.
    pub qs: [u8; 128],
}

impl BlockQ4_K {
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
    /// Scales and minimums, 0..=63, of the 8 sub-blocks of 32 weights.
    #[inline]
    #[must_use]
    pub fn scales_mins(&self) -> ([u8; 8], [u8; 8]) {
        k_scales::unpack(&self.scales)
    }
    /// The codes, 0..=15, in weight order.
    #[inline]
    #[must_use]
    pub fn codes(&self) -> [u8; 256] {
        nibbles(&self.qs)
    }
    /// The weights.
    #[inline]
    #[must_use]
    pub fn decode(&self) -> [f32; 256] {
        k_scales::decode(self.scale(), self.min_scale(), self.scales_mins(), &self.codes())
    }
    /// The block nearest to `x`, errors weighted with rms + |x|.
    #[must_use]
    pub fn encode(x: &[f32; 256]) -> Self {
        let fitted = k_scales::fit(x, Search { nmax: 15, first: -1.0, n_steps: 20 });
        let qs = pack_nibbles(&fitted.codes);
        Self { d: fitted.d, dmin: fitted.dmin, scales: fitted.scales, qs }
    }
}

/// The order of nibbles that Q4_K and Q5_K share.
#[inline]
pub(crate) fn nibbles(qs: &[u8; 128]) -> [u8; 256] {
    let mut codes = [0; 256];
    for (pair, qs) in codes.as_chunks_mut::<64>().0.iter_mut().zip(qs.as_chunks::<32>().0) {
        for (l, q) in qs.iter().enumerate() {
            pair[l] = q & 15;
            pair[l + 32] = q >> 4;
        }
    }
    codes
}

/// The low four bits of the codes of 8 sub-blocks in that order.
pub(crate) fn pack_nibbles(codes: &[[u8; 32]; 8]) -> [u8; 128] {
    let mut qs = [0; 128];
    for (qs, [low, high]) in qs.as_chunks_mut::<32>().0.iter_mut().zip(codes.as_chunks::<2>().0) {
        for (l, q) in qs.iter_mut().enumerate() {
            *q = low[l] & 15 | (high[l] & 15) << 4;
        }
    }
    qs
}
