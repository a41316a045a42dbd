//! Blocks of 256 codes, and the sums of 16 and of 32 of them.
#![expect(unsafe_code, reason = "loads and stores through pointers")]

use super::{TILE, To, pair, store_quads, store_tile};
use crate::acts::Pair;
use crate::scalar::quantize;
use std::arch::x86_64::*;

/// Vectors of 16 numbers.
const VECTORS: usize = 16;

/// A block.
#[derive(Clone, Copy)]
struct Block {
    /// 32 each.
    codes: [__m256i; 8],
    /// Over 16 columns each.
    sums: __m512i,
    d: f32,
}

impl Block {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    fn zero(d: f32) -> Self {
        Self { codes: [_mm256_setzero_si256(); 8], sums: _mm512_setzero_si512(), d }
    }
}

/// Quantizes `n` tokens of a tile, at least one.
///
/// # Safety
/// `row` is readable for `n` rows of `n_blocks` blocks; `to` has tokens `at..at + n`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn tile(row: *const f32, n: usize, n_blocks: usize, to: To) {
    let mut of = [Block::zero(0.0); TILE];
    for block in 0..n_blocks {
        // SAFETY: the caller's promise: the same block of `n` rows, and its places.
        unsafe {
            for (i, of) in of[..n].iter_mut().enumerate() {
                one_block(row.add((i * n_blocks + block) * 256), of);
            }
            store_codes(&of[..n], to.codes.add(block * 256 * to.t), to);
            for (i, of) in of[..n].iter().enumerate() {
                let base = block * to.t;
                store_sums(of.sums, base, to.at + i, to);
                *to.d.add(base + to.at + i) = of.d;
            }
        }
    }
}

/// Quantizes a block, in place: what is returned by value would be copied, which takes as long as the rest.
///
/// # Safety
/// It is readable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn one_block(x: *const f32, of: &mut Block) {
    let mut vectors = [_mm512_setzero_ps(); VECTORS];
    let mut max = _mm512_setzero_si512();
    for (i, to) in vectors.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *to = unsafe { _mm512_loadu_ps(x.add(16 * i)) };
        // Magnitudes compare as their bits do; a NaN's are above infinity's.
        max = _mm512_max_epu32(max, _mm512_castps_si512(_mm512_abs_ps(*to)));
    }
    let bits = _mm512_reduce_max_epu32(max);
    let (d, factor) = quantize::scale_256(first(&vectors, bits));
    if factor == 0.0 {
        *of = Block::zero(d);
        return;
    }
    of.d = d;
    let factor = _mm512_set1_ps(factor);
    for (codes, [low, high]) in of.codes.iter_mut().zip(vectors.as_chunks::<2>().0) {
        let low = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(factor, *low)));
        let high = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(factor, *high)));
        *codes = _mm256_set_m128i(high, low);
    }
    of.sums = sums(&of.codes);
}

/// The first number with this magnitude, which one of them has; if it is none, itself.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
fn first(vectors: &[__m512; VECTORS], bits: u32) -> f32 {
    let magnitude = f32::from_bits(bits);
    let wanted = _mm512_set1_ps(magnitude);
    for x in vectors {
        let found = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(_mm512_abs_ps(*x), wanted);
        if found != 0 {
            let negative = _mm512_movepi32_mask(_mm512_castps_si512(*x));
            let is_negative = negative >> found.trailing_zeros() & 1 == 1;
            return if is_negative { -magnitude } else { magnitude };
        }
    }
    magnitude
}

/// Sums over 16 columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
fn sums(codes: &[__m256i; 8]) -> __m512i {
    let mut of_sixteen = [_mm512_setzero_si512(); 4];
    for (sums, [low, high]) in of_sixteen.iter_mut().zip(codes.as_chunks::<2>().0) {
        let (zero, ones) = (_mm512_setzero_si512(), _mm512_set1_epi8(1));
        let fours = _mm512_dpbusd_epi32(zero, ones, pair(*low, *high));
        let eights = _mm512_add_epi32(fours, _mm512_shuffle_epi32::<0b10_11_00_01>(fours));
        // The same sum in all four lanes.
        *sums = _mm512_add_epi32(eights, _mm512_shuffle_epi32::<0b01_00_11_10>(eights));
    }
    let [a, b, c, d] = of_sixteen;
    let all = _mm512_mask_mov_epi32(a, 0x2222, b);
    let all = _mm512_mask_mov_epi32(_mm512_mask_mov_epi32(all, 0x4444, c), 0x8888, d);
    let places = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    _mm512_permutexvar_epi32(places, all)
}

/// Stores the codes of some tokens' block.
///
/// # Safety
/// `codes_at` is where the tile's block begins, which has tokens `to.at..` for all of `of`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn store_codes(of: &[Block], codes_at: *mut i8, to: To) {
    for chunk in 0..8 {
        // SAFETY: the caller's promise: 32 columns of all the tile's tokens.
        unsafe {
            let codes_at = codes_at.add(chunk * 32 * to.t);
            if let [a, b, c, d, e, f] = of {
                store_tile(&[a, b, c, d, e, f].map(|of| of.codes[chunk]), codes_at);
            } else if to.t == 1 {
                _mm256_storeu_si256(codes_at.cast(), of[0].codes[chunk]);
            } else {
                for (i, of) in of.iter().enumerate() {
                    store_quads(of.codes[chunk], codes_at.add((to.at + i) * 4), to.t);
                }
            }
        }
    }
}

/// Stores what is made of a block's sums; `base` are the blocks of tokens before this one in the tile.
///
/// # Safety
/// There is such a block of token `at`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn store_sums(sums: __m512i, base: usize, at: usize, to: To) {
    let sixteens = _mm512_cvtepi32_epi16(sums);
    let thirty_twos = _mm256_cvtepi32_epi16(_mm256_madd_epi16(sixteens, _mm256_set1_epi16(1)));
    let mut minus = [0_i32; 16];
    let (mut pairs16, mut pairs32) = ([Pair::default(); 8], [Pair::default(); 4]);
    // SAFETY: as many bytes each; the caller's promise.
    unsafe {
        let negative = _mm512_sub_epi32(_mm512_setzero_si512(), sums);
        _mm512_storeu_si512(minus.as_mut_ptr().cast(), negative);
        _mm256_storeu_si256(pairs16.as_mut_ptr().cast(), sixteens);
        _mm_storeu_si128(pairs32.as_mut_ptr().cast(), thirty_twos);
        for (j, minus) in minus.into_iter().enumerate() {
            *to.minus.add(base * 16 + j * to.t + at) = minus;
        }
        for (j, pair) in pairs16.into_iter().enumerate() {
            *to.sums16.add(base * 8 + j * to.t + at) = pair;
        }
        for (j, pair) in pairs32.into_iter().enumerate() {
            *to.sums32.add(base * 4 + j * to.t + at) = pair;
        }
    }
}
