//! Packed blocks to registers. The layouts are drawn in [`crate::format`].
#![expect(unsafe_code, reason = "loads through pointers; each function says what must be readable")]

use crate::format::{Format, HeaderKind};
use std::arch::x86_64::*;

/// 64 bytes.
///
/// # Safety
/// `from` is readable for 64 bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn line(from: *const u8) -> __m512i {
    // SAFETY: the caller's promise; no alignment is needed.
    unsafe { _mm512_loadu_si512(from.cast()) }
}

/// 16 bytes.
///
/// # Safety
/// `from` is readable for 16 bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn row_bytes(from: *const u8) -> __m128i {
    // SAFETY: the caller's promise; no alignment is needed.
    unsafe { _mm_loadu_si128(from.cast()) }
}

/// Bits `SHIFT..` of every byte of `x`, masked and moved to bit `TO`: `(x >> SHIFT << TO) & mask`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
fn field<const SHIFT: u32, const TO: u32>(x: __m512i, mask: __m512i) -> __m512i {
    let moved = match (SHIFT, TO) {
        (1, 0) | (2, 1) | (3, 2) | (4, 3) | (5, 4) => _mm512_srli_epi16::<1>(x),
        (2, 0) | (4, 2) | (6, 4) => _mm512_srli_epi16::<2>(x),
        (5, 2) | (7, 4) => _mm512_srli_epi16::<3>(x),
        (4, 0) | (6, 2) => _mm512_srli_epi16::<4>(x),
        (7, 2) => _mm512_srli_epi16::<5>(x),
        (6, 0) => _mm512_srli_epi16::<6>(x),
        (1, 2) | (3, 4) => _mm512_slli_epi16::<1>(x),
        (0, 2) | (2, 4) => _mm512_slli_epi16::<2>(x),
        (1, 4) => _mm512_slli_epi16::<3>(x),
        (0, 4) => _mm512_slli_epi16::<4>(x),
        _ => x,
    };
    _mm512_and_si512(moved, mask)
}

/// The 8 quads of a chunk, codes as stored or what the table has for them; signed bytes with 128 added.
///
/// # Safety
/// `chunk` points to a chunk of `F`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn quads<F: Format>(chunk: *const u8) -> [__m512i; 8] {
    let mut lines = [_mm512_setzero_si512(); 8];
    for (i, to) in lines.iter_mut().enumerate().take(F::BITS) {
        // SAFETY: line `i` of the chunk.
        *to = unsafe { line(chunk.add(64 * i)) };
    }
    let mut quads = [_mm512_setzero_si512(); 8];
    match F::BITS {
        2 | 3 => two_bits(&mut quads, lines[0], lines[1]),
        4..=6 => nibbles(&mut quads, [lines[0], lines[1], lines[2], lines[3]]),
        _ => {
            for (quad, line) in quads.iter_mut().zip(lines) {
                *quad = _mm512_xor_si512(line, _mm512_set1_epi8(-128));
            }
        }
    }
    match F::BITS {
        3 => high_bits::<2>(&mut quads, lines[2]),
        5 => high_bits::<4>(&mut quads, lines[4]),
        6 => high_pairs(&mut quads, lines[4], lines[5]),
        _ => {}
    }
    if let Some(table) = const { table::<F>() } {
        // SAFETY: 16 bytes.
        let table = _mm512_broadcast_i32x4(unsafe { row_bytes(table.as_ptr()) });
        for quad in &mut quads {
            *quad = _mm512_shuffle_epi8(table, *quad);
        }
    }
    quads
}

