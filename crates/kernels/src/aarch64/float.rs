//! Matrix kernels for NEON and weights that are floating-point numbers. The operations and their order are those of
//! [`crate::linear`].
#![expect(unsafe_code, reason = "loads through pointers; each function says what must be readable")]
#![expect(clippy::needless_range_loop, reason = "the loops number registers")]

use super::linear::TILE;
use super::unpack::{halves, prefetch};
use crate::Neon;
use crate::acts::Floats;
use crate::format::{Float, FloatKind, ROWS};
use crate::linear::Sums;
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
    sums: &mut [Sums],
) {
    let n_units = acts.n_cols / W::UNIT;
    assert_eq!(group.len(), n_units * W::UNIT_BYTES, "a group of the activations' columns");
    assert_eq!(acts.values.len(), acts.n_cols * acts.n_tokens, "activations as numbers");
    assert_eq!(sums.len(), tokens.len(), "sums for every token");
    assert!(acts.tile == TILE && tokens.start.is_multiple_of(TILE), "tokens begin at a tile");
    assert!(tokens.end == acts.n_tokens || tokens.end.is_multiple_of(TILE), "whole tiles");
    assert!(tokens.end <= acts.n_tokens, "tokens that there are");
    if tokens.is_empty() {
        return;
    }
    // SAFETY: a `Neon` value proves that the CPU has these instructions.
    unsafe {
        if tokens.len() > TILE {
            return converted::<W>(group, acts, tokens, sums);
        }
        let x = acts.tile(0, tokens.start);
        match tokens.len() {
            1 => stream::<W, 1>(group, x, sums),
            2 => stream::<W, 2>(group, x, sums),
            3 => stream::<W, 3>(group, x, sums),
            _ => stream::<W, TILE>(group, x, sums),
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
#[target_feature(enable = "neon")]
fn stream<W: Float, const T: usize>(group: &[u8], x: &[f32], sums: &mut [Sums]) {
    let Some(sums) = sums.first_chunk_mut::<T>() else { return };
    let mut acc = load(sums);
    let mut x = x.as_chunks::<T>().0.iter();
    for (i, unit) in group.chunks_exact(W::UNIT_BYTES).enumerate() {
        if (i * W::UNIT_BYTES).is_multiple_of(64) {
            prefetch(unit.as_ptr(), 64);
        }
        for (w, x) in columns::<W>(unit)[..W::UNIT].iter().zip(x.by_ref()) {
            add_products::<W, T>(&mut acc, w, x);
        }
    }
    store(&acc, sums);
}

/// Many tokens: some columns are converted once and meet all tiles.
#[target_feature(enable = "neon")]
fn converted<W: Float>(group: &[u8], acts: &Floats, tokens: Range<usize>, sums: &mut [Sums]) {
    let mut panel = [[vdupq_n_f32(0.0); 4]; COLUMNS];
    for (b, bytes) in group.chunks(COLUMNS / W::UNIT * W::UNIT_BYTES).enumerate() {
        let n = bytes.len() / (ROWS * W::BYTES);
        let units = bytes.chunks_exact(W::UNIT_BYTES);
        for (to, unit) in panel.chunks_exact_mut(W::UNIT).zip(units) {
            to.copy_from_slice(&columns::<W>(unit)[..W::UNIT]);
        }
        for (first, sums) in tokens.clone().step_by(TILE).zip(sums.chunks_mut(TILE)) {
            let (w, x) = (&panel[..n], &acts.tile(b * COLUMNS, first)[..n * sums.len()]);
            match sums.len() {
                1 => one_tile::<W, 1>(w, x, sums),
                2 => one_tile::<W, 2>(w, x, sums),
                3 => one_tile::<W, 3>(w, x, sums),
                _ => one_tile::<W, TILE>(w, x, sums),
            }
        }
    }
}

/// Continues the sums of a tile.
#[target_feature(enable = "neon")]
fn one_tile<W: Float, const T: usize>(w: &[Column], x: &[f32], sums: &mut [Sums]) {
    let Some(sums) = sums.first_chunk_mut::<T>() else { return };
    let mut acc = load(sums);
    for (w, x) in w.iter().zip(x.as_chunks::<T>().0) {
        add_products::<W, T>(&mut acc, w, x);
    }
    store(&acc, sums);
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

#[inline]
#[target_feature(enable = "neon")]
fn load<const T: usize>(sums: &[Sums; T]) -> [Column; T] {
    let mut acc = [[vdupq_n_f32(0.0); 4]; T];
    for (acc, sums) in acc.iter_mut().zip(sums) {
        for (acc, sums) in acc.iter_mut().zip(sums.as_chunks::<4>().0) {
            // SAFETY: four numbers.
            *acc = unsafe { vld1q_f32(sums.as_ptr()) };
        }
    }
    acc
}

#[inline]
#[target_feature(enable = "neon")]
fn store<const T: usize>(acc: &[Column; T], sums: &mut [Sums; T]) {
    for (acc, sums) in acc.iter().zip(sums) {
        for (acc, sums) in acc.iter().zip(sums.as_chunks_mut::<4>().0) {
            // SAFETY: four numbers.
            unsafe { vst1q_f32(sums.as_mut_ptr(), *acc) };
        }
    }
}
