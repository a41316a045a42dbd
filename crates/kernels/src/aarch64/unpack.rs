//! Packed blocks to registers. The layouts are drawn in [`crate::format`].
#![expect(unsafe_code, reason = "loads through pointers; each function says what must be readable")]

use super::dot::Rows;
use crate::format::{Format, HeaderKind};
use std::arch::aarch64::*;
use std::arch::asm;

/// How far ahead of its use a stream of weights is fetched: the hardware's own fetching starts anew at every page.
const PREFETCH_BYTES: usize = 2048;

/// Fetches `n_bytes` that lie [`PREFETCH_BYTES`] after `from`, wherever that is.
#[inline(always)]
pub(super) fn prefetch(from: *const u8, n_bytes: usize) {
    for line in 0..n_bytes.div_ceil(64) {
        let line = from.wrapping_add(PREFETCH_BYTES + 64 * line);
        // SAFETY: a hint, for any address.
        unsafe {
            asm!("prfm pldl1keep, [{0}]", in(reg) line, options(readonly, nostack, preserves_flags));
        }
    }
}

/// 8 F16 numbers as two times four.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn widen(halves: uint16x8_t) -> [float32x4_t; 2] {
    let (low, high);
    // SAFETY: only the named registers and the floating-point status change.
    unsafe {
        asm!("fcvtl {0:v}.4s, {1:v}.4h", out(vreg) low, in(vreg) halves, options(pure, nomem, nostack));
        asm!("fcvtl2 {0:v}.4s, {1:v}.8h", out(vreg) high, in(vreg) halves, options(pure, nomem, nostack));
    }
    [low, high]
}

/// 16 F16 numbers.
///
/// # Safety
/// `from` is readable for 32 bytes.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn halves(from: *const u8) -> [float32x4_t; 4] {
    // SAFETY: the caller's promise; bytes need no alignment.
    let (low, high) = unsafe { (vld1q_u8(from), vld1q_u8(from.add(16))) };
    let [a, b] = widen(vreinterpretq_u16_u8(low));
    let [c, d] = widen(vreinterpretq_u16_u8(high));
    [a, b, c, d]
}

/// Every byte shifted right by `n < 8`, a number that the compiler knows.
#[inline(always)]
fn right(x: uint8x16_t, n: usize) -> uint8x16_t {
    // SAFETY: NEON is on every such CPU.
    unsafe {
        match n {
            1 => vshrq_n_u8::<1>(x),
            2 => vshrq_n_u8::<2>(x),
            3 => vshrq_n_u8::<3>(x),
            4 => vshrq_n_u8::<4>(x),
            5 => vshrq_n_u8::<5>(x),
            6 => vshrq_n_u8::<6>(x),
            7 => vshrq_n_u8::<7>(x),
            _ => x,
        }
    }
}

/// Every byte shifted left by `n <= 4`, a number that the compiler knows.
#[inline(always)]
fn left(x: uint8x16_t, n: usize) -> uint8x16_t {
    // SAFETY: NEON is on every such CPU.
    unsafe {
        match n {
            1 => vshlq_n_u8::<1>(x),
            2 => vshlq_n_u8::<2>(x),
            3 => vshlq_n_u8::<3>(x),
            4 => vshlq_n_u8::<4>(x),
            _ => x,
        }
    }
}

/// `n` bits of every byte from bit `from` on, moved to bit `to`.
#[inline(always)]
fn field(x: uint8x16_t, n: usize, from: usize, to: usize) -> uint8x16_t {
    // SAFETY: NEON is on every such CPU.
    unsafe {
        let moved = if from >= to { right(x, from - to) } else { left(x, to - from) };
        if to == 0 && from + n == 8 {
            return moved;
        }
        vandq_u8(moved, vdupq_n_u8(u8::MAX >> (8 - n) << to))
    }
}

