use super::{Gate, Gated, Linear, gated, linears};
use crate::testing::{Rng, isas, naive_dot, same, types};
use crate::{ActForms, Acts, Arena, Isa, LayerNorm, Matrix, RowNorm, Team};
use dequant::GgmlType;

/// A matrix as bytes, packed, and to be packed on demand.
struct Weights {
    ty: GgmlType,
    n_cols: usize,
    bytes: Vec<u8>,
    packed: Matrix,
    on_demand: Matrix,
}

impl Weights {
    fn new(rng: &mut Rng, team: &Team, ty: GgmlType, n_rows: usize, n_cols: usize) -> Self {
        let bytes = rng.weights(ty, n_rows, n_cols);
        Self::from_bytes(team, ty, n_rows, n_cols, bytes)
    }

    fn from_bytes(team: &Team, ty: GgmlType, n_rows: usize, n_cols: usize, bytes: Vec<u8>) -> Self {
        let packed =
            Matrix::pack(Isa::detect(), ty, n_rows, n_cols, &bytes, team, &Arena::new()).unwrap();
        let rows = Box::new(bytes.clone());
        let on_demand = Matrix::on_demand(Isa::detect(), ty, n_rows, n_cols, rows).unwrap();
        Self { ty, n_cols, bytes, packed, on_demand }
    }

    fn row(&self, r: usize) -> &[u8] {
        let n = self.ty.row_bytes(self.n_cols).unwrap();
        &self.bytes[r * n..][..n]
    }

    /// Output `[n_tokens, n_rows]` by definition.
    fn naive(&self, x: &[f32]) -> Vec<f32> {
        x.chunks_exact(self.n_cols)
            .flat_map(|x| (0..self.packed.n_rows()).map(|r| naive_dot(self.ty, self.row(r), x)))
            .collect()
    }

    /// The product of the packed matrix, which has to be that of the other.
    fn product(&self, isa: Isa, team: &Team, x: &[f32]) -> Vec<f32> {
        let mut acts = Acts::new();
        acts.prepare(isa, team, self.packed.act_form().into(), x, self.n_cols);
        let [packed, on_demand] = [&self.packed, &self.on_demand].map(|w| {
            let mut out = vec![f32::NAN; x.len() / self.n_cols * w.n_rows()];
            linears(isa, team, &acts, [Linear { w, bias: None, out: &mut out, add: false }]);
            out
        });
        let equal = packed.iter().zip(&on_demand).all(|(&a, &b)| same(a, b));
        assert!(equal, "{} [{}, {}], {isa}", self.ty.name(), self.packed.n_rows(), self.n_cols);
        packed
    }

    fn check(&self, isas: impl IntoIterator<Item = Isa>, team: &Team, x: &[f32]) {
        let (want, n_rows) = (self.naive(x), self.packed.n_rows());
        for isa in isas {
            for (i, (got, &want)) in self.product(isa, team, x).into_iter().zip(&want).enumerate() {
                assert!(
                    same(got, want),
                    "{} [{n_rows}, {}], {isa}, token {} of {}, row {}: {got:e} is not {want:e}",
                    self.ty.name(),
                    self.n_cols,
                    i / n_rows,
                    x.len() / self.n_cols,
                    i % n_rows,
                );
            }
        }
    }
}

fn columns(ty: GgmlType) -> Vec<usize> {
    match ty.block_elems() {
        1 => vec![1, 2, 31, 32, 33, 64, 100],
        32 => vec![32, 64, 96, 160, 288],
        _ => vec![256, 512, 768],
    }
}

#[test]
fn every_row_count_and_length_on_every_isa() {
    let (mut rng, team) = (Rng::new(1), Team::new(1).unwrap());
    for ty in types() {
        for n_cols in columns(ty) {
            for n_rows in (1..=40).step_by(if n_cols > 300 { 13 } else { 1 }) {
                let w = Weights::new(&mut rng, &team, ty, n_rows, n_cols);
                let x = rng.activations(n_cols);
                w.check(isas(), &team, &x);
            }
        }
    }
}

#[test]
fn every_batch_size_on_every_isa() {
    let (mut rng, team) = (Rng::new(2), Team::new(1).unwrap());
    for ty in types() {
        let n_cols = columns(ty)[2];
        let w = Weights::new(&mut rng, &team, ty, 19, n_cols);
        for n_tokens in (1..=9).chain([16, 17, 64, 255, 256, 257]) {
            let x = rng.activations(n_cols * n_tokens);
            w.check(isas(), &team, &x);
        }
    }
}

