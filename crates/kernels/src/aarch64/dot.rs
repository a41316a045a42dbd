//! How the micro-kernels multiply codes with activations, and what their registers hold: with `sdot` a vector of sums is four
//! rows of one token; with `smmla` of I8MM it is two rows of two tokens, in *woven* order. The kernels are written once,
//! for any [`Dot`].
//!
//! The instructions are assembly: the standard library offers neither on all compilers.
#![expect(unsafe_code, reason = "instructions and loads; each function says what is needed")]
#![expect(clippy::needless_range_loop, reason = "the loops number registers")]

use std::arch::aarch64::*;
use std::arch::asm;

/// Vectors of four rows, for `T` tokens and `R` times four rows. Where they are woven, those of tokens `2 p` and `2 p + 1`
/// are instead the first two and the last two of the rows, each for both tokens: `[2 p: a b, 2 p + 1: a b]`.
pub(super) type Vectors<X, const T: usize, const R: usize> = [[X; R]; T];

/// What belongs to 16 rows, for the vectors of even and of odd tokens: four rows each, or two rows twice.
pub(super) type Rows<X> = [[X; 4]; 2];

/// A way to multiply. `N` is a tile's number of tokens, `T` that of its vectors for four rows: the same, or rounded up to even
/// where they are woven. What is in the vectors of a token that is not there is never stored.
///
/// Functions that are always inlined have no features of their own (that is not allowed together), so NEON's operations, which
/// every such CPU has, are unsafe in them.
pub(super) trait Dot: Copy {
    /// Whether the vectors are woven.
    const WOVEN: bool;

    /// The activations of four quads, as [`Self::add`] takes them.
    ///
    /// # Safety
    /// `from` points to the codes of four quads of `N` tokens.
    unsafe fn codes<const N: usize, const T: usize>(from: *const i8) -> [int8x16_t; T];

    /// Adds the products of two quads, pair `pair` of the two in `a`, a number that the compiler knows.
    ///
    /// # Safety
    /// The CPU has the instruction.
    unsafe fn add<const T: usize, const R: usize>(
        sums: &mut Vectors<int32x4_t, T, R>,
        w: &[[int8x16_t; R]; 2],
        a: &[int8x16_t; T],
        pair: usize,
    );

    /// Four rows of a pair of quads as [`Self::add`] takes them.
    fn weave(quads: [int8x16_t; 2]) -> [int8x16_t; 2];

    /// Four rows, for even tokens and for odd ones.
    fn rows(x: int32x4_t) -> [int32x4_t; 2];

    /// A number of each token, for its vectors.
    ///
    /// # Safety
    /// `from` points to `N` numbers.
    unsafe fn tokens<const N: usize, const T: usize>(from: *const i32) -> [int32x4_t; T];

    /// The same.
    ///
    /// # Safety
    /// As [`Self::tokens`].
    unsafe fn tokens_f32<const N: usize, const T: usize>(from: *const f32) -> [float32x4_t; T];

    /// Sums from where they are stored: rows lie together, tokens `stride` apart.
    ///
    /// # Safety
    /// `from` points to `4 R` sums of `N` tokens.
    unsafe fn load<const N: usize, const T: usize, const R: usize>(
        from: *const f32,
        stride: usize,
    ) -> Vectors<float32x4_t, T, R>;

    /// Stores them there.
    ///
    /// # Safety
    /// As [`Self::load`].
    unsafe fn store<const N: usize, const T: usize, const R: usize>(
        sums: &Vectors<float32x4_t, T, R>,
        to: *mut f32,
        stride: usize,
    );
}

/// `sdot`: it multiplies a vector of a quad line (4 rows of 4 codes) with 4 activations, one 32-bit element of a register,
/// repeated in all lanes, and adds the four products to 32-bit sums. `RUN` is that of the activations
/// ([`crate::Isa::run`]).
#[derive(Clone, Copy)]
pub(super) struct Sdot<const RUN: usize>;

