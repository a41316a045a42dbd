//! Blocks of 32 codes, six at a time: those of a tile's tokens, or of a single row.
#![expect(unsafe_code, reason = "loads and stores through pointers")]

use super::{TILE, To, store_quads, store_tile};
use std::arch::x86_64::*;

const LANES: [i32; TILE] = [0, 1, 2, 3, 4, 5];

/// Six blocks; lane `i` of a vector is block `i`'s.
struct Six {
    codes: [__m256i; TILE],
    d: __m256,
    s: __m256,
    minus: __m256i,
}

/// Quantizes `n` tokens of a tile, at least one.
///
/// # Safety
/// `row` is readable for `n` rows of `n_blocks` blocks; `to` has tokens `at..at + n`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
pub(super) unsafe fn tile(row: *const f32, n: usize, n_blocks: usize, to: To) {
    let mut of = Six::new();
    if to.t == 1 {
        for block in (0..n_blocks).step_by(TILE) {
            let n = TILE.min(n_blocks - block);
            // SAFETY: the caller's promise: `n` blocks of the row.
            unsafe {
                six(row.add(block * 32), 32, n, &mut of);
                for (i, codes) in of.codes[..n].iter().enumerate() {
                    _mm256_storeu_si256(to.codes.add((block + i) * 32).cast(), *codes);
                }
                store_scales(&of, n, block, to);
            }
        }
        return;
    }
    for block in 0..n_blocks {
        // SAFETY: the caller's promise: the same block of `n` rows.
        unsafe {
            six(row.add(block * 32), n_blocks * 32, n, &mut of);
            let codes_at = to.codes.add(block * 32 * to.t);
            if n == TILE {
                store_tile(&of.codes, codes_at);
            } else {
                for (i, codes) in of.codes[..n].iter().enumerate() {
                    store_quads(*codes, codes_at.add((to.at + i) * 4), to.t);
                }
            }
            store_scales(&of, n, block * to.t + to.at, to);
        }
    }
}

impl Six {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
    fn new() -> Self {
        let (zeros, zero) = (_mm256_setzero_ps(), _mm256_setzero_si256());
        Self { codes: [zero; TILE], d: zeros, s: zeros, minus: zero }
    }
}

/// Quantizes `n` blocks, 1 to 6, `stride` apart. (What is returned by value is copied, and so is a large part of the work.)
///
/// # Safety
/// They are readable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
unsafe fn six(x: *const f32, stride: usize, n: usize, of: &mut Six) {
    let mut lows = [_mm512_setzero_ps(); TILE];
    let mut highs = [_mm512_setzero_ps(); TILE];
    let mut max = [_mm512_setzero_si512(); TILE];
    let magnitude = _mm512_set1_epi32(i32::MAX);
    for i in 0..TILE {
        // Where there are fewer, the first one takes their place.
        let x = x.wrapping_add(if i < n { i * stride } else { 0 });
        // SAFETY: the caller's promise.
        unsafe { (lows[i], highs[i]) = (_mm512_loadu_ps(x), _mm512_loadu_ps(x.add(16))) };
        // Magnitudes compare as their bits do; a NaN's are above infinity's.
        max[i] = _mm512_max_epu32(
            _mm512_and_si512(_mm512_castps_si512(lows[i]), magnitude),
            _mm512_and_si512(_mm512_castps_si512(highs[i]), magnitude),
        );
    }
    let d = _mm256_div_ps(_mm256_castsi256_ps(max_of_each(&max)), _mm256_set1_ps(127.0));
    let factor = _mm256_div_ps(_mm256_set1_ps(1.0), d);
    // No code but 0 where the factor is infinite (ggml's is, for a tiny scale), 0 (for an infinite one) or a NaN.
    let some = _mm256_cmp_ps_mask::<_CMP_LT_OQ>(factor, _mm256_set1_ps(f32::INFINITY))
        & _mm256_cmp_ps_mask::<_CMP_GT_OQ>(factor, _mm256_setzero_ps());
    let factor = _mm512_castps256_ps512(factor);
    let mut sums = [_mm512_setzero_si512(); TILE];
    for i in 0..TILE {
        let factor = _mm512_permutexvar_ps(_mm512_set1_epi32(LANES[i]), factor);
        let some = if some >> i & 1 == 1 { u16::MAX } else { 0 };
        let low = round(_mm512_maskz_mul_ps(some, lows[i], factor));
        let high = round(_mm512_maskz_mul_ps(some, highs[i], factor));
        of.codes[i] = _mm256_set_m128i(_mm512_cvtepi32_epi8(high), _mm512_cvtepi32_epi8(low));
        sums[i] = _mm512_add_epi32(low, high);
    }
    let sums = sum_of_each(&sums);
    // The sum is taken with the scale before its rounding.
    of.s = round_to_f16(_mm256_mul_ps(_mm256_cvtepi32_ps(sums), d));
    of.minus = _mm256_sub_epi32(_mm256_setzero_si256(), sums);
    of.d = round_to_f16(d);
}

/// Reduces six vectors, each to one lane of the result, by an operation on whole vectors.
macro_rules! reduce {
    ($name:ident, $op:ident) => {
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
        fn $name(x: &[__m512i; TILE]) -> __m256i {
            let mut halves = [_mm256_setzero_si256(); 8];
            for (half, x) in halves.iter_mut().zip(x) {
                *half = $op(_mm512_castsi512_si256(*x), _mm512_extracti64x4_epi64::<1>(*x));
            }
            let mut pairs = [_mm256_setzero_si256(); 4];
            for i in 0..4 {
                let (a, b) = (halves[2 * i], halves[2 * i + 1]);
                pairs[i] = $op(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
            }
            let mut fours = [_mm256_setzero_si256(); 2];
            for i in 0..2 {
                let (a, b) = (pairs[2 * i], pairs[2 * i + 1]);
                fours[i] = $op(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
            }
            let [a, b] = fours;
            $op(_mm256_permute2x128_si256::<0x20>(a, b), _mm256_permute2x128_si256::<0x31>(a, b))
        }
    };
}

reduce!(max_of_each, _mm256_max_epu32);
reduce!(sum_of_each, _mm256_add_epi32);

/// The nearest whole numbers, halves away from zero, of numbers within -128..=128.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
fn round(x: __m512) -> __m512i {
    // With the largest number below a half, the sum's rounding reaches the next whole number from a half on, and not below.
    let below_half = _mm512_set1_ps(0.5_f32.next_down());
    let sign = _mm512_and_ps(x, _mm512_set1_ps(-0.0));
    _mm512_cvttps_epi32(_mm512_add_ps(x, _mm512_or_ps(below_half, sign)))
}

/// As [`crate::math::round_to_f16`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
fn round_to_f16(x: __m256) -> __m256 {
    let rounded = _mm256_cvtph_ps(_mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x));
    // A NaN stays as it is.
    _mm256_mask_mov_ps(rounded, _mm256_cmp_ps_mask::<_CMP_UNORD_Q>(x, x), x)
}

/// Stores what there is beside the codes of `n` blocks, from place `at` on.
///
/// # Safety
/// There are as many places.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
unsafe fn store_scales(six: &Six, n: usize, at: usize, to: To) {
    let mask = (1_u8 << n) - 1;
    // SAFETY: the caller's promise.
    unsafe {
        _mm256_mask_storeu_ps(to.d.add(at), mask, six.d);
        _mm256_mask_storeu_ps(to.s.add(at), mask, six.s);
        _mm256_mask_storeu_epi32(to.minus.add(at), mask, six.minus);
    }
}
