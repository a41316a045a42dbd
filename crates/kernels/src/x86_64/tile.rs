//! The micro-kernels: 16 rows times a few tokens, over one block.
//!
//! Rows are lanes. A quad line of codes (unsigned) meets 4 activations (signed) repeated in all lanes in
//! `vpmaddubsw`, which adds pairs of products in 16 bits; [`span`] of them are added up in 16 bits before `vpmaddwd`
//! multiplies with the integer scales and widens. Sums with a bias may wrap around on the way: the bias is
//! subtracted modulo 2^16, before anything is added, and the true result fits.
//!
//! Signed bytes leave no room for that: `vpsignb` moves the weight's sign to the activation, and every sum is widened at
//! once. For several tokens and weights of 8 bits: weights and activations as 16-bit pairs in `vpmaddwd`, which takes
//! fewer instructions per product once the widening of the weights is shared.
//!
//! With AVX-VNNI, `vpdpbusd` adds four products to 32-bit sums, of all formats: signed bytes have 128 added, and a bias is
//! in the value that the sums begin with.
#![expect(unsafe_code, reason = "loads through pointers; each function says what must be readable")]
#![expect(clippy::needless_range_loop, reason = "the loops number registers")]

use super::dot::{Dot, Maddubs, bias, keep};
use super::unpack::{self, Header, Scales};
use crate::acts::{self, Codes, Pair};
use crate::format::{CHUNK, Format, ROWS, chunk_bytes};
use std::arch::x86_64::*;

/// Quads whose products are added up before they are scaled. In 16 bits: as many as fit, a sub-block at most.
const fn span<F: Format, D: Dot>() -> usize {
    if D::WIDE {
        return if F::GROUP < CHUNK { F::GROUP / 4 } else { CHUNK / 4 };
    }
    if F::SIGNED {
        return 1;
    }
    // The largest code; with a bias, of the result that must fit in the end.
    let code = if F::BIAS > 0 { F::BIAS } else { (1 << F::BITS) - 1 };
    let largest = 2 * 127 * code;
    let span = if 8 * largest <= 32767 && F::GROUP >= 32 { 8 } else { 4 };
    assert!(span == 8 || 4 * largest <= 32767, "the sum of a span fits in 16 bits");
    assert!(F::BIAS == 0 || span * 4 == F::GROUP, "the sums for the bias are those of a span");
    span
}

/// Where a tile's activations of one block are.
#[derive(Clone, Copy)]
pub(super) struct TileActs {
    tile: acts::TileActs,
    wide: *const Pair,
    lanes: *const Pair,
}

impl TileActs {
    /// Whether `acts` has all that [`Self::new`] may point to.
    pub(super) fn complete<F: Format, D: Dot>(acts: &Codes) -> bool {
        let n = acts.d.len();
        let wide = F::BITS == 8 && acts.n_tokens > 1;
        acts::TileActs::complete::<F>(acts, D::WIDE && bias::<F>() > 0)
            && (D::WIDE || !wide || acts.wide.len() == n * F::K / 2)
            && (D::WIDE || F::BIAS == 0 || acts.lanes.len() == n * F::K / F::GROUP)
    }

    /// The tile that begins at token `first`, from block `block` on.
    #[inline]
    pub(super) fn new<F: Format>(acts: &Codes, block: usize, first: usize) -> Self {
        let at = acts.base(block, first);
        // Arrays that the format does not use may be empty: their pointers are not followed.
        Self {
            tile: acts::TileActs::new::<F>(acts, block, first),
            wide: acts.wide.as_ptr().wrapping_add(at * F::K / 2),
            lanes: acts.lanes.as_ptr().wrapping_add(at * (F::K / F::GROUP)),
        }
    }

    /// The same tile of `t` tokens, one block on.
    #[inline]
    pub(super) fn next<F: Format>(self, t: usize) -> Self {
        Self {
            tile: self.tile.next::<F>(t),
            wide: self.wide.wrapping_add(t * F::K / 2),
            lanes: self.lanes.wrapping_add(t * (F::K / F::GROUP)),
        }
    }
}

/// 32 bits repeated in all lanes.
///
/// # Safety
/// `from` is readable for 4 bytes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn broadcast<T>(from: *const T) -> __m256i {
    // SAFETY: the caller's promise; no alignment is needed.
    _mm256_set1_epi32(unsafe { from.cast::<i32>().read_unaligned() })
}

