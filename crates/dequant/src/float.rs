//! F32, F16 and BF16: a "block" is one number, little-endian.
//!
//! ```text
//! F32   s eeeeeeee mmmmmmmmmmmmmmmmmmmmmmm    4 bytes, IEEE 754 binary32
//! F16   s eeeee    mmmmmmmmmm                 2 bytes, IEEE 754 binary16
//! BF16  s eeeeeeee mmmmmmm                    2 bytes, the upper half of an F32
//! ```
//! Source: `ggml_compute_fp16_to_fp32` and its siblings in ggml's `ggml-impl.h`. Narrowing rounds to nearest,
//! ties to even; too large a number becomes infinite; subnormals are kept.
use half::f16;

/// The f32 with the value of an F16 (exact; a signaling NaN becomes quiet, as any arithmetic makes it).
#[inline]
#[must_use]
pub fn f16_to_f32(bytes: [u8; 2]) -> f32 {
    // Without a branch or a look at the processor, so that loops over it become vectors. Read as an F32, the shifted
    // bits are the number times 2⁻¹¹², the difference of the exponents' biases, subnormals included.
    const TWO_TO_112: f32 = f32::from_bits((127 + 112) << 23);
    let bits = u32::from(u16::from_le_bytes(bytes));
    let magnitude = (bits & 0x7FFF) << 13;
    let finite = (f32::from_bits(magnitude) * TWO_TO_112).to_bits();
    let quiet = if magnitude > 0x0F80_0000 { 0x0040_0000 } else { 0 };
    let other = magnitude | 0x7F80_0000 | quiet;
    f32::from_bits((bits & 0x8000) << 16 | if magnitude < 0x0F80_0000 { finite } else { other })
}

/// The nearest F16, ties to even. Every NaN becomes the one with payload 0, sign kept: ggml's choice.
#[inline]
#[must_use]
pub fn f32_to_f16(x: f32) -> [u8; 2] {
    if x.is_nan() {
        let sign = if x.is_sign_negative() { 0x8000 } else { 0 };
        return (sign | 0x7E00_u16).to_le_bytes();
    }
    f16::from_f32(x).to_le_bytes()
}

/// The f32 with the value of a BF16 (exact, all bits kept).
#[inline]
#[must_use]
pub fn bf16_to_f32(bytes: [u8; 2]) -> f32 {
    let [low, high] = bytes;
    f32::from_le_bytes([0, 0, low, high])
}

/// The nearest BF16, ties to even. A NaN keeps the upper bits of its payload and becomes quiet.
#[inline]
#[must_use]
pub fn f32_to_bf16(x: f32) -> [u8; 2] {
    let bits = x.to_bits();
    let rounded = if x.is_nan() {
        bits | 0x0040_0000
    } else {
        // Half an ulp of the result, less one if the result would be even: a carry rounds up.
        bits.wrapping_add(0x7FFF + (bits >> 16 & 1))
    };
    let [_, _, low, high] = rounded.to_le_bytes();
    [low, high]
}

/// One F32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct BlockF32 {
    /// The number.
    pub x: [u8; 4],
}

/// One F16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct BlockF16 {
    /// The number.
    pub x: [u8; 2],
}

/// One BF16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct BlockBF16 {
    /// The number.
    pub x: [u8; 2],
}

impl BlockF32 {
    /// The value.
    #[inline]
    #[must_use]
    pub fn value(&self) -> f32 {
        f32::from_le_bytes(self.x)
    }
    /// The value, as every block gives its values.
    #[inline]
    #[must_use]
    pub fn decode(&self) -> [f32; 1] {
        [self.value()]
    }
    /// The number as it is.
    #[inline]
    #[must_use]
    pub fn encode(x: &[f32; 1]) -> Self {
        Self { x: x[0].to_le_bytes() }
    }
}

impl BlockF16 {
    /// The value.
    #[inline]
    #[must_use]
    pub fn value(&self) -> f32 {
        f16_to_f32(self.x)
    }
    /// The value, as every block gives its values.
    #[inline]
    #[must_use]
    pub fn decode(&self) -> [f32; 1] {
        [self.value()]
    }
    /// The nearest F16.
    #[inline]
    #[must_use]
    pub fn encode(x: &[f32; 1]) -> Self {
        Self { x: f32_to_f16(x[0]) }
    }
}

impl BlockBF16 {
    /// The value.
    #[inline]
    #[must_use]
    pub fn value(&self) -> f32 {
        bf16_to_f32(self.x)
    }
    /// The value, as every block gives its values.
    #[inline]
    #[must_use]
    pub fn decode(&self) -> [f32; 1] {
        [self.value()]
    }
    /// The nearest BF16.
    #[inline]
    #[must_use]
    pub fn encode(x: &[f32; 1]) -> Self {
        Self { x: f32_to_bf16(x[0]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_f16_survives_the_round_trip() {
        for bits in 0..=u16::MAX {
            let x = f16_to_f32(bits.to_le_bytes());
            let back = u16::from_le_bytes(f32_to_f16(x));
            let want = if x.is_nan() { bits & 0x8000 | 0x7E00 } else { bits };
            assert_eq!(back, want, "{bits:#06x} = {x:e}");
            let same = x.to_bits() == f16::from_bits(bits).to_f32_const().to_bits();
            assert!(same || x.is_nan(), "{bits:#06x} = {x:e} widens as by the crate half");
        }
    }

    #[test]
    fn every_bf16_survives_the_round_trip() {
        for bits in 0..=u16::MAX {
            let x = bf16_to_f32(bits.to_le_bytes());
            let back = u16::from_le_bytes(f32_to_bf16(x));
            let want = if x.is_nan() { bits | 0x0040 } else { bits };
            assert_eq!(back, want, "{bits:#06x} = {x:e}");
        }
    }

    #[test]
    fn ties_go_to_even() {
        assert_eq!(f32_to_f16(1.0 + 1.0 / 2048.0), 0x3C00_u16.to_le_bytes(), "down to even");
        assert_eq!(f32_to_f16(1.0 + 3.0 / 2048.0), 0x3C02_u16.to_le_bytes(), "up to even");
        assert_eq!(f32_to_bf16(1.0 + 1.0 / 256.0), 0x3F80_u16.to_le_bytes(), "down to even");
        assert_eq!(f32_to_bf16(1.0 + 3.0 / 256.0), 0x3F82_u16.to_le_bytes(), "up to even");
        assert_eq!(f32_to_f16(65520.0), 0x7C00_u16.to_le_bytes(), "half above the largest F16");
        assert_eq!(f32_to_bf16(f32::MAX), 0x7F80_u16.to_le_bytes(), "the carry reaches infinity");
    }
}
