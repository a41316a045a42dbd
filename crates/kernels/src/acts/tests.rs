use super::{ActForm, ActForms, Acts};
use crate::testing::{Rng, same};
use crate::{Isa, Team};
use dequant::{BlockQ8_0, BlockQ8_1, BlockQ8_K, Quantize};

/// Rows that try the quantizers, a kind for each `block` of numbers: activations, halves exactly between codes, tiny, huge,
/// zero, infinite, and the largest in several places with both signs.
fn rows(n_tokens: usize, n_cols: usize, block: usize) -> Vec<f32> {
    let mut rng = Rng::new(11);
    let mut x = rng.activations(n_tokens * n_cols);
    for (i, block) in x.chunks_mut(block).enumerate() {
        match i % 10 {
            0 => block.iter_mut().for_each(|x| *x = (*x * 8.0).round() / 2.0),
            1 => block.fill(0.0),
            2 => block.iter_mut().for_each(|x| *x *= 1e-42),
            3 => block.iter_mut().for_each(|x| *x *= 1e36),
            4 => block[7] = f32::INFINITY,
            5 => {
                // Codes land on n + 1/2 exactly: the largest is 127.
                for (j, x) in block.iter_mut().enumerate() {
                    *x = (j % 32) as f32 - 15.5;
                }
                block[3] = 127.0;
                block[4] = -127.0;
            }
            6 => block.iter_mut().for_each(|x| *x = -x.abs()),
            7 => {
                let n = block.len();
                (block[n - 5], block[n - 3], block[n / 2 + 1]) = (90.0, -90.0, -90.0);
            }
            _ => {}
        }
    }
    x
}

#[test]
fn codes_of_32_are_those_of_dequant_on_every_isa() {
    for n_tokens in [1, 2, 4, 5, 6, 7, 14, 20] {
        let x = rows(n_tokens, 576, 32);
        for isa in Isa::available() {
            let mut acts = Acts::new();
            acts.prepare(isa, &Team::new(1).unwrap(), ActForm::Q8_0Wide.into(), &x, 576);
            let q = acts.codes(32);
            for (token, x) in x.chunks(576).enumerate() {
                for (b, x) in x.chunks(32).enumerate() {
                    let (q8_0, q8_1) = (BlockQ8_0::quantize(x), BlockQ8_1::quantize(x));
                    let mut codes = [0; 256];
                    q.block_codes(b, token, &mut codes);
                    assert_eq!(codes[..32], q8_0.qs, "{isa}: codes of {x:?}");
                    let at = q.index(b, token);
                    assert!(same(q.d[at], q8_0.scale()), "{isa}: scale of {x:?}");
                    assert!(same(q.s[at], q8_1.scaled_sum()), "{isa}: sum of {x:?}");
                }
            }
        }
    }
}

#[test]
fn codes_of_256_are_those_of_dequant_on_every_isa() {
    for n_tokens in [1, 3, 5, 6, 7, 14] {
        let mut x = rows(n_tokens, 768, 256);
        x[..256].copy_from_slice(&[0.5; 256]);
        x[17] = -0.5; // The first of equals decides the sign of the scale.
        for isa in Isa::available() {
            let mut acts = Acts::new();
            acts.prepare(isa, &Team::new(1).unwrap(), ActForm::Q8_K.into(), &x, 768);
            let q = acts.codes(256);
            for (token, x) in x.chunks(768).enumerate() {
                for (b, x) in x.chunks(256).enumerate() {
                    let want = BlockQ8_K::quantize(x);
                    let mut codes = [0; 256];
                    q.block_codes(b, token, &mut codes);
                    assert_eq!(codes, want.qs, "{isa}: codes of {x:?}");
                    assert!(same(q.d[q.index(b, token)], want.scale()), "{isa}: scale of {x:?}");
                    let first = token / q.tile * q.tile;
                    let t = q.tile_len(first);
                    for (j, sums) in want.sums().as_chunks::<2>().0.iter().enumerate() {
                        let at = q.base(b, first) * 8 + j * t + token - first;
                        assert_eq!(q.sums16[at], *sums, "{isa}: sums {j}");
                    }
                }
            }
        }
    }
}

