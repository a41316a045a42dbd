//! Where the micro-kernels take weights from: packed memory, or a panel that was unpacked before.
#![expect(unsafe_code, reason = "loads through pointers; each function says what must be readable")]
#![expect(clippy::needless_range_loop, reason = "the loops number registers")]

use super::unpack;
use crate::format::{CHUNK, Format, chunk_bytes};
use std::arch::aarch64::*;
use std::mem::MaybeUninit;

/// Columns of a panel: it stays in the first-level cache, beside a tile of activations.
pub(super) const COLUMNS: usize = 1024;

/// Weights of 16 rows, four vectors of four rows each. Blocks count from where the source begins; `R` vectors are
/// taken, from vector `v` on.
pub(super) trait Source<F: Format>: Copy {
    /// Whether the format's bias is still in the codes.
    const BIASED: bool;
    /// Quads `2 pair` and `2 pair + 1` of a chunk.
    ///
    /// # Safety
    /// For all functions: block, chunk (of the block), pair (of four), sub-block and vectors are there.
    unsafe fn pair<const R: usize>(
        self,
        block: usize,
        chunk: usize,
        pair: usize,
        v: usize,
    ) -> [[int8x16_t; R]; 2];
    /// Scales.
    ///
    /// # Safety
    /// As above.
    unsafe fn d(self, block: usize) -> [float32x4_t; 4];
    /// Minimums or their scales, if the format has them.
    ///
    /// # Safety
    /// As above.
    unsafe fn m(self, block: usize) -> [float32x4_t; 4];
    /// Integer scales of sub-block `j`, if the format has them.
    ///
    /// # Safety
    /// As above.
    unsafe fn scales(self, block: usize, j: usize) -> [int32x4_t; 4];
    /// Integer minimums of sub-block `j`, if the format has them.
    ///
    /// # Safety
    /// As above.
    unsafe fn mins(self, block: usize, j: usize) -> [int16x8_t; 2];
}

/// A packed group; a block is unpacked as it is read.
#[derive(Clone, Copy)]
pub(super) struct Packed(pub(super) *const u8);

impl Packed {
    /// # Safety
    /// The block is there.
    #[inline]
    unsafe fn block<F: Format>(self, block: usize) -> *const u8 {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(block * F::BYTES) }
    }
}

impl<F: Format> Source<F> for Packed {
    const BIASED: bool = F::BIAS != 0;
    #[inline(always)]
    unsafe fn pair<const R: usize>(
        self,
        block: usize,
        chunk: usize,
        pair: usize,
        v: usize,
    ) -> [[int8x16_t; R]; 2] {
        let n_bytes = chunk_bytes(F::BITS);
        // SAFETY: NEON is on every such CPU; the caller's promise: inside the block.
        unsafe {
            let mut pairs = [[vdupq_n_s8(0); R]; 2];
            let at = self.block::<F>(block).add(F::HEADER.n_bytes() + chunk * n_bytes);
            if pair == 0 && v == 0 {
                unpack::prefetch(at, n_bytes);
            }
            for r in 0..R {
                [pairs[0][r], pairs[1][r]] = unpack::pair::<F>(at.add(16 * (v + r)), pair);
            }
            pairs
        }
    }
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn d(self, block: usize) -> [float32x4_t; 4] {
        // SAFETY: the caller's promise.
        unsafe {
            let at = self.block::<F>(block);
            unpack::prefetch(at, F::HEADER.n_bytes());
            unpack::d::<F>(at)
        }
    }
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn m(self, block: usize) -> [float32x4_t; 4] {
        // SAFETY: the second line of a header that has it.
        unsafe { unpack::halves(self.block::<F>(block).add(32)) }
    }
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn scales(self, block: usize, j: usize) -> [int32x4_t; 4] {
        // SAFETY: the caller's promise.
        unsafe { unpack::scales::<F>(self.block::<F>(block), j) }
    }
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn mins(self, block: usize, j: usize) -> [int16x8_t; 2] {
        // SAFETY: the caller's promise.
        unsafe { unpack::mins::<F>(self.block::<F>(block), j) }
    }
}

/// Some columns of a group, unpacked. Left as it is until it is written.
pub(super) struct Panel {
    /// By quad: a quad line without the bias.
    codes: [MaybeUninit<[int8x16_t; 4]>; COLUMNS / 4],
    /// By block.
    d: [MaybeUninit<[float32x4_t; 4]>; COLUMNS / CHUNK],
    /// By block.
    m: [MaybeUninit<[float32x4_t; 4]>; COLUMNS / CHUNK],
    /// By sub-block.
    scales: [MaybeUninit<[int32x4_t; 4]>; COLUMNS / 16],
    /// By sub-block.
    mins: [MaybeUninit<[int16x8_t; 2]>; COLUMNS / 16],
}

