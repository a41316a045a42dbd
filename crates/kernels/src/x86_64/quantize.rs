//! Activations to blocks of codes with AVX2. The results are those of [`crate::scalar::quantize`].
#![expect(unsafe_code, reason = "calls of functions compiled for AVX2; the proof is an argument")]

use crate::Avx2;
use crate::acts::{Pair, Part, Rows};
use crate::scalar::quantize::{self, Block, Quantize};
use std::arch::x86_64::*;

/// Quantizes all blocks of `part`.
pub(crate) fn fill(token: Avx2, part: &mut Part<'_>, rows: Rows<'_>) {
    #[target_feature(enable = "avx2,fma,f16c")]
    fn inner(token: Avx2, part: &mut Part<'_>, rows: Rows<'_>) {
        quantize::fill(part, rows, Q8(token), Q8K(token));
    }
    // SAFETY: an `Avx2` value proves that the CPU has these instructions.
    unsafe { inner(token, part, rows) }
}

/// As Q8_1.
#[derive(Clone, Copy)]
struct Q8(#[expect(dead_code, reason = "a proof is had, not read")] Avx2);

/// As Q8_K.
#[derive(Clone, Copy)]
struct Q8K(#[expect(dead_code, reason = "a proof is had, not read")] Avx2);

impl Quantize<32, 1> for Q8 {
    #[inline(always)]
    fn block(self, x: &[f32; 32]) -> Block<32, 1> {
        // SAFETY: `self` holds an `Avx2`.
        unsafe { block_32(x) }
    }
}

impl Quantize<256, 16> for Q8K {
    #[inline(always)]
    fn block(self, x: &[f32; 256]) -> Block<256, 16> {
        // SAFETY: `self` holds an `Avx2`.
        unsafe { block_256(x) }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load(x: &[f32; 8]) -> __m256 {
    // SAFETY: 8 numbers.
    unsafe { _mm256_loadu_ps(x.as_ptr()) }
}

/// The bits of the largest magnitude; above those of infinity if there is a NaN.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn max_bits(x: &[f32]) -> u32 {
    let magnitude = _mm256_set1_epi32(i32::MAX);
    let mut max = _mm256_setzero_si256();
    for x in x.as_chunks::<8>().0 {
        // Magnitudes compare as their bits do.
        max = _mm256_max_epu32(max, _mm256_and_si256(_mm256_castps_si256(load(x)), magnitude));
    }
    let max = _mm_max_epu32(_mm256_castsi256_si128(max), _mm256_extracti128_si256::<1>(max));
    let max = _mm_max_epu32(max, _mm_shuffle_epi32::<0b01_00_11_10>(max));
    let max = _mm_max_epu32(max, _mm_shuffle_epi32::<0b10_11_00_01>(max));
    _mm_cvtsi128_si32(max).cast_unsigned()
}

/// 32 whole numbers as bytes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn pack([a, b, c, d]: [__m256i; 4]) -> __m256i {
    let words = [_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d)];
    let bytes = _mm256_packs_epi16(words[0], words[1]);
    // Packing works on 128-bit halves: back into order by groups of four.
    _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7))
}

/// Sums of neighboring bytes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn pair_sums(codes: __m256i) -> __m256i {
    _mm256_maddubs_epi16(_mm256_set1_epi8(1), codes)
}

/// The 32-bit lanes' sum, their 16-bit halves apart.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn lane_sum(x: __m128i) -> Pair {
    let x = _mm_add_epi16(x, _mm_shuffle_epi32::<0b01_00_11_10>(x));
    let x = _mm_add_epi16(x, _mm_shuffle_epi32::<0b10_11_00_01>(x));
    let [a, b, c, d] = _mm_cvtsi128_si32(x).to_le_bytes();
    [i16::from_le_bytes([a, b]), i16::from_le_bytes([c, d])]
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn store(codes: __m256i, to: &mut [i8; 32]) {
    // SAFETY: 32 bytes.
    unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), codes) };
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn block_32(x: &[f32; 32]) -> Block<32, 1> {
    let (mut block, factor) = quantize::begin_32(f32::from_bits(max_bits(x)));
    if factor == 0.0 {
        return block;
    }
    let (factor, sign) = (_mm256_set1_ps(factor), _mm256_set1_ps(-0.0));
    let (half, one) = (_mm256_set1_ps(0.5), _mm256_set1_ps(1.0));
    let mut whole = [_mm256_setzero_si256(); 4];
    for (whole, x) in whole.iter_mut().zip(x.as_chunks::<8>().0) {
        let v = _mm256_mul_ps(load(x), factor);
        let down = _mm256_round_ps::<{ _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC }>(v);
        let rest = _mm256_andnot_ps(sign, _mm256_sub_ps(v, down));
        let away = _mm256_or_ps(one, _mm256_and_ps(v, sign));
        let away = _mm256_and_ps(away, _mm256_cmp_ps::<_CMP_GE_OQ>(rest, half));
        *whole = _mm256_cvtps_epi32(_mm256_add_ps(down, away));
    }
    let bytes = pack(whole);
    let sums = pair_sums(bytes);
    let sums = _mm_add_epi16(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
    block.lanes = [lane_sum(sums)];
    store(bytes, &mut block.codes);
    block
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn block_256(x: &[f32; 256]) -> Block<256, 16> {
    let (mut block, factor) = quantize::begin_256(x, f32::from_bits(max_bits(x)));
    if factor == 0.0 {
        return block;
    }
    let factor = _mm256_set1_ps(factor);
    let parts =
        block.codes.as_chunks_mut::<32>().0.iter_mut().zip(block.lanes.as_chunks_mut::<2>().0);
    for ((codes, lanes), x) in parts.zip(x.as_chunks::<32>().0) {
        let mut whole = [_mm256_setzero_si256(); 4];
        for (whole, x) in whole.iter_mut().zip(x.as_chunks::<8>().0) {
            *whole = _mm256_cvtps_epi32(_mm256_mul_ps(factor, load(x)));
        }
        let bytes = pack(whole);
        let sums = pair_sums(bytes);
        *lanes =
            [lane_sum(_mm256_castsi256_si128(sums)), lane_sum(_mm256_extracti128_si256::<1>(sums))];
        store(bytes, codes);
    }
    block
}
