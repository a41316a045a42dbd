//! Packed blocks to registers. The layouts are drawn in [`crate::format`].
#![expect(unsafe_code, reason = "loads through pointers; each function says what must be readable")]

use super::dot::Dot;
use crate::format::{FloatKind, Format, HeaderKind};
use std::arch::x86_64::*;

/// 32 bytes.
///
/// # Safety
/// `from` is readable for 32 bytes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn load(from: *const u8) -> __m256i {
    // SAFETY: the caller's promise; no alignment is needed.
    unsafe { _mm256_loadu_si256(from.cast()) }
}

/// How far ahead of its use a stream of weights is fetched: what comes from memory in the time that it takes to answer,
/// 100 ns at 50 GB/s and more. With less, arithmetic and memory wait for each other; with much more, too much is fetched
/// behind a thread's last row. `cargo bench -p kernels --bench decode` measures it.
const PREFETCH_BYTES: usize = 6144;
/// The least of it that is of use, where several streams share the distance.
const PREFETCH_LEAST: usize = 2048;

/// Fetches `n_bytes` that lie [`PREFETCH_BYTES`] after `from`, wherever that is.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn prefetch(from: *const u8, n_bytes: usize) {
    let from = from.wrapping_add(PREFETCH_BYTES);
    for line in 0..n_bytes.div_ceil(64) {
        fetch(from.wrapping_add(64 * line));
    }
}

/// The same for a line at byte `at` of one of `STREAMS` that are read side by side and lie one behind the other, each
/// `n_bytes` long: a share of the distance each. Where this one ends, what follows the last of them is next.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn prefetch_one_of<const STREAMS: usize>(stream: *const u8, at: usize, n_bytes: usize) {
    let share = const { PREFETCH_BYTES / STREAMS };
    let ahead = at + share.max(PREFETCH_LEAST);
    let skipped = if ahead < n_bytes { 0 } else { (STREAMS - 1) * n_bytes };
    fetch(stream.wrapping_add(ahead + skipped));
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn fetch(line: *const u8) {
    #[allow(unused_unsafe, reason = "safe from some version of the standard library on")]
    // SAFETY: a hint, for any address.
    unsafe {
        _mm_prefetch::<_MM_HINT_T0>(line.cast());
    }
}

/// Bits `shift..` of every byte of `x`, masked and moved to bit `to`: `(x >> shift << to) & mask`.
macro_rules! field {
    ($x:expr, $shift:literal => $to:literal, $mask:expr) => {
        if $shift > $to {
            const N: i32 = if $shift > $to { $shift - $to } else { 0 };
            _mm256_and_si256(_mm256_srli_epi16::<N>($x), $mask)
        } else if $to > $shift {
            const N: i32 = if $to > $shift { $to - $shift } else { 0 };
            _mm256_and_si256(_mm256_slli_epi16::<N>($x), $mask)
        } else {
            _mm256_and_si256($x, $mask)
        }
    };
}

