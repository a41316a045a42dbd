//! Compares the crate's `exp`, `ln`, `log2` and `pow` with the libm of this machine over all inputs that
//! matter, and prints how many results differ.
//!
//! With glibc 2.36 on x86-64 those are 3 in all; another libm rounds otherwise in places, which is
//! why the crate has its own. Takes a few minutes.
#![expect(clippy::print_stdout, reason = "printing is what it does")]

#[path = "../src/math.rs"]
mod math;

/// Prints the inputs (bits from `first` to `last`) where `ours` and `theirs` differ.
fn sweep(name: &str, first: u32, last: u32, ours: fn(f32) -> f32, theirs: fn(f32) -> f32) {
    let mut n_differ = 0_u64;
    for bits in first..=last {
        let x = f32::from_bits(bits);
        let (a, b) = (ours(x), theirs(x));
        if a.to_bits() != b.to_bits() && !(a.is_nan() && b.is_nan()) {
            n_differ += 1;
            if n_differ <= 8 {
                println!("{name}({x:e} = {bits:08x}): {a:e} here, {b:e} in libm");
            }
        }
    }
    println!("{name}: {n_differ} of {} differ", u64::from(last - first) + 1);
}

fn main() {
    let infinity = f32::INFINITY.to_bits();
    sweep("exp, x < 0", (-0.0_f32).to_bits(), f32::NEG_INFINITY.to_bits(), math::exp, f32::exp);
    sweep("exp, x > 0", 0, infinity, math::exp, f32::exp);
    sweep("ln", 0, infinity, math::ln, f32::ln);
    sweep("log2", 0, infinity, math::log2f, f32::log2);
    let one = 1.0_f32.to_bits();
    sweep("pow 0.7", 0, one, |x| math::pow(x, 0.7), |x| x.powf(0.7));
    sweep("pow 1.3", 0, one, |x| math::pow(x, 1.3), |x| x.powf(1.3));
    sweep("pow 2.5", 0, one, |x| math::pow(x, 2.5), |x| x.powf(2.5));
    // DRY's powers, as f32.
    let four = 4.0_f32.to_bits();
    sweep(
        "power 17",
        one,
        four,
        |x| round(math::power(f64::from(x), 17)),
        |x| round(f64::from(x).powf(17.0)),
    );
    sweep(
        "exp in f64, rounded to f32, x < 0",
        (-0.0_f32).to_bits(),
        f32::NEG_INFINITY.to_bits(),
        |x| round(math::exp_f64(f64::from(x))),
        |x| round(f64::from(x).exp()),
    );
}

#[expect(clippy::cast_possible_truncation, reason = "rounding is the point")]
fn round(x: f64) -> f32 {
    x as f32
}
