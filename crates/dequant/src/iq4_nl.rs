//! IQ4_NL: 32 weights of 4 bits, one scale. Codes are places in a table of 16 uneven steps. 4.5 bits a weight.
//!
//! ```text
//! byte   0   1   2 ………… 17
//!        d (F16) qs[16]
//! qs[j]: low nibble = weight j, high nibble = weight j + 16
//! x = d * table[q]
//! ```
//! Source: `block_iq4_nl` and `kvalues_iq4nl` in ggml's `ggml-common.h`; `dequantize_row_iq4_nl` in `ggml-quants.c`.
use crate::f16_to_f32;

/// What the codes of IQ4_NL and IQ4_XS stand for: closer together near zero, where most weights are.
pub const IQ4_VALUES: [i8; 16] =
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// 32 weights of 4 bits, uneven steps, with one scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct BlockIQ4_NL {
    /// Scale, F16.
    pub d: [u8; 2],
    /// Codes, two a byte.
    pub qs: [u8; 16],
}

impl BlockIQ4_NL {
    /// The scale.
    #[inline]
    #[must_use]
    pub fn scale(&self) -> f32 {
        f16_to_f32(self.d)
    }
    /// What the codes stand for, in weight order.
    #[inline]
    #[must_use]
    pub fn values(&self) -> [i8; 32] {
        look_up(&IQ4_VALUES, &self.qs)
    }
    /// The weights.
    #[inline]
    #[must_use]
    pub fn decode(&self) -> [f32; 32] {
        let d = self.scale();
        self.values().map(|q| d * f32::from(q))
    }
}

/// The entries of `table` that the nibbles of `qs` stand for, in weight order.
#[inline]
pub(crate) fn look_up(table: &[i8; 16], qs: &[u8; 16]) -> [i8; 32] {
    let mut values = [0; 32];
    for (j, q) in qs.iter().enumerate() {
        values[j] = table[usize::from(q & 15)];
        values[j + 16] = table[usize::from(q >> 4)];
    }
    values
}
