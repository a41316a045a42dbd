//! Matrix kernels for AVX-512 and weights that are floating-point numbers.
#![expect(
    unsafe_code,
    reason = "calls of functions compiled for AVX-512; the proof is an argument"
)]

use super::source::GROUPS;
use super::unpack::halves;
use crate::Avx512;
use crate::acts::Floats;
use crate::format::{Float, FloatKind, ROWS};
use crate::isa::Avx512Bf16;
use crate::linear::Sums;
use crate::x86_64::unpack::prefetch;
use std::arch::x86_64::*;
use std::ops::Range;

/// The most tokens of a tile.
const TILE: usize = 6;
/// Columns that are converted at once.
const COLUMNS: usize = 256;

/// Multiplies one or two groups of rows with some tokens.
pub(crate) fn float<W: Float>(
    token: Avx512,
    groups: &[u8],
    acts: &Floats,
    tokens: Range<usize>,
    sums: &mut [Sums],
) {
    let n_units = acts.n_cols / W::UNIT;
    let group_bytes = n_units * W::UNIT_BYTES;
    let n_groups = sums.len() / tokens.len().max(1);
    assert_eq!(groups.len(), n_groups * group_bytes, "groups of the activations' columns");
    assert_eq!(sums.len(), tokens.len() * n_groups, "sums for every token");
    assert!(acts.tile == TILE && tokens.start.is_multiple_of(TILE), "tokens begin at a tile");
    assert!(tokens.end == acts.n_tokens || tokens.end.is_multiple_of(TILE), "whole tiles");
    assert!(tokens.end <= acts.n_tokens, "tokens that there are");
    if tokens.is_empty() || n_units == 0 {
        return;
    }
    if W::KIND == FloatKind::BF16 {
        if let Some(bf16) = token.bf16() {
            return pairs(bf16, groups, acts, tokens, sums);
        }
        let groups = groups.chunks_exact(group_bytes).zip(sums.chunks_exact_mut(tokens.len()));
        for (group, sums) in groups {
            crate::x86_64::linear::float::<W>(token.avx2(), group, acts, tokens.clone(), sums);
        }
        return;
    }
    assert_eq!(acts.values.len(), acts.n_cols * acts.n_tokens, "activations as numbers");
    // SAFETY: an `Avx512` value proves that the CPU has these instructions; the shapes are checked.
    unsafe {
        if n_groups == GROUPS {
            let (first, second) = groups.split_at(group_bytes);
            numbers::<W, GROUPS>([first, second], acts, tokens, sums);
        } else {
            numbers::<W, 1>([groups], acts, tokens, sums);
        }
    }
}

/// F32 and F16: some columns are converted once and meet all tiles.
///
/// # Safety
/// As the assertions of [`float`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn numbers<W: Float, const G: usize>(
    groups: [&[u8]; G],
    acts: &Floats,
    tokens: Range<usize>,
    sums: &mut [Sums],
) {
    let mut columns = [[_mm512_setzero_ps(); G]; COLUMNS];
    for first_column in (0..acts.n_cols).step_by(COLUMNS) {
        let n = COLUMNS.min(acts.n_cols - first_column);
        for (g, group) in groups.iter().enumerate() {
            let bytes = &group[first_column * W::UNIT_BYTES..][..n * W::UNIT_BYTES];
            for (to, from) in columns.iter_mut().zip(bytes.chunks_exact(W::UNIT_BYTES)) {
                prefetch(from.as_ptr(), W::UNIT_BYTES.min(64));
                // SAFETY: 16 numbers.
                to[g] = unsafe {
                    if W::KIND == FloatKind::F32 {
                        _mm512_loadu_ps(from.as_ptr().cast())
                    } else {
                        halves(from.as_ptr())
                    }
                };
            }
        }
        for first in tokens.clone().step_by(TILE) {
            let t = acts.tile_len(first);
            let tile = acts.tile(first_column, first);
            let at = first - tokens.start;
            let mut rest = &mut *sums;
            let acc: [*mut f32; G] = std::array::from_fn(|_| {
                let (group, after) = std::mem::take(&mut rest).split_at_mut(tokens.len());
                rest = after;
                group[at..][..t].as_mut_ptr().cast()
            });
            let (w, x) = (&columns[..n], &tile[..n * t]);
            // SAFETY: the tile has `t` tokens, with as many times 16 sums in each group.
            unsafe {
                match t {
                    1 => number_tile::<1, G>(w, x, acc),
                    2 => number_tile::<2, G>(w, x, acc),
                    3 => number_tile::<3, G>(w, x, acc),
                    4 => number_tile::<4, G>(w, x, acc),
                    5 => number_tile::<5, G>(w, x, acc),
                    _ => number_tile::<TILE, G>(w, x, acc),
                }
            }
        }
    }
}