/// More columns than are unpacked at once, more tokens than are taken in one sweep, a last group without a neighbor.
#[test]
fn long_rows_and_many_tokens() {
    let (mut rng, team) = (Rng::new(10), Team::new(1).unwrap());
    for ty in types() {
        let k = ty.block_elems();
        let (n_cols, n_tokens) = (if k == 1 { 531 } else { 2048 + 5 * k }, 271);
        let w = Weights::new(&mut rng, &team, ty, 45, n_cols);
        let x = rng.activations(n_cols * n_tokens);
        let want = w.product(Isa::Scalar, &team, &x);
        for isa in isas() {
            let got = w.product(isa, &team, &x);
            let differs = got.iter().zip(&want).position(|(got, want)| !same(*got, *want));
            assert_eq!(differs, None, "{}, {isa}", ty.name());
        }
    }
}

/// Subnormal weights, activations, products and sums of BF16, each by itself in otherwise ordinary numbers: where they are all
/// that says that a number has to become zero.
#[test]
fn a_single_subnormal_number_of_bf16() {
    let team = Team::new(1).unwrap();
    let bf16 = dequant::f32_to_bf16;
    let tiny = f32::MIN_POSITIVE;
    // Two columns (weight, activation) of 64; the others' weights are zero.
    let cases = [
        // A subnormal operand, whose product would be an ordinary number.
        [(tiny / 4.0, 2.0_f32.powi(100)), (1.0, 1.0)],
        [(2.0_f32.powi(100), tiny / 4.0), (1.0, 1.0)],
        // A subnormal product, exact; then the smallest normal number is added, or nothing is.
        [(tiny, 0.5), (tiny, 1.0)],
        [(tiny, 0.5), (0.0, 0.0)],
        // One that is too small for any number, with and without something to come.
        [(tiny, tiny), (tiny, 1.0)],
        [(-tiny, tiny), (0.0, 0.0)],
        // A subnormal sum of normal products, exact; and what comes after.
        [(tiny, 1.5), (-tiny, 1.0)],
        [(-tiny, 1.25), (tiny, 1.0)],
    ];
    for pairs in cases {
        // The second column of a pair is multiplied first.
        for columns in [[1, 0], [0, 1], [9, 40], [3, 63], [63, 62]] {
            for more in [None, Some(5)] {
                let (mut weights, mut x) = (vec![[0, 0]; 64], vec![0.0; 64]);
                if let Some(column) = more {
                    (weights[column], x[column]) = (bf16(1.0), tiny);
                }
                for (column, (w, a)) in columns.into_iter().zip(pairs) {
                    (weights[column], x[column]) = (bf16(w), a);
                }
                // The row in question is one of many.
                let mut bytes = [bf16(1.0); 64].as_flattened().repeat(70);
                bytes[37 * 128..38 * 128].copy_from_slice(weights.as_flattened());
                let w = Weights::from_bytes(&team, GgmlType::BF16, 70, 64, bytes);
                for n_tokens in [1, 2, 3, 4, 7] {
                    let mut all = vec![1.0; 64 * n_tokens];
                    all[64 * (n_tokens - 1)..].copy_from_slice(&x);
                    w.check(isas(), &team, &all);
                }
            }
        }
    }
}

/// As on the first CPUs with AVX-512.
#[cfg(target_arch = "x86_64")]
#[test]
fn bf16_without_an_instruction_for_it() {
    let (mut rng, team) = (Rng::new(11), Team::new(1).unwrap());
    let Some(Isa::Avx512(token)) = Isa::from_name("avx512") else { return };
    let w = Weights::new(&mut rng, &team, GgmlType::BF16, 85, 33);
    for n_tokens in [1, 6, 7, 271] {
        let x = rng.activations(33 * n_tokens);
        w.check([Isa::Avx512(token.without_bf16())], &team, &x);
    }
}

#[test]
fn every_team_size() {
    let mut rng = Rng::new(3);
    for n_threads in [1, 2, 3, 4] {
        let team = Team::new(n_threads).unwrap();
        for ty in types() {
            let n_cols = columns(ty)[1];
            let w = Weights::new(&mut rng, &team, ty, 100, n_cols);
            for n_tokens in [1, 3, 70] {
                let x = rng.activations(n_cols * n_tokens);
                w.check([Isa::detect()], &team, &x);
            }
        }
    }
}