/// Where the codes of a block come from.
pub(super) trait Source<F: Format>: Copy {
    /// 8 rows of a chunk.
    type Chunk: Copy;
    /// The rows of half `half` (0 or 1) of chunk `chunk`, codes as `D` takes them.
    ///
    /// # Safety
    /// The block is readable; `chunk < F::CHUNKS`; `half < 2`. The CPU has AVX2.
    unsafe fn chunk<D: Dot>(self, chunk: usize, half: usize) -> Self::Chunk;
    /// Quad `quad < 8` of a chunk.
    ///
    /// # Safety
    /// As for `chunk`.
    unsafe fn quad(chunk: &Self::Chunk, quad: usize) -> __m256i;
}

/// A packed block; unpacks as it is read.
#[derive(Clone, Copy)]
pub(super) struct Packed(pub(super) *const u8);

impl<F: Format> Source<F> for Packed {
    type Chunk = [__m256i; 8];
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn chunk<D: Dot>(self, chunk: usize, half: usize) -> [__m256i; 8] {
        let n_bytes = chunk_bytes(F::BITS);
        // SAFETY: inside the block.
        unsafe {
            let chunk = self.0.add(F::HEADER.n_bytes() + chunk * n_bytes);
            if half == 0 {
                unpack::prefetch(chunk, n_bytes);
            }
            unpack::quads::<F, D>(chunk.add(32 * half))
        }
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn quad(chunk: &[__m256i; 8], quad: usize) -> __m256i {
        chunk[quad]
    }
}

/// 32 columns unpacked into quad lines.
pub(super) type Quads = [[__m256i; 2]; 8];

/// A block unpacked before, for the same [`Dot`].
#[derive(Clone, Copy)]
pub(super) struct Unpacked<'a>(pub(super) &'a [Quads]);

impl<'a, F: Format> Source<F> for Unpacked<'a> {
    type Chunk = (&'a Quads, usize);
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn chunk<D: Dot>(self, chunk: usize, half: usize) -> Self::Chunk {
        (&self.0[chunk], half)
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn quad(chunk: &Self::Chunk, quad: usize) -> __m256i {
        chunk.0[quad][chunk.1]
    }
}

/// One block of `T` tokens, for `R` halves of the rows from `half` on: adds to `acc`.
///
/// # Safety
/// `w` and `header` are of a block of `F`, unpacked for `D`, which the CPU has; the codes are unsigned or `D` is wide; `a` is
/// a tile of `T` tokens of activations for `F` and `D`; `acc` holds 16 sums of each.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn block<F: Format, D: Dot, S: Source<F>, const T: usize, const R: usize>(
    w: S,
    header: &Header,
    scales: &Scales,
    a: TileActs,
    half: usize,
    acc: *mut f32,
) {
    let span = const { span::<F, D>() };
    let mut total = [[_mm256_setzero_si256(); R]; T];
    for c in 0..F::CHUNKS {
        // SAFETY: the caller's promise.
        let first = unsafe { w.chunk::<D>(c, half) };
        let mut chunks = [first; R];
        for (r, chunk) in chunks.iter_mut().enumerate().skip(1) {
            // SAFETY: the caller's promise.
            *chunk = unsafe { w.chunk::<D>(c, half + r) };
        }
        for part in 0..8 / span {
            let j = (c * CHUNK + part * span * 4) / F::GROUP;
            // SAFETY: the caller's promise.
            let mut sums = unsafe { start::<F, D, T, R>(a, j) };
            for quad in part * span..(part + 1) * span {
                for (r, chunk) in chunks.iter().enumerate() {
                    // SAFETY: the caller's promise.
                    let w = unsafe { S::quad(chunk, quad) };
                    for (t, sums) in sums.iter_mut().enumerate() {
                        // SAFETY: quad `8 c + quad` of token `t`; the caller's promise.
                        unsafe {
                            let a = broadcast(a.tile.codes.add(((8 * c + quad) * T + t) * 4));
                            sums[r] = D::add(sums[r], w, a);
                        }
                    }
                }
            }
            add_scaled::<F, D, T, R>(&mut total, sums, scales, j, half);
        }
    }
    // SAFETY: the caller's promise.
    unsafe { step::<F, T, R>(&total, header, scales, a, half, acc) };
}

/// What the sums of a span of sub-block `j` begin with: zero, or minus the bias times the sum of the activations.
///
/// # Safety
/// As for [`block`].
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn start<F: Format, D: Dot, const T: usize, const R: usize>(
    a: TileActs,
    j: usize,
) -> [[__m256i; R]; T] {
    let mut sums = [[_mm256_setzero_si256(); R]; T];
    if D::WIDE && const { bias::<F>() } > 0 {
        for (t, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the sub-block's groups of token `t`: one, or two of 16 columns.
            let minus = unsafe {
                if const { F::K / F::GROUP < acts::groups(F::K) } {
                    let at = a.tile.minus.add(2 * j * T + t);
                    _mm256_add_epi32(broadcast(at), broadcast(at.add(T)))
                } else {
                    broadcast(a.tile.minus.add(j * T + t))
                }
            };
            let minus = match const { bias::<F>() } {
                4 => _mm256_slli_epi32::<2>(minus),
                8 => _mm256_slli_epi32::<3>(minus),
                16 => _mm256_slli_epi32::<4>(minus),
                32 => _mm256_slli_epi32::<5>(minus),
                _ => _mm256_slli_epi32::<7>(minus),
            };
            *sums = [minus; R];
        }
    }
    if !D::WIDE && F::BIAS > 0 {
        for (t, sums) in sums.iter_mut().enumerate() {
            // SAFETY: group `j` of token `t`.
            *sums = [times_bias::<F>(unsafe { broadcast(a.lanes.add(j * T + t)) }); R];
        }
    }
    sums
}

/// Adds the sums of a span of sub-block `j` times the integer scales.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add_scaled<F: Format, D: Dot, const T: usize, const R: usize>(
    total: &mut [[__m256i; R]; T],
    sums: [[__m256i; R]; T],
    scales: &Scales,
    j: usize,
    half: usize,
) {
    for (total, sums) in total.iter_mut().zip(sums) {
        for r in 0..R {
            let scaled = match (D::WIDE, F::HEADER.has_scales()) {
                (true, true) => _mm256_mullo_epi32(sums[r], scales.scales[j][half + r]),
                (true, false) => sums[r],
                (false, true) => _mm256_madd_epi16(sums[r], scales.scales[j][half + r]),
                (false, false) => _mm256_madd_epi16(sums[r], _mm256_set1_epi16(1)),
            };
            total[r] = _mm256_add_epi32(total[r], scaled);
        }
    }
}

