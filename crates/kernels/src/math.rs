//! Elementary functions of our own, so that results do not depend on the system's libm.
//!
//! Only additions, multiplications, divisions, square roots and fused multiply-adds are used: IEEE 754 defines
//! their results, so every instruction set computes the same bits. Polynomials are Taylor's, long enough for the
//! type's precision on the reduced range; `reduce` writes each argument as a multiple of a constant plus a small rest,
//! the constant being split into a high and a low part.
//!
//! `exp` and `tanh` (f32) run inside kernels and have SIMD forms; the f64 functions serve tables.

/// log2(e).
pub(crate) const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// ln(2) rounded to 16 bits, so that small multiples are exact.
pub(crate) const LN_2_HIGH: f32 = 0.693_145_75;
/// ln(2) less [`LN_2_HIGH`].
pub(crate) const LN_2_LOW: f32 = 1.428_606_8e-6;
/// 1.5 * 2^23: adding it rounds to an integer, which is then in the low bits.
pub(crate) const ROUND: f32 = 12_582_912.0;
/// exp of anything below is 0.
pub(crate) const EXP_MIN: f32 = -104.0;
/// exp of anything above is infinite.
pub(crate) const EXP_MAX: f32 = 89.0;
/// 1 / n! for n = 7 down to 2: the coefficients of exp(r) - 1 - r, highest power first.
pub(crate) const EXP_COEFFICIENTS: [f32; 6] =
    [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5];

/// e^x, to 1.1 ulp; subnormal results included.
#[inline(always)]
#[must_use]
pub fn exp(x: f32) -> f32 {
    // In this form a NaN stays.
    let x = if x < EXP_MIN { EXP_MIN } else { x };
    let x = if x > EXP_MAX { EXP_MAX } else { x };
    let shifted = x.mul_add(LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN_2_HIGH, x);
    let r = n.mul_add(-LN_2_LOW, r);
    let mut p = EXP_COEFFICIENTS[0];
    for c in &EXP_COEFFICIENTS[1..] {
        p = p.mul_add(r, *c);
    }
    let p = (p * r).mul_add(r, r) + 1.0;
    // Two factors: 2^n alone need not be a number for the largest and the smallest results.
    let n = shifted.to_bits().wrapping_sub(ROUND.to_bits()).cast_signed();
    let half = n >> 1;
    p * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// 2^n for n in -126..=127 (any other n: some number).
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) << 23).cast_unsigned())
}

/// Hyperbolic tangent, to 2 ulp.
#[inline(always)]
#[must_use]
pub fn tanh(x: f32) -> f32 {
    let a = x.abs();
    let y = if a < TANH_SMALL {
        // x - x^3 P(x^2)
        let z = x * x;
        let mut p = TANH_COEFFICIENTS[0];
        for c in &TANH_COEFFICIENTS[1..] {
            p = p.mul_add(z, *c);
        }
        (p * z).mul_add(a, a)
    } else {
        1.0 - 2.0 / (exp(a + a) + 1.0)
    };
    y.copysign(x)
}

/// Zero instead of a subnormal number.
#[inline(always)]
pub(crate) fn flush(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { 0.0_f32.copysign(x) } else { x }
}

/// The nearest number that F16 has, ties to even; infinite beyond 65520.
#[inline(always)]
pub(crate) fn round_to_f16(x: f32) -> f32 {
    // A number whose last place is that of F16 at `x` (2^-24 at least): adding it rounds.
    let exponent = (x.to_bits() & 0x7F80_0000).max(113 << 23);
    let c = f32::from_bits(exponent.wrapping_add(13 << 23) | 0x0040_0000);
    let rounded = (x.abs() + c) - c;
    let rounded = if x.abs() >= 65520.0 { f32::INFINITY } else { rounded };
    let rounded = if x.is_nan() { x } else { rounded };
    rounded.copysign(x)
}

/// Below this tanh is its series.
const TANH_SMALL: f32 = 0.5;
/// The series of tanh(x) / x - 1 in x^2, from x^18 down to x^2.
#[expect(clippy::cast_possible_truncation, reason = "rounding is what is wanted")]
const TANH_COEFFICIENTS: [f32; 9] = [
    (-443_861_162.0 / 1_856_156_927_625.0_f64) as f32,
    (6_404_582.0 / 10_854_718_875.0_f64) as f32,
    (-929_569.0 / 638_512_875.0_f64) as f32,
    (21_844.0 / 6_081_075.0_f64) as f32,
    (-1382.0 / 155_925.0_f64) as f32,
    (62.0 / 2835.0_f64) as f32,
    (-17.0 / 315.0_f64) as f32,
    (2.0 / 15.0_f64) as f32,
    (-1.0 / 3.0_f64) as f32,
];

mod double;
pub use double::{exp64, ln64, pow64, sin_cos64};

#[cfg(test)]
mod tests;