#[test]
fn extreme_codes_do_not_overflow() {
    // All weight codes and all activation codes at their extremes: the largest sums there can be.
    let team = Team::new(1).unwrap();
    for ty in types().filter(|ty| ty.block_elems() > 1) {
        for fill in [0x00, 0xFF, 0x80, 0x7F, 0x88, 0x0F] {
            let n_cols = 512;
            let mut bytes = vec![fill; ty.row_bytes(n_cols).unwrap() * 16];
            for block in bytes.chunks_exact_mut(ty.block_bytes()) {
                let one = dequant::f32_to_f16(1.0);
                match ty {
                    GgmlType::Q3_K | GgmlType::Q6_K => {
                        let end = block.len();
                        block[end - 2..].copy_from_slice(&one);
                    }
                    GgmlType::Q2_K => block[80..84].copy_from_slice(&[one, one].concat()),
                    GgmlType::Q4_0
                    | GgmlType::Q5_0
                    | GgmlType::Q8_0
                    | GgmlType::IQ4_NL
                    | GgmlType::IQ4_XS => block[..2].copy_from_slice(&one),
                    GgmlType::MXFP4 => block[0] = 128,
                    _ => block[..4].copy_from_slice(&[one, one].concat()),
                }
            }
            let w = Weights::from_bytes(&team, ty, 16, n_cols, bytes);
            for (even, odd) in [(127.0, 127.0), (-127.0, -127.0), (127.0, -127.0)] {
                let x: Vec<f32> = [even, odd].into_iter().cycle().take(n_cols * 5).collect();
                w.check(isas(), &team, &x[..n_cols]);
                w.check(isas(), &team, &x);
            }
        }
    }
}

#[test]
fn extreme_scales_and_activations() {
    let (mut rng, team) = (Rng::new(4), Team::new(1).unwrap());
    let scales = [0x0000, 0x8000, 0x0001, 0x03FF, 0x0400, 0x7BFF, 0x7C00, 0xFC00, 0x7E00];
    for ty in types().filter(|ty| ty.block_elems() > 1) {
        for (i, scale) in scales.into_iter().enumerate() {
            let n_cols = ty.block_elems() * 3;
            let mut bytes = rng.weights(ty, 16, n_cols);
            let at = match ty {
                GgmlType::Q3_K | GgmlType::Q6_K => ty.block_bytes() - 2,
                GgmlType::Q2_K => 80,
                _ => 0,
            };
            for block in bytes.chunks_exact_mut(ty.block_bytes()) {
                block[at..at + 2].copy_from_slice(&u16::to_le_bytes(scale));
            }
            let w = Weights::from_bytes(&team, ty, 16, n_cols, bytes);
            for size in [0.0, 1e-42, 1e-38, 1e-20, 1.0, 1e20, 3e38, f32::INFINITY] {
                let mut x = rng.activations(n_cols * 2);
                x.iter_mut().for_each(|x| *x *= size);
                x.iter_mut().filter(|x| x.is_nan()).for_each(|x| *x = 0.0);
                let n_tokens = 1 + i % 2;
                w.check(isas(), &team, &x[..n_cols * n_tokens]);
            }
        }
    }
}

#[test]
fn a_nan_reaches_the_output() {
    let (mut rng, team) = (Rng::new(5), Team::new(1).unwrap());
    for ty in types() {
        let n_cols = columns(ty)[2];
        let w = Weights::new(&mut rng, &team, ty, 3, n_cols);
        let mut x = rng.activations(n_cols * 2);
        x[n_cols / 2] = f32::NAN;
        for isa in isas() {
            let out = w.product(isa, &team, &x);
            assert!(out[..3].iter().all(|x| x.is_nan()), "{}, {isa}: {out:?}", ty.name());
            assert!(out[3..].iter().all(|x| x.is_finite()), "{}, {isa}: {out:?}", ty.name());
        }
    }
}

