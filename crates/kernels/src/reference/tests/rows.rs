//! Norms, softmax, activations.

use super::super::{
    add, geglu, gelu, gelu_quick, mul, norm, relu, rms_norm, scale, scale_bias, silu, soft_max,
    swiglu, tanh,
};
use super::Lines;
use super::stream::Stream;

/// Applies `f(x, out)` to each row of `n`.
fn by_row(x: &[f32], n: usize, f: impl Fn(&[f32], &mut [f32])) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    x.chunks_exact(n).zip(out.chunks_exact_mut(n)).for_each(|(x, out)| f(x, out));
    out
}

#[test]
fn norms() {
    let mut lines = Lines::default();
    let norms = [
        ("rms_norm", rms_norm as fn(&[f32], f32, &mut [f32])),
        ("norm", norm as fn(&[f32], f32, &mut [f32])),
    ];
    for (op, f) in norms {
        for n in [1, 2, 3, 4, 7, 64, 576, 577] {
            for (text, eps) in [("1e-5", 1e-5), ("1e-6", 1e-6), ("0", 0.0)] {
                if op == "norm" && n == 1 && eps == 0.0 {
                    continue; // 0 / 0
                }
                let name = format!("n={n},eps={text}");
                let x = Stream::new(&format!("{op} {name}")).floats(2 * n);
                let out = by_row(&x, n, |x, out| f(x, eps, out));
                lines.values(&op.to_uppercase(), &name, &[2, n], &out);
            }
        }
    }
    lines.check("norm");
}

#[test]
fn softmax() {
    let mut lines = Lines::default();
    for n in [1, 2, 3, 4, 5, 6, 7, 8, 31, 256, 259] {
        for (text, scale) in [("1", 1.0), ("0.125", 0.125)] {
            for kind in ["plain", "mask"] {
                let name = format!("n={n},scale={text},{kind}");
                let mut stream = Stream::new(&format!("soft_max {name}"));
                let mut x = stream.floats(3 * n);
                for row in x.chunks_exact_mut(n) {
                    let mask = (kind == "mask").then(|| mask(&mut stream, n));
                    soft_max(row, mask.as_deref(), scale);
                }
                lines.values("SOFT_MAX", &name, &[3, n], &x);
            }
        }
    }
    lines.check("soft_max");
}

/// A mask of zeros, some penalties and some forbidden places; never the first.
fn mask(stream: &mut Stream, n: usize) -> Vec<f32> {
    let cell = |_| match stream.word() % 4 {
        3 => f32::NEG_INFINITY,
        2 => -1.5,
        _ => 0.0,
    };
    let mut mask: Vec<f32> = (0..n).map(cell).collect();
    mask[0] = 0.0;
    mask
}

type Unary = fn(&[f32], &mut [f32]);
type Binary = fn(&[f32], &[f32], &mut [f32]);

const BINARY: [(&str, Binary); 4] =
    [("add", add), ("mul", mul), ("swiglu_split", swiglu), ("geglu_split", geglu)];

const UNARY: [(&str, Unary); 7] = [
    ("silu", silu),
    ("gelu", gelu),
    ("gelu_quick", gelu_quick),
    ("relu", |x, out| in_place(x, out, relu)),
    ("tanh", |x, out| in_place(x, out, tanh)),
    ("scale", |x, out| in_place(x, out, |x| scale(x, 0.3))),
    ("scale_bias", |x, out| in_place(x, out, |x| scale_bias(x, 0.3, -0.7))),
];

fn in_place(x: &[f32], out: &mut [f32], f: fn(&mut [f32])) {
    out.copy_from_slice(x);
    f(out);
}

#[test]
fn single_elements() {
    let mut lines = Lines::default();
    for n in [1, 2, 3, 4, 5, 6, 7, 8, 100, 1023] {
        let name = format!("n={n}");
        for (op, f) in BINARY {
            let mut stream = Stream::new(&format!("{op} {name}"));
            let (a, b) = (stream.floats(2 * n), stream.floats(2 * n));
            let mut out = vec![0.0; 2 * n];
            for ((a, b), out) in
                a.chunks_exact(n).zip(b.chunks_exact(n)).zip(out.chunks_exact_mut(n))
            {
                f(a, b, out);
            }
            lines.values(&op.to_uppercase(), &name, &[2, n], &out);
        }
        for (op, f) in UNARY {
            let x = Stream::new(&format!("{op} {name}")).floats(2 * n);
            lines.values(&op.to_uppercase(), &name, &[2, n], &by_row(&x, n, f));
        }
    }
    let sweep: Vec<f32> = (-57344_i32..57344).map(|i| i as f32 / 512.0).collect();
    let halves: Vec<f32> = (0..=u16::MAX)
        .map(|bits| half::f16::from_bits(bits).to_f32())
        .filter(|x| x.is_finite())
        .collect();
    for (op, f, name, x) in [
        ("SILU", silu as Unary, "-112..112", &sweep),
        ("TANH", |x, out| in_place(x, out, tanh), "-112..112", &sweep),
        ("GELU", gelu, "every-f16", &halves),
        ("GELU_QUICK", gelu_quick, "every-f16", &halves),
    ] {
        lines.values(op, name, &[x.len()], &by_row(x, x.len(), f));
    }
    lines.check("elementwise");
}
