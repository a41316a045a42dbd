#![expect(clippy::cast_possible_truncation, reason = "rounding to f32 is what is tested")]

use super::*;
use sha2::{Digest, Sha256};

/// Distance in units of the last place of `exact` rounded to f32.
fn ulps(got: f32, exact: f64) -> f64 {
    let nearest = exact as f32;
    if got == nearest || got.is_nan() && nearest.is_nan() {
        return 0.0;
    }
    let ulp = f64::from(nearest.abs().next_up()) - f64::from(nearest.abs());
    (f64::from(got) - exact).abs() / ulp
}

/// Every `step`-th f32 of both signs: all exponents, subnormals, infinities, NaN.
fn dense(step: usize) -> impl Iterator<Item = f32> {
    (0..=u32::MAX).step_by(step).map(f32::from_bits)
}

/// SHA-256 over the bits of `f` at [`dense`] arguments; NaN results count as one value.
fn hash(f: impl Fn(f32) -> f32) -> String {
    let mut hash = Sha256::new();
    for x in dense(4099) {
        let y = f(x);
        hash.update(if y.is_nan() { f32::NAN.to_bits() } else { y.to_bits() }.to_le_bytes());
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn exp_is_within_1_1_ulp() {
    for x in dense(4099).filter(|x| x.abs() < 110.0) {
        let error = ulps(exp(x), f64::from(x).exp());
        assert!(error <= 1.1, "exp({x:e}) = {:e}, {error} ulp", exp(x));
    }
    let mut x = -105.0_f32;
    while x < 90.0 {
        let error = ulps(exp(x), f64::from(x).exp());
        assert!(error <= 1.1, "exp({x:e}) = {:e}, {error} ulp", exp(x));
        x += 0.000_731;
    }
    assert_eq!((exp(0.0), exp(-0.0)), (1.0, 1.0));
    assert_eq!((exp(f32::INFINITY), exp(f32::NEG_INFINITY)), (f32::INFINITY, 0.0));
    assert_eq!((exp(f32::MAX), exp(f32::MIN)), (f32::INFINITY, 0.0));
    assert!(exp(f32::NAN).is_nan());
}

#[test]
fn tanh_is_within_two_ulp() {
    for x in dense(4099).filter(|x| !x.is_nan()) {
        let error = ulps(tanh(x), f64::from(x).tanh());
        assert!(error <= 2.0, "tanh({x:e}) = {:e}, {error} ulp", tanh(x));
        assert_eq!(tanh(-x), -tanh(x), "odd");
    }
    let mut x = 0.0_f32;
    while x < 10.0 {
        let error = ulps(tanh(x), f64::from(x).tanh());
        assert!(error <= 2.0, "tanh({x:e}) = {:e}, {error} ulp", tanh(x));
        x += 0.000_113;
    }
    assert!(tanh(f32::NAN).is_nan());
}

#[test]
fn sin_and_cos_of_angles_and_positions() {
    // The f64 functions of the system are within an ulp or so: good enough to compare f32 roundings with.
    for i in 0..200_000_u32 {
        for x in [f64::from(i) * 0.001, f64::from(i) * 5.37, -f64::from(i) * 0.77] {
            let (sin, cos) = sin_cos64(x);
            assert!((sin - x.sin()).abs() < 1e-15, "sin({x}) = {sin}");
            assert!((cos - x.cos()).abs() < 1e-15, "cos({x}) = {cos}");
        }
    }
    assert_eq!(sin_cos64(0.0), (0.0, 1.0));
    let (sin, cos) = sin_cos64(f64::INFINITY);
    assert!(sin.is_nan() && cos.is_nan());
}

#[test]
fn logarithm_exponential_and_power() {
    for i in 1..100_000_u32 {
        for x in [
            f64::from(i) * 0.001,
            f64::from(i) * 1234.5,
            1.0 / f64::from(i),
            1.0 + 1e-9 * f64::from(i),
        ] {
            let want = x.ln();
            assert!(
                (ln64(x) - want).abs() <= 6e-16 * want.abs().max(1e-300),
                "ln({x}) = {}",
                ln64(x)
            );
            let y = want * 3.1;
            assert!((exp64(y) / y.exp() - 1.0).abs() < 4e-16, "exp({y}) = {}", exp64(y));
        }
    }
    for base in [1.5, 10_000.0, 500_000.0, 1e6] {
        for i in 0..128_u32 {
            let x = -f64::from(i) / 64.0;
            let error = (pow64(base, x) / base.powf(x) - 1.0).abs();
            assert!(error < 1e-14, "{base}^{x}: {error:e}");
        }
    }
    assert_eq!((exp64(-800.0), exp64(800.0), exp64(0.0)), (0.0, f64::INFINITY, 1.0));
    assert_eq!((ln64(1.0), ln64(f64::INFINITY)), (0.0, f64::INFINITY));
    assert!((ln64(5e-324) - 5e-324_f64.ln()).abs() < 1e-12);
    assert!(ln64(0.0).is_nan() && ln64(-1.0).is_nan() && exp64(f64::NAN).is_nan());
}

#[test]
fn rounding_to_f16_is_that_of_the_type() {
    let halfway = (0..=u16::MAX).map(|bits| {
        // Every F16 number, and the f32 numbers around the middle to the next.
        let x = dequant::f16_to_f32(bits.to_le_bytes());
        let middle = f32::midpoint(x, dequant::f16_to_f32(bits.wrapping_add(1).to_le_bytes()));
        [x, middle, middle.next_up(), middle.next_down()]
    });
    for x in dense(4099).chain(halfway.flatten()).chain([65520.0, 65519.996, f32::MAX]) {
        let want = dequant::f16_to_f32(dequant::f32_to_f16(x));
        let got = round_to_f16(x);
        assert!(
            got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(),
            "{x:e}: {got:e} {want:e}"
        );
    }
}

/// A change of these hashes is a change of every result.
#[test]
fn the_bits_are_pinned() {
    assert_eq!(hash(exp), "dd162c78570fe448");
    assert_eq!(hash(tanh), "82c02ff1b7e4edef");
    assert_eq!(hash(|x| sin_cos64(f64::from(x % 1e6)).0 as f32), "8c2d4cb43adf66b5");
    assert_eq!(hash(|x| sin_cos64(f64::from(x % 1e6)).1 as f32), "53977b03c1453dfe");
    assert_eq!(hash(|x| pow64(f64::from(x.abs()), -0.37) as f32), "54425c78020ab394");
}
