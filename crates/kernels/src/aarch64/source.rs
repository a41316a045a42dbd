//! Where the micro-kernels take weights from: packed memory, or a panel that was unpacked before.
#![expect(unsafe_code, reason = "loads through pointers; each function says what must be readable")]
#![expect(clippy::needless_range_loop, reason = "the loops number registers")]

use super::dot::{Dot, Rows};
use super::unpack;
use crate::format::{CHUNK, Format, chunk_bytes};
use std::arch::aarch64::*;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

/// Columns of a panel: it stays in the first-level cache, beside a tile of activations.
pub(super) const COLUMNS: usize = 1024;

/// Weights of 16 rows, four times four. Blocks count from where the source begins; `R` times four rows are taken, from four
/// times `v` on.
pub(super) trait Source<F: Format>: Copy {
    /// How these weights are to be multiplied.
    type Dot: Dot;
    /// Whether the format's bias is still in the codes.
    const BIASED: bool;
    /// What [`Dot::add`] takes: quads `2 pair` and `2 pair + 1` of a chunk, or as many codes as [`Dot::weave`] has them.
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
    unsafe fn d(self, block: usize) -> Rows<float32x4_t>;
    /// Minimums or their scales, if the format has them.
    ///
    /// # Safety
    /// As above.
    unsafe fn m(self, block: usize) -> Rows<float32x4_t>;
    /// Integer scales of sub-block `j`, if the format has them.
    ///
    /// # Safety
    /// As above.
    unsafe fn scales(self, block: usize, j: usize) -> Rows<int32x4_t>;
    /// Integer minimums of sub-block `j`, if the format has them and they are not woven.
    ///
    /// # Safety
    /// As above.
    unsafe fn mins(self, block: usize, j: usize) -> [int16x4_t; 4];
    /// Integer minimums of eight sub-blocks, if the format has them and they are woven: two rows in a vector.
    ///
    /// # Safety
    /// As above.
    unsafe fn woven_mins(self, block: usize, eight: usize) -> Rows<int8x16_t>;
}

/// A packed group; a block is unpacked, and woven where that is needed, as it is read.
#[derive(Clone, Copy)]
pub(super) struct Packed<D>(*const u8, PhantomData<D>);

impl<D: Dot> Packed<D> {
    pub(super) fn new(group: *const u8) -> Self {
        Self(group, PhantomData)
    }

    /// # Safety
    /// The block is there.
    #[inline]
    unsafe fn block<F: Format>(self, block: usize) -> *const u8 {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(block * F::BYTES) }
    }
}

impl<F: Format, D: Dot> Source<F> for Packed<D> {
    type Dot = D;
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
                let quads = unpack::pair::<F>(at.add(16 * (v + r)), pair);
                [pairs[0][r], pairs[1][r]] = D::weave(quads);
            }
            pairs
        }
    }
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn d(self, block: usize) -> Rows<float32x4_t> {
        // SAFETY: the caller's promise.
        unsafe {
            let at = self.block::<F>(block);
            unpack::prefetch(at, F::HEADER.n_bytes());
            weave_f32::<D>(unpack::d::<F>(at))
        }
    }
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn m(self, block: usize) -> Rows<float32x4_t> {
        // SAFETY: the second line of a header that has it.
        unsafe { weave_f32::<D>(unpack::halves(self.block::<F>(block).add(32))) }
    }
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn scales(self, block: usize, j: usize) -> Rows<int32x4_t> {
        // SAFETY: the caller's promise.
        let scales = unsafe { unpack::scales::<F>(self.block::<F>(block), j) };
        let mut rows = [scales; 2];
        for (r, scales) in scales.into_iter().enumerate() {
            [rows[0][r], rows[1][r]] = D::rows(scales);
        }
        rows
    }
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn mins(self, block: usize, j: usize) -> [int16x4_t; 4] {
        // SAFETY: the caller's promise.
        unsafe { unpack::mins::<F>(self.block::<F>(block), j) }
    }
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn woven_mins(self, block: usize, eight: usize) -> Rows<int8x16_t> {
        // SAFETY: the caller's promise.
        unsafe { unpack::woven_mins::<F>(self.block::<F>(block), eight) }
    }
}

/// Some columns of a group, unpacked. Left as it is until it is written.
pub(super) struct Panel<D> {
    /// By quad: as many codes of 16 rows, as [`Dot::weave`] has them, without the bias.
    codes: [MaybeUninit<[int8x16_t; 4]>; COLUMNS / 4],
    /// By block.
    d: [Part<[float32x4_t; 4]>; COLUMNS / CHUNK],
    /// By block.
    m: [Part<[float32x4_t; 4]>; COLUMNS / CHUNK],
    /// By sub-block.
    scales: [Part<[int32x4_t; 4]>; COLUMNS / 16],
    /// By sub-block, if they are not woven.
    mins: [MaybeUninit<[int16x4_t; 4]>; COLUMNS / 16],
    /// By eight sub-blocks, if they are.
    woven_mins: [MaybeUninit<Rows<int8x16_t>>; COLUMNS / 128],
    dot: PhantomData<D>,
}

/// What belongs to 16 rows. Without weaving the second half is never written, nor read.
type Part<X> = [MaybeUninit<X>; 2];

