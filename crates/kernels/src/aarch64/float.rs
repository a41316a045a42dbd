//! Matrix kernels for NEON and weights that are floating-point numbers. The operations and their order are those of
//! [`crate::linear`].
#![expect(unsafe_code, reason = "loads through pointers; each function says what must be readable")]
#![expect(clippy::needless_range_loop, reason = "the loops number registers")]

use super::linear::TILE;
use super::tile::Acc;
use super::unpack::{halves, prefetch};
use crate::Neon;
use crate::acts::Floats;
use crate::format::{Float, FloatKind, ROWS};
use crate::team::Target;
use std::arch::aarch64::*;
use std::ops::Range;

/// Columns that are converted at once.
const COLUMNS: usize = 256;

/// 16 rows of a column.
type Column = [float32x4_t; 4];

/// Multiplies a group of rows with some tokens.
pub(crate) fn float<W: Float>(
    _: Neon,
    group: &[u8],
    acts: &Floats,
    tokens: Range<usize>,
    mut target: Target<'_>,
) {
    let n_units = acts.n_cols / W::UNIT;
    assert_eq!(group.len(), n_units * W::UNIT_BYTES, "a group of the activations' columns");
    assert_eq!(acts.values.len(), acts.n_cols * acts.n_tokens, "activations as numbers");
    assert_eq!(target.n_groups, 1, "one group at a time");
    assert!(acts.tile == TILE && tokens.start.is_multiple_of(TILE), "tokens begin at a tile");
    assert!(tokens.end == acts.n_tokens || tokens.end.is_multiple_of(TILE), "whole tiles");
    assert!(tokens.end <= acts.n_tokens, "tokens that there are");
    if tokens.is_empty() {
        return;
    }
    // SAFETY: a `Neon` value proves that the CPU has these instructions; sums of as many tokens.
    unsafe {
        if tokens.len() > TILE {
            return converted::<W>(group, acts, tokens, target);
        }
        let (t, x) = (tokens.len(), acts.tile(0, tokens.start));
        let acc = Acc { at: target.at(0, t, 0), stride: target.stride, fresh: true };
        match t {
            1 => stream::<W, 1>(group, x, acc),
            2 => stream::<W, 2>(group, x, acc),
            3 => stream::<W, 3>(group, x, acc),
            _ => stream::<W, TILE>(group, x, acc),
        }
    }
}

/// The columns of a unit; the second is of no use where there is only one.
#[inline]
#[target_feature(enable = "neon")]
fn columns<W: Float>(unit: &[u8]) -> [Column; 2] {
    assert_eq!(unit.len(), W::UNIT_BYTES, "a unit");
    let from = unit.as_ptr();
    if W::KIND == FloatKind::F16 {
        // SAFETY: 16 numbers.
        return [unsafe { halves(from) }; 2];
    }
    let mut columns = [[vdupq_n_f32(0.0); 4]; 2];
    for i in 0..4 {
        // SAFETY: four elements or pairs of 16.
        let line = vreinterpretq_u32_u8(unsafe { vld1q_u8(from.add(16 * i)) });
        if W::KIND == FloatKind::F32 {
            columns[0][i] = vreinterpretq_f32_u32(line);
        } else {
            // Of a pair, the second column is multiplied first.
            let second = vandq_u32(line, vdupq_n_u32(0xFFFF_0000));
            columns[0][i] = flush(vreinterpretq_f32_u32(second));
            columns[1][i] = flush(vreinterpretq_f32_u32(vshlq_n_u32::<16>(line)));
        }
    }
    columns
}

/// As [`crate::math::flush`].
#[inline]
#[target_feature(enable = "neon")]
fn flush(x: float32x4_t) -> float32x4_t {
    let bits = vreinterpretq_u32_f32(x);
    // All bits where the exponent is not zero, else the sign's.
    let normal = vtstq_u32(bits, vdupq_n_u32(0x7F80_0000));
    let kept = vorrq_u32(normal, vdupq_n_u32(0x8000_0000));
    vreinterpretq_f32_u32(vandq_u32(bits, kept))
}

/// Few tokens: columns go straight to registers.
///
/// # Safety
/// `acc` has sums of `T` tokens.
#[target_feature(enable = "neon")]
unsafe fn stream<W: Float, const T: usize>(group: &[u8], x: &[f32], acc: Acc) {
    // SAFETY: the caller's promise.
    let mut sums: [Column; T] = unsafe { load(acc) };
    let mut x = x.as_chunks::<T>().0.iter();
    for (i, unit) in group.chunks_exact(W::UNIT_BYTES).enumerate() {
        if (i * W::UNIT_BYTES).is_multiple_of(64) {
            prefetch(unit.as_ptr(), 64);
        }
        for (w, x) in columns::<W>(unit)[..W::UNIT].iter().zip(x.by_ref()) {
            add_products::<W, T>(&mut sums, w, x);
        }
    }
    // SAFETY: the caller's promise.
    unsafe { store(&sums, acc) };
}

