use super::{RopeAngles, RopeKind, RopeParams, RopeScaling, RopeTable, rope};
use crate::testing::{Rng, same};
use crate::{Isa, KernelError, Team};

const PLAIN: RopeParams<'_> = RopeParams {
    kind: RopeKind::Norm,
    n_rot: 64,
    freq_base: 10_000.0,
    freq_factors: None,
    scaling: RopeScaling::None,
};

/// The formulas of the paper and of ggml, in f64 with the system's functions.
fn exact_angle(p: &RopeParams<'_>, pos: usize, i: usize) -> (f64, f64) {
    let n = p.n_rot as f64;
    let base = f64::from(p.freq_base);
    let factor = p.freq_factors.map_or(1.0, |f| f64::from(f[i]));
    let extrapolated = pos as f64 * base.powf(-2.0 * i as f64 / n) / factor;
    match p.scaling {
        RopeScaling::None => (extrapolated, 1.0),
        RopeScaling::Linear { freq_scale } => (extrapolated * f64::from(freq_scale), 1.0),
        RopeScaling::Yarn {
            freq_scale,
            ext_factor,
            attn_factor,
            beta_fast,
            beta_slow,
            n_ctx_orig,
        } => {
            let [scale, ext, attn] = [freq_scale, ext_factor, attn_factor].map(f64::from);
            let interpolated = extrapolated * scale;
            if ext == 0.0 {
                return (interpolated, attn);
            }
            let dim = |turns: f32| {
                n * (n_ctx_orig as f64 / (f64::from(turns) * std::f64::consts::TAU)).ln()
                    / (2.0 * base.ln())
            };
            let (low, high) = (dim(beta_fast).floor().max(0.0), dim(beta_slow).ceil().min(n - 1.0));
            let ramp = (1.0 - ((i as f64 - low) / (high - low).max(0.001)).clamp(0.0, 1.0)) * ext;
            (
                interpolated * (1.0 - ramp) + extrapolated * ramp,
                attn * (1.0 + 0.1 * (1.0 / scale).ln()),
            )
        }
    }
}

#[test]
fn angles_are_the_formulas_rounded_to_f32() {
    let factors: Vec<f32> = (0..32_u8).map(|i| 1.0 + f32::from(i) * 0.25).collect();
    let yarn = |ext_factor| RopeScaling::Yarn {
        freq_scale: 0.125,
        ext_factor,
        attn_factor: 0.75,
        beta_fast: 32.0,
        beta_slow: 1.0,
        n_ctx_orig: 4096,
    };
    let linear = RopeScaling::Linear { freq_scale: 0.25 };
    for scaling in [RopeScaling::None, linear, yarn(1.0), yarn(0.5), yarn(0.0)] {
        for freq_factors in [None, Some(&factors[..])] {
            for freq_base in [10_000.0, 1_000_000.0] {
                let params = RopeParams { scaling, freq_factors, freq_base, ..PLAIN };
                let table = RopeTable::new(&params).unwrap();
                let positions = [0, 1, 2, 77, 4095, 131_071];
                let mut angles = RopeAngles::new();
                angles.prepare(&table, positions.into_iter());
                for (t, pos) in positions.into_iter().enumerate() {
                    for i in 0..32 {
                        let (theta, magnitude) = exact_angle(&params, pos, i);
                        let (cos, sin) = (angles.cos[t * 32 + i], angles.sin[t * 32 + i]);
                        // Half an ulp of f32, and 1e-13 of an angle of up to 131071.
                        let bound = 6.0e-8 * magnitude + 2e-8;
                        assert!(
                            (f64::from(cos) - theta.cos() * magnitude).abs() < bound,
                            "{params:?} {pos} {i}"
                        );
                        assert!(
                            (f64::from(sin) - theta.sin() * magnitude).abs() < bound,
                            "{params:?} {pos} {i}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn pairs_are_rotated_and_the_rest_stays_on_every_isa() {
    let mut rng = Rng::new(41);
    for kind in [RopeKind::Norm, RopeKind::Neox] {
        for (n_rot, n_embd_head, n_head, n_tokens) in
            [(64, 64, 3, 1), (2, 5, 1, 3), (20, 64, 2, 4), (64, 80, 9, 90)]
        {
            let table = RopeTable::new(&RopeParams { kind, n_rot, ..PLAIN }).unwrap();
            let mut angles = RopeAngles::new();
            angles.prepare(&table, (0..n_tokens).map(|t| 10 + 3 * t));
            let x = rng.activations(n_tokens * n_head * n_embd_head);
            let mut want = x.clone();
            for (h, head) in want.chunks_mut(n_embd_head).enumerate() {
                let t = h / n_head;
                for i in 0..n_rot / 2 {
                    let (cos, sin) = (angles.cos[t * n_rot / 2 + i], angles.sin[t * n_rot / 2 + i]);
                    let (a, b) = match kind {
                        RopeKind::Norm => (2 * i, 2 * i + 1),
                        RopeKind::Neox => (i, i + n_rot / 2),
                    };
                    (head[a], head[b]) =
                        (head[a] * cos - head[b] * sin, head[a] * sin + head[b] * cos);
                }
            }
            for n_threads in [1, 3] {
                let team = Team::new(n_threads).unwrap();
                for isa in Isa::available() {
                    let mut got = x.clone();
                    rope(isa, &team, &angles, &mut got, n_embd_head);
                    assert!(got.iter().zip(&want).all(|(&a, &b)| same(a, b)), "{kind:?}, {isa}");
                }
            }
        }
    }
}

#[test]
fn position_zero_changes_nothing_and_no_tokens_are_fine() {
    let table = RopeTable::new(&PLAIN).unwrap();
    let mut angles = RopeAngles::new();
    angles.prepare(&table, [0].into_iter());
    let team = Team::new(1).unwrap();
    let mut x: Vec<f32> = (0..64_u8).map(f32::from).collect();
    rope(Isa::detect(), &team, &angles, &mut x, 64);
    assert!(x.iter().zip(0..64_u8).all(|(&x, i)| x == f32::from(i)));
    angles.prepare(&table, std::iter::empty());
    rope(Isa::detect(), &team, &angles, &mut [], 64);
}

#[test]
fn meaningless_parameters_are_errors() {
    let bad = [
        RopeParams { n_rot: 0, ..PLAIN },
        RopeParams { n_rot: 7, ..PLAIN },
        RopeParams { freq_base: 0.0, ..PLAIN },
        RopeParams { freq_base: f32::NAN, ..PLAIN },
        RopeParams { freq_factors: Some(&[1.0]), ..PLAIN },
        RopeParams { freq_factors: Some(&[0.0; 32]), ..PLAIN },
        RopeParams { scaling: RopeScaling::Linear { freq_scale: f32::INFINITY }, ..PLAIN },
        RopeParams { scaling: RopeScaling::Linear { freq_scale: -1.0 }, ..PLAIN },
    ];
    for params in bad {
        let error = RopeTable::new(&params).unwrap_err();
        assert!(matches!(error, KernelError::RopeParams { .. }), "{params:?}");
    }
}
