//! Where the micro-kernels take weights from: packed memory, or a panel that was unpacked before.
#![expect(unsafe_code, reason = "loads through pointers; each function says what must be readable")]
#![expect(clippy::needless_range_loop, reason = "the loops number registers")]

use super::dot::{Dot, Rows, Sdot};
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
    /// Integer minimums of sub-block `j`, if the format has them.
    ///
    /// # Safety
    /// As above.
    unsafe fn mins(self, block: usize, j: usize) -> Rows<int16x4_t>;
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
    type Dot = Sdot;
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
    unsafe fn d(self, block: usize) -> Rows<float32x4_t> {
        // SAFETY: the caller's promise.
        unsafe {
            let at = self.block::<F>(block);
            unpack::prefetch(at, F::HEADER.n_bytes());
            [unpack::d::<F>(at); 2]
        }
    }
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn m(self, block: usize) -> Rows<float32x4_t> {
        // SAFETY: the second line of a header that has it.
        unsafe { [unpack::halves(self.block::<F>(block).add(32)); 2] }
    }
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn scales(self, block: usize, j: usize) -> Rows<int32x4_t> {
        // SAFETY: the caller's promise.
        unsafe { [unpack::scales::<F>(self.block::<F>(block), j); 2] }
    }
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn mins(self, block: usize, j: usize) -> Rows<int16x4_t> {
        // SAFETY: the caller's promise.
        unsafe { [unpack::mins::<F>(self.block::<F>(block), j); 2] }
    }
}

/// Some columns of a group, unpacked. Left as it is until it is written.
pub(super) struct Panel<D> {
    /// By pair of quads, without the bias: what [`Dot::add`] takes.
    codes: [MaybeUninit<[[int8x16_t; 4]; 2]>; COLUMNS / 8],
    /// By block.
    d: [Part<[float32x4_t; 4]>; COLUMNS / CHUNK],
    /// By block.
    m: [Part<[float32x4_t; 4]>; COLUMNS / CHUNK],
    /// By sub-block.
    scales: [Part<[int32x4_t; 4]>; COLUMNS / 16],
    /// By sub-block.
    mins: [Part<[int16x4_t; 4]>; COLUMNS / 16],
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
            mins: [const { [const { MaybeUninit::uninit() }; 2] }; _],
            dot: PhantomData,
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
        // SAFETY: the caller's promise.
        unsafe {
            for c in 0..F::CHUNKS {
                let codes = &mut self.codes[b * (F::K / 8) + 4 * c..][..4];
                // (No loop: pairs are numbers that the compiler knows.)
                let (pairs, behind) =
                    (Source::<F>::pair(from, b, c, 0, 0), Source::<F>::pair(from, b, c, 1, 0));
                fill_half::<F, D>([pairs, behind], &mut codes[..2]);
                let (pairs, behind) =
                    (Source::<F>::pair(from, b, c, 2, 0), Source::<F>::pair(from, b, c, 3, 0));
                fill_half::<F, D>([pairs, behind], &mut codes[2..]);
            }
            write::<D, _>(&mut self.d[b], weave_f32::<D>(Source::<F>::d(from, b)));
            if F::HEADER.has_m() || F::HEADER.has_mins() {
                write::<D, _>(&mut self.m[b], weave_f32::<D>(Source::<F>::m(from, b)));
            }
            for j in 0..F::K / F::GROUP {
                let to = b * (F::K / F::GROUP) + j;
                if F::HEADER.has_scales() {
                    let mut scales = Source::<F>::scales(from, b, j);
                    for r in 0..4 {
                        [scales[0][r], scales[1][r]] = D::rows(scales[0][r]);
                    }
                    write::<D, _>(&mut self.scales[to], scales);
                }
                if F::HEADER.has_mins() {
                    let mut mins = Source::<F>::mins(from, b, j);
                    for r in 0..4 {
                        [mins[0][r], mins[1][r]] = D::rows_i16(mins[0][r]);
                    }
                    write::<D, _>(&mut self.mins[to], mins);
                }
            }
        }
    }
}

/// Writes half a chunk without the bias.
#[inline]
#[target_feature(enable = "neon")]
fn fill_half<F: Format, D: Dot>(
    pairs: [[[int8x16_t; 4]; 2]; 2],
    to: &mut [MaybeUninit<[[int8x16_t; 4]; 2]>],
) {
    let bias = vdupq_n_s8(const { F::BIAS.to_le_bytes()[0].cast_signed() });
    let mut woven = pairs;
    for r in 0..4 {
        let mut quads = [[bias; 2]; 2];
        for (quads, pair) in quads.iter_mut().zip(&pairs) {
            *quads = [vsubq_s8(pair[0][r], bias), vsubq_s8(pair[1][r], bias)];
        }
        for (woven, quads) in woven.iter_mut().zip(D::weave(quads)) {
            [woven[0][r], woven[1][r]] = quads;
        }
    }
    for (to, woven) in to.iter_mut().zip(woven) {
        to.write(woven);
    }
}

/// As [`Dot::rows`].
#[inline]
#[target_feature(enable = "neon")]
fn weave_f32<D: Dot>([mut first, mut second]: Rows<float32x4_t>) -> Rows<float32x4_t> {
    for (first, second) in first.iter_mut().zip(&mut second) {
        let [a, b] = D::rows(vreinterpretq_s32_f32(*first));
        [*first, *second] = [vreinterpretq_f32_s32(a), vreinterpretq_f32_s32(b)];
    }
    [first, second]
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
    unsafe fn mins(self, block: usize, j: usize) -> Rows<int16x4_t> {
        let at = block * (F::K / F::GROUP) + j;
        // SAFETY: the caller's promise: written by `fill`.
        unsafe { read::<D, _>(self.0.mins.get_unchecked(at)) }
    }
}
