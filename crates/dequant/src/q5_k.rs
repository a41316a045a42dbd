//! Q5_K: 256 weights of 5 bits in 8 sub-blocks with 6-bit scales and minimums. 5.5 bits a weight.
//!
//! ```text
//! byte   0   1   2    3     4 ……… 15     16 … 47   48 ………… 175
//!        d (F16) dmin (F16) scales[12]   qh[32]    qs[128]
//! scales: see [`k_scales`](crate::k_scales)
//! qs[32 p + l], p = 0..4: low nibble = weight 64 p + l, high nibble = weight 64 p + 32 + l
//! qh[l]: bit j = the fifth bit of weight 32 j + l
//! x = (d * scale) * q - dmin * minimum
//! ```
//! Source: `block_q5_K` in ggml's `ggml-common.h`; `dequantize_row_q5_K` and `quantize_row_q5_K_ref` in `ggml-quants.c`.
use crate::fit::Search;
use crate::q4_k::{nibbles, pack_nibbles};
use crate::{f16_to_f32, k_scales};

/// 256 weights of 5 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct BlockQ5_K {
    /// Scale of the scales, F16.
    pub d: [u8; 2],
    /// Scale of the minimums, F16.
    pub dmin: [u8; 2],
    /// Scales and minimums, 6 bits each.
    pub scales: [u8; 12],
    /// Fifth bits of the codes.
    pub qh: [u8; 32],
    /// Lower four bits of the codes, two weights a byte.
    pub qs: [u8; 128],
}

impl BlockQ5_K {
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
    /// The codes, 0..=31, in weight order.
    #[inline]
    #[must_use]
    pub fn codes(&self) -> [u8; 256] {
        let mut codes = nibbles(&self.qs);
        for (bit, group) in codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            for (q, high) in group.iter_mut().zip(&self.qh) {
                *q |= (high >> bit & 1) << 4;
            }
        }
        codes
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
        let fitted = k_scales::fit(x, Search { nmax: 31, first: -0.5, n_steps: 15 });
        let mut qh = [0; 32];
        for (bit, group) in fitted.codes.iter().enumerate() {
            for (high, q) in qh.iter_mut().zip(group) {
                *high |= (q >> 4) << bit;
            }
        }
        let qs = pack_nibbles(&fitted.codes);
        Self { d: fitted.d, dmin: fitted.dmin, scales: fitted.scales, qh, qs }
    }
}
