//! Matrix kernels for AVX2. The operations and their order are those of [`crate::linear`].
#![expect(unsafe_code, reason = "calls of functions compiled for AVX2; the proof is an argument")]

use super::tile::{self, Lines, Packed, TileActs, Unpacked};
use super::unpack::{self, Header};
use crate::Avx2;
use crate::acts::{Codes, Floats};
use crate::format::{CHUNK, Float, FloatKind, Format, ROWS};
use crate::linear::Sums;
use std::arch::x86_64::*;
use std::ops::Range;

/// The largest tile of tokens.
const MAX_TILE: usize = 6;

/// Multiplies a group of rows with some tokens in blocks of codes.
pub(crate) fn quant<F: Format>(
    _: Avx2,
    group: &[u8],
    acts: &Codes,
    tokens: Range<usize>,
    sums: &mut [Sums],
) {
    let n_blocks = acts.n_blocks();
    assert_eq!(group.len(), n_blocks * F::BYTES, "a group of the activations' blocks");
    assert_eq!(sums.len(), tokens.len(), "sums for every token");
    assert!(acts.k == F::K && tokens.end <= acts.n_tokens, "activations for these weights");
    assert!(
        acts.tile <= MAX_TILE && tokens.start.is_multiple_of(acts.tile),
        "tokens begin at a tile"
    );
    assert!(TileActs::complete::<F>(acts), "all that the format needs");
    if tokens.is_empty() || n_blocks == 0 {
        return;
    }
    // SAFETY: an `Avx2` value proves that the CPU has these instructions; the shapes are checked.
    unsafe {
        if acts.n_tokens == 1 {
            gemv::<F>(group, acts, &mut sums[0]);
        } else {
            gemm::<F>(group, acts, tokens, sums);
        }
    }
}

/// One token: codes go from memory to registers once, so they are unpacked there.
///
/// # Safety
/// `acts` has one token and as many blocks as `group`.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn gemv<F: Format>(group: &[u8], acts: &Codes, sums: &mut Sums) {
    let mut header = Header::zero();
    let acc = sums.as_mut_ptr();
    for (b, bytes) in group.chunks_exact(F::BYTES).enumerate() {
        let w = Packed(bytes.as_ptr());
        // SAFETY: `bytes` is a block of `F`; `a` is its tile of one token.
        unsafe {
            let a = TileActs::new::<F>(acts, b, 0);
            unpack::prefetch(w.0, F::HEADER.n_bytes());
            header.unpack::<F>(w.0);
            if F::SIGNED {
                tile::signed_block::<F, Packed, 1, 1>(w, &header, a, 0, acc);
                tile::signed_block::<F, Packed, 1, 1>(w, &header, a, 1, acc);
            } else {
                tile::block::<F, Packed, 1, 1>(w, &header, a, 0, acc);
                tile::block::<F, Packed, 1, 1>(w, &header, a, 1, acc);
            }
        }
    }
}

/// Several tokens: a block is unpacked once and meets all tiles.
///
/// # Safety
/// As the assertions of [`quant`]; there is a token.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn gemm<F: Format>(group: &[u8], acts: &Codes, tokens: Range<usize>, sums: &mut [Sums]) {
    let mut header = Header::zero();
    let mut lines = [[_mm256_setzero_si256(); 2]; 64];
    for (b, bytes) in group.chunks_exact(F::BYTES).enumerate() {
        let w = Packed(bytes.as_ptr());
        // SAFETY: `bytes` is a block of `F`.
        unsafe {
            header.unpack::<F>(w.0);
            if F::BITS == 8 {
                tile::widen::<F>(w, &mut lines);
            } else {
                unpack_lines::<F>(w, &mut lines);
            }
        }
        for first in tokens.clone().step_by(acts.tile) {
            let t = acts.tile_len(first);
            let acc = sums[first - tokens.start..][..t].as_mut_ptr().cast();
            // SAFETY: `a` is the block's tile of `t` tokens, with as many times 16 sums.
            unsafe {
                let a = TileActs::new::<F>(acts, b, first);
                match t {
                    1 => one_tile::<F, 1>(&lines, &header, a, acc),
                    2 => one_tile::<F, 2>(&lines, &header, a, acc),
                    3 => one_tile::<F, 3>(&lines, &header, a, acc),
                    4 => one_tile::<F, 4>(&lines, &header, a, acc),
                    5 => one_tile::<F, 5>(&lines, &header, a, acc),
                    _ => one_tile::<F, MAX_TILE>(&lines, &header, a, acc),
                }
            }
        }
    }
}

/// # Safety
/// `w` is a block of `F`, not of 8 bits.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn unpack_lines<F: Format>(w: Packed, lines: &mut Lines) {
    for (c, lines) in lines.as_chunks_mut::<8>().0.iter_mut().take(F::CHUNKS).enumerate() {
        for half in 0..2 {
            // SAFETY: the caller's promise.
            let quads: [__m256i; 8] = unsafe { tile::Source::<F>::chunk(w, c, half) };
            for (line, quad) in lines.iter_mut().zip(quads) {
                line[half] = quad;
            }
        }
    }
}

