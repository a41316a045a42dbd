//! Q8_K: 256 activations of 8 bits, one f32 scale and sums of 16; the partner of the K-quants in a dot product.
//!
//! ```text
//! byte   0 … 3   4 ………… 259          260 ………… 291
//!        d (F32) qs[256], signed     bsums[16], i16 little-endian
//! x = d * q        bsums[j] = q[16 j] + … + q[16 j + 15]
//! ```
//! Source: `block_q8_K` in ggml's `ggml-common.h`; `quantize_row_q8_K_ref` in `ggml-quants.c`. No tensor of a file
//! has this type.
use crate::fit::nearest_int;
use crate::q4_0::signed_max;

/// 256 activations of 8 bits with one f32 scale and sums of 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct BlockQ8_K {
    /// Scale, F32. Negative where the activation of largest magnitude is positive.
    pub d: [u8; 4],
    /// Codes, -127..=127.
    pub qs: [i8; 256],
    /// Sums of 16 codes, i16 little-endian.
    pub bsums: [[u8; 2]; 16],
}

impl BlockQ8_K {
    /// All zeros.
    pub const ZERO: Self = Self { d: [0; 4], qs: [0; 256], bsums: [[0; 2]; 16] };

    /// The scale.
    #[inline]
    #[must_use]
    pub fn scale(&self) -> f32 {
        f32::from_le_bytes(self.d)
    }
    /// The codes, in order.
    #[inline]
    #[must_use]
    pub fn codes(&self) -> [i8; 256] {
        self.qs
    }
    /// The sums of 16 codes each.
    #[inline]
    #[must_use]
    pub fn sums(&self) -> [i16; 16] {
        self.bsums.map(i16::from_le_bytes)
    }
    /// The numbers.
    #[inline]
    #[must_use]
    pub fn decode(&self) -> [f32; 256] {
        let d = self.scale();
        self.qs.map(|q| d * f32::from(q))
    }
    /// The block nearest to `x`, the number of largest magnitude at -127. Halves round to even.
    ///
    /// ggml leaves the sums of an all-zero block unwritten; here they are 0.
    #[must_use]
    pub fn encode(x: &[f32; 256]) -> Self {
        let max = signed_max(x);
        if max == 0.0 {
            return Self::ZERO;
        }
        let iscale = -127.0 / max;
        let mut qs = [0; 256];
        for (q, &v) in qs.iter_mut().zip(x) {
            *q = wrap_i8(nearest_int(iscale * v).min(127));
        }
        let mut bsums = [[0; 2]; 16];
        for (sum, group) in bsums.iter_mut().zip(qs.as_chunks::<16>().0) {
            *sum = group.iter().map(|&q| i16::from(q)).sum::<i16>().to_le_bytes();
        }
        Self { d: (1.0 / iscale).to_le_bytes(), qs, bsums }
    }
}

/// The low byte, signed: what a C store to `int8_t` keeps.
#[inline]
pub(crate) fn wrap_i8(x: i32) -> i8 {
    i8::from_le_bytes([x.to_le_bytes()[0]])
}
