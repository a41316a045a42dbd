//! Matrix kernels for AVX2, with and without AVX-VNNI. The operations and their order are those of [`crate::linear`].
#![expect(unsafe_code, reason = "calls of functions compiled for AVX2; the proof is an argument")]

#[cfg(test)]
use super::dot::DpbusdEvex;
use super::dot::{Dot, Dpbusd, Maddubs, forget};
use super::tile::{self, Packed, Quads, TileActs, Unpacked};
use super::unpack::{self, Header, Scales};
use crate::Avx2;
use crate::acts::Codes;
use crate::format::Format;
use crate::isa::{Encoding, Vnni256};
use crate::linear::Sums;
use std::arch::x86_64::*;
use std::ops::Range;

/// The largest tile of tokens.
pub(super) const MAX_TILE: usize = 6;

/// Multiplies some groups of rows with some tokens in blocks of codes, one after the other.
pub(crate) fn quant<F: Format>(
    token: Avx2,
    groups: &[u8],
    acts: &Codes,
    tokens: Range<usize>,
    sums: &mut [Sums],
) {
    let group_bytes = acts.n_blocks() * F::BYTES;
    assert_eq!(groups.len() * tokens.len(), group_bytes * sums.len(), "sums for all groups");
    assert!(acts.k == F::K && tokens.end <= acts.n_tokens, "activations for these weights");
    assert!(
        acts.tile <= MAX_TILE && tokens.start.is_multiple_of(acts.tile),
        "tokens begin at a tile"
    );
    if sums.is_empty() || groups.is_empty() {
        return;
    }
    let each = sums.chunks_exact_mut(tokens.len());
    for (group, sums) in groups.chunks_exact(group_bytes).zip(each) {
        let tokens = tokens.clone();
        // SAFETY: an `Avx2` value proves that the CPU has these instructions, as its `Vnni256` does for `vpdpbusd`.
        unsafe {
            match token.vnni().map(Vnni256::encoding) {
                None => products::<F, Maddubs>(group, acts, tokens, sums),
                Some(Encoding::Vex) => products::<F, Dpbusd>(group, acts, tokens, sums),
                #[cfg(test)]
                Some(Encoding::Evex) => products::<F, DpbusdEvex>(group, acts, tokens, sums),
            }
        }
    }
}

/// The products of one group.
///
/// # Safety
/// The CPU has AVX2 and the instruction of `D`; as the assertions of [`quant`]: `group` has the activations' blocks, there is a
/// sum for each of the tokens.
unsafe fn products<F: Format, D: Dot>(
    group: &[u8],
    acts: &Codes,
    tokens: Range<usize>,
    sums: &mut [Sums],
) {
    assert!(TileActs::complete::<F, D>(acts), "all that the format needs");
    // SAFETY: the caller's promise.
    unsafe {
        // Where it was measured to be faster: for four tokens, codes of 5 and 6 bits are better unpacked to memory once.
        let direct = !D::WIDE && tokens.len() == acts.n_tokens && acts.n_tokens <= acts.tile;
        match acts.n_tokens {
            1 => few::<F, D, 1>(group, acts, sums),
            2 if direct => few::<F, D, 2>(group, acts, sums),
            3 if direct => few::<F, D, 3>(group, acts, sums),
            4 if direct && (F::BITS == 4 || F::SIGNED) => few::<F, D, 4>(group, acts, sums),
            _ => gemm::<F, D>(group, acts, tokens, sums),
        }
    }
}

/// A few tokens: codes go from memory to registers once, so they are unpacked there.
///
/// # Safety
/// As for [`products`]; `acts` has `T` tokens in one tile, and as many blocks as `group`.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn few<F: Format, D: Dot, const T: usize>(group: &[u8], acts: &Codes, sums: &mut [Sums]) {
    let (mut header, mut scales) = (Header::zero(), Scales::zero());
    let acc = sums.as_mut_ptr().cast();
    for (b, bytes) in group.chunks_exact(F::BYTES).enumerate() {
        let w = Packed(bytes.as_ptr());
        // SAFETY: `bytes` is a block of `F`; `a` is its tile.
        unsafe {
            let a = TileActs::new::<F>(acts, b, 0);
            unpack::prefetch(w.0, F::HEADER.n_bytes());
            header.unpack::<F>(w.0);
            scales.unpack::<F, D>(w.0);
            if T == 1 && F::BITS != 5 && (D::WIDE || !F::SIGNED) {
                tile::block::<F, D, Packed, T, 2>(w, &header, &scales, a, 0, acc);
                continue;
            }
            // Where codes take many steps to unpack or meet several tokens, there are registers for half of the rows.
            for half in 0..2 {
                if F::SIGNED && !D::WIDE {
                    tile::signed_block::<F, Packed, T, 1>(w, &header, &scales, a, half, acc);
                } else {
                    tile::block::<F, D, Packed, T, 1>(w, &header, &scales, a, half, acc);
                }
            }
        }
    }
}