/// One block of one tile: continues the sums.
///
/// # Safety
/// `lines`, `header` and `a` (of `T` tokens) are of the same block; `acc` holds 16 sums of each token.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn one_tile<F: Format, const T: usize>(
    lines: &Lines,
    header: &Header,
    a: TileActs,
    acc: *mut f32,
) {
    // SAFETY: the caller's promise.
    unsafe {
        if F::BITS == 8 {
            tile::wide_block::<F, T>(lines, header, a, acc);
        } else if F::SIGNED {
            tile::signed_block::<F, Unpacked<'_>, T, 2>(Unpacked(lines), header, a, 0, acc);
        } else {
            tile::block::<F, Unpacked<'_>, T, 2>(Unpacked(lines), header, a, 0, acc);
        }
    }
}

/// Multiplies a group of rows of floating-point weights with some tokens.
pub(crate) fn float<W: Float>(
    _: Avx2,
    group: &[u8],
    acts: &Floats,
    tokens: Range<usize>,
    sums: &mut [Sums],
) {
    let n_units = acts.n_cols / W::UNIT;
    assert_eq!(group.len(), n_units * W::UNIT_BYTES, "a group of the activations' columns");
    assert_eq!(acts.values.len(), acts.n_cols * acts.n_tokens, "activations as numbers");
    assert_eq!(sums.len(), tokens.len(), "sums for every token");
    assert!(acts.tile <= MAX_TILE && tokens.start.is_multiple_of(acts.tile), "begins at a tile");
    assert!(tokens.end <= acts.n_tokens, "tokens that there are");
    // SAFETY: an `Avx2` value proves that the CPU has these instructions; the shapes are checked.
    unsafe { float_gemm::<W>(group, acts, tokens, sums) };
}

/// 32 columns (fewer at the end) are converted once and meet all tiles.
///
/// # Safety
/// As the assertions of [`float`].
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn float_gemm<W: Float>(
    group: &[u8],
    acts: &Floats,
    tokens: Range<usize>,
    sums: &mut [Sums],
) {
    let mut columns = [[_mm256_setzero_ps(); 2]; CHUNK];
    for (b, bytes) in group.chunks(CHUNK / W::UNIT * W::UNIT_BYTES).enumerate() {
        unpack::prefetch(bytes.as_ptr(), bytes.len());
        let n = bytes.len() / (ROWS * W::BYTES);
        let units = bytes.chunks_exact(W::UNIT_BYTES).zip(columns.chunks_exact_mut(W::UNIT));
        for (unit, columns) in units {
            let (low, high) = unit.split_at(8 * W::UNIT * W::BYTES);
            // SAFETY: 8 rows of a unit each.
            unsafe {
                if let [first, second] = columns {
                    let (low, high) = (low.as_ptr(), high.as_ptr());
                    // Of a pair, the second column is multiplied first.
                    [first[0], second[0]] = unpack::bf16_pair(low).map(|w| flush(w));
                    [first[1], second[1]] = unpack::bf16_pair(high).map(|w| flush(w));
                } else {
                    let w = [low.as_ptr(), high.as_ptr()].map(|w| unpack::floats(W::KIND, w));
                    columns[0] = w;
                }
            }
        }
        for first in tokens.clone().step_by(acts.tile) {
            let t = acts.tile_len(first);
            let tile = &acts.tile(b * CHUNK, first)[..n * t];
            let (w, sums) = (&columns[..n], &mut sums[first - tokens.start..][..t]);
            match t {
                1 => float_tile::<W, 1>(w, tile, sums),
                2 => float_tile::<W, 2>(w, tile, sums),
                3 => float_tile::<W, 3>(w, tile, sums),
                4 => float_tile::<W, 4>(w, tile, sums),
                5 => float_tile::<W, 5>(w, tile, sums),
                _ => float_tile::<W, MAX_TILE>(w, tile, sums),
            }
        }
    }
}

/// Up to 32 columns of one tile: continues the sums.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn float_tile<W: Float, const T: usize>(w: &[[__m256; 2]], x: &[f32], sums: &mut [Sums]) {
    let Some(sums) = sums.first_chunk_mut::<T>() else { return };
    let mut acc = [[_mm256_setzero_ps(); 2]; T];
    for (acc, sums) in acc.iter_mut().zip(&*sums) {
        // SAFETY: 8 numbers each.
        *acc = unsafe { [_mm256_loadu_ps(sums.as_ptr()), _mm256_loadu_ps(sums[8..].as_ptr())] };
    }
    for (w, x) in w.iter().zip(x.as_chunks::<T>().0) {
        for (acc, x) in acc.iter_mut().zip(x) {
            let x = _mm256_broadcast_ss(x);
            *acc = [_mm256_fmadd_ps(w[0], x, acc[0]), _mm256_fmadd_ps(w[1], x, acc[1])];
            if W::KIND == FloatKind::BF16 {
                *acc = [flush(acc[0]), flush(acc[1])];
            }
        }
    }
    for (acc, sums) in acc.iter().zip(sums) {
        // SAFETY: 8 numbers each.
        unsafe {
            _mm256_storeu_ps(sums.as_mut_ptr(), acc[0]);
            _mm256_storeu_ps(sums[8..].as_mut_ptr(), acc[1]);
        }
    }
}

/// As [`crate::math::flush`].
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn flush(x: __m256) -> __m256 {
    let sign = _mm256_set1_ps(-0.0);
    let magnitude = _mm256_andnot_ps(sign, x);
    // Not below: a NaN stays.
    let normal = _mm256_cmp_ps::<_CMP_NLT_UQ>(magnitude, _mm256_set1_ps(f32::MIN_POSITIVE));
    _mm256_and_ps(x, _mm256_or_ps(sign, normal))
}
