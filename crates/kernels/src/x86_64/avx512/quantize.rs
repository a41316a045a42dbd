//! Activations to blocks of codes with AVX-512. The results are those of [`crate::scalar::quantize`].
#![expect(
    unsafe_code,
    reason = "stores through pointers, and calls of functions compiled for AVX-512"
)]

mod long;
mod short;

use crate::Avx512;
use crate::acts::{Pair, Part, Rows, groups};
use std::arch::x86_64::*;

/// Tokens of a tile.
const TILE: usize = 6;

/// Quantizes the blocks of `part` whose tokens are in `rows`.
pub(crate) fn fill(_: Avx512, part: &mut Part<'_>, rows: Rows<'_>) {
    let (n, n_blocks, k) = (part.tokens.len() * part.n_blocks, part.n_blocks, part.k);
    let long = k == 256;
    let whole = part.codes.len() == n * k && part.d.len() == n;
    assert!(whole && part.minus.len() == n * groups(k), "all that kernels for AVX-512 read");
    let sums = if long { part.sums16.len() == n * 8 } else { part.s.len() == n };
    assert!(sums && (!long || part.sums32.len() == n * 4), "sums, scaled or not");
    assert!(part.wide.is_empty() && part.lanes.is_empty(), "and nothing else");
    assert!(rows.n_cols == n_blocks * k && (long || k == 32), "rows of these blocks");
    assert!(part.tile == TILE && part.run == 4, "tiles of six");
    assert!(part.tokens.start.is_multiple_of(TILE), "whole tiles");
    let tokens = rows.tokens();
    assert!(part.tokens.start <= tokens.start && tokens.end <= part.tokens.end, "its rows");
    let mut first = tokens.start;
    while first < tokens.end {
        let place = part.place(first);
        // Arrays that blocks of this size do not have are empty: their pointers are not followed.
        let to = To {
            codes: part.codes.as_mut_ptr().wrapping_add(place.base * k),
            minus: part.minus.as_mut_ptr().wrapping_add(place.base * groups(k)),
            sums16: part.sums16.as_mut_ptr().wrapping_add(place.base * 8),
            sums32: part.sums32.as_mut_ptr().wrapping_add(place.base * 4),
            d: part.d.as_mut_ptr().wrapping_add(place.base),
            s: part.s.as_mut_ptr().wrapping_add(place.base),
            at: place.at,
            t: place.t,
        };
        let n = (place.t - place.at).min(tokens.end - first);
        let row = rows.of(first..first + n).x.as_ptr();
        // SAFETY: an `Avx512` value proves that the CPU has these instructions; `row` begins `n` rows, and the tile has
        // as many tokens from `at` on, with all of their blocks (checked above).
        unsafe {
            if long {
                long::tile(row, n, n_blocks, to);
            } else {
                short::tile(row, n, n_blocks, to);
            }
        }
        first += n;
    }
}

/// Where a tile's blocks are; `at` is a token of the tile, which has `t`.
#[derive(Clone, Copy)]
struct To {
    codes: *mut i8,
    minus: *mut i32,
    /// Blocks of 256 only, as the next one.
    sums16: *mut Pair,
    sums32: *mut Pair,
    d: *mut f32,
    /// Blocks of 32 only.
    s: *mut f32,
    at: usize,
    t: usize,
}

/// Stores a block's quads, those of `t` tokens apart.
///
/// # Safety
/// `to` is writable for 8 quads, that far apart.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
unsafe fn store_quads(codes: __m256i, to: *mut i8, t: usize) {
    let mut quads = [0_i32; 8];
    // SAFETY: 8 quads; the caller's promise.
    unsafe {
        _mm256_storeu_si256(quads.as_mut_ptr().cast(), codes);
        for (i, quad) in quads.iter().enumerate() {
            to.add(i * t * 4).cast::<i32>().write_unaligned(*quad);
        }
    }
}

/// Which quad of which token stands at each place of the `part`-th 16 of a tile's block, as an index into two registers of
/// two tokens each (0 to 3) and into one (4 and 5), with a mask of the places that the latter have.
const fn places(part: i32) -> ([i32; 16], [i32; 16], u16) {
    let (mut four, mut two, mut mask) = ([0; 16], [0; 16], 0);
    let (mut i, mut place) = (0, part * 16);
    while i < 16 {
        let (quad, token) = (place / 6, place % 6);
        if token < 4 {
            four[i] = token * 8 + quad;
        } else {
            two[i] = (token - 4) * 8 + quad;
            mask |= 1 << i;
        }
        (i, place) = (i + 1, place + 1);
    }
    (four, two, mask)
}

/// Two registers in one.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
fn pair(a: __m256i, b: __m256i) -> __m512i {
    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(a), b)
}

/// Stores the codes of all six tokens' block.
///
/// # Safety
/// `to` is writable for 192 bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
unsafe fn store_tile(codes: &[__m256i; TILE], to: *mut i8) {
    const PLACES: [([i32; 16], [i32; 16], u16); 3] = [places(0), places(1), places(2)];
    let (a, b, c) = (pair(codes[0], codes[1]), pair(codes[2], codes[3]), pair(codes[4], codes[5]));
    for (i, (four, two, mask)) in PLACES.iter().enumerate() {
        // SAFETY: 16 indices each; the caller's promise.
        unsafe {
            let four = _mm512_loadu_si512(four.as_ptr().cast());
            let two = _mm512_loadu_si512(two.as_ptr().cast());
            let most = _mm512_permutex2var_epi32(a, four, b);
            let all = _mm512_mask_permutexvar_epi32(most, *mask, two, c);
            _mm512_storeu_si512(to.add(i * 64).cast(), all);
        }
    }
}
