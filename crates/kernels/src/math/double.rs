//! f64 functions for tables: a few ulp of f64, which is exact for what is rounded to f32 afterwards.

/// 1 / n!
const fn inverse_factorial(n: u32) -> f64 {
    let (mut product, mut i) = (1.0, 1);
    while i <= n {
        product *= i as f64;
        i += 1;
    }
    1.0 / product
}

/// Sum of `c[i] x^i`, `c` given highest power first.
fn polynomial(x: f64, coefficients: impl IntoIterator<Item = f64>) -> f64 {
    coefficients.into_iter().fold(0.0, |sum, c| sum.mul_add(x, c))
}

/// pi / 2 as the nearest f64 and what is left of it.
const HALF_PI: (f64, f64) = (std::f64::consts::FRAC_PI_2, 6.123_233_995_736_766e-17);

/// (sin x, cos x), for |x| up to about 2^30 (beyond, the error grows with x).
#[must_use]
pub fn sin_cos64(x: f64) -> (f64, f64) {
    let n = (x * std::f64::consts::FRAC_2_PI).round_ties_even();
    let r = n.mul_add(-HALF_PI.0, x);
    let r = n.mul_add(-HALF_PI.1, r);
    let z = r * r;
    // sin r = r - r^3 (1/3! - r^2/5! ...), cos r = 1 - r^2 (1/2! - r^2/4! ...); |r| <= pi / 4.
    let sin = polynomial(z, (0..9).rev().map(|i| alternate(i, inverse_factorial(2 * i + 3))));
    let cos = polynomial(z, (0..9).rev().map(|i| alternate(i, inverse_factorial(2 * i + 2))));
    let sin = (-sin * z).mul_add(r, r);
    let cos = (-cos).mul_add(z, 1.0);
    match n.rem_euclid(4.0) {
        0.0 => (sin, cos),
        1.0 => (cos, -sin),
        2.0 => (-sin, -cos),
        3.0 => (-cos, sin),
        _ => (f64::NAN, f64::NAN),
    }
}

fn alternate(i: u32, c: f64) -> f64 {
    if i.is_multiple_of(2) { c } else { -c }
}

/// ln 2 rounded to 32 bits, and what is left of it.
const LN_2: (f64, f64) = (0.693_147_180_369_123_8, 1.908_214_929_270_587_7e-10);

/// e^x; 0 below -745, infinite above 709.78.
#[must_use]
pub fn exp64(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    let x = x.clamp(-750.0, 710.0);
    let n = (x * std::f64::consts::LOG2_E).round_ties_even();
    let r = n.mul_add(-LN_2.0, x);
    let r = n.mul_add(-LN_2.1, r);
    let p = polynomial(r, (0..15).rev().map(inverse_factorial));
    #[expect(clippy::cast_possible_truncation, reason = "an integer within -1083..=1025")]
    let n = n as i64;
    let half = n >> 1;
    p * power_of_two(half) * power_of_two(n - half)
}

/// 2^n for n in -1022..=1023.
fn power_of_two(n: i64) -> f64 {
    f64::from_bits(((n + 1023) << 52).cast_unsigned())
}

/// Natural logarithm of a positive number; NaN for anything else.
#[must_use]
pub fn ln64(x: f64) -> f64 {
    if x.is_nan() || x <= 0.0 {
        return f64::NAN;
    }
    if x.is_infinite() {
        return x;
    }
    // Subnormal numbers are scaled up first.
    let (x, shift) = if x < f64::MIN_POSITIVE { (x * 2_f64.powi(54), 54.0) } else { (x, 0.0) };
    let bits = x.to_bits();
    // x = m 2^e with m in sqrt(1/2)..sqrt(2).
    let sqrt_half = std::f64::consts::FRAC_1_SQRT_2.to_bits();
    let e = (bits.wrapping_sub(sqrt_half).cast_signed()) >> 52;
    let m = f64::from_bits(bits.wrapping_sub((e << 52).cast_unsigned()));
    let e = e as f64 - shift;
    // ln m = 2 atanh(s) = 2 s + 2 s^3 (1/3 + s^2/5 + ...), s = (m - 1) / (m + 1), |s| < 0.172.
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let series = polynomial(z, (0..11).rev().map(|i| 1.0 / f64::from(2 * i + 3)));
    let small = 2.0 * s * z * series;
    e.mul_add(LN_2.0, 2.0 * s + e.mul_add(LN_2.1, small))
}

/// `base^x` for a positive base: to about `|x ln base|` ulp.
#[must_use]
pub fn pow64(base: f64, x: f64) -> f64 {
    exp64(x * ln64(base))
}