/// Adds products with element `LANE` of `a`.
///
/// # Safety
/// The CPU has dot products.
#[inline(always)]
unsafe fn dot<const LANE: usize, const R: usize>(
    sums: &mut [int32x4_t; R],
    w: &[int8x16_t; R],
    a: int8x16_t,
) {
    for (sum, w) in sums.iter_mut().zip(w) {
        // SAFETY: only the sum changes.
        unsafe {
            asm!(
                "sdot {sum:v}.4s, {w:v}.16b, {a:v}.4b[{lane}]",
                sum = inout(vreg) *sum,
                w = in(vreg) *w,
                a = in(vreg) a,
                lane = const LANE,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
    }
}

/// The same for element `i` of some registers, a number that the compiler knows.
///
/// # Safety
/// As [`dot`].
#[inline(always)]
unsafe fn dot_element<const T: usize, const R: usize>(
    sums: &mut [int32x4_t; R],
    w: &[int8x16_t; R],
    a: &[int8x16_t; T],
    i: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match i % 4 {
            0 => dot::<0, R>(sums, w, a[i / 4]),
            1 => dot::<1, R>(sums, w, a[i / 4]),
            2 => dot::<2, R>(sums, w, a[i / 4]),
            _ => dot::<3, R>(sums, w, a[i / 4]),
        }
    }
}

/// Products of one quad, `quad` of four, with all tokens. Written out: the compiler need not unroll a loop to know
/// the elements.
///
/// # Safety
/// As [`dot`].
#[inline(always)]
unsafe fn dot_quad<const RUN: usize, const T: usize, const R: usize>(
    sums: &mut Vectors<int32x4_t, T, R>,
    w: &[int8x16_t; R],
    a: &[int8x16_t; T],
    quad: usize,
) {
    // The quad's run, then where it is in a token's part of that.
    let (first, step) = (quad / (RUN / 4) * (RUN / 4) * T + quad % (RUN / 4), RUN / 4);
    // SAFETY: the caller's promise.
    unsafe {
        if let Some(sums) = sums.get_mut(0) {
            dot_element(sums, w, a, first);
        }
        if let Some(sums) = sums.get_mut(1) {
            dot_element(sums, w, a, first + step);
        }
        if let Some(sums) = sums.get_mut(2) {
            dot_element(sums, w, a, first + 2 * step);
        }
        if let Some(sums) = sums.get_mut(3) {
            dot_element(sums, w, a, first + 3 * step);
        }
    }
}

impl<const RUN: usize> Dot for Sdot<RUN> {
    const WOVEN: bool = false;

    #[inline(always)]
    unsafe fn codes<const N: usize, const T: usize>(from: *const i8) -> [int8x16_t; T] {
        // SAFETY: NEON is on every such CPU; the caller's promise.
        unsafe {
            let mut a = [vdupq_n_s8(0); T];
            for (i, a) in a.iter_mut().enumerate() {
                *a = vld1q_s8(from.add(16 * i));
            }
            a
        }
    }

    #[inline(always)]
    unsafe fn add<const T: usize, const R: usize>(
        sums: &mut Vectors<int32x4_t, T, R>,
        w: &[[int8x16_t; R]; 2],
        a: &[int8x16_t; T],
        pair: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            dot_quad::<RUN, T, R>(sums, &w[0], a, 2 * pair);
            dot_quad::<RUN, T, R>(sums, &w[1], a, 2 * pair + 1);
        }
    }

    #[inline(always)]
    fn weave(quads: [int8x16_t; 2]) -> [int8x16_t; 2] {
        quads
    }

    #[inline(always)]
    fn rows(x: int32x4_t) -> [int32x4_t; 2] {
        [x; 2]
    }

    #[inline(always)]
    unsafe fn tokens<const N: usize, const T: usize>(from: *const i32) -> [int32x4_t; T] {
        // SAFETY: NEON is on every such CPU; the caller's promise.
        unsafe {
            let mut x = [vdupq_n_s32(0); T];
            for (t, x) in x.iter_mut().enumerate() {
                *x = vld1q_dup_s32(from.add(t));
            }
            x
        }
    }

    #[inline(always)]
    unsafe fn tokens_f32<const N: usize, const T: usize>(from: *const f32) -> [float32x4_t; T] {
        // SAFETY: NEON is on every such CPU; the caller's promise.
        unsafe {
            let mut x = [vdupq_n_f32(0.0); T];
            for (t, x) in x.iter_mut().enumerate() {
                // (No `vld1q_dup_f32`: multiplications take an element of a vector.)
                *x = vdupq_n_f32(*from.add(t));
            }
            x
        }
    }

    #[inline(always)]
    unsafe fn load<const N: usize, const T: usize, const R: usize>(
        from: *const f32,
        stride: usize,
    ) -> Vectors<float32x4_t, T, R> {
        // SAFETY: NEON is on every such CPU; the caller's promise.
        unsafe {
            let mut sums = [[vdupq_n_f32(0.0); R]; T];
            for (t, sums) in sums.iter_mut().enumerate() {
                for (r, sum) in sums.iter_mut().enumerate() {
                    *sum = vld1q_f32(from.add(stride * t + 4 * r));
                }
            }
            sums
        }
    }

    #[inline(always)]
    unsafe fn store<const N: usize, const T: usize, const R: usize>(
        sums: &Vectors<float32x4_t, T, R>,
        to: *mut f32,
        stride: usize,
    ) {
        for (t, sums) in sums.iter().enumerate() {
            for (r, sum) in sums.iter().enumerate() {
                // SAFETY: NEON is on every such CPU; the caller's promise.
                unsafe { vst1q_f32(to.add(stride * t + 4 * r), *sum) };
            }
        }
    }
}

