//! Matrix kernels for AVX2. The operations and their order are those of [`crate::linear`].
#![expect(unsafe_code, reason = "calls of functions compiled for AVX2; the proof is an argument")]

use super::tile::{self, Lines, Packed, TileActs, Unpacked};
use super::unpack::{self, Header};
use crate::Avx2;
use crate::acts::{Codes, Floats, TILE, tile_len};
use crate::format::{CHUNK, Float, Format, ROWS};
use crate::linear::Sums;
use std::arch::x86_64::*;
use std::ops::Range;

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
    assert!(tokens.start.is_multiple_of(TILE), "tokens begin at a tile");
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
            header.unpack::<F>(w.0);
            if F::BITS == 8 {
                tile::signed_block::<F>(w, &header, a, acc);
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
        for first in tokens.clone().step_by(TILE) {
            let t = tile_len(acts.n_tokens, first).min(tokens.end - first);
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
                    _ => one_tile::<F, TILE>(&lines, &header, a, acc),
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
    assert_eq!(group.len(), acts.n_cols * ROWS * W::BYTES, "a group of the activations' columns");
    assert_eq!(sums.len(), tokens.len(), "sums for every token");
    assert!(
        tokens.start.is_multiple_of(TILE) && tokens.end <= acts.n_tokens,
        "tokens begin at a tile"
    );
    // SAFETY: an `Avx2` value proves that the CPU has these instructions; the shapes are checked.
    unsafe { float_inner::<W>(group, acts, tokens, sums) };
}

/// # Safety
/// As the assertions of [`float`].
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn float_inner<W: Float>(
    group: &[u8],
    acts: &Floats,
    tokens: Range<usize>,
    sums: &mut [Sums],
) {
    let mut columns = [[_mm256_setzero_ps(); 2]; CHUNK];
    for (b, bytes) in group.chunks(CHUNK * ROWS * W::BYTES).enumerate() {
        let n = bytes.len() / (ROWS * W::BYTES);
        for (w, bytes) in columns.iter_mut().zip(bytes.chunks_exact(ROWS * W::BYTES)) {
            let (low, high) = bytes.split_at(8 * W::BYTES);
            // SAFETY: 8 elements each.
            *w = unsafe {
                [unpack::floats(W::KIND, low.as_ptr()), unpack::floats(W::KIND, high.as_ptr())]
            };
        }
        for first in tokens.clone().step_by(TILE) {
            let tile = acts.tile(b, first);
            let t = tile_len(acts.n_tokens, first).min(tokens.end - first);
            let (w, sums) = (&columns[..n], &mut sums[first - tokens.start..][..t]);
            match t {
                1 => float_tile::<1>(w, tile, sums),
                2 => float_tile::<2>(w, tile, sums),
                3 => float_tile::<3>(w, tile, sums),
                4 => float_tile::<4>(w, tile, sums),
                5 => float_tile::<5>(w, tile, sums),
                _ => float_tile::<TILE>(w, tile, sums),
            }
        }
    }
}

/// Up to 32 columns of one tile: continues the sums.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn float_tile<const T: usize>(w: &[[__m256; 2]], x: &[f32], sums: &mut [Sums]) {
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
