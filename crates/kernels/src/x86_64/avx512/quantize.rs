//! Activations to blocks of codes with AVX-512. The results are those of [`crate::scalar::quantize`].
#![expect(
    unsafe_code,
    reason = "calls of functions compiled for AVX-512; the proof is an argument"
)]

use super::blocks::fill_32;
use crate::Avx512;
use crate::acts::{Part, Rows};
use crate::scalar::quantize::{self, Block, Quantize};
use std::arch::x86_64::*;

/// Quantizes the blocks of `part` whose tokens are in `rows`.
pub(crate) fn fill(token: Avx512, part: &mut Part<'_>, rows: Rows<'_>) {
    if part.k == 32 {
        return fill_32(token, part, rows);
    }
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
    fn inner(token: Avx512, part: &mut Part<'_>, rows: Rows<'_>) {
        quantize::fill(part, rows, quantize::Q8, Q8K(token));
    }
    // SAFETY: an `Avx512` value proves that the CPU has these instructions.
    unsafe { inner(token, part, rows) }
}

/// As Q8_K.
#[derive(Clone, Copy)]
struct Q8K(#[expect(dead_code, reason = "a proof is had, not read")] Avx512);

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