/// 16-bit lanes times the format's bias, a power of two.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn times_bias<F: Format>(lanes: __m256i) -> __m256i {
    match F::BIAS {
        4 => _mm256_slli_epi16::<2>(lanes),
        8 => _mm256_slli_epi16::<3>(lanes),
        16 => _mm256_slli_epi16::<4>(lanes),
        _ => _mm256_slli_epi16::<5>(lanes),
    }
}

/// The f32 step of a block: see [`crate::linear`].
///
/// # Safety
/// As for [`block`].
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn step<F: Format, const T: usize, const R: usize>(
    total: &[[__m256i; R]; T],
    header: &Header,
    scales: &Scales,
    a: TileActs,
    half: usize,
    acc: *mut f32,
) {
    for t in 0..T {
        // SAFETY: token `t` of the tile.
        let d = unsafe { _mm256_broadcast_ss(&*a.tile.d.add(t)) };
        for r in 0..R {
            let h = half + r;
            // SAFETY: 8 sums of token `t`.
            let (at, mut acc) = unsafe {
                let at = acc.add(ROWS * t + 8 * h);
                (at, _mm256_loadu_ps(at))
            };
            let sum = _mm256_mul_ps(_mm256_cvtepi32_ps(total[t][r]), header.d[h]);
            acc = _mm256_fmadd_ps(sum, d, acc);
            if F::HEADER.has_m() {
                // SAFETY: as above; `s` is there for blocks of 32.
                let s = unsafe { _mm256_broadcast_ss(&*a.tile.s.add(t)) };
                acc = _mm256_fmadd_ps(header.m[h], s, acc);
            }
            if F::HEADER.has_mins() {
                let mut mins = _mm256_setzero_si256();
                for j in 0..F::K / F::GROUP / 2 {
                    // SAFETY: pair `j` of sums of token `t`.
                    let sums = unsafe { broadcast(a.tile.sums.add(j * T + t)) };
                    mins = _mm256_add_epi32(mins, _mm256_madd_epi16(scales.mins[j][h], sums));
                }
                let mins = _mm256_mul_ps(_mm256_cvtepi32_ps(mins), header.m[h]);
                acc = _mm256_fnmadd_ps(mins, d, acc);
            }
            // SAFETY: as above.
            unsafe { _mm256_storeu_ps(at, acc) };
        }
    }
}