/// The format's table, of signed bytes with 128 added.
const fn table<F: Format>() -> Option<[u8; 16]> {
    let Some(from) = F::TABLE else { return None };
    let mut table = [0; 16];
    let mut i = 0;
    while i < 16 {
        table[i] = from[i].cast_unsigned() ^ if F::SIGNED { 128 } else { 0 };
        i += 1;
    }
    Some(table)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
fn nibbles(quads: &mut [__m512i; 8], lines: [__m512i; 4]) {
    let mask = _mm512_set1_epi8(0x0F);
    for (pair, line) in quads.as_chunks_mut::<2>().0.iter_mut().zip(lines) {
        *pair = [field::<0, 0>(line, mask), field::<4, 0>(line, mask)];
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
fn two_bits(quads: &mut [__m512i; 8], a: __m512i, b: __m512i) {
    let mask = _mm512_set1_epi8(3);
    for (four, line) in quads.as_chunks_mut::<4>().0.iter_mut().zip([a, b]) {
        *four = [
            field::<0, 0>(line, mask),
            field::<2, 0>(line, mask),
            field::<4, 0>(line, mask),
            field::<6, 0>(line, mask),
        ];
    }
}

/// Sets bits 4 and 5.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
fn high_pairs(quads: &mut [__m512i; 8], a: __m512i, b: __m512i) {
    let mask = _mm512_set1_epi8(0x30);
    for (four, line) in quads.as_chunks_mut::<4>().0.iter_mut().zip([a, b]) {
        let high = [
            field::<0, 4>(line, mask),
            field::<2, 4>(line, mask),
            field::<4, 4>(line, mask),
            field::<6, 4>(line, mask),
        ];
        for (quad, high) in four.iter_mut().zip(high) {
            *quad = _mm512_or_si512(*quad, high);
        }
    }
}

/// Sets bit `TO`, 2 or 4.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
fn high_bits<const TO: u32>(quads: &mut [__m512i; 8], line: __m512i) {
    let mask = _mm512_set1_epi8(1 << TO);
    let high = [
        field::<0, TO>(line, mask),
        field::<1, TO>(line, mask),
        field::<2, TO>(line, mask),
        field::<3, TO>(line, mask),
        field::<4, TO>(line, mask),
        field::<5, TO>(line, mask),
        field::<6, TO>(line, mask),
        field::<7, TO>(line, mask),
    ];
    for (quad, high) in quads.iter_mut().zip(high) {
        *quad = _mm512_or_si512(*quad, high);
    }
}

/// 16 F16 numbers.
///
/// # Safety
/// `from` is readable for 32 bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn halves(from: *const u8) -> __m512 {
    // SAFETY: the caller's promise.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(from.cast()) })
}

/// The scales, from the header at `block`.
///
/// # Safety
/// `block` points to a block of `F`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn d<F: Format>(block: *const u8) -> __m512 {
    if !matches!(F::HEADER, HeaderKind::Exponent) {
        // SAFETY: the first line of a header.
        return unsafe { halves(block) };
    }
    // Powers of two by their exponents, as `dequant::e8m0_to_f32_half`.
    // SAFETY: the only line of the header.
    let e = _mm512_cvtepu8_epi32(unsafe { row_bytes(block) });
    let one = _mm512_set1_epi32(1);
    let normal = _mm512_slli_epi32::<23>(_mm512_sub_epi32(e, one));
    let subnormal = _mm512_sllv_epi32(_mm512_set1_epi32(0x0020_0000), e);
    _mm512_castsi512_ps(_mm512_mask_mov_epi32(subnormal, _mm512_cmpgt_epi32_mask(e, one), normal))
}

/// The integer scales of sub-block `j`, from the header at `block`.
///
/// # Safety
/// `block` points to a block of `F`, which has integer scales; `j` is one of its sub-blocks.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn scales<F: Format>(block: *const u8, j: usize) -> __m512i {
    // SAFETY: all offsets are inside the header, see `crate::format`.
    unsafe {
        let bytes = match F::HEADER {
            HeaderKind::Nibbles => {
                _mm_and_si128(row_bytes(block.add(64 + 16 * j)), _mm_set1_epi8(15))
            }
            HeaderKind::SixBits => {
                let high = row_bytes(block.add(192 + 16 * (j / 2)));
                let high = if j.is_multiple_of(2) { _mm_slli_epi16::<4>(high) } else { high };
                join(row_bytes(block.add(64 + 16 * j)), high)
            }
            _ => row_bytes(block.add(32 + 16 * j)),
        };
        _mm512_cvtepi8_epi32(bytes)
    }
}

/// The integer minimums of sub-blocks `2 j` and `2 j + 1` as the halves of 32-bit lanes.
///
/// # Safety
/// As for [`scales`]; the format has minimums.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn mins<F: Format>(block: *const u8, j: usize) -> __m512i {
    // SAFETY: all offsets are inside the header, see `crate::format`.
    let (a, b, high) = unsafe {
        let at = block.add(64 + 32 * j);
        let high = if matches!(F::HEADER, HeaderKind::SixBits) {
            row_bytes(block.add(192 + 16 * j))
        } else {
            _mm_setzero_si128()
        };
        (row_bytes(at), row_bytes(at.add(16)), high)
    };
    let (a, b) = (_mm_srli_epi16::<4>(a), _mm_srli_epi16::<4>(b));
    let (a, b) = (join(a, _mm_slli_epi16::<2>(high)), join(b, _mm_srli_epi16::<2>(high)));
    let pairs = _mm256_set_m128i(_mm_unpackhi_epi8(a, b), _mm_unpacklo_epi8(a, b));
    _mm512_cvtepu8_epi16(pairs)
}

/// Bits 0 to 3 of `low`, bits 4 and 5 of `high`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
fn join(low: __m128i, high: __m128i) -> __m128i {
    _mm_or_si128(_mm_and_si128(low, _mm_set1_epi8(0x0F)), _mm_and_si128(high, _mm_set1_epi8(0x30)))
}