impl Panel {
    #[inline]
    pub(super) fn new() -> Self {
        Self {
            codes: [const { MaybeUninit::uninit() }; _],
            d: [const { MaybeUninit::uninit() }; _],
            m: [const { MaybeUninit::uninit() }; _],
            scales: [const { MaybeUninit::uninit() }; _],
            mins: [const { MaybeUninit::uninit() }; _],
        }
    }

    /// Unpacks `n_blocks` blocks, at most [`COLUMNS`].
    ///
    /// # Safety
    /// `from` has these blocks.
    #[target_feature(enable = "neon")]
    pub(super) unsafe fn fill<F: Format>(&mut self, from: Packed, n_blocks: usize) {
        for b in 0..n_blocks {
            // SAFETY: the caller's promise.
            unsafe { self.fill_block::<F>(from, b) };
        }
    }

    /// # Safety
    /// `from` has the block.
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn fill_block<F: Format>(&mut self, from: Packed, b: usize) {
        let bias = vdupq_n_s8(const { F::BIAS.to_le_bytes()[0].cast_signed() });
        // SAFETY: the caller's promise.
        unsafe {
            for c in 0..F::CHUNKS {
                // (No loop: pairs are numbers that the compiler knows.)
                let pairs: [[[int8x16_t; 4]; 2]; 4] = [
                    Source::<F>::pair(from, b, c, 0, 0),
                    Source::<F>::pair(from, b, c, 1, 0),
                    Source::<F>::pair(from, b, c, 2, 0),
                    Source::<F>::pair(from, b, c, 3, 0),
                ];
                for (i, quad) in pairs.as_flattened().iter().enumerate() {
                    let mut quad = *quad;
                    for codes in &mut quad {
                        *codes = vsubq_s8(*codes, bias);
                    }
                    self.codes[b * (F::K / 4) + 8 * c + i].write(quad);
                }
            }
            self.d[b].write(Source::<F>::d(from, b));
            if F::HEADER.has_m() || F::HEADER.has_mins() {
                self.m[b].write(Source::<F>::m(from, b));
            }
            for j in 0..F::K / F::GROUP {
                if F::HEADER.has_scales() {
                    self.scales[b * (F::K / F::GROUP) + j].write(Source::<F>::scales(from, b, j));
                }
                if F::HEADER.has_mins() {
                    self.mins[b * (F::K / F::GROUP) + j].write(Source::<F>::mins(from, b, j));
                }
            }
        }
    }
}

/// A panel's blocks.
#[derive(Clone, Copy)]
pub(super) struct Unpacked<'a>(pub(super) &'a Panel);

impl<F: Format> Source<F> for Unpacked<'_> {
    const BIASED: bool = false;
    #[inline(always)]
    unsafe fn pair<const R: usize>(
        self,
        block: usize,
        chunk: usize,
        pair: usize,
        v: usize,
    ) -> [[int8x16_t; R]; 2] {
        // SAFETY: NEON is on every such CPU; the caller's promise: inside the array, and written by `fill`.
        unsafe {
            let mut pairs = [[vdupq_n_s8(0); R]; 2];
            let lines = self.0.codes.as_ptr().cast::<[int8x16_t; 4]>();
            let lines = lines.add(block * (F::K / 4) + 8 * chunk + 2 * pair);
            for r in 0..R {
                pairs[0][r] = *lines.cast::<int8x16_t>().add(v + r);
                pairs[1][r] = *lines.cast::<int8x16_t>().add(4 + v + r);
            }
            pairs
        }
    }
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn d(self, block: usize) -> [float32x4_t; 4] {
        // SAFETY: the caller's promise: written by `fill`.
        unsafe { *self.0.d.as_ptr().cast::<[float32x4_t; 4]>().add(block) }
    }
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn m(self, block: usize) -> [float32x4_t; 4] {
        // SAFETY: the caller's promise: written by `fill`.
        unsafe { *self.0.m.as_ptr().cast::<[float32x4_t; 4]>().add(block) }
    }
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn scales(self, block: usize, j: usize) -> [int32x4_t; 4] {
        let at = block * (F::K / F::GROUP) + j;
        // SAFETY: the caller's promise: written by `fill`.
        unsafe { *self.0.scales.as_ptr().cast::<[int32x4_t; 4]>().add(at) }
    }
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn mins(self, block: usize, j: usize) -> [int16x8_t; 2] {
        let at = block * (F::K / F::GROUP) + j;
        // SAFETY: the caller's promise: written by `fill`.
        unsafe { *self.0.mins.as_ptr().cast::<[int16x8_t; 2]>().add(at) }
    }
}