/// Four rows of quads `2 pair` and `2 pair + 1` of a chunk, codes as stored or what the table has for them.
///
/// # Safety
/// `chunk` points to these rows' bytes of a chunk of `F`: the chunk, or 16, 32 or 48 bytes into it; readable up to the
/// chunk's end. `pair < 4`.
#[inline(always)]
pub(super) unsafe fn pair<F: Format>(chunk: *const u8, pair: usize) -> [int8x16_t; 2] {
    // SAFETY: NEON is on every such CPU; the caller's promise.
    unsafe {
        // Line `i` of a chunk, of which these rows take 16 bytes.
        let line = |i: usize| vld1q_u8(chunk.add(64 * i));
        let [a, b] = match F::BITS {
            2 | 3 => {
                let x = line(pair / 2);
                [field(x, 2, pair % 2 * 4, 0), field(x, 2, pair % 2 * 4 + 2, 0)]
            }
            4..=6 => {
                let x = line(pair);
                [field(x, 4, 0, 0), field(x, 4, 4, 0)]
            }
            _ => [line(2 * pair), line(2 * pair + 1)],
        };
        let [a, b] = match F::BITS {
            3 => {
                let x = line(2);
                [vorrq_u8(a, field(x, 1, 2 * pair, 2)), vorrq_u8(b, field(x, 1, 2 * pair + 1, 2))]
            }
            5 => {
                let x = line(4);
                [vorrq_u8(a, field(x, 1, 2 * pair, 4)), vorrq_u8(b, field(x, 1, 2 * pair + 1, 4))]
            }
            6 => {
                let (x, from) = (line(4 + pair / 2), pair % 2 * 4);
                [vorrq_u8(a, field(x, 2, from, 4)), vorrq_u8(b, field(x, 2, from + 2, 4))]
            }
            _ => [a, b],
        };
        if let Some(table) = F::TABLE {
            let table = vld1q_s8(table.as_ptr());
            return [vqtbl1q_s8(table, a), vqtbl1q_s8(table, b)];
        }
        [vreinterpretq_s8_u8(a), vreinterpretq_s8_u8(b)]
    }
}

/// Scales.
///
/// # Safety
/// `block` points to a block of `F`.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn d<F: Format>(block: *const u8) -> [float32x4_t; 4] {
    if !matches!(F::HEADER, HeaderKind::Exponent) {
        // SAFETY: the first line of a header.
        return unsafe { halves(block) };
    }
    // Powers of two by their exponents, as `dequant::e8m0_to_f32_half`.
    // SAFETY: the only line of the header.
    let e = unsafe { vld1q_u8(block) };
    let (low, high) = (vmovl_u8(vget_low_u8(e)), vmovl_high_u8(e));
    [
        powers(vmovl_u16(vget_low_u16(low))),
        powers(vmovl_high_u16(low)),
        powers(vmovl_u16(vget_low_u16(high))),
        powers(vmovl_high_u16(high)),
    ]
}

#[inline]
#[target_feature(enable = "neon")]
fn powers(e: uint32x4_t) -> float32x4_t {
    let one = vdupq_n_u32(1);
    let normal = vshlq_n_u32::<23>(vsubq_u32(e, one));
    // (Of the exponents that are not 0 or 1, whatever comes out is not taken.)
    let subnormal = vshlq_u32(vdupq_n_u32(0x0020_0000), vreinterpretq_s32_u32(e));
    vreinterpretq_f32_u32(vbslq_u32(vcgtq_u32(e, one), normal, subnormal))
}

/// Four times four of 16 signed bytes as whole numbers.
#[inline]
#[target_feature(enable = "neon")]
fn wide(bytes: int8x16_t) -> [int32x4_t; 4] {
    let (a, b) = (vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes));
    [vmovl_s16(vget_low_s16(a)), vmovl_high_s16(a), vmovl_s16(vget_low_s16(b)), vmovl_high_s16(b)]
}