/// A part as it is read.
///
/// # Safety
/// The part has been written, as `D` has it.
#[inline(always)]
unsafe fn read<D: Dot, X: Copy>(part: &Part<X>) -> [X; 2] {
    // SAFETY: the caller's promise.
    unsafe {
        let first = part[0].assume_init();
        [first, if D::WOVEN { part[1].assume_init() } else { first }]
    }
}

/// Writes a part.
#[inline(always)]
fn write<D: Dot, X: Copy>(part: &mut Part<X>, [first, second]: [X; 2]) {
    part[0].write(first);
    if D::WOVEN {
        part[1].write(second);
    }
}

impl<D: Dot> Panel<D> {
    #[inline]
    pub(super) fn new() -> Self {
        Self {
            codes: [const { MaybeUninit::uninit() }; _],
            d: [const { [const { MaybeUninit::uninit() }; 2] }; _],
            m: [const { [const { MaybeUninit::uninit() }; 2] }; _],
            scales: [const { [const { MaybeUninit::uninit() }; 2] }; _],
            mins: [const { MaybeUninit::uninit() }; _],
            woven_mins: [const { MaybeUninit::uninit() }; _],
            dot: PhantomData,
        }
    }

    /// Unpacks `n_blocks` blocks, at most [`COLUMNS`].
    ///
    /// # Safety
    /// `from` has these blocks.
    #[target_feature(enable = "neon")]
    pub(super) unsafe fn fill<F: Format>(&mut self, from: Packed<D>, n_blocks: usize) {
        for b in 0..n_blocks {
            // SAFETY: the caller's promise.
            unsafe { self.fill_block::<F>(from, b) };
        }
    }

    /// # Safety
    /// `from` has the block.
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn fill_block<F: Format>(&mut self, from: Packed<D>, b: usize) {
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
                for (i, vectors) in pairs.as_flattened().iter().enumerate() {
                    let mut vectors = *vectors;
                    for codes in &mut vectors {
                        *codes = vsubq_s8(*codes, bias);
                    }
                    self.codes[b * (F::K / 4) + 8 * c + i].write(vectors);
                }
            }
            write::<D, _>(&mut self.d[b], Source::<F>::d(from, b));
            if F::HEADER.has_m() || F::HEADER.has_mins() {
                write::<D, _>(&mut self.m[b], Source::<F>::m(from, b));
            }
            for j in 0..F::K / F::GROUP {
                let to = b * (F::K / F::GROUP) + j;
                if F::HEADER.has_scales() {
                    write::<D, _>(&mut self.scales[to], Source::<F>::scales(from, b, j));
                }
                if F::HEADER.has_mins() && !D::WOVEN {
                    self.mins[to].write(Source::<F>::mins(from, b, j));
                }
            }
            if F::HEADER.has_mins() && D::WOVEN {
                let n = F::K / F::GROUP / 8;
                for eight in 0..n {
                    let mins = Source::<F>::woven_mins(from, b, eight);
                    self.woven_mins[b * n + eight].write(mins);
                }
            }
        }
    }
}

/// As [`Dot::rows`].
#[inline]
#[target_feature(enable = "neon")]
fn weave_f32<D: Dot>(x: [float32x4_t; 4]) -> Rows<float32x4_t> {
    let mut rows = [x; 2];
    for (r, x) in x.into_iter().enumerate() {
        let [even, odd] = D::rows(vreinterpretq_s32_f32(x));
        [rows[0][r], rows[1][r]] = [vreinterpretq_f32_s32(even), vreinterpretq_f32_s32(odd)];
    }
    rows
}

/// A panel's blocks.
#[derive(Clone, Copy)]
pub(super) struct Unpacked<'a, D>(pub(super) &'a Panel<D>);

impl<F: Format, D: Dot> Source<F> for Unpacked<'_, D> {
    type Dot = D;
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
    unsafe fn d(self, block: usize) -> Rows<float32x4_t> {
        // SAFETY: the caller's promise: written by `fill`.
        unsafe { read::<D, _>(self.0.d.get_unchecked(block)) }
    }
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn m(self, block: usize) -> Rows<float32x4_t> {
        // SAFETY: the caller's promise: written by `fill`.
        unsafe { read::<D, _>(self.0.m.get_unchecked(block)) }
    }
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn scales(self, block: usize, j: usize) -> Rows<int32x4_t> {
        let at = block * (F::K / F::GROUP) + j;
        // SAFETY: the caller's promise: written by `fill`.
        unsafe { read::<D, _>(self.0.scales.get_unchecked(at)) }
    }
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn mins(self, block: usize, j: usize) -> [int16x4_t; 4] {
        let at = block * (F::K / F::GROUP) + j;
        // SAFETY: the caller's promise: written by `fill`.
        unsafe { self.0.mins.get_unchecked(at).assume_init() }
    }
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn woven_mins(self, block: usize, eight: usize) -> Rows<int8x16_t> {
        let at = block * (F::K / F::GROUP / 8) + eight;
        // SAFETY: the caller's promise: written by `fill`.
        unsafe { self.0.woven_mins.get_unchecked(at).assume_init() }
    }
}