/// Continues the sums of a tile.
///
/// # Safety
/// `acc` points to each group's sums of `T` tokens.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn number_tile<const T: usize, const G: usize>(
    w: &[[__m512; G]],
    x: &[f32],
    acc: [*mut f32; G],
) {
    // SAFETY: the caller's promise.
    let mut sums: [[__m512; G]; T] = unsafe { load(acc) };
    for (w, x) in w.iter().zip(x.as_chunks::<T>().0) {
        for (sums, x) in sums.iter_mut().zip(x) {
            let x = _mm512_set1_ps(*x);
            for (sum, w) in sums.iter_mut().zip(w) {
                *sum = _mm512_fmadd_ps(*w, x, *sum);
            }
        }
    }
    // SAFETY: the caller's promise.
    unsafe { store(&sums, acc) };
}

/// # Safety
/// `acc` points to each group's sums of `T` tokens.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn load<const T: usize, const G: usize>(acc: [*mut f32; G]) -> [[__m512; G]; T] {
    // SAFETY: the caller's promise.
    std::array::from_fn(|t| acc.map(|acc| unsafe { _mm512_loadu_ps(acc.add(ROWS * t)) }))
}

/// # Safety
/// As [`load`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn store<const T: usize, const G: usize>(sums: &[[__m512; G]; T], acc: [*mut f32; G]) {
    for (t, sums) in sums.iter().enumerate() {
        for (sum, acc) in sums.iter().zip(acc) {
            // SAFETY: the caller's promise.
            unsafe { _mm512_storeu_ps(acc.add(ROWS * t), *sum) };
        }
    }
}

/// BF16: pairs of columns lie as the instruction wants them.
fn pairs(_: Avx512Bf16, groups: &[u8], acts: &Floats, tokens: Range<usize>, sums: &mut [Sums]) {
    let n_pairs = acts.n_cols / 2;
    assert_eq!(acts.pairs.len(), n_pairs * acts.n_tokens, "activations as pairs");
    let group_bytes = n_pairs * 64;
    for first in tokens.clone().step_by(TILE) {
        let t = acts.tile_len(first);
        let (at, x) = (first - tokens.start, acts.pair_tile(0, first));
        let (a, b) = sums.split_at_mut(tokens.len());
        let a: *mut f32 = a[at..][..t].as_mut_ptr().cast();
        // SAFETY: the proof; `x` has all pairs of `t` tokens, the groups all pairs, the sums all tokens.
        unsafe {
            if let Some(b) = b.get_mut(at..at + t) {
                pair_tiles(
                    [groups.as_ptr(), groups[group_bytes..].as_ptr()],
                    x,
                    t,
                    [a, b.as_mut_ptr().cast()],
                );
            } else {
                pair_tiles([groups.as_ptr()], x, t, [a]);
            }
        }
    }
}

/// # Safety
/// As [`pair_tile`], with `t` tokens.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512bf16,avx2,fma,f16c")]
unsafe fn pair_tiles<const G: usize>(w: [*const u8; G], x: &[u32], t: usize, acc: [*mut f32; G]) {
    // SAFETY: the caller's promise.
    unsafe {
        match t {
            1 => pair_tile::<1, G>(w, x, acc),
            2 => pair_tile::<2, G>(w, x, acc),
            3 => pair_tile::<3, G>(w, x, acc),
            4 => pair_tile::<4, G>(w, x, acc),
            5 => pair_tile::<5, G>(w, x, acc),
            _ => pair_tile::<TILE, G>(w, x, acc),
        }
    }
}

/// Continues the sums of a tile.
///
/// # Safety
/// The CPU has BF16. Each of `w` points to a group with as many pairs as `x` has of each of `T` tokens; `acc` to each
/// group's sums of `T` tokens.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512bf16,avx2,fma,f16c")]
unsafe fn pair_tile<const T: usize, const G: usize>(
    w: [*const u8; G],
    x: &[u32],
    acc: [*mut f32; G],
) {
    // SAFETY: the caller's promise.
    let mut sums: [[__m512; G]; T] = unsafe { load(acc) };
    for (pair, x) in x.as_chunks::<T>().0.iter().enumerate() {
        // SAFETY: a line of each group.
        let w = w.map(|w| unsafe {
            prefetch(w.add(64 * pair), 64);
            bf16(_mm512_loadu_si512(w.add(64 * pair).cast()))
        });
        for (sums, x) in sums.iter_mut().zip(x) {
            let x = bf16(_mm512_set1_epi32(x.cast_signed()));
            for (sum, w) in sums.iter_mut().zip(w) {
                *sum = _mm512_dpbf16_ps(*sum, w, x);
            }
        }
    }
    // SAFETY: the caller's promise.
    unsafe { store(&sums, acc) };
}

/// The same bits as pairs of BF16.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn bf16(x: __m512i) -> __m512bh {
    // SAFETY: both are 64 bytes for which every value is valid.
    unsafe { std::mem::transmute::<__m512i, __m512bh>(x) }
}
