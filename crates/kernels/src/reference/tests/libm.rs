//! The C library behind `sin`, `exp` and the like must be the one of the goldens, or nothing else can agree.

use super::Lines;
use golden::trace::hex_float;
use std::panic::catch_unwind;

/// `n` floats whose bit patterns go evenly from one positive float to another.
fn bit_range(low: f32, high: f32, n: u32) -> impl Iterator<Item = f32> {
    let (low, high) = (u64::from(low.to_bits()), u64::from(high.to_bits()));
    (0..u64::from(n)).map(move |i| {
        let bits = low + (high - low) * i / u64::from(n);
        f32::from_bits(u32::try_from(bits).unwrap())
    })
}

/// Positive floats, then the same negative.
fn both_signs(low: f32, high: f32) -> Vec<Vec<f32>> {
    let range = || bit_range(low, high, 1 << 16);
    range().chain(range().map(|x| -x)).map(|x| vec![x]).collect()
}

fn function(lines: &mut Lines, name: &str, args: &[Vec<f32>], f: fn(&[f32]) -> f32) {
    let values: Vec<f32> = args.iter().map(|args| f(args)).collect();
    lines.values("LIBM", name, &[values.len()], &values);
    let step = args.len() / 32;
    for (args, y) in args.iter().zip(&values).step_by(step) {
        let args: Vec<String> = args.iter().map(|&x| hex_float(f64::from(x))).collect();
        lines.0 += &format!("  {name}({}) = {}\n", args.join(", "), hex_float(f64::from(*y)));
    }
}

#[test]
fn this_libm_is_that_of_the_goldens() {
    let mut lines = Lines::default();
    let small = |i: i8| f32::from_bits(u32::try_from(127 + i32::from(i)).unwrap() << 23);
    let wide = both_signs(small(-20), small(20));
    let narrow = both_signs(small(-20), 96.0);
    let positive: Vec<Vec<f32>> =
        bit_range(small(-100), small(100), 1 << 17).map(|x| vec![x]).collect();
    let bases = [10_000.0, 500_000.0, 1e6, 2.0, 0.5, 10.0, 160_000.0, 1e7_f32];
    let powers: Vec<Vec<f32>> = bases
        .into_iter()
        .flat_map(|base| (2..514_u16).step_by(2).map(move |n| vec![base, -2.0 / f32::from(n)]))
        .collect();
    function(&mut lines, "sinf", &wide, |x| x[0].sin());
    function(&mut lines, "cosf", &wide, |x| x[0].cos());
    function(&mut lines, "expf", &narrow, |x| x[0].exp());
    function(&mut lines, "tanhf", &narrow, |x| x[0].tanh());
    function(&mut lines, "logf", &positive, |x| x[0].ln());
    function(&mut lines, "powf", &powers, |x| x[0].powf(x[1]));
    let same = catch_unwind(move || lines.check("libm")).is_ok();
    assert!(same, "this libm differs from the reference's: no other difference means anything");
}