/// `smmla` of I8MM: it multiplies two rows of 8 codes with 8 activations of two tokens, and adds to the four 32-bit sums.
#[derive(Clone, Copy)]
pub(super) struct Smmla;

/// The low or the high halves of two vectors.
#[inline(always)]
fn low(a: int32x4_t, b: int32x4_t) -> int32x4_t {
    // SAFETY: NEON is on every such CPU.
    unsafe { vcombine_s32(vget_low_s32(a), vget_low_s32(b)) }
}

/// See [`low`].
#[inline(always)]
fn high(a: int32x4_t, b: int32x4_t) -> int32x4_t {
    // SAFETY: NEON is on every such CPU.
    unsafe { vcombine_s32(vget_high_s32(a), vget_high_s32(b)) }
}

impl Dot for Smmla {
    const WOVEN: bool = true;

    /// Two tokens each, first of one pair of quads, then of the other.
    #[inline(always)]
    unsafe fn codes<const N: usize, const T: usize>(from: *const i8) -> [int8x16_t; T] {
        // SAFETY: NEON is on every such CPU; the caller's promise: `16 N` bytes.
        unsafe {
            let mut a = [vdupq_n_s8(0); T];
            for (i, a) in a.iter_mut().enumerate() {
                let token = i % (T / 2) * 2;
                let from = from.add(8 * (i / (T / 2) * N + token));
                *a = if token + 1 < N {
                    vld1q_s8(from)
                } else {
                    let one = vld1_s8(from);
                    vcombine_s8(one, one)
                };
            }
            a
        }
    }

    #[inline(always)]
    unsafe fn add<const T: usize, const R: usize>(
        sums: &mut Vectors<int32x4_t, T, R>,
        w: &[[int8x16_t; R]; 2],
        a: &[int8x16_t; T],
        pair: usize,
    ) {
        for (t, sums) in sums.iter_mut().enumerate() {
            for (sum, w) in sums.iter_mut().zip(w[t % 2]) {
                // SAFETY: only the sum changes; the caller's promise for the instruction.
                unsafe {
                    asm!(
                        ".arch_extension i8mm",
                        "smmla {sum:v}.4s, {a:v}.16b, {w:v}.16b",
                        sum = inout(vreg) *sum,
                        w = in(vreg) w,
                        a = in(vreg) a[T / 2 * pair + t / 2],
                        options(pure, nomem, nostack, preserves_flags),
                    );
                }
            }
        }
    }

