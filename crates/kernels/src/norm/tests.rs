use super::{add, geglu, rms_norm, rms_norm_in_place, swiglu};
use crate::testing::{Rng, same};
use crate::{Isa, Team, math};

fn assert_same(got: &[f32], want: &[f32], what: &str) {
    for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
        assert!(same(got, want), "{what}, element {i}: {got:e} is not {want:e}");
    }
}

/// The definition, element by element.
fn naive_rms_norm(x: &[f32], weight: &[f32], eps: f32) -> Vec<f32> {
    x.chunks(weight.len())
        .flat_map(|x| {
            let lane =
                |i: usize| x.iter().skip(i).step_by(16).fold(0.0_f32, |sum, x| x.mul_add(*x, sum));
            let mut lanes: Vec<f32> = (0..16).map(lane).collect();
            while lanes.len() > 1 {
                let half = lanes.len() / 2;
                lanes = (0..half).map(|i| lanes[i] + lanes[i + half]).collect();
            }
            let scale = 1.0 / (lanes[0] / x.len() as f32 + eps).sqrt();
            x.iter().zip(weight).map(move |(x, w)| x * scale * w).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn rms_norm_is_its_definition_on_every_isa_and_team() {
    let mut rng = Rng::new(31);
    for n_threads in [1, 3] {
        let team = Team::new(n_threads).unwrap();
        for (n_rows, n_cols) in
            [(1, 1), (2, 15), (3, 16), (1, 17), (2, 64), (1, 576), (70, 1000), (0, 8)]
        {
            let (x, weight) = (rng.activations(n_rows * n_cols), rng.activations(n_cols));
            let want = naive_rms_norm(&x, &weight, 1e-5);
            for isa in Isa::available() {
                let mut out = vec![f32::NAN; x.len()];
                rms_norm(isa, &team, &x, &weight, 1e-5, &mut out);
                assert_same(&out, &want, isa.name());
                let mut x = x.clone();
                rms_norm_in_place(isa, &team, &mut x, &weight, 1e-5);
                assert_same(&x, &want, isa.name());
            }
        }
    }
}

#[test]
fn rms_norm_is_close_to_exact_arithmetic() {
    let mut rng = Rng::new(32);
    let (x, weight) = (rng.activations(576), rng.activations(576));
    let mean = x.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>() / 576.0;
    let mut out = vec![0.0; 576];
    rms_norm(Isa::detect(), &Team::new(1).unwrap(), &x, &weight, 1e-5, &mut out);
    for ((&got, &x), &w) in out.iter().zip(&x).zip(&weight) {
        let want = f64::from(x) * f64::from(w) / (mean + 1e-5).sqrt();
        // 36 additions a lane, 4 in the tree, halved by the root; 5 more operations.
        let bound = f64::from(f32::EPSILON) / 2.0 * (40.0 / 2.0 + 5.0) * want.abs();
        assert!((f64::from(got) - want).abs() <= bound, "{got} {want}");
    }
}

#[test]
fn element_wise_operations_are_the_same_on_every_isa_and_team() {
    let mut rng = Rng::new(33);
    for n in [0, 1, 7, 8, 9, 100, 40_000] {
        let mut x: Vec<f32> = rng.activations(n).iter().map(|x| x * 10.0).collect();
        let specials = [
            0.0,
            -0.0,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            1e-40,
            -88.5,
            104.0,
            3e38,
            -3e38,
        ];
        x.iter_mut().skip(3).zip(specials).for_each(|(x, special)| *x = special);
        let y = rng.activations(n);
        let silu: Vec<f32> =
            x.iter().zip(&y).map(|(&x, &y)| x / (1.0 + math::exp(-x)) * y).collect();
        let mut first: Option<Vec<f32>> = None;
        for n_threads in [1, 2, 3] {
            let team = Team::new(n_threads).unwrap();
            for isa in Isa::available() {
                let mut sum = x.clone();
                add(isa, &team, &mut sum, &y);
                let want: Vec<f32> = x.iter().zip(&y).map(|(x, y)| x + y).collect();
                assert_same(&sum, &want, "add");
                let mut out = vec![0.0; n];
                swiglu(isa, &team, &x, &y, &mut out);
                assert_same(&out, &silu, "swiglu");
                geglu(isa, &team, &x, &y, &mut out);
                assert_same(&out, first.get_or_insert_with(|| out.clone()), "geglu");
            }
        }
    }
}

#[test]
fn activations_are_close_to_exact_arithmetic() {
    let team = Team::new(1).unwrap();
    let x: Vec<f32> = (-20_000..20_000_i16).map(|i| f32::from(i) * 0.001).collect();
    let ones = vec![1.0; x.len()];
    let (mut silu, mut gelu) = (ones.clone(), ones.clone());
    swiglu(Isa::detect(), &team, &x, &ones, &mut silu);
    geglu(Isa::detect(), &team, &x, &ones, &mut gelu);
    let eps = f64::from(f32::EPSILON);
    for (i, &x) in x.iter().enumerate() {
        let x = f64::from(x);
        let exact = x / (1.0 + (-x).exp());
        assert!((f64::from(silu[i]) - exact).abs() <= 3.0 * eps * exact.abs(), "silu({x})");
        let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
        let exact = 0.5 * x * (1.0 + inner.tanh());
        // 1 + tanh cancels for negative x: an absolute error there.
        assert!((f64::from(gelu[i]) - exact).abs() <= 4.0 * eps * x.abs(), "gelu({x})");
    }
}
