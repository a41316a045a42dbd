//! How the cache holds numbers.
//!
//! Whatever the type, a number of the cache is exactly one f32: attention is defined on these. Those of Q8_0 are a code
//! of 8 bits times a scale of 11, which no f32 rounds.

use dequant::BlockQ8_0;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use std::ops::Range;

/// Neighbors of a head that share a scale, in types that have one.
pub(crate) const GROUP: usize = 32;

/// Runs `$body` with `$T` naming the [`Number`] of a [`KvType`].
macro_rules! with_number {
    ($ty:expr, $T:ident => $body:expr) => {
        match $ty {
            $crate::KvType::F32 => {
                type $T = $crate::kv_cache::number::F32;
                $body
            }
            $crate::KvType::F16 => {
                type $T = $crate::kv_cache::number::F16;
                $body
            }
            $crate::KvType::Q8_0 => {
                type $T = $crate::kv_cache::number::Q8_0;
                $body
            }
        }
    };
}
pub(crate) use with_number;

/// The type of the numbers in a [`crate::KvCache`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KvType {
    /// As they are: 32 bits a number.
    F32,
    /// Rounded to half precision: 16 bits a number.
    #[default]
    F16,
    /// 32 neighbors of a head as ggml's `quantize_row_q8_0_ref` makes them: 8.5 bits a number.
    Q8_0,
}

impl KvType {
    /// Every type.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Q8_0];

    /// llama.cpp's name: `f32`, `f16` or `q8_0`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8_0 => "q8_0",
        }
    }

    /// Heads of a multiple of so many numbers can be held.
    #[must_use]
    pub fn head_multiple(self) -> usize {
        with_number!(self, T => T::HEAD_MULTIPLE)
    }

    /// Bytes of `n` numbers, a multiple of [`Self::head_multiple`]; `None` if that overflows.
    #[must_use]
    pub fn n_bytes(self, n: usize) -> Option<usize> {
        with_number!(self, T => {
            let scales = if T::SCALED { n / GROUP * 2 } else { 0 };
            n.checked_mul(T::BYTES)?.checked_add(scales)
        })
    }
}

/// A [`KvType`] as a type.
pub(crate) trait Number: 'static {
    /// Bytes of a code.
    const BYTES: usize;
    /// Whether each [`GROUP`] has a scale.
    const SCALED: bool;
    /// Heads are multiples of so many numbers.
    const HEAD_MULTIPLE: usize = if Self::SCALED { GROUP } else { 1 };
    /// Writes the codes of up to [`GROUP`] numbers (all of them, if there is a scale); F16 bits of the scale.
    fn encode(x: &[f32], codes: &mut [u8]) -> u16;
    /// The number of a code of [`Self::BYTES`] bytes.
    fn decode(code: &[u8], scale: f32) -> f32;
}

/// [`KvType::F32`].
pub(crate) struct F32;
/// [`KvType::F16`].
pub(crate) struct F16;
/// [`KvType::Q8_0`].
pub(crate) struct Q8_0;

impl Number for F32 {
    const BYTES: usize = 4;
    const SCALED: bool = false;

    fn encode(x: &[f32], codes: &mut [u8]) -> u16 {
        codes.as_chunks_mut().0.iter_mut().zip(x).for_each(|(code, x)| *code = x.to_le_bytes());
        0
    }

    #[inline(always)]
    fn decode(code: &[u8], _: f32) -> f32 {
        f32::from_le_bytes([code[0], code[1], code[2], code[3]])
    }
}

impl Number for F16 {
    const BYTES: usize = 2;
    const SCALED: bool = false;

    fn encode(x: &[f32], codes: &mut [u8]) -> u16 {
        // `half` uses the CPU's instructions for whole slices.
        let mut halves = [0_u16; GROUP];
        let halves = &mut halves[..x.len()];
        halves.reinterpret_cast_mut::<half::f16>().convert_from_f32_slice(x);
        codes.as_chunks_mut().0.iter_mut().zip(halves).for_each(|(c, h)| *c = h.to_le_bytes());
        0
    }

    #[inline(always)]
    fn decode(code: &[u8], _: f32) -> f32 {
        dequant::f16_to_f32([code[0], code[1]])
    }
}

impl Number for Q8_0 {
    const BYTES: usize = 1;
    const SCALED: bool = true;

    fn encode(x: &[f32], codes: &mut [u8]) -> u16 {
        let Some((x, codes)) = x.first_chunk().zip(codes.first_chunk_mut::<GROUP>()) else {
            return 0;
        };
        // ggml's code for a NaN is 0; here it has to reach the outputs.
        let is_nan = x.iter().any(|x| x.is_nan());
        let block = BlockQ8_0::encode(x);
        *codes = block.qs.map(i8::cast_unsigned);
        if is_nan { half::f16::NAN.to_bits() } else { u16::from_le_bytes(block.d) }
    }

    #[inline(always)]
    fn decode(code: &[u8], scale: f32) -> f32 {
        f32::from(code[0].cast_signed()) * scale
    }
}

/// Numbers of a head, as [`crate::KvCache`] lays them out: codes, and scales as F16 if the type has them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Numbers<'a> {
    pub(crate) codes: &'a [u8],
    pub(crate) scales: &'a [u8],
}

impl<'a> Numbers<'a> {
    /// Some rows of `n` numbers each.
    pub(crate) fn rows<T: Number>(self, rows: Range<usize>, n: usize) -> Self {
        let codes = &self.codes[rows.start * n * T::BYTES..rows.end * n * T::BYTES];
        let scales = match T::SCALED {
            true => &self.scales[rows.start * n / GROUP * 2..rows.end * n / GROUP * 2],
            false => self.scales,
        };
        Self { codes, scales }
    }

    /// Rows of `n` numbers, which are whole groups.
    pub(crate) fn n_rows<T: Number>(self, n: usize) -> usize {
        let n_rows = self.codes.len() / (n * T::BYTES);
        assert_eq!(self.codes.len(), n_rows * n * T::BYTES, "whole rows");
        if T::SCALED {
            assert!(n.is_multiple_of(GROUP), "{n} numbers are no whole groups");
            assert_eq!(self.scales.len(), n_rows * n / GROUP * 2, "a scale for each group");
        }
        n_rows
    }

    /// Scale `i`, if there are scales.
    #[inline(always)]
    pub(crate) fn scale<T: Number>(self, i: usize) -> f32 {
        if T::SCALED {
            dequant::f16_to_f32([self.scales[2 * i], self.scales[2 * i + 1]])
        } else {
            1.0
        }
    }

    /// Number `i` of rows without lines.
    #[inline(always)]
    pub(crate) fn get<T: Number>(self, i: usize) -> f32 {
        T::decode(&self.codes[i * T::BYTES..], self.scale::<T>(i / GROUP))
    }
}