/// 8 rows of the 8 quads of a chunk, codes as stored (signed bytes for 8 bits) or what the table has for them; for sums of
/// 32 bits, signed bytes have 128 added.
///
/// # Safety
/// `chunk` points to the chunk's bytes of these rows: the chunk, or 32 bytes into it for rows 8 to 15; readable up to
/// the chunk's end.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn quads<F: Format, D: Dot>(chunk: *const u8) -> [__m256i; 8] {
    // SAFETY: line `i` of a chunk, of which these rows take 32 bytes.
    let line = |i: usize| unsafe { load(chunk.add(64 * i)) };
    let mut quads = [_mm256_setzero_si256(); 8];
    match F::BITS {
        2 | 3 => two_bits(&mut quads, line(0), line(1)),
        4..=6 => nibbles(&mut quads, [line(0), line(1), line(2), line(3)]),
        _ => {
            for (i, quad) in quads.iter_mut().enumerate() {
                *quad = line(i);
            }
        }
    }
    match F::BITS {
        3 => high_bits::<2>(&mut quads, line(2)),
        5 => high_bits::<4>(&mut quads, line(4)),
        6 => high_pairs(&mut quads, line(4), line(5)),
        _ => {}
    }
    if let Some(table) = F::TABLE {
        // SAFETY: 16 bytes.
        let table = _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(table.as_ptr().cast()) });
        for quad in &mut quads {
            *quad = _mm256_shuffle_epi8(table, *quad);
        }
    }
    if D::WIDE && F::SIGNED {
        for quad in &mut quads {
            *quad = _mm256_xor_si256(*quad, _mm256_set1_epi8(-128));
        }
    }
    quads
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn nibbles(quads: &mut [__m256i; 8], lines: [__m256i; 4]) {
    let mask = _mm256_set1_epi8(0x0F);
    for (pair, line) in quads.as_chunks_mut::<2>().0.iter_mut().zip(lines) {
        *pair = [field!(line, 0 => 0, mask), field!(line, 4 => 0, mask)];
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn two_bits(quads: &mut [__m256i; 8], a: __m256i, b: __m256i) {
    let mask = _mm256_set1_epi8(3);
    for (four, line) in quads.as_chunks_mut::<4>().0.iter_mut().zip([a, b]) {
        *four = [
            field!(line, 0 => 0, mask),
            field!(line, 2 => 0, mask),
            field!(line, 4 => 0, mask),
            field!(line, 6 => 0, mask),
        ];
    }
}

/// Sets bits 4 and 5.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn high_pairs(quads: &mut [__m256i; 8], a: __m256i, b: __m256i) {
    let mask = _mm256_set1_epi8(0x30);
    for (four, line) in quads.as_chunks_mut::<4>().0.iter_mut().zip([a, b]) {
        let high = [
            field!(line, 0 => 4, mask),
            field!(line, 2 => 4, mask),
            field!(line, 4 => 4, mask),
            field!(line, 6 => 4, mask),
        ];
        for (quad, high) in four.iter_mut().zip(high) {
            *quad = _mm256_or_si256(*quad, high);
        }
    }
}

/// Sets bit `TO`, 2 or 4.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn high_bits<const TO: u8>(quads: &mut [__m256i; 8], line: __m256i) {
    let mask = _mm256_set1_epi8(if TO == 2 { 4 } else { 16 });
    let high = if TO == 2 {
        [
            field!(line, 0 => 2, mask),
            field!(line, 1 => 2, mask),
            field!(line, 2 => 2, mask),
            field!(line, 3 => 2, mask),
            field!(line, 4 => 2, mask),
            field!(line, 5 => 2, mask),
            field!(line, 6 => 2, mask),
            field!(line, 7 => 2, mask),
        ]
    } else {
        [
            field!(line, 0 => 4, mask),
            field!(line, 1 => 4, mask),
            field!(line, 2 => 4, mask),
            field!(line, 3 => 4, mask),
            field!(line, 4 => 4, mask),
            field!(line, 5 => 4, mask),
            field!(line, 6 => 4, mask),
            field!(line, 7 => 4, mask),
        ]
    };
    for (quad, high) in quads.iter_mut().zip(high) {
        *quad = _mm256_or_si256(*quad, high);
    }
}

/// 8 F16 numbers.
///
/// # Safety
/// `from` is readable for 16 bytes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn halves(from: *const u8) -> __m256 {
    // SAFETY: the caller's promise.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(from.cast()) })
}

/// 8 powers of two by their exponents, as `dequant::e8m0_to_f32_half`.
///
/// # Safety
/// `from` is readable for 8 bytes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn powers(from: *const u8) -> __m256 {
    // SAFETY: the caller's promise.
    let e = _mm256_cvtepu8_epi32(unsafe { _mm_loadl_epi64(from.cast()) });
    let one = _mm256_set1_epi32(1);
    let normal = _mm256_slli_epi32::<23>(_mm256_sub_epi32(e, one));
    let subnormal = _mm256_sllv_epi32(_mm256_set1_epi32(0x0020_0000), e);
    _mm256_castsi256_ps(_mm256_blendv_epi8(subnormal, normal, _mm256_cmpgt_epi32(e, one)))
}

/// 8 weights of F32 or F16.
///
/// # Safety
/// `from` is readable for 8 elements.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn floats(kind: FloatKind, from: *const u8) -> __m256 {
    // SAFETY: the caller's promise, 32 or 16 bytes.
    unsafe {
        match kind {
            FloatKind::F32 => _mm256_loadu_ps(from.cast()),
            _ => halves(from),
        }
    }
}

/// 8 pairs of BF16: the second of each, then the first.
///
/// # Safety
/// `from` is readable for 32 bytes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn bf16_pair(from: *const u8) -> [__m256; 2] {
    // SAFETY: the caller's promise.
    let pairs = unsafe { load(from) };
    let second = _mm256_and_si256(pairs, _mm256_set1_epi32(0xFFFF_0000_u32.cast_signed()));
    [_mm256_castsi256_ps(second), _mm256_castsi256_ps(_mm256_slli_epi32::<16>(pairs))]
}

/// A block's numbers in the form that the micro-kernels use. The index is the half of the rows.
#[derive(Clone, Copy)]
pub(super) struct Header {
    pub(super) d: [__m256; 2],
    /// Minimums or their scales.
    pub(super) m: [__m256; 2],
}

/// The integers beside them, where a format has some. The first index is the sub-block (or pair of them), the second the half
/// of the rows.
#[derive(Clone, Copy)]
pub(super) struct Scales {
    /// Integer scales, each a 32-bit lane or, for sums of 16 bits, twice in it.
    pub(super) scales: [[__m256i; 2]; 16],
    /// Integer minimums of two sub-blocks, as the halves of a 32-bit lane.
    pub(super) mins: [[__m256i; 2]; 8],
}