#[test]
fn several_products_with_bias_and_addition() {
    let mut rng = Rng::new(6);
    for n_threads in [1, 2, 3] {
        let team = Team::new(n_threads).unwrap();
        let types = [GgmlType::Q4_K, GgmlType::Q6_K, GgmlType::Q8_0, GgmlType::F16, GgmlType::Q5_1];
        let weights: Vec<Weights> = types
            .into_iter()
            .enumerate()
            .map(|(i, ty)| Weights::new(&mut rng, &team, ty, 10 + 23 * i, 512))
            .collect();
        for n_tokens in [1, 5, 40] {
            let x = rng.activations(512 * n_tokens);
            let biases: Vec<Vec<f32>> =
                weights.iter().map(|w| rng.activations(w.packed.n_rows())).collect();
            let before: Vec<Vec<f32>> =
                weights.iter().map(|w| rng.activations(w.packed.n_rows() * n_tokens)).collect();
            for (add, with_bias) in [(false, false), (true, false), (false, true), (true, true)] {
                let mut acts = Acts::new();
                let forms: ActForms = weights.iter().map(|w| w.packed.act_form()).collect();
                acts.prepare(Isa::detect(), &team, forms, &x, 512);
                let mut out = before.clone();
                let products: Vec<Linear<'_>> = weights
                    .iter()
                    .zip(&mut out)
                    .zip(&biases)
                    .map(|((w, out), bias)| Linear {
                        w: &w.packed,
                        bias: with_bias.then_some(bias),
                        out,
                        add,
                    })
                    .collect();
                let products: [_; 5] = products.try_into().unwrap();
                linears(Isa::detect(), &team, &acts, products);
                for (i, w) in weights.iter().enumerate() {
                    let n_rows = w.packed.n_rows();
                    for (j, dot) in w.naive(&x).into_iter().enumerate() {
                        let sum = if with_bias { dot + biases[i][j % n_rows] } else { dot };
                        let want = if add { before[i][j] + sum } else { sum };
                        assert!(same(out[i][j], want), "{}: {} {want}", w.ty.name(), out[i][j]);
                    }
                }
            }
        }
    }
}

/// Against exact arithmetic on the dequantized weights: the bound is that of f32 rounding, one operation a block and
/// term, plus what quantizing the activations costs (half a code step per term).
#[test]
fn close_to_exact_arithmetic() {
    let (mut rng, team) = (Rng::new(7), Team::new(1).unwrap());
    for ty in types() {
        let (n_rows, n_cols) = (17, 768);
        let w = Weights::new(&mut rng, &team, ty, n_rows, n_cols);
        let x = rng.activations(n_cols);
        let out = w.product(Isa::detect(), &team, &x);
        let step = match (ty, ty.block_elems()) {
            (GgmlType::F32, _) => 0.0,
            (GgmlType::F16, _) => f64::powi(2.0, -11),
            (GgmlType::BF16, _) => f64::powi(2.0, -8),
            _ => f64::NAN,
        };
        let mut row = vec![0.0; n_cols];
        for (r, &got) in out.iter().enumerate() {
            w.packed.dequantize_row(r, &mut row);
            let mut exact = 0.0;
            let (mut size, mut rounding) = (0.0, 0.0);
            let k = ty.block_elems().max(32);
            for (w, x) in row.chunks(k).zip(x.chunks(k)) {
                let amax = x.iter().fold(0.0_f64, |m, &x| m.max(f64::from(x).abs()));
                for (&w, &x) in w.iter().zip(x) {
                    let (w, x) = (f64::from(w), f64::from(x));
                    exact += w * x;
                    // A block's minimum part is larger than the weight: 2 covers its cancellation here.
                    size += 2.0 * w.abs() * amax;
                    rounding += if step.is_nan() {
                        w.abs() * amax * (0.5 / 127.0 + 1e-3)
                    } else {
                        step * (w * x).abs()
                    };
                }
            }
            let bound = rounding + f64::from(f32::EPSILON) * n_cols as f64 * size;
            let error = (f64::from(got) - exact).abs();
            assert!(error <= bound, "{} row {r}: error {error:e}, bound {bound:e}", ty.name());
        }
    }
}

#[test]
fn no_tokens_and_no_rows_are_fine() {
    let team = Team::new(2).unwrap();
    for ty in types() {
        let empty = Weights::from_bytes(&team, ty, 0, 256, Vec::new());
        assert!(empty.product(Isa::detect(), &team, &[1.0; 256]).is_empty(), "no rows");
        let w = Weights::new(&mut Rng::new(8), &team, ty, 20, 256);
        assert!(w.product(Isa::detect(), &team, &[]).is_empty(), "no tokens");
    }
}

#[test]
#[should_panic(expected = "not prepared")]
fn the_form_must_be_prepared() {
    let team = Team::new(1).unwrap();
    let w = Weights::new(&mut Rng::new(9), &team, GgmlType::Q4_K, 4, 256);
    let mut acts = Acts::new();
    acts.prepare(Isa::Scalar, &team, crate::ActForm::Q8_0.into(), &[1.0; 256], 256);
    let mut out = [0.0; 4];
    let product = Linear { w: &w.packed, bias: None, out: &mut out, add: false };
    linears(Isa::Scalar, &team, &acts, [product]);
}

