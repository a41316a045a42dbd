//! Activations to blocks of codes with AVX-512. The results are those of [`crate::scalar::quantize`].
#![expect(
    unsafe_code,
    reason = "calls of functions compiled for AVX-512; the proof is an argument"
)]

use crate::Avx512;
use crate::acts::{Part, Rows};
use crate::scalar::quantize::{self, Block, Quantize};
use std::arch::x86_64::*;

/// Quantizes all blocks of `part`.
pub(crate) fn fill(token: Avx512, part: &mut Part<'_>, rows: Rows<'_>) {
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
    fn inner(token: Avx512, part: &mut Part<'_>, rows: Rows<'_>) {
        quantize::fill(part, rows, Q8(token), Q8K(token));
    }
    // SAFETY: an `Avx512` value proves that the CPU has these instructions.
    unsafe { inner(token, part, rows) }
}

/// As Q8_1.
#[derive(Clone, Copy)]
struct Q8(#[expect(dead_code, reason = "a proof is had, not read")] Avx512);

/// As Q8_K.
#[derive(Clone, Copy)]
struct Q8K(#[expect(dead_code, reason = "a proof is had, not read")] Avx512);

impl Quantize<32, 1> for Q8 {
    #[inline(always)]
    fn block(self, x: &[f32; 32]) -> Block<32, 1> {
        // SAFETY: `self` holds an `Avx512`.
        unsafe { block_32(x) }
    }
}

impl Quantize<256, 16> for Q8K {
    #[inline(always)]
    fn block(self, x: &[f32; 256]) -> Block<256, 16> {
        // SAFETY: `self` holds an `Avx512`.
        unsafe { block_256(x) }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
fn load(x: &[f32; 16]) -> __m512 {
    // SAFETY: 16 numbers.
    unsafe { _mm512_loadu_ps(x.as_ptr()) }
}

/// The bits of the largest magnitude; above those of infinity if there is a NaN.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
fn max_bits(x: &[f32]) -> u32 {
    let magnitude = _mm512_set1_epi32(i32::MAX);
    let mut max = _mm512_setzero_si512();
    for x in x.as_chunks::<16>().0 {
        // Magnitudes compare as their bits do.
        max = _mm512_max_epu32(max, _mm512_and_si512(_mm512_castps_si512(load(x)), magnitude));
    }
    _mm512_reduce_max_epu32(max)
}

/// 16 whole numbers as bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
fn store(whole: __m512i, to: &mut [i8; 16]) {
    // SAFETY: 16 bytes.
    unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(whole)) };
}

/// The sum of 16 codes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
fn sum(whole: __m512i) -> i16 {
    let [a, b, ..] = _mm512_reduce_add_epi32(whole).to_le_bytes();
    i16::from_le_bytes([a, b])
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
fn block_32(x: &[f32; 32]) -> Block<32, 1> {
    let (mut block, factor) = quantize::begin_32(f32::from_bits(max_bits(x)));
    if factor == 0.0 {
        return block;
    }
    let (factor, sign) = (_mm512_set1_ps(factor), _mm512_set1_ps(-0.0));
    let (half, one) = (_mm512_set1_ps(0.5), _mm512_set1_ps(1.0));
    let mut total = _mm512_setzero_si512();
    let codes = block.codes.as_chunks_mut::<16>().0;
    for (codes, x) in codes.iter_mut().zip(x.as_chunks::<16>().0) {
        let v = _mm512_mul_ps(load(x), factor);
        let down = _mm512_roundscale_ps::<{ _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC }>(v);
        let rest = _mm512_abs_ps(_mm512_sub_ps(v, down));
        let away = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(rest, half);
        let unit = _mm512_or_ps(one, _mm512_and_ps(v, sign));
        let whole = _mm512_cvtps_epi32(_mm512_mask_add_ps(down, away, down, unit));
        total = _mm512_add_epi32(total, whole);
        store(whole, codes);
    }
    block.lanes = [[sum(total), 0]];
    block
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
fn block_256(x: &[f32; 256]) -> Block<256, 16> {
    let (mut block, factor) = quantize::begin_256(x, f32::from_bits(max_bits(x)));
    if factor == 0.0 {
        return block;
    }
    let factor = _mm512_set1_ps(factor);
    let parts = block.codes.as_chunks_mut::<16>().0.iter_mut().zip(&mut block.lanes);
    for ((codes, lanes), x) in parts.zip(x.as_chunks::<16>().0) {
        let whole = _mm512_cvtps_epi32(_mm512_mul_ps(factor, load(x)));
        *lanes = [sum(whole), 0];
        store(whole, codes);
    }
    block
}