/// Low four bits of `a`, bits 4 and 5 of `b`.
#[inline]
#[target_feature(enable = "neon")]
fn join(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
    vorrq_u8(vandq_u8(a, vdupq_n_u8(0x0F)), vandq_u8(b, vdupq_n_u8(0x30)))
}

/// Integer scales of sub-block `j`. Where there are none: of no use.
///
/// # Safety
/// `block` points to a block of `F`, which has the sub-block.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn scales<F: Format>(block: *const u8, j: usize) -> [int32x4_t; 4] {
    // SAFETY: the lines are inside the header, see `crate::format`.
    let line = |at: usize| unsafe { vld1q_u8(block.add(at)) };
    wide(vreinterpretq_s8_u8(match F::HEADER {
        HeaderKind::Plain | HeaderKind::PlainMin | HeaderKind::Exponent => vdupq_n_u8(1),
        HeaderKind::Signed8 | HeaderKind::Signed8x8 => line(32 + 16 * j),
        HeaderKind::Nibbles => vandq_u8(line(64 + 16 * j), vdupq_n_u8(15)),
        HeaderKind::SixBits => {
            let high = line(192 + 16 * (j / 2));
            join(line(64 + 16 * j), if j.is_multiple_of(2) { vshlq_n_u8::<4>(high) } else { high })
        }
    }))
}

/// Integer minimums of sub-block `j`. Where there are none: of no use.
///
/// # Safety
/// As [`scales`].
#[inline]
#[target_feature(enable = "neon")]
unsafe fn min_bytes<F: Format>(block: *const u8, j: usize) -> uint8x16_t {
    // SAFETY: the lines are inside the header, see `crate::format`.
    let line = |at: usize| unsafe { vld1q_u8(block.add(at)) };
    match F::HEADER {
        HeaderKind::Nibbles => vshrq_n_u8::<4>(line(64 + 16 * j)),
        HeaderKind::SixBits => {
            let (low, high) = (vshrq_n_u8::<4>(line(64 + 16 * j)), line(192 + 16 * (j / 2)));
            let high =
                if j.is_multiple_of(2) { vshlq_n_u8::<2>(high) } else { vshrq_n_u8::<2>(high) };
            join(low, high)
        }
        _ => vdupq_n_u8(0),
    }
}

/// The same as 16-bit numbers.
///
/// # Safety
/// As [`scales`].
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn mins<F: Format>(block: *const u8, j: usize) -> [int16x4_t; 4] {
    // SAFETY: the caller's promise.
    let mins = unsafe { min_bytes::<F>(block, j) };
    let (low, high) = (vmovl_u8(vget_low_u8(mins)), vmovl_high_u8(mins));
    let (low, high) = (vreinterpretq_s16_u16(low), vreinterpretq_s16_u16(high));
    [vget_low_s16(low), vget_high_s16(low), vget_low_s16(high), vget_high_s16(high)]
}

/// The minimums of eight sub-blocks, two rows in a vector: the first and the last two of each four rows.
///
/// # Safety
/// As [`scales`], for sub-blocks `8 eight` to `8 eight + 7`.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn woven_mins<F: Format>(block: *const u8, eight: usize) -> Rows<int8x16_t> {
    let mut lines = [vdupq_n_u8(0); 8];
    for (j, line) in lines.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *line = unsafe { min_bytes::<F>(block, 8 * eight + j) };
    }
    // Each turn doubles the sub-blocks that lie together and halves a line's rows: 4 apart, 2 apart, side by side.
    for _ in 0..3 {
        let mut zipped = lines;
        for j in 0..4 {
            zipped[2 * j] = vzip1q_u8(lines[j], lines[j + 4]);
            zipped[2 * j + 1] = vzip2q_u8(lines[j], lines[j + 4]);
        }
        lines = zipped;
    }
    let mut rows = [[vdupq_n_s8(0); 4]; 2];
    for (i, line) in lines.into_iter().enumerate() {
        rows[i % 2][i / 2] = vreinterpretq_s8_u8(line);
    }
    rows
}