/// Gate and up at once give just what they give one after the other, in every form, for any number of tokens and threads.
#[test]
fn gated_products_are_those_of_the_steps() {
    let (mut rng, one) = (Rng::new(20), Team::new(1).unwrap());
    for (ty, down) in [
        (GgmlType::Q4_0, GgmlType::Q8_0),
        (GgmlType::Q8_0, GgmlType::Q4_K),
        (GgmlType::Q6_K, GgmlType::BF16),
        (GgmlType::F16, GgmlType::F16),
        (GgmlType::BF16, GgmlType::F32),
    ] {
        let (n_cols, n_ff, n_rows) = (256, 1536, 40);
        let mut weights = |ty, n, m| Weights::new(&mut rng, &one, ty, n, m);
        let gate = weights(ty, n_ff, n_cols).packed;
        let up = weights(ty, n_ff, n_cols).on_demand;
        let down = weights(down, n_rows, n_ff).packed;
        for n_tokens in [1, 5, 11, 12, 64, 300] {
            let x = rng.activations(n_tokens * n_cols);
            for isa in isas() {
                let product = |acts: &Acts, w: &Matrix| {
                    let mut out = vec![f32::NAN; n_tokens * w.n_rows()];
                    let product = Linear { w, bias: None, out: &mut out, add: false };
                    linears(isa, &one, acts, [product]);
                    out
                };
                let mut acts = Acts::new();
                acts.prepare(isa, &one, gate.act_form().into(), &x, n_cols);
                let (a, b) = (product(&acts, &gate), product(&acts, &up));
                for act in [Gate::Silu, Gate::Gelu] {
                    let mut both = vec![0.0; a.len()];
                    match act {
                        Gate::Silu => crate::swiglu(isa, &one, &a, &b, &mut both),
                        Gate::Gelu => crate::geglu(isa, &one, &a, &b, &mut both),
                    }
                    let forms = down.act_form().into();
                    let (mut steps, mut fused) = (Acts::new(), Acts::new());
                    steps.prepare(isa, &one, forms, &both, n_ff);
                    let want = product(&steps, &down);
                    for n_threads in [1, 3] {
                        let place =
                            format!("{isa}, {n_threads} threads, {n_tokens} tokens, {act:?}");
                        let team = Team::new(n_threads).unwrap();
                        let what = Gated { gate: &gate, up: &up, act };
                        assert!(gated(isa, &team, &acts, &what, forms, &mut fused), "{place}");
                        let got = product(&fused, &down);
                        assert!(got.iter().zip(&want).all(|(a, b)| same(*a, *b)), "{place}");
                    }
                }
            }
        }
    }
}

#[test]
fn gated_products_that_cannot_be_dealt_out() {
    let (mut rng, team) = (Rng::new(21), Team::new(4).unwrap());
    let w = Weights::new(&mut rng, &team, GgmlType::Q8_0, 5 * 256, 32).packed;
    let isa = Isa::detect();
    let (mut acts, mut next) = (Acts::new(), Acts::new());
    acts.prepare(isa, &team, w.act_form().into(), &[0.5; 32], 32);
    let what = Gated { gate: &w, up: &w, act: Gate::Silu };
    assert!(!gated(isa, &team, &acts, &what, crate::ActForm::Q8_K.into(), &mut next));
    assert!(gated(isa, &team, &acts, &what, crate::ActForm::Q8_0.into(), &mut next));
}

#[test]
fn normed_rows_are_those_of_the_steps() {
    let (mut rng, n_cols) = (Rng::new(22), 512);
    let weights = rng.activations(2 * n_cols);
    let (weight, bias) = weights.split_at(n_cols);
    let forms: ActForms = types().map(crate::ActForm::of).collect();
    for (isa, n_threads) in isas().flat_map(|isa| [(isa, 1), (isa, 3)]) {
        let team = Team::new(n_threads).unwrap();
        for n_tokens in [1, 6, 7, 100] {
            let x = rng.activations(n_tokens * n_cols);
            let layer = LayerNorm { n: n_cols, weight, bias: Some(bias), eps: 1e-5 };
            for norm in [RowNorm::Rms { weight, eps: 1e-5 }, RowNorm::Layer(layer)] {
                let mut out = vec![0.0; x.len()];
                match norm {
                    RowNorm::Rms { weight, eps } => {
                        crate::rms_norm(isa, &team, &x, weight, eps, &mut out);
                    }
                    RowNorm::Layer(norm) => crate::layer_norm(isa, &team, &norm, &x, &mut out),
                }
                let (mut steps, mut fused) = (Acts::new(), Acts::new());
                steps.prepare(isa, &team, forms, &out, n_cols);
                fused.prepare_normed(isa, &team, forms, &norm, &x);
                assert!(fused.same_forms(&steps), "{isa}, {n_threads} threads, {n_tokens} tokens");
            }
        }
    }
}