    #[inline(always)]
    fn weave([a, b]: [int8x16_t; 2]) -> [int8x16_t; 2] {
        // SAFETY: NEON is on every such CPU.
        unsafe {
            let (a, b) = (vreinterpretq_s32_s8(a), vreinterpretq_s32_s8(b));
            [vreinterpretq_s8_s32(vzip1q_s32(a, b)), vreinterpretq_s8_s32(vzip2q_s32(a, b))]
        }
    }

    #[inline(always)]
    fn rows(x: int32x4_t) -> [int32x4_t; 2] {
        [low(x, x), high(x, x)]
    }

    #[inline(always)]
    unsafe fn tokens<const N: usize, const T: usize>(from: *const i32) -> [int32x4_t; T] {
        // SAFETY: NEON is on every such CPU; the caller's promise.
        unsafe {
            let mut x = [vdupq_n_s32(0); T];
            for (t, x) in x.iter_mut().enumerate() {
                let from = from.add(t / 2 * 2);
                *x = if t / 2 * 2 + 1 < N {
                    let two = vld1_s32(from);
                    vzip1q_s32(vcombine_s32(two, two), vcombine_s32(two, two))
                } else {
                    vld1q_dup_s32(from)
                };
            }
            x
        }
    }

    #[inline(always)]
    unsafe fn tokens_f32<const N: usize, const T: usize>(from: *const f32) -> [float32x4_t; T] {
        // SAFETY: NEON is on every such CPU; the caller's promise.
        unsafe {
            let mut x = [vdupq_n_f32(0.0); T];
            for (x, bits) in x.iter_mut().zip(Self::tokens::<N, T>(from.cast())) {
                *x = vreinterpretq_f32_s32(bits);
            }
            x
        }
    }

    #[inline(always)]
    unsafe fn load<const N: usize, const T: usize, const R: usize>(
        from: *const f32,
        stride: usize,
    ) -> Vectors<float32x4_t, T, R> {
        // SAFETY: NEON is on every such CPU; the caller's promise.
        unsafe {
            let mut sums = [[vdupq_n_f32(0.0); R]; T];
            for (p, sums) in sums.as_chunks_mut::<2>().0.iter_mut().enumerate() {
                for r in 0..R {
                    let from = from.add(stride * 2 * p + 4 * r);
                    let a = vreinterpretq_s32_f32(vld1q_f32(from));
                    let b = if 2 * p + 1 < N {
                        vreinterpretq_s32_f32(vld1q_f32(from.add(stride)))
                    } else {
                        a
                    };
                    sums[0][r] = vreinterpretq_f32_s32(low(a, b));
                    sums[1][r] = vreinterpretq_f32_s32(high(a, b));
                }
            }
            sums
        }
    }

    #[inline(always)]
    unsafe fn store<const N: usize, const T: usize, const R: usize>(
        sums: &Vectors<float32x4_t, T, R>,
        to: *mut f32,
        stride: usize,
    ) {
        for (p, [first, last]) in sums.as_chunks::<2>().0.iter().enumerate() {
            for r in 0..R {
                // SAFETY: NEON is on every such CPU; the caller's promise.
                unsafe {
                    let to = to.add(stride * 2 * p + 4 * r);
                    let a = vreinterpretq_s32_f32(first[r]);
                    let b = vreinterpretq_s32_f32(last[r]);
                    vst1q_f32(to, vreinterpretq_f32_s32(low(a, b)));
                    if 2 * p + 1 < N {
                        vst1q_f32(to.add(stride), vreinterpretq_f32_s32(high(a, b)));
                    }
                }
            }
        }
    }
}