#[test]
fn derived_arrays_agree_with_the_codes() {
    let (n_tokens, n_cols) = (9, 512);
    let x = rows(n_tokens, n_cols, 256);
    for isa in Isa::available() {
        let mut acts = Acts::new();
        let forms = ActForms::from(ActForm::Q8_0Wide) | ActForm::Q8_K.into();
        acts.prepare(isa, &Team::new(1).unwrap(), forms, &x, n_cols);
        for k in [32, 256] {
            let q = acts.codes(k);
            for token in 0..n_tokens {
                let first = token / isa.tile() * isa.tile();
                let t = isa.tile().min(n_tokens - first);
                for b in 0..n_cols / k {
                    let mut codes = [0; 256];
                    q.block_codes(b, token, &mut codes);
                    let wide = |k: usize| i16::from(codes[k]);
                    let base = first * (n_cols / k) + b * t;
                    let group = k / q.groups();
                    for g in 0..q.groups() {
                        let lane = |odd: usize| -> i16 {
                            (g * group..(g + 1) * group)
                                .filter(|k| k / 2 % 2 == odd)
                                .map(wide)
                                .sum()
                        };
                        let at = base * q.groups() + g * t + token - first;
                        if isa.starts_with_minus() {
                            let minus = -i32::from(lane(0) + lane(1));
                            assert_eq!(q.minus[at], minus, "{isa} minus of {k}");
                        } else {
                            assert_eq!(q.lanes[at], [-lane(0), -lane(1)], "{isa} lanes of {k}");
                        }
                    }
                    if k == 256 {
                        for j in 0..4 {
                            let sum = |j: usize| -> i16 { (32 * j..32 * j + 32).map(wide).sum() };
                            let at = base * 4 + j * t + token - first;
                            assert_eq!(q.sums32[at], [sum(2 * j), sum(2 * j + 1)], "{isa} sums");
                        }
                    } else if !isa.starts_with_minus() {
                        for p in 0..16 {
                            let at = base * 16 + p * t + token - first;
                            assert_eq!(q.wide[at], [wide(2 * p), wide(2 * p + 1)], "{isa} wide");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn team_size_does_not_matter_and_memory_is_reused() {
    let x = rows(70, 512, 32);
    let forms: ActForms =
        [ActForm::Q8_0Wide, ActForm::Q8_K, ActForm::F16, ActForm::BF16, ActForm::F32]
            .into_iter()
            .collect();
    let mut one = Acts::new();
    one.prepare(Isa::detect(), &Team::new(1).unwrap(), forms, &x, 512);
    let mut acts = Acts::new();
    for n_threads in [2, 3] {
        let team = Team::new(n_threads).unwrap();
        for n_tokens in [70, 3, 70] {
            acts.prepare(Isa::detect(), &team, forms, &x[..n_tokens * 512], 512);
        }
        for k in [32, 256] {
            let (a, b) = (acts.codes(k), one.codes(k));
            assert_eq!(a.codes, b.codes);
            assert_eq!((&a.wide, &a.lanes, &a.minus), (&b.wide, &b.lanes, &b.minus));
            assert_eq!((&a.sums16, &a.sums32), (&b.sums16, &b.sums32));
            let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!((bits(&a.d), bits(&a.s)), (bits(&b.d), bits(&b.s)));
        }
        for form in [ActForm::F16, ActForm::BF16, ActForm::F32] {
            assert_eq!(acts.floats(form).values, one.floats(form).values);
            assert_eq!(acts.floats(form).pairs, one.floats(form).pairs);
        }
    }
}

#[test]
#[should_panic(expected = "whole number of blocks")]
fn blocks_must_be_whole() {
    Acts::new().prepare(
        Isa::Scalar,
        &Team::new(1).unwrap(),
        ActForm::Q8_K.into(),
        &[0.0; 288],
        288,
    );
}
