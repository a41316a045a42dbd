//! Operations of [`crate::scalar`] without register tiles, compiled for AVX-512. The softmax of attention and SwiGLU, which are
//! mostly exponentials, are written by hand: there is an instruction for an exponential's last steps. The results are the same.
#![expect(
    unsafe_code,
    reason = "calls of functions compiled for AVX-512; the proof is an argument"
)]

use crate::kv_cache::BLOCK;
use crate::norm::LayerNorm;
use crate::scalar::elementwise::{tree_max, tree_sum};
use crate::{Avx512, math, scalar};
use std::arch::x86_64::*;
use std::ops::Range;

crate::x86_64::elementwise::elementwise!(
    Avx512,
    "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"
);

/// As [`math::exp`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
fn exp(x: __m512) -> __m512 {
    // Of two operands the second is the result if one is a NaN.
    let x = _mm512_max_ps(_mm512_set1_ps(math::EXP_MIN), x);
    let x = _mm512_min_ps(_mm512_set1_ps(math::EXP_MAX), x);
    let round = _mm512_set1_ps(math::ROUND);
    let n = _mm512_sub_ps(_mm512_fmadd_ps(x, _mm512_set1_ps(math::LOG2_E), round), round);
    let r = _mm512_fnmadd_ps(n, _mm512_set1_ps(math::LN_2_HIGH), x);
    let r = _mm512_fnmadd_ps(n, _mm512_set1_ps(math::LN_2_LOW), r);
    let mut p = _mm512_set1_ps(math::EXP_COEFFICIENTS[0]);
    for c in &math::EXP_COEFFICIENTS[1..] {
        p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(*c));
    }
    let p = _mm512_add_ps(_mm512_fmadd_ps(_mm512_mul_ps(p, r), r, r), _mm512_set1_ps(1.0));
    // Rounded once, as the second of two factors' products.
    _mm512_scalef_ps(p, n)
}

/// As [`scalar::attention::soften`].
pub(crate) fn soften(
    _: Avx512,
    scores: &mut [f32],
    seen: &Range<usize>,
    scale: f32,
    softcap: Option<f32>,
    result: &mut (f32, f32),
) {
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
    fn inner(
        scores: &mut [f32],
        seen: &Range<usize>,
        scale: f32,
        softcap: Option<f32>,
        result: &mut (f32, f32),
    ) {
        if softcap.is_some() {
            return scalar::attention::soften(scores, seen, scale, softcap, result);
        }
        let start = seen.start / BLOCK * BLOCK;
        let blocks = scores[start..seen.end.next_multiple_of(BLOCK)].as_chunks_mut::<BLOCK>().0;
        let (scale, nothing) = (_mm512_set1_ps(scale), _mm512_set1_ps(f32::NEG_INFINITY));
        let mut lanes = nothing;
        for (i, block) in blocks.iter_mut().enumerate() {
            let first = start + i * BLOCK;
            let x = _mm512_mul_ps(load(block), scale);
            let x = _mm512_mask_mov_ps(nothing, visible(first, seen), x);
            // A NaN is passed over here and reaches the sum.
            lanes = _mm512_max_ps(x, lanes);
            store(block, x);
        }
        let max = tree_max(&array(lanes));
        let mut sums = _mm512_setzero_ps();
        for block in blocks {
            let x = exp(_mm512_sub_ps(load(block), _mm512_set1_ps(max)));
            sums = _mm512_add_ps(sums, x);
            store(block, x);
        }
        *result = (max, tree_sum(&array(sums)));
    }
    // SAFETY: the token proves that the CPU has these instructions.
    unsafe { inner(scores, seen, scale, softcap, result) }
}

/// As [`scalar::elementwise::swiglu_in_place`].
pub(crate) fn swiglu_in_place(_: Avx512, gate: &mut [f32], up: &[f32]) {
    assert_eq!(gate.len(), up.len(), "two halves of a product");
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
    fn inner(gate: &mut [f32], up: &[f32]) {
        let (gates, rest) = gate.as_chunks_mut::<BLOCK>();
        let (ups, up_rest) = up.as_chunks::<BLOCK>();
        let (sign, one) = (_mm512_set1_ps(-0.0), _mm512_set1_ps(1.0));
        for (gate, up) in gates.iter_mut().zip(ups) {
            let x = load(gate);
            let silu = _mm512_div_ps(x, _mm512_add_ps(one, exp(_mm512_xor_ps(x, sign))));
            store(gate, _mm512_mul_ps(silu, load(up)));
        }
        scalar::elementwise::swiglu_in_place(rest, up_rest);
    }
    // SAFETY: the token proves that the CPU has these instructions.
    unsafe { inner(gate, up) }
}

/// Which of the 16 positions from `first` on are in `seen`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
fn visible(first: usize, seen: &Range<usize>) -> u16 {
    // At most 16 positions are cut off at either end.
    let before = seen.start.saturating_sub(first).min(BLOCK);
    let behind = (first + BLOCK).saturating_sub(seen.end).min(BLOCK);
    let (from, to) = (u32::from(u16::MAX) << before, u32::from(u16::MAX) >> behind);
    let [low, high, ..] = (from & to).to_le_bytes();
    u16::from_le_bytes([low, high])
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
fn load(from: &[f32; BLOCK]) -> __m512 {
    // SAFETY: 16 numbers.
    unsafe { _mm512_loadu_ps(from.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
fn store(to: &mut [f32; BLOCK], x: __m512) {
    // SAFETY: 16 numbers.
    unsafe { _mm512_storeu_ps(to.as_mut_ptr(), x) };
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
fn array(x: __m512) -> [f32; BLOCK] {
    let mut to = [0.0; BLOCK];
    store(&mut to, x);
    to
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::testing::same;

    #[test]
    fn exponentials_are_those_of_scalar_code() {
        if Isa::from_name("avx512").is_none() {
            return;
        }
        // Every sign and exponent, NaN among them; and all around where results become subnormal, zero and infinite.
        let everywhere = (0..=u32::MAX).step_by(1021);
        let edges = [-104.0_f32, -103.97, -87.33, 88.72, 89.0].map(f32::to_bits);
        let edges = edges.into_iter().flat_map(|bits| bits - 40_000..bits + 40_000);
        let all: Vec<f32> = everywhere.chain(edges).map(f32::from_bits).collect();
        for x in all.as_chunks::<BLOCK>().0 {
            // SAFETY: there is AVX-512.
            let found = unsafe { array(exp(load(x))) };
            for (x, found) in x.iter().zip(found) {
                assert!(same(found, math::exp(*x)), "exp({x:e}): {found:e}");
            }
        }
    }
}
