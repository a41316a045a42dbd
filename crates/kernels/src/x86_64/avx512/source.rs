//! Where the micro-kernels take weights from: packed memory, or a panel that was unpacked before.
#![expect(unsafe_code, reason = "loads through pointers; each function says what must be readable")]

use super::unpack;
use crate::format::{Format, chunk_bytes};
use crate::x86_64::unpack::prefetch;
use std::arch::x86_64::*;
use std::mem::MaybeUninit;

/// Groups of rows of a panel.
pub(super) const GROUPS: usize = 2;
/// Columns of a panel: its codes and a tile of activations stay in the second-level cache.
pub(super) const COLUMNS: usize = 2048;

/// Weights of some groups of 16 rows. Blocks count from where the source begins; `g` is the group.
pub(super) trait Source<F: Format>: Copy {
    /// 16 rows of a chunk.
    type Chunk: Copy;
    /// # Safety
    /// For all functions: block, chunk (of the block), sub-block and group are there, and the CPU has AVX-512.
    unsafe fn chunk(self, block: usize, chunk: usize, g: usize) -> Self::Chunk;
    /// Quad `quad < 8` of a chunk.
    ///
    /// # Safety
    /// As above.
    unsafe fn quad(chunk: Self::Chunk, quad: usize) -> __m512i;
    /// Scales.
    ///
    /// # Safety
    /// As above.
    unsafe fn d(self, block: usize, g: usize) -> __m512;
    /// Minimums or their scales, if the format has them.
    ///
    /// # Safety
    /// As above.
    unsafe fn m(self, block: usize, g: usize) -> __m512;
    /// Integer scales of sub-block `j`, if the format has them.
    ///
    /// # Safety
    /// As above.
    unsafe fn scales(self, block: usize, j: usize, g: usize) -> __m512i;
    /// Integer minimums of sub-blocks `2 j` and `2 j + 1`, if the format has them.
    ///
    /// # Safety
    /// As above.
    unsafe fn mins(self, block: usize, j: usize, g: usize) -> __m512i;
}

/// Packed groups; a block is unpacked as it is read.
#[derive(Clone, Copy)]
pub(super) struct Packed {
    pub(super) groups: *const u8,
    /// From one group to the next.
    pub(super) group_bytes: usize,
}

impl Packed {
    /// # Safety
    /// The block is there.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn block<F: Format>(self, block: usize, g: usize) -> *const u8 {
        // SAFETY: the caller's promise.
        unsafe { self.groups.add(g * self.group_bytes + block * F::BYTES) }
    }
}

