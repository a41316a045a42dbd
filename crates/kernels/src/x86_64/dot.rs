//! How the AVX2 kernels multiply codes with activations: in 16 bits, or by the dot products of AVX-VNNI. The kernels are
//! written once, for any [`Dot`].
//!
//! The instruction is assembly and no function of the standard library: that one is inlined only into functions compiled
//! for AVX-VNNI, and every function on the way would have to be written again for its sake.
#![expect(unsafe_code, reason = "instructions; each function says what the CPU must have")]

use crate::format::Format;
use std::arch::asm;
use std::arch::x86_64::*;

/// A way to multiply four codes with four activations in each 32-bit lane.
pub(super) trait Dot {
    /// Whether sums are of 32 bits. Codes are unsigned then, signed bytes with 128 added, and sums begin with minus the
    /// [`bias`] times the sum of the activations. If not: they are of 16 bits, two in a lane.
    const WIDE: bool;
    /// `sum` and the products of `w`, unsigned, with `a`, signed.
    ///
    /// # Safety
    /// The CPU has AVX2 and the instruction.
    unsafe fn add(sum: __m256i, w: __m256i, a: __m256i) -> __m256i;
}

/// The bias of the codes as kernels with sums of 32 bits see them: signed bytes have 128 added.
pub(super) const fn bias<F: Format>() -> i32 {
    if F::SIGNED { 128 } else { F::BIAS }
}

/// `vpmaddubsw` of AVX2.
pub(super) struct Maddubs;

impl Dot for Maddubs {
    const WIDE: bool = false;
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn add(sum: __m256i, w: __m256i, a: __m256i) -> __m256i {
        keep(_mm256_add_epi16(sum, _mm256_maddubs_epi16(w, a)))
    }
}

/// Hides a sum's value from the compiler, which would otherwise reorder the additions of an unrolled loop into a tree
/// and run out of registers.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn keep(mut sum: __m256i) -> __m256i {
    // SAFETY: no instruction at all.
    unsafe {
        asm!("/* {0} */", inout(ymm_reg) sum, options(pure, nomem, nostack, preserves_flags));
    }
    sum
}

/// The same pointer, of which the compiler knows nothing: it would otherwise hold the numbers there in registers that it does
/// not have.
#[inline]
pub(super) fn forget(mut numbers: *mut f32) -> *mut f32 {
    // SAFETY: no instruction at all.
    unsafe { asm!("/* {0} */", inout(reg) numbers, options(nostack, preserves_flags)) }
    numbers
}

macro_rules! dpbusd {
    ($(#[$attribute:meta])* $name:ident, $encoding:literal) => {
        $(#[$attribute])*
        pub(super) struct $name;

        $(#[$attribute])*
        impl Dot for $name {
            const WIDE: bool = true;
            #[inline]
            #[target_feature(enable = "avx2,fma,f16c")]
            unsafe fn add(mut sum: __m256i, w: __m256i, a: __m256i) -> __m256i {
                // SAFETY: only the sum changes; the caller's promise for the instruction.
                unsafe {
                    asm!(
                        concat!($encoding, " vpdpbusd {sum}, {w}, {a}"),
                        sum = inout(ymm_reg) sum,
                        w = in(ymm_reg) w,
                        a = in(ymm_reg) a,
                        options(pure, nomem, nostack, preserves_flags),
                    );
                }
                sum
            }
        }
    };
}

dpbusd! {
    /// `vpdpbusd` of AVX-VNNI.
    Dpbusd, "{{vex}}"
}
dpbusd! {
    /// `vpdpbusd` of AVX-512 VL and VNNI.
    #[cfg(test)]
    DpbusdEvex, "{{evex}}"
}