/// Chunks that are unpacked together. Blocks of 32 are taken as many at a time: a tile's activations are read in runs that
/// the CPU fetches ahead, and its sums are visited less often.
const SPAN: usize = 8;

/// Some blocks, unpacked.
struct Span {
    quads: [Quads; SPAN],
    headers: [Header; SPAN],
    /// Of the only block, if it has such.
    scales: Scales,
}

impl Span {
    /// Blocks that fit.
    const fn n_blocks<F: Format, D: Dot>() -> usize {
        SPAN / Self::quads_of::<F, D>()
    }

    /// What a block takes of `quads`: weights of 8 bits are widened.
    const fn quads_of<F: Format, D: Dot>() -> usize {
        if F::BITS == 8 && !D::WIDE { 2 * F::CHUNKS } else { F::CHUNKS }
    }

    /// Unpacks at most as many blocks as fit, all of `bytes`.
    ///
    /// # Safety
    /// The CPU has AVX2.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn unpack<F: Format, D: Dot>(&mut self, bytes: &[u8]) {
        let quads = self.quads.chunks_exact_mut(Self::quads_of::<F, D>());
        for ((bytes, quads), header) in
            bytes.chunks_exact(F::BYTES).zip(quads).zip(&mut self.headers)
        {
            let w = Packed(bytes.as_ptr());
            // SAFETY: `bytes` is a block of `F`.
            unsafe {
                header.unpack::<F>(w.0);
                self.scales.unpack::<F, D>(w.0);
                if F::BITS == 8 && !D::WIDE {
                    tile::widen::<F>(w, quads);
                } else {
                    unpack_quads::<F, D>(w, quads);
                }
            }
        }
    }
}

/// More tokens: blocks are unpacked once and meet all tiles.
///
/// # Safety
/// As for [`products`]; there is a token.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn gemm<F: Format, D: Dot>(
    group: &[u8],
    acts: &Codes,
    tokens: Range<usize>,
    sums: &mut [Sums],
) {
    let mut span = Span {
        quads: [[[_mm256_setzero_si256(); 2]; 8]; SPAN],
        headers: [Header::zero(); SPAN],
        scales: Scales::zero(),
    };
    let n = const { Span::n_blocks::<F, D>() };
    for (i, bytes) in group.chunks(n * F::BYTES).enumerate() {
        let n_blocks = bytes.len() / F::BYTES;
        // SAFETY: the caller's promise.
        unsafe { span.unpack::<F, D>(bytes) };
        for first in tokens.clone().step_by(acts.tile) {
            let t = acts.tile_len(first);
            let acc = sums[first - tokens.start..][..t].as_mut_ptr().cast();
            // SAFETY: `a` is the blocks' tile of `t` tokens, with as many times 16 sums.
            unsafe {
                let a = TileActs::new::<F>(acts, i * n, first);
                match t {
                    1 => one_tile::<F, D, 1>(&span, n_blocks, a, acc),
                    2 => one_tile::<F, D, 2>(&span, n_blocks, a, acc),
                    3 => one_tile::<F, D, 3>(&span, n_blocks, a, acc),
                    4 => one_tile::<F, D, 4>(&span, n_blocks, a, acc),
                    5 => one_tile::<F, D, 5>(&span, n_blocks, a, acc),
                    _ => one_tile::<F, D, MAX_TILE>(&span, n_blocks, a, acc),
                }
            }
        }
    }
}

/// # Safety
/// `w` is a block of `F`, of at least as many chunks as there are quads for.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn unpack_quads<F: Format, D: Dot>(w: Packed, quads: &mut [Quads]) {
    for (c, lines) in quads.iter_mut().enumerate() {
        for half in 0..2 {
            // SAFETY: the caller's promise.
            let quads: [__m256i; 8] = unsafe { tile::Source::<F>::chunk::<D>(w, c, half) };
            for (line, quad) in lines.iter_mut().zip(quads) {
                line[half] = quad;
            }
        }
    }
}

/// The blocks of a span, one tile: continues the sums.
///
/// # Safety
/// As for [`products`]. `span` has `n_blocks` blocks, of which `a` (of `T` tokens) is the first; `acc` holds 16 sums of each
/// token.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn one_tile<F: Format, D: Dot, const T: usize>(
    span: &Span,
    n_blocks: usize,
    mut a: TileActs,
    acc: *mut f32,
) {
    let scales = &span.scales;
    let quads = span.quads.chunks_exact(const { Span::quads_of::<F, D>() });
    for (quads, header) in quads.zip(&span.headers).take(n_blocks) {
        let (w, acc) = (Unpacked(quads), forget(acc));
        // SAFETY: the caller's promise.
        unsafe {
            if D::WIDE || !F::SIGNED {
                tile::block::<F, D, Unpacked<'_>, T, 2>(w, header, scales, a, 0, acc);
            } else if F::BITS == 8 {
                tile::wide_block::<F, T>(quads, header, scales, a, acc);
            } else {
                tile::signed_block::<F, Unpacked<'_>, T, 2>(w, header, scales, a, 0, acc);
            }
        }
        a = a.next::<F>(T);
    }
}