impl Header {
    /// Zero everywhere.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn zero() -> Self {
        Self { d: [_mm256_setzero_ps(); 2], m: [_mm256_setzero_ps(); 2] }
    }

    /// Unpacks a block's numbers.
    ///
    /// # Safety
    /// `block` points to a block of format `F`.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) unsafe fn unpack<F: Format>(&mut self, block: *const u8) {
        let kind = F::HEADER;
        // SAFETY: all offsets are inside the header, see `crate::format`.
        unsafe {
            self.d = match kind {
                HeaderKind::Exponent => [powers(block), powers(block.add(8))],
                _ => [halves(block), halves(block.add(16))],
            };
            if kind.has_m() || kind.has_mins() {
                self.m = [halves(block.add(32)), halves(block.add(48))];
            }
        }
    }
}

impl Scales {
    /// Zero everywhere.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn zero() -> Self {
        let zero = _mm256_setzero_si256();
        Self { scales: [[zero; 2]; 16], mins: [[zero; 2]; 8] }
    }

    /// Unpacks a block's integers.
    ///
    /// # Safety
    /// `block` points to a block of format `F`.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) unsafe fn unpack<F: Format, D: Dot>(&mut self, block: *const u8) {
        // SAFETY: all offsets are inside the header, see `crate::format`.
        unsafe {
            match F::HEADER {
                HeaderKind::Plain | HeaderKind::PlainMin | HeaderKind::Exponent => {}
                HeaderKind::Signed8 | HeaderKind::Signed8x8 => {
                    for (j, scales) in self.scales.iter_mut().take(F::K / F::GROUP).enumerate() {
                        *scales = lanes::<D>(_mm_loadu_si128(block.add(32 + 16 * j).cast()));
                    }
                }
                HeaderKind::Nibbles => self.nibbles::<D>(block.add(64)),
                HeaderKind::SixBits => self.six_bits::<D>(block.add(64)),
            }
        }
    }

    /// # Safety
    /// `from` is readable for 16 lines of 16 bytes.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn nibbles<D: Dot>(&mut self, from: *const u8) {
        let mask = _mm_set1_epi8(15);
        let scales = self.scales.as_chunks_mut::<2>().0;
        for (j, (scales, mins)) in scales.iter_mut().zip(&mut self.mins).enumerate() {
            // SAFETY: lines 2 j and 2 j + 1.
            let (a, b) = unsafe { two_lines(from.add(32 * j)) };
            *scales = [lanes::<D>(_mm_and_si128(a, mask)), lanes::<D>(_mm_and_si128(b, mask))];
            let high = |x| _mm_and_si128(_mm_srli_epi16::<4>(x), mask);
            *mins = pairs(high(a), high(b));
        }
    }

    /// # Safety
    /// `from` is readable for 12 lines of 16 bytes.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn six_bits<D: Dot>(&mut self, from: *const u8) {
        let (low, high) = (_mm_set1_epi8(0x0F), _mm_set1_epi8(0x30));
        let join = |a, b| _mm_or_si128(_mm_and_si128(a, low), _mm_and_si128(b, high));
        let scales = self.scales.as_chunks_mut::<2>().0;
        for (j, (scales, mins)) in scales.iter_mut().zip(&mut self.mins).take(4).enumerate() {
            // SAFETY: lines 2 j and 2 j + 1 of the low bits, line j of the high ones.
            let (a, b, h) = unsafe {
                let (a, b) = two_lines(from.add(32 * j));
                (a, b, _mm_loadu_si128(from.add(128 + 16 * j).cast()))
            };
            *scales = [lanes::<D>(join(a, _mm_slli_epi16::<4>(h))), lanes::<D>(join(b, h))];
            *mins = pairs(
                join(_mm_srli_epi16::<4>(a), _mm_slli_epi16::<2>(h)),
                join(_mm_srli_epi16::<4>(b), _mm_srli_epi16::<2>(h)),
            );
        }
    }
}

/// # Safety
/// `from` is readable for 32 bytes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn two_lines(from: *const u8) -> (__m128i, __m128i) {
    // SAFETY: the caller's promise.
    unsafe { (_mm_loadu_si128(from.cast()), _mm_loadu_si128(from.add(16).cast())) }
}

/// 16 signed bytes, each a 32-bit lane or, for sums of 16 bits, both halves of it.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn lanes<D: Dot>(bytes: __m128i) -> [__m256i; 2] {
    let wide = |x| {
        let x = _mm256_cvtepi8_epi32(x);
        if D::WIDE {
            return x;
        }
        _mm256_blend_epi16::<0b1010_1010>(x, _mm256_slli_epi32::<16>(x))
    };
    [wide(bytes), wide(_mm_unpackhi_epi64(bytes, bytes))]
}

/// 16 rows' bytes `a` and `b` as the low and high halves of 32-bit lanes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn pairs(a: __m128i, b: __m128i) -> [__m256i; 2] {
    [_mm256_cvtepu8_epi16(_mm_unpacklo_epi8(a, b)), _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(a, b))]
}