impl<F: Format> Source<F> for Packed {
    type Chunk = [__m512i; 8];
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn chunk(self, block: usize, chunk: usize, g: usize) -> [__m512i; 8] {
        let n_bytes = chunk_bytes(F::BITS);
        // SAFETY: the caller's promise.
        unsafe {
            let at = self.block::<F>(block, g);
            if chunk == 0 {
                prefetch(at, F::HEADER.n_bytes());
            }
            let at = at.add(F::HEADER.n_bytes() + chunk * n_bytes);
            prefetch(at, n_bytes);
            unpack::quads::<F>(at)
        }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn quad(chunk: [__m512i; 8], quad: usize) -> __m512i {
        chunk[quad]
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn d(self, block: usize, g: usize) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { unpack::d::<F>(self.block::<F>(block, g)) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn m(self, block: usize, g: usize) -> __m512 {
        // SAFETY: the second line of a header that has it.
        unsafe { unpack::halves(self.block::<F>(block, g).add(32)) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn scales(self, block: usize, j: usize, g: usize) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { unpack::scales::<F>(self.block::<F>(block, g), j) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn mins(self, block: usize, j: usize, g: usize) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { unpack::mins::<F>(self.block::<F>(block, g), j) }
    }
}

/// Some columns of two groups, unpacked: a line is a register. Left as it is until it is written.
pub(super) struct Panel {
    /// `[quad][group]`
    codes: [MaybeUninit<__m512i>; COLUMNS / 4 * GROUPS],
    /// `[block][group]`
    d: [MaybeUninit<__m512>; COLUMNS / 32 * GROUPS],
    /// `[block][group]`
    m: [MaybeUninit<__m512>; COLUMNS / 32 * GROUPS],
    /// `[sub-block][group]`
    scales: [MaybeUninit<__m512i>; COLUMNS / 16 * GROUPS],
    /// `[pair of sub-blocks][group]`
    mins: [MaybeUninit<__m512i>; COLUMNS / 32 * GROUPS],
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

    /// Unpacks `n_blocks` blocks of two groups, at most [`COLUMNS`].
    ///
    /// # Safety
    /// `from` has these blocks.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
    pub(super) unsafe fn fill<F: Format>(&mut self, from: Packed, n_blocks: usize) {
        for b in 0..n_blocks {
            for g in 0..GROUPS {
                // SAFETY: the caller's promise.
                unsafe { self.fill_block::<F>(from, b, g) };
            }
        }
    }

    /// # Safety
    /// `from` has the block.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn fill_block<F: Format>(&mut self, from: Packed, b: usize, g: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            for c in 0..F::CHUNKS {
                let quads = Source::<F>::chunk(from, b, c, g);
                for (i, quad) in quads.into_iter().enumerate() {
                    self.codes[(b * (F::K / 4) + 8 * c + i) * GROUPS + g].write(quad);
                }
            }
            self.d[b * GROUPS + g].write(Source::<F>::d(from, b, g));
            if F::HEADER.has_m() || F::HEADER.has_mins() {
                self.m[b * GROUPS + g].write(Source::<F>::m(from, b, g));
            }
            if F::HEADER.has_scales() {
                for j in 0..F::K / F::GROUP {
                    let at = (b * (F::K / F::GROUP) + j) * GROUPS + g;
                    self.scales[at].write(Source::<F>::scales(from, b, j, g));
                }
            }
            if F::HEADER.has_mins() {
                for j in 0..F::K / F::GROUP / 2 {
                    let at = (b * (F::K / F::GROUP / 2) + j) * GROUPS + g;
                    self.mins[at].write(Source::<F>::mins(from, b, j, g));
                }
            }
        }
    }
}

/// A panel's lines.
#[derive(Clone, Copy)]
pub(super) struct Unpacked<'a>(pub(super) &'a Panel);

impl<F: Format> Source<F> for Unpacked<'_> {
    /// The first of the chunk's lines.
    type Chunk = *const __m512i;
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn chunk(self, block: usize, chunk: usize, g: usize) -> *const __m512i {
        // SAFETY: the caller's promise: inside the array.
        unsafe {
            let lines = self.0.codes.as_ptr().cast::<__m512i>();
            lines.add((block * (F::K / 4) + 8 * chunk) * GROUPS + g)
        }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn quad(chunk: *const __m512i, quad: usize) -> __m512i {
        // SAFETY: a chunk has 8 quads, and they have been written.
        unsafe { *chunk.add(quad * GROUPS) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn d(self, block: usize, g: usize) -> __m512 {
        // SAFETY: the caller's promise: written by `fill`.
        unsafe { *self.0.d.as_ptr().cast::<__m512>().add(block * GROUPS + g) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn m(self, block: usize, g: usize) -> __m512 {
        // SAFETY: the caller's promise: written by `fill`.
        unsafe { *self.0.m.as_ptr().cast::<__m512>().add(block * GROUPS + g) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn scales(self, block: usize, j: usize, g: usize) -> __m512i {
        let at = (block * (F::K / F::GROUP) + j) * GROUPS + g;
        // SAFETY: the caller's promise: written by `fill`.
        unsafe { *self.0.scales.as_ptr().cast::<__m512i>().add(at) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn mins(self, block: usize, j: usize, g: usize) -> __m512i {
        let at = (block * (F::K / F::GROUP / 2) + j) * GROUPS + g;
        // SAFETY: the caller's promise: written by `fill`.
        unsafe { *self.0.mins.as_ptr().cast::<__m512i>().add(at) }
    }
}