/// As [`block`] with [`Maddubs`], for weights that are signed bytes.
///
/// # Safety
/// As for [`block`], but the codes are signed.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn signed_block<F: Format, S: Source<F>, const T: usize, const R: usize>(
    w: S,
    header: &Header,
    scales: &Scales,
    a: TileActs,
    half: usize,
    acc: *mut f32,
) {
    let mut total = [[_mm256_setzero_si256(); R]; T];
    for c in 0..F::CHUNKS {
        for r in 0..R {
            // SAFETY: the caller's promise.
            let chunk = unsafe { w.chunk::<Maddubs>(c, half + r) };
            let scale = if F::HEADER.has_scales() {
                scales.scales[c * CHUNK / F::GROUP][half + r]
            } else {
                _mm256_set1_epi16(1)
            };
            for quad in 0..8 {
                // SAFETY: the caller's promise.
                let w = unsafe { S::quad(&chunk, quad) };
                let magnitude = _mm256_sign_epi8(w, w);
                for (t, total) in total.iter_mut().enumerate() {
                    // SAFETY: quad `8 c + quad` of token `t`.
                    let a = unsafe { broadcast(a.tile.codes.add(((8 * c + quad) * T + t) * 4)) };
                    // |w| is at most 128, |a| at most 127: a pair of products fits.
                    let products = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(a, w));
                    let sums = _mm256_madd_epi16(products, scale);
                    total[r] = keep(_mm256_add_epi32(total[r], sums));
                }
            }
        }
    }
    // SAFETY: the caller's promise.
    unsafe { step::<F, T, R>(&total, header, scales, a, half, acc) };
}

/// Widens a block of 8-bit weights to pair lines: pairs `2 i` and `2 i + 1` of columns from quad `i`.
///
/// # Safety
/// `w` is a block of `F`, of 8 bits; there are at most twice as many lines as it has quads.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn widen<F: Format>(w: Packed, lines: &mut [Quads]) {
    // A byte into the upper half of its 16-bit lane, from where it is shifted down with its sign.
    let z = -128;
    let low = _mm256_setr_epi8(
        z, 0, z, 1, z, 4, z, 5, z, 8, z, 9, z, 12, z, 13, z, 0, z, 1, z, 4, z, 5, z, 8, z, 9, z,
        12, z, 13,
    );
    let high = _mm256_add_epi8(low, _mm256_set1_epi16(0x0200));
    for (c, lines) in lines.as_chunks_mut::<2>().0.iter_mut().enumerate() {
        let lines = lines.as_flattened_mut();
        for half in 0..2 {
            // SAFETY: the caller's promise.
            let quads: [__m256i; 8] = unsafe { Source::<F>::chunk::<Maddubs>(w, c, half) };
            for (quad, w) in quads.into_iter().enumerate() {
                lines[2 * quad][half] = _mm256_srai_epi16::<8>(_mm256_shuffle_epi8(w, low));
                lines[2 * quad + 1][half] = _mm256_srai_epi16::<8>(_mm256_shuffle_epi8(w, high));
            }
        }
    }
}

/// One block of `T` tokens, for weights of 8 bits that [`widen`] has unpacked.
///
/// # Safety
/// `lines` and `header` are of a block of `F`, all of it; `a` is a tile of `T` tokens with wide codes; `acc` holds 16
/// sums of each.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn wide_block<F: Format, const T: usize>(
    lines: &[Quads],
    header: &Header,
    scales: &Scales,
    a: TileActs,
    acc: *mut f32,
) {
    let mut total = [[_mm256_setzero_si256(); 2]; T];
    for (pair, w) in lines.as_flattened().iter().enumerate() {
        for (t, total) in total.iter_mut().enumerate() {
            // SAFETY: pair `pair` of token `t`.
            let a = unsafe { broadcast(a.wide.add(pair * T + t)) };
            for r in 0..2 {
                total[r] = keep(_mm256_add_epi32(total[r], _mm256_madd_epi16(w[r], a)));
            }
        }
    }
    // SAFETY: the caller's promise.
    unsafe { step::<F, T, 2>(&total, header, scales, a, 0, acc) };
}
