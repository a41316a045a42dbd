//! Activations to blocks of codes with NEON. The results are those of [`crate::scalar::quantize`].
#![expect(unsafe_code, reason = "loads and stores through pointers")]

use crate::Neon;
use crate::acts::{Part, Rows};
use crate::scalar::quantize::{self, Block, Quantize};
use std::arch::aarch64::*;

/// Quantizes all blocks of `part`.
pub(crate) fn fill(token: Neon, part: &mut Part<'_>, rows: Rows<'_>) {
    quantize::fill(part, rows, Q8(token), Q8K(token));
}

/// As Q8_1.
#[derive(Clone, Copy)]
struct Q8(#[expect(dead_code, reason = "a proof is had, not read")] Neon);

/// As Q8_K.
#[derive(Clone, Copy)]
struct Q8K(#[expect(dead_code, reason = "a proof is had, not read")] Neon);

#[inline]
#[target_feature(enable = "neon")]
fn load(x: &[f32; 4]) -> float32x4_t {
    // SAFETY: four numbers.
    unsafe { vld1q_f32(x.as_ptr()) }
}

/// The largest magnitude; a NaN if there is one.
#[inline]
#[target_feature(enable = "neon")]
fn max_magnitude(x: &[f32]) -> f32 {
    let mut max = vdupq_n_u32(0);
    for x in x.as_chunks::<4>().0 {
        // Magnitudes compare as their bits do, and a NaN's are above those of infinity.
        max = vmaxq_u32(max, vreinterpretq_u32_f32(vabsq_f32(load(x))));
    }
    f32::from_bits(vmaxvq_u32(max))
}

/// Stores 16 whole numbers that fit in bytes; returns their sum.
#[inline]
#[target_feature(enable = "neon")]
fn store([a, b, c, d]: [int32x4_t; 4], to: &mut [i8; 16]) -> i16 {
    let (low, high) = (vmovn_high_s32(vmovn_s32(a), b), vmovn_high_s32(vmovn_s32(c), d));
    let codes = vmovn_high_s16(vmovn_s16(low), high);
    // SAFETY: 16 bytes.
    unsafe { vst1q_s8(to.as_mut_ptr(), codes) };
    vaddlvq_s8(codes)
}

impl Quantize<32, 1> for Q8 {
    #[inline(always)]
    fn block(self, x: &[f32; 32]) -> Block<32, 1> {
        // SAFETY: `self` holds a `Neon`.
        unsafe { block_32(x) }
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn block_32(x: &[f32; 32]) -> Block<32, 1> {
    let (mut block, factor) = quantize::begin_32(max_magnitude(x));
    if factor == 0.0 {
        return block;
    }
    let codes = block.codes.as_chunks_mut::<16>().0;
    let mut sum = 0;
    for (codes, x) in codes.iter_mut().zip(x.as_chunks::<16>().0) {
        let mut whole = [vdupq_n_s32(0); 4];
        for (whole, x) in whole.iter_mut().zip(x.as_chunks::<4>().0) {
            // To the nearest, halves away from zero.
            *whole = vcvtaq_s32_f32(vmulq_n_f32(load(x), factor));
        }
        sum += store(whole, codes);
    }
    block.lanes = [[sum, 0]];
    block
}

impl Quantize<256, 16> for Q8K {
    #[inline(always)]
    fn block(self, x: &[f32; 256]) -> Block<256, 16> {
        // SAFETY: `self` holds a `Neon`.
        unsafe { block_256(x) }
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn block_256(x: &[f32; 256]) -> Block<256, 16> {
    let (mut block, factor) = quantize::begin_256(x, max_magnitude(x));
    if factor == 0.0 {
        return block;
    }
    let parts = block.codes.as_chunks_mut::<16>().0.iter_mut().zip(&mut block.lanes);
    for ((codes, lanes), x) in parts.zip(x.as_chunks::<16>().0) {
        let mut whole = [vdupq_n_s32(0); 4];
        for (whole, x) in whole.iter_mut().zip(x.as_chunks::<4>().0) {
            // To the nearest, halves to even.
            *whole = vcvtnq_s32_f32(vmulq_n_f32(load(x), factor));
        }
        *lanes = [store(whole, codes), 0];
    }
    block
}
