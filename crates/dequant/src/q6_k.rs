//! Q6_K: 256 weights of 6 bits in 16 sub-blocks with signed 8-bit scales. 6.5625 bits a weight.
//!
//! ```text
//! byte   0 ………… 127   128 ………… 191   192 …… 207           208 209
//!        ql[128]      qh[64]        scales[16], signed   d (F16)
//! weight 128 h + 32 k + l, h = 0, 1:
//!   low 4 bits:  nibble k / 2 of ql[64 h + 32 (k % 2) + l]
//!   high 2 bits: bits 2 k, 2 k + 1 of qh[32 h + l]
//! x = (d * scale) * (q - 32)
//! ```
//! Source: `block_q6_K` in ggml's `ggml-common.h`; `dequantize_row_q6_K` and `quantize_row_q6_K_ref` in `ggml-quants.c`.
use crate::fit::{self, ALL_ZERO, nearest_int};
use crate::q8_k::wrap_i8;
use crate::{f16_to_f32, f32_to_f16};

/// 256 weights of 6 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct BlockQ6_K {
    /// Low four bits of the codes.
    pub ql: [u8; 128],
    /// High two bits of the codes.
    pub qh: [u8; 64],
    /// Signed scales of the 16 sub-blocks of 16 weights.
    pub scales: [i8; 16],
    /// Scale of the scales, F16.
    pub d: [u8; 2],
}

impl BlockQ6_K {
    /// The scale of the scales.
    #[inline]
    #[must_use]
    pub fn scale(&self) -> f32 {
        f16_to_f32(self.d)
    }
    /// The signed codes, -32..=31, in weight order.
    #[inline]
    #[must_use]
    pub fn codes(&self) -> [i8; 256] {
        let mut codes = [0; 256];
        let halves = self.ql.as_chunks::<64>().0.iter().zip(self.qh.as_chunks::<32>().0);
        for (out, (ql, qh)) in codes.as_chunks_mut::<128>().0.iter_mut().zip(halves) {
            for l in 0..32 {
                let (a, b, h) = (ql[l], ql[l + 32], qh[l]);
                out[l] = (a & 15 | (h & 3) << 4).cast_signed() - 32;
                out[l + 32] = (b & 15 | (h >> 2 & 3) << 4).cast_signed() - 32;
                out[l + 64] = (a >> 4 | (h >> 4 & 3) << 4).cast_signed() - 32;
                out[l + 96] = (b >> 4 | (h >> 6) << 4).cast_signed() - 32;
            }
        }
        codes
    }
    /// The weights.
    #[inline]
    #[must_use]
    pub fn decode(&self) -> [f32; 256] {
        let d = self.scale();
        let codes = self.codes();
        let mut out = [0.0; 256];
        let groups = out.as_chunks_mut::<16>().0.iter_mut().zip(codes.as_chunks::<16>().0);
        for ((out, codes), scale) in groups.zip(self.scales) {
            let dl = d * f32::from(scale);
            *out = codes.map(|q| dl * f32::from(q));
        }
        out
    }
    /// The block nearest to `x`, errors weighted with x².
    #[must_use]
    pub fn encode(x: &[f32; 256]) -> Self {
        let groups = x.as_chunks::<16>().0;
        let halves = [&groups[..8], &groups[8..]].map(|groups| fit::scales(32, groups));
        let mut max_scale = 0.0_f32;
        for scale in halves.iter().flat_map(|half| half.scales) {
            if scale.abs() > max_scale.abs() {
                max_scale = scale;
            }
        }
        if max_scale.abs() < ALL_ZERO {
            return Self { ql: [0; 128], qh: [0; 64], scales: [0; 16], d: [0; 2] };
        }
        let iscale = -128.0 / max_scale;
        let d = f32_to_f16(1.0 / iscale);
        let scales: [i8; 16] = std::array::from_fn(|j| {
            wrap_i8(nearest_int(iscale * halves[j / 8].scales[j % 8]).min(127))
        });
        let mut codes = [0; 256];
        for (j, codes) in codes.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let dl = f16_to_f32(d) * f32::from(scales[j]);
            *codes = if dl == 0.0 {
                halves[j / 8].codes[j % 8]
            } else {
                groups[j].map(|v| (nearest_int(v / dl).clamp(-32, 31) + 32).to_le_bytes()[0])
            };
        }
        let (ql, qh) = pack(&codes);
        Self { ql, qh, scales, d }
    }
}

/// (`ql`, `qh`) of six-bit codes.
fn pack(codes: &[u8; 256]) -> ([u8; 128], [u8; 64]) {
    let (mut ql, mut qh) = ([0; 128], [0; 64]);
    let halves = ql.as_chunks_mut::<64>().0.iter_mut().zip(qh.as_chunks_mut::<32>().0);
    for (codes, (ql, qh)) in codes.as_chunks::<128>().0.iter().zip(halves) {
        for l in 0..32 {
            let [a, b, c, d] = [codes[l], codes[l + 32], codes[l + 64], codes[l + 96]];
            ql[l] = a & 15 | (c & 15) << 4;
            ql[l + 32] = b & 15 | (d & 15) << 4;
            qh[l] = a >> 4 | b >> 4 << 2 | c >> 4 << 4 | d >> 4 << 6;
        }
    }
    (ql, qh)
}