/// Many tokens: some columns are converted once and meet all tiles.
///
/// # Safety
/// As the assertions of [`float`].
#[target_feature(enable = "neon")]
unsafe fn converted<W: Float>(
    group: &[u8],
    acts: &Floats,
    tokens: Range<usize>,
    mut target: Target<'_>,
) {
    let mut panel = [[vdupq_n_f32(0.0); 4]; COLUMNS];
    for (b, bytes) in group.chunks(COLUMNS / W::UNIT * W::UNIT_BYTES).enumerate() {
        let n = bytes.len() / (ROWS * W::BYTES);
        let units = bytes.chunks_exact(W::UNIT_BYTES);
        for (to, unit) in panel.chunks_exact_mut(W::UNIT).zip(units) {
            to.copy_from_slice(&columns::<W>(unit)[..W::UNIT]);
        }
        for first in tokens.clone().step_by(TILE) {
            let t = acts.tile_len(first);
            let at = target.at(first - tokens.start, t, 0);
            let acc = Acc { at, stride: target.stride, fresh: b == 0 };
            let (w, x) = (&panel[..n], &acts.tile(b * COLUMNS, first)[..n * t]);
            // SAFETY: sums of `t` tokens.
            unsafe {
                match t {
                    1 => one_tile::<W, 1>(w, x, acc),
                    2 => one_tile::<W, 2>(w, x, acc),
                    3 => one_tile::<W, 3>(w, x, acc),
                    _ => one_tile::<W, TILE>(w, x, acc),
                }
            }
        }
    }
}

/// Begins or continues the sums of a tile.
///
/// # Safety
/// `acc` has sums of `T` tokens.
#[target_feature(enable = "neon")]
unsafe fn one_tile<W: Float, const T: usize>(w: &[Column], x: &[f32], acc: Acc) {
    // SAFETY: the caller's promise.
    let mut sums: [Column; T] = unsafe { load(acc) };
    for (w, x) in w.iter().zip(x.as_chunks::<T>().0) {
        add_products::<W, T>(&mut sums, w, x);
    }
    // SAFETY: the caller's promise.
    unsafe { store(&sums, acc) };
}

/// One column.
#[inline]
#[target_feature(enable = "neon")]
fn add_products<W: Float, const T: usize>(acc: &mut [Column; T], w: &Column, x: &[f32; T]) {
    if let (Some(acc), Some(x)) = (acc.first_chunk_mut::<4>(), x.first_chunk::<4>()) {
        // SAFETY: four numbers.
        let x = unsafe { vld1q_f32(x.as_ptr()) };
        for r in 0..4 {
            acc[0][r] = vfmaq_laneq_f32::<0>(acc[0][r], w[r], x);
            acc[1][r] = vfmaq_laneq_f32::<1>(acc[1][r], w[r], x);
            acc[2][r] = vfmaq_laneq_f32::<2>(acc[2][r], w[r], x);
            acc[3][r] = vfmaq_laneq_f32::<3>(acc[3][r], w[r], x);
        }
    } else {
        for (acc, x) in acc.iter_mut().zip(x) {
            for (acc, w) in acc.iter_mut().zip(w) {
                *acc = vfmaq_n_f32(*acc, *w, *x);
            }
        }
    }
    if W::KIND == FloatKind::BF16 {
        for acc in acc.as_flattened_mut() {
            *acc = flush(*acc);
        }
    }
}

/// # Safety
/// `acc` has sums of `T` tokens.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn load<const T: usize>(acc: Acc) -> [Column; T] {
    let mut sums = [[vdupq_n_f32(0.0); 4]; T];
    if !acc.fresh {
        for (t, sums) in sums.iter_mut().enumerate() {
            for (r, sum) in sums.iter_mut().enumerate() {
                // SAFETY: the caller's promise.
                *sum = unsafe { vld1q_f32(acc.at.add(acc.stride * t + 4 * r)) };
            }
        }
    }
    sums
}

/// # Safety
/// As [`load`].
#[inline]
#[target_feature(enable = "neon")]
unsafe fn store<const T: usize>(sums: &[Column; T], acc: Acc) {
    for (t, sums) in sums.iter().enumerate() {
        for (r, sum) in sums.iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { vst1q_f32(acc.at.add(acc.stride * t + 4 * r), *sum) };
        }
    }
}
