//! IQ4_NL: 32 weights of 4 bits, one scale. Codes are places in a table of 16 uneven steps. 4.5 bits a weight.
//!
//! ```text
//! byte   0   1   2 ………… 17
//!        d (F16) qs[16]
//! qs[j]: low nibble = weight j, high nibble = weight j + 16
//! x = d * table[q]
//! ```
//! Source: `block_iq4_nl` and `kvalues_iq4nl` in ggml's `ggml-common.h`; `dequantize_row_iq4_nl` and
//! `quantize_row_iq4_nl_impl` in `ggml-quants.c`.
use crate::fit::ALL_ZERO;
use crate::q4_0::signed_max;
use crate::{f16_to_f32, f32_to_f16};

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
    /// The block nearest to `x`, errors weighted with x².
    #[must_use]
    pub fn encode(x: &[f32; 32]) -> Self {
        let d = scale(x);
        Self { d: f32_to_f16(d), qs: pack(d, x) }
    }
}

/// The scale that fits best: of least squares weighted with x², for the codes that each of 16 scales gives. The first puts
/// the weight of largest magnitude at the other end of the table, those after it near its beginning.
pub(crate) fn scale(x: &[f32; 32]) -> f32 {
    let max = signed_max(x);
    if max.abs() < ALL_ZERO {
        return 0.0;
    }
    let sums = |inverse: f32| {
        x.iter().fold((0.0_f32, 0.0_f32), |(sum_qx, sum_q2), v| {
            let (w, q) = (v * v, f32::from(IQ4_VALUES[nearest(inverse * v)]));
            (sum_qx + w * q * v, sum_q2 + w * q * q)
        })
    };
    let end = f32::from(IQ4_VALUES[0]);
    let (sum_qx, sum_q2) = sums(1.0 / (-max / end));
    let mut d = if sum_q2 > 0.0 { sum_qx / sum_q2 } else { 0.0 };
    let mut score = d * sum_qx;
    for step in -7..=7_i8 {
        let (sum_qx, sum_q2) = sums((f32::from(step) + end) / max);
        if sum_q2 > 0.0 && sum_qx * sum_qx > score * sum_q2 {
            d = sum_qx / sum_q2;
            score = d * sum_qx;
        }
    }
    d
}

/// The codes of `x` at scale `d`, as a block has them.
pub(crate) fn pack(d: f32, x: &[f32; 32]) -> [u8; 16] {
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    let code = |v: f32| nearest(inverse * v).to_le_bytes()[0];
    std::array::from_fn(|j| code(x[j]) | code(x[j + 16]) << 4)
}

/// The place in the table of the value nearest to `x`, the later of two. For NaN the last.
fn nearest(x: f32) -> usize {
    let next = IQ4_VALUES.partition_point(|&v| x >= f32::from(v) || x.is_nan()).clamp(1, 15);
    let [below, above] = [next - 1, next].map(|i| f32::from(IQ4_VALUES[i]));
    if x - below < above - x { next - 1 } else { next }
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
