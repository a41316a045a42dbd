//! Dot products of the types with blocks of 32.
//!
//! Activations are Q8_0 (`d: f16, qs: [i8; 32]`) or Q8_1 (`d: f16, s: f16, qs: [i8; 32]`). Weights, with `qs`
//! holding elements 0..16 in the low and 16..32 in the high halves of its bytes, and `qh` a fifth bit each:
//! ```text
//! Q4_0: d f16, qs 16            (q - 8) * d
//! Q4_1: d f16, m f16, qs 16      q * d + m
//! Q5_0: d f16, qh 4, qs 16      (q - 16) * d
//! Q5_1: d f16, m f16, qh 4, qs 16
//! Q8_0: d f16, qs 32 (i8)
//! ```
//! The order of the f32 factors is different in almost every type, and shows in the last bit.

use super::dot::{blocks, f16_at};

/// Sum of products of 32 codes.
#[inline]
fn dot32(w: [i32; 32], a: &[u8]) -> f32 {
    let sum: i32 = w.iter().zip(a).map(|(&w, &a)| w * i32::from(a.cast_signed())).sum();
    sum as f32
}

/// 32 codes from 16 bytes.
#[inline]
fn nibbles(qs: &[u8]) -> [i32; 32] {
    std::array::from_fn(|j| i32::from(if j < 16 { qs[j] & 0xf } else { qs[j - 16] >> 4 }))
}

/// 32 codes from 16 bytes and 32 upper bits.
#[inline]
fn nibbles5(qh: &[u8], qs: &[u8]) -> [i32; 32] {
    let low = nibbles(qs);
    std::array::from_fn(|j| low[j] | i32::from((qh[j / 8] >> (j % 8)) & 1) << 4)
}

pub(super) fn q4_0(w: &[u8], a: &[u8]) -> f32 {
    blocks::<18, 34>(w, a).fold(0.0, |sum, (w, a)| {
        let codes = nibbles(&w[2..]).map(|q| q - 8);
        sum + dot32(codes, &a[2..]) * f16_at(w, 0) * f16_at(a, 0)
    })
}

pub(super) fn q4_1(w: &[u8], a: &[u8]) -> f32 {
    blocks::<20, 36>(w, a).fold(0.0, |sum, (w, a)| {
        let dot = dot32(nibbles(&w[4..]), &a[4..]);
        sum + ((f16_at(w, 0) * f16_at(a, 0)) * dot + f16_at(w, 2) * f16_at(a, 2))
    })
}

pub(super) fn q5_0(w: &[u8], a: &[u8]) -> f32 {
    blocks::<22, 34>(w, a).fold(0.0, |sum, (w, a)| {
        let codes = nibbles5(&w[2..6], &w[6..]).map(|q| q - 16);
        sum + (f16_at(w, 0) * f16_at(a, 0)) * dot32(codes, &a[2..])
    })
}

pub(super) fn q5_1(w: &[u8], a: &[u8]) -> f32 {
    blocks::<24, 36>(w, a).fold(0.0, |sum, (w, a)| {
        let dot = dot32(nibbles5(&w[4..8], &w[8..]), &a[4..]);
        sum + ((f16_at(w, 0) * f16_at(a, 0)) * dot + f16_at(w, 2) * f16_at(a, 2))
    })
}

pub(super) fn q8_0(w: &[u8], a: &[u8]) -> f32 {
    blocks::<34, 34>(w, a).fold(0.0, |sum, (w, a)| {
        let codes = std::array::from_fn(|j| i32::from(w[2 + j].cast_signed()));
        sum + dot32(codes, &a[2..]) * (f16_at(w, 0) * f16_at(a, 0))
    })
}
