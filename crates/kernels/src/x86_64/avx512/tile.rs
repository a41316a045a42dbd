//! The micro-kernel: some groups of 16 rows times a tile of tokens.
//!
//! Rows are lanes. `vpdpbusd` multiplies a quad line of codes (unsigned) with 4 activations (signed) repeated in all
//! lanes and adds the four products to 32-bit sums. A format's bias is in the value that the sums begin with.
#![expect(unsafe_code, reason = "loads through pointers; each function says what must be readable")]

use super::source::Source;
use crate::acts::{self, TileActs};
use crate::format::{CHUNK, Format};
use std::arch::x86_64::*;

/// The bias of the codes as the kernels see them: signed bytes have 128 added.
pub(super) const fn bias<F: Format>() -> i32 {
    if F::SIGNED { 128 } else { F::BIAS }
}

/// 32 bits repeated in all lanes.
///
/// # Safety
/// `from` is readable for 4 bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn broadcast<T>(from: *const T) -> __m512i {
    // SAFETY: the caller's promise; no alignment is needed.
    _mm512_set1_epi32(unsafe { from.cast::<i32>().read_unaligned() })
}

/// Where the sums of a tile are.
#[derive(Clone, Copy)]
pub(super) struct Acc<const G: usize> {
    /// 16 sums of each group for the first token.
    pub(super) at: [*mut f32; G],
    /// From one token's to the next.
    pub(super) stride: usize,
    /// Whether they begin with zero, whatever is there.
    pub(super) fresh: bool,
    /// Whether they are then added to what is there; only if they begin with zero.
    pub(super) add: bool,
}

/// Sums of `G` groups for `T` tokens.
type Ints<const T: usize, const G: usize> = [[__m512i; G]; T];

/// Begins or continues the sums of `T` tokens by `n_blocks` blocks.
///
/// # Safety
/// `w` has that many blocks of `G` groups; `a` is a tile of `T` tokens with as many; `acc` has sums of `T` tokens.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn blocks<F: Format, S: Source<F>, const T: usize, const G: usize>(
    w: S,
    n_blocks: usize,
    mut a: TileActs,
    acc: Acc<G>,
) {
    let mut sums = [[_mm512_setzero_ps(); G]; T];
    // SAFETY: the caller's promise.
    unsafe {
        if !acc.fresh {
            for (t, sums) in sums.iter_mut().enumerate() {
                for (sum, at) in sums.iter_mut().zip(acc.at) {
                    *sum = _mm512_loadu_ps(at.add(acc.stride * t));
                }
            }
        }
        for b in 0..n_blocks {
            let total = block::<F, S, T, G>(w, b, a);
            step::<F, S, T, G>(&total, w, b, a, &mut sums);
            a = a.next::<F>(T);
        }
        for (t, sums) in sums.iter().enumerate() {
            for (sum, at) in sums.iter().zip(acc.at) {
                let at = at.add(acc.stride * t);
                let sum = if acc.add { _mm512_add_ps(_mm512_loadu_ps(at), *sum) } else { *sum };
                _mm512_storeu_ps(at, sum);
            }
        }
    }
}

/// The scaled integer sums of block `b`.
///
/// # Safety
/// As [`blocks`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn block<F: Format, S: Source<F>, const T: usize, const G: usize>(
    w: S,
    b: usize,
    a: TileActs,
) -> Ints<T, G> {
    let mut total = [[_mm512_setzero_si512(); G]; T];
    let parts = const { if F::GROUP < CHUNK { CHUNK / F::GROUP } else { 1 } };
    for c in 0..F::CHUNKS {
        // (Loops, where closures would do: those are not inlined into functions with more instructions.)
        // SAFETY: the caller's promise.
        let mut chunks = [unsafe { w.chunk(b, c, 0) }; G];
        for (g, chunk) in chunks.iter_mut().enumerate().skip(1) {
            // SAFETY: the caller's promise.
            *chunk = unsafe { w.chunk(b, c, g) };
        }
        for part in 0..parts {
            let j = c * parts + part;
            // SAFETY: the caller's promise.
            let mut sums = unsafe { start::<F, T, G>(a, j) };
            for quad in part * 8 / parts..(part + 1) * 8 / parts {
                let mut w = [_mm512_setzero_si512(); G];
                for (w, chunk) in w.iter_mut().zip(chunks) {
                    // SAFETY: the caller's promise.
                    *w = unsafe { S::quad(chunk, quad) };
                }
                for (t, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: quad `8 c + quad` of token `t`.
                    let a = unsafe { broadcast(a.codes.add(((8 * c + quad) * T + t) * 4)) };
                    for (sum, w) in sums.iter_mut().zip(w) {
                        *sum = _mm512_dpbusd_epi32(*sum, w, a);
                    }
                }
            }
            if !F::HEADER.has_scales() {
                return sums;
            }
            for g in 0..G {
                // SAFETY: the caller's promise.
                let scales = unsafe { w.scales(b, j, g) };
                for (total, sums) in total.iter_mut().zip(&sums) {
                    let scaled = _mm512_mullo_epi32(sums[g], scales);
                    total[g] = _mm512_add_epi32(total[g], scaled);
                }
            }
        }
    }
    total
}

