//! Matrix kernels for AVX-512 and weights that are floating-point numbers.
#![expect(
    unsafe_code,
    reason = "calls of functions compiled for AVX-512; the proof is an argument"
)]

use super::tile::Acc;
use super::unpack::halves;
use crate::Avx512;
use crate::acts::Floats;
use crate::format::{Float, FloatKind};
use crate::isa::Avx512Bf16;
use crate::team::Target;
use crate::x86_64::unpack::prefetch_one_of;
use std::arch::x86_64::*;
use std::ops::Range;

/// The most tokens of a tile.
const TILE: usize = 6;
/// Columns that are converted at once.
const COLUMNS: usize = 256;

/// Multiplies up to four groups of rows with some tokens.
pub(crate) fn float<W: Float>(
    token: Avx512,
    groups: &[u8],
    acts: &Floats,
    tokens: Range<usize>,
    mut target: Target<'_>,
) {
    let n_units = acts.n_cols / W::UNIT;
    let group_bytes = n_units * W::UNIT_BYTES;
    assert_eq!(groups.len(), target.n_groups * group_bytes, "groups of the activations' columns");
    assert!(acts.tile == TILE && tokens.start.is_multiple_of(TILE), "tokens begin at a tile");
    assert!(tokens.end == acts.n_tokens || tokens.end.is_multiple_of(TILE), "whole tiles");
    assert!(tokens.end <= acts.n_tokens, "tokens that there are");
    if tokens.is_empty() || n_units == 0 {
        return;
    }
    if W::KIND == FloatKind::BF16 {
        let Some(bf16) = token.bf16() else {
            let sums = target.into_sums();
            return crate::x86_64::float::float::<W>(token.avx2(), groups, acts, tokens, sums);
        };
        return pairs(bf16, groups, acts, tokens, target);
    }
    assert_eq!(acts.values.len(), acts.n_cols * acts.n_tokens, "activations as numbers");
    let mut each = groups.chunks_exact(group_bytes);
    let mut next = || each.next().unwrap_or_default();
    let out = &mut target;
    // SAFETY: an `Avx512` value proves that the CPU has these instructions; the shapes are checked.
    unsafe {
        match out.n_groups {
            0 => {}
            1 => numbers::<W, 1>([next()], acts, tokens, out),
            2 => numbers::<W, 2>([next(), next()], acts, tokens, out),
            3 => numbers::<W, 3>([next(), next(), next()], acts, tokens, out),
            _ => numbers::<W, 4>([next(), next(), next(), next()], acts, tokens, out),
        }
    }
}

/// 16 weights of F32 or F16.
///
/// # Safety
/// `from` is readable for 16 elements.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn column<W: Float>(from: *const u8) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe { if W::KIND == FloatKind::F32 { _mm512_loadu_ps(from.cast()) } else { halves(from) } }
}

/// The sums of each group, from group `first` on, for `t` tokens from row `row` on.
fn accumulators<const G: usize>(
    target: &mut Target<'_>,
    (row, t): (usize, usize),
    first: usize,
    fresh: bool,
) -> Acc<G> {
    let at = std::array::from_fn(|g| target.at(row, t, first + g));
    Acc { at, stride: target.stride, fresh, add: false }
}

/// F32 and F16. Some columns are converted once and meet all tiles; for a single tile they go straight to registers.
///
/// # Safety
/// As the assertions of [`float`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn numbers<W: Float, const G: usize>(
    groups: [&[u8]; G],
    acts: &Floats,
    tokens: Range<usize>,
    target: &mut Target<'_>,
) {
    if tokens.len() > TILE {
        // SAFETY: the caller's promise.
        return unsafe { converted::<W, G>(groups, acts, tokens, target) };
    }
    let (t, x) = (tokens.len(), acts.tile(0, tokens.start));
    let acc = accumulators::<G>(target, (0, t), 0, true);
    // SAFETY: as many columns in each group as in `x`; sums of `t` tokens.
    unsafe {
        match t {
            1 => stream::<W, 1, G>(groups, x, acc),
            2 => stream::<W, 2, G>(groups, x, acc),
            3 => stream::<W, 3, G>(groups, x, acc),
            4 => stream::<W, 4, G>(groups, x, acc),
            5 => stream::<W, 5, G>(groups, x, acc),
            _ => stream::<W, TILE, G>(groups, x, acc),
        }
    }
}

/// All columns of a tile.
///
/// # Safety
/// The groups have as many columns as `x` has of each of `T` tokens; `acc` has sums of these.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn stream<W: Float, const T: usize, const G: usize>(
    groups: [&[u8]; G],
    x: &[f32],
    acc: Acc<G>,
) {
    let n_bytes = groups.first().map_or(0, |group| group.len());
    let groups = groups.map(<[u8]>::as_ptr);
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums: [[__m512; G]; T] = load(acc);
        for (i, x) in x.as_chunks::<T>().0.iter().enumerate() {
            let mut w = [_mm512_setzero_ps(); G];
            for (w, group) in w.iter_mut().zip(groups) {
                let at = i * W::UNIT_BYTES;
                if at % 64 == 0 {
                    prefetch_one_of::<G>(group, at, n_bytes);
                }
                *w = column::<W>(group.add(at));
            }
            for (sums, x) in sums.iter_mut().zip(x) {
                let x = _mm512_set1_ps(*x);
                for (sum, w) in sums.iter_mut().zip(w) {
                    *sum = _mm512_fmadd_ps(w, x, *sum);
                }
            }
        }
        store(&sums, acc);
    }
}

