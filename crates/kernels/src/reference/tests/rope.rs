//! Rotations.

use super::super::{RopeParams, rope};
use super::Lines;
use super::stream::Stream;
use crate::RopeKind;

const POSITIONS: [i32; 7] = [0, 1, 2, 7, 100, 4095, 131_071];

/// Name, elements of a head, whether there are frequency factors, and the rest.
fn kinds() -> [(&'static str, usize, bool, RopeParams<'static>); 8] {
    let plain = RopeParams {
        n_rot: 64,
        mode: RopeKind::Norm,
        freq_base: 10_000.0,
        freq_scale: 1.0,
        ext_factor: 0.0,
        attn_factor: 1.0,
        beta_fast: 32.0,
        beta_slow: 1.0,
        n_ctx_orig: 4096,
        freq_factors: None,
    };
    let linear = RopeParams { freq_base: 500_000.0, freq_scale: 0.25, ..plain };
    let factors = RopeParams { n_rot: 128, freq_base: 500_000.0, n_ctx_orig: 8192, ..plain };
    let yarn = RopeParams { n_rot: 128, freq_scale: 0.125, ext_factor: 1.0, ..plain };
    let yarn_half = RopeParams {
        n_rot: 96,
        freq_base: 1_000_000.0,
        freq_scale: 0.3,
        ext_factor: 0.5,
        attn_factor: 1.2,
        n_ctx_orig: 32_768,
        ..plain
    };
    [
        ("plain", 64, false, plain),
        ("partial", 80, false, RopeParams { n_rot: 32, ..plain }),
        ("linear", 64, false, linear),
        ("factors", 128, true, factors),
        ("yarn", 128, false, yarn),
        ("yarn-narrow", 128, false, RopeParams { freq_scale: 0.067, n_ctx_orig: 6, ..yarn }),
        (
            "yarn-wide",
            64,
            false,
            RopeParams { n_rot: 64, freq_base: 3.0, freq_scale: 0.25, n_ctx_orig: 300, ..yarn },
        ),
        ("yarn-half", 96, true, yarn_half),
    ]
}

#[test]
fn rotations() {
    let mut lines = Lines::default();
    for (kind, n, with_factors, params) in kinds() {
        for (text, mode) in [("norm", RopeKind::Norm), ("neox", RopeKind::Neox)] {
            let mut stream = Stream::new(&format!("rope {kind},{text}"));
            let mut x = stream.floats(POSITIONS.len() * 3 * n);
            let factors: Vec<f32> =
                stream.floats(params.n_rot / 2).into_iter().map(|f| 1.0 + f.abs()).collect();
            let freq_factors = with_factors.then_some(&factors[..]);
            let params = RopeParams { mode, freq_factors, ..params };
            for (pos, heads) in POSITIONS.into_iter().zip(x.chunks_exact_mut(3 * n)) {
                rope(heads, n, pos, &params);
            }
            lines.values("ROPE", &format!("{kind},{text}"), &[POSITIONS.len(), 3, n], &x);
        }
    }
    lines.check("rope");
}