/// What the sums of sub-block `j` begin with: minus the bias times the sum of the activations.
///
/// # Safety
/// As [`blocks`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn start<F: Format, const T: usize, const G: usize>(a: TileActs, j: usize) -> Ints<T, G> {
    let mut sums = [[_mm512_setzero_si512(); G]; T];
    if const { bias::<F>() } > 0 {
        for (t, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the sub-block's groups of token `t`: one, or two of 16 columns.
            let minus = unsafe {
                if const { F::K / F::GROUP < acts::groups(F::K) } {
                    let at = a.minus.add(2 * j * T + t);
                    _mm512_add_epi32(broadcast(at), broadcast(at.add(T)))
                } else {
                    broadcast(a.minus.add(j * T + t))
                }
            };
            let minus = match const { bias::<F>() } {
                4 => _mm512_slli_epi32::<2>(minus),
                8 => _mm512_slli_epi32::<3>(minus),
                16 => _mm512_slli_epi32::<4>(minus),
                32 => _mm512_slli_epi32::<5>(minus),
                _ => _mm512_slli_epi32::<7>(minus),
            };
            *sums = [minus; G];
        }
    }
    sums
}

/// The f32 step of a block: see [`crate::linear`].
///
/// # Safety
/// As [`blocks`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn step<F: Format, S: Source<F>, const T: usize, const G: usize>(
    total: &Ints<T, G>,
    w: S,
    b: usize,
    a: TileActs,
    sums: &mut [[__m512; G]; T],
) {
    for g in 0..G {
        // SAFETY: the caller's promise.
        let d_w = unsafe { w.d(b, g) };
        for t in 0..T {
            // SAFETY: token `t` of the tile.
            let d = _mm512_set1_ps(unsafe { *a.d.add(t) });
            let sum = _mm512_mul_ps(_mm512_cvtepi32_ps(total[t][g]), d_w);
            sums[t][g] = _mm512_fmadd_ps(sum, d, sums[t][g]);
        }
        if F::HEADER.has_m() {
            // SAFETY: the format has them.
            let m = unsafe { w.m(b, g) };
            for (t, sums) in sums.iter_mut().enumerate() {
                // SAFETY: token `t`; `s` is there for blocks of 32.
                let s = _mm512_set1_ps(unsafe { *a.s.add(t) });
                sums[g] = _mm512_fmadd_ps(m, s, sums[g]);
            }
        }
        if F::HEADER.has_mins() {
            // SAFETY: the format has them.
            let m = unsafe { w.m(b, g) };
            let mut mins = [_mm512_setzero_si512(); T];
            for j in 0..F::K / F::GROUP / 2 {
                // SAFETY: pair `j` of sub-blocks.
                let w = unsafe { w.mins(b, j, g) };
                for (t, mins) in mins.iter_mut().enumerate() {
                    // SAFETY: pair `j` of sums of token `t`.
                    *mins =
                        _mm512_dpwssd_epi32(*mins, w, unsafe { broadcast(a.sums.add(j * T + t)) });
                }
            }
            for (t, sums) in sums.iter_mut().enumerate() {
                // SAFETY: token `t` of the tile.
                let d = _mm512_set1_ps(unsafe { *a.d.add(t) });
                let mins = _mm512_mul_ps(_mm512_cvtepi32_ps(mins[t]), m);
                sums[g] = _mm512_fnmadd_ps(mins, d, sums[g]);
            }
        }
    }
}