/// Many tokens.
///
/// # Safety
/// As the assertions of [`float`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn converted<W: Float, const G: usize>(
    groups: [&[u8]; G],
    acts: &Floats,
    tokens: Range<usize>,
    target: &mut Target<'_>,
) {
    let mut columns = [[_mm512_setzero_ps(); G]; COLUMNS];
    for first_column in (0..acts.n_cols).step_by(COLUMNS) {
        let n = COLUMNS.min(acts.n_cols - first_column);
        for (g, group) in groups.iter().enumerate() {
            let bytes = &group[first_column * W::UNIT_BYTES..][..n * W::UNIT_BYTES];
            for (to, from) in columns.iter_mut().zip(bytes.chunks_exact(W::UNIT_BYTES)) {
                // SAFETY: 16 numbers.
                to[g] = unsafe { column::<W>(from.as_ptr()) };
            }
        }
        for first in tokens.clone().step_by(TILE) {
            let t = acts.tile_len(first);
            let tile = acts.tile(first_column, first);
            let row = (first - tokens.start, t);
            let acc = accumulators::<G>(target, row, 0, first_column == 0);
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
/// `acc` has sums of `T` tokens.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn number_tile<const T: usize, const G: usize>(w: &[[__m512; G]], x: &[f32], acc: Acc<G>) {
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
/// `acc` has sums of `T` tokens.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn load<const T: usize, const G: usize>(acc: Acc<G>) -> [[__m512; G]; T] {
    let mut sums = [[_mm512_setzero_ps(); G]; T];
    if !acc.fresh {
        for (t, sums) in sums.iter_mut().enumerate() {
            for (sum, at) in sums.iter_mut().zip(acc.at) {
                // SAFETY: the caller's promise.
                *sum = unsafe { _mm512_loadu_ps(at.add(acc.stride * t)) };
            }
        }
    }
    sums
}

/// # Safety
/// As [`load`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn store<const T: usize, const G: usize>(sums: &[[__m512; G]; T], acc: Acc<G>) {
    for (t, sums) in sums.iter().enumerate() {
        for (sum, at) in sums.iter().zip(acc.at) {
            // SAFETY: the caller's promise.
            unsafe { _mm512_storeu_ps(at.add(acc.stride * t), *sum) };
        }
    }
}

/// BF16: pairs of columns lie as the instruction wants them.
fn pairs(
    _: Avx512Bf16,
    groups: &[u8],
    acts: &Floats,
    tokens: Range<usize>,
    mut target: Target<'_>,
) {
    let n_pairs = acts.n_cols / 2;
    assert_eq!(acts.pairs.len(), n_pairs * acts.n_tokens, "activations as pairs");
    for (i, groups) in groups.chunks(2 * n_pairs * 64).enumerate() {
        let (w, second) = groups.split_at(n_pairs * 64);
        for first in tokens.clone().step_by(TILE) {
            let t = acts.tile_len(first);
            let (row, x) = ((first - tokens.start, t), acts.pair_tile(0, first));
            // SAFETY: the proof; `x` has all pairs of `t` tokens, the groups all pairs, the sums all tokens.
            unsafe {
                if second.is_empty() {
                    let acc = accumulators::<1>(&mut target, row, 2 * i, true);
                    pair_tiles([w.as_ptr()], x, t, acc);
                } else {
                    let acc = accumulators::<2>(&mut target, row, 2 * i, true);
                    pair_tiles([w.as_ptr(), second.as_ptr()], x, t, acc);
                }
            }
        }
    }
}

/// # Safety
/// As [`pair_tile`], with `t` tokens.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512bf16,avx2,fma,f16c")]
unsafe fn pair_tiles<const G: usize>(w: [*const u8; G], x: &[u32], t: usize, acc: Acc<G>) {
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
/// The CPU has BF16. Each of `w` points to a group with as many pairs as `x` has of each of `T` tokens; `acc`
/// has sums of `T` tokens.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512bf16,avx2,fma,f16c")]
unsafe fn pair_tile<const T: usize, const G: usize>(w: [*const u8; G], x: &[u32], acc: Acc<G>) {
    // SAFETY: the caller's promise.
    let mut sums: [[__m512; G]; T] = unsafe { load(acc) };
    let n_bytes = x.len() / T * 64;
    for (pair, x) in x.as_chunks::<T>().0.iter().enumerate() {
        let mut lines = [bf16(_mm512_setzero_si512()); G];
        for (line, w) in lines.iter_mut().zip(w) {
            // SAFETY: a line of each group.
            unsafe {
                prefetch_one_of::<G>(w, 64 * pair, n_bytes);
                *line = bf16(_mm512_loadu_si512(w.add(64 * pair).cast()));
            }
        }
        for (sums, x) in sums.iter_mut().zip(x) {
            let x = bf16(_mm512_set1_epi32(x.cast_signed()));
            for (sum, w) in sums.iter_mut().zip(lines) {
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
#[expect(clippy::disallowed_methods, reason = "the standard library has no cast between these two")]
fn bf16(x: __m512i) -> __m512bh {
    // SAFETY: both are 64 bytes for which every value is valid.
    unsafe { std::mem::transmute::<__m512i, __m512bh>(x) }
}
