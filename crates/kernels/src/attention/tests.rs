use super::{Attention, CHUNK, attention, tiles};
use crate::testing::{Rng, same};
use crate::{Isa, KvCache, KvShape, KvType, Team, math};

const F16: KvShape = KvShape {
    n_layer: 1,
    n_seq: 1,
    n_ctx: 1,
    n_head_kv: 1,
    n_embd_head_k: 1,
    n_embd_head_v: 1,
    type_k: KvType::F16,
    type_v: KvType::F16,
};

/// A cache of random keys and values, every position of every sequence filled.
fn filled(shape: KvShape, seed: u64) -> KvCache {
    let mut rng = Rng::new(seed);
    let mut cache = KvCache::new(shape).unwrap();
    let (dk, dv) = (shape.n_head_kv * shape.n_embd_head_k, shape.n_head_kv * shape.n_embd_head_v);
    for il in 0..shape.n_layer {
        for seq in 0..shape.n_seq {
            for pos in 0..shape.n_ctx {
                cache.store(il, seq, pos, &rng.activations(dk), &rng.activations(dv));
            }
        }
    }
    cache
}

/// The definition for one query head, straight down.
fn naive(layer: &Attention<'_>, q: &[f32], head: usize, (seq, pos): (usize, usize)) -> Vec<f32> {
    let shape = layer.cache.shape();
    let kv_head = head / (layer.n_head / shape.n_head_kv);
    let read = |pos: usize| {
        let mut k = vec![0.0; shape.n_head_kv * shape.n_embd_head_k];
        let mut v = vec![0.0; shape.n_head_kv * shape.n_embd_head_v];
        layer.cache.load(layer.il, seq, pos, &mut k, &mut v);
        let k = k[kv_head * shape.n_embd_head_k..][..shape.n_embd_head_k].to_vec();
        let v = v[kv_head * shape.n_embd_head_v..][..shape.n_embd_head_v].to_vec();
        (k, v)
    };
    let score = |k: &[f32]| {
        let x = q.iter().zip(k).fold(0.0_f32, |acc, (q, k)| q.mul_add(*k, acc)) * layer.scale;
        layer.attn_logit_softcap.map_or(x, |cap| math::tanh(x / cap) * cap)
    };
    let first = layer.n_swa.map_or(0, |n| (pos + 1).saturating_sub(n));
    let (mut big_m, mut big_l, mut big_o) =
        (f32::NEG_INFINITY, 0.0_f32, vec![0.0_f32; shape.n_embd_head_v]);
    for chunk in first / CHUNK..=pos / CHUNK {
        let range = first.max(chunk * CHUNK)..(pos + 1).min((chunk + 1) * CHUNK);
        let x: Vec<f32> = range.clone().map(|pos| score(&read(pos).0)).collect();
        let m = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let p: Vec<f32> = x.iter().map(|x| math::exp(x - m)).collect();
        let mut lanes = [0.0_f32; 16];
        range.clone().zip(&p).for_each(|(pos, p)| lanes[pos % 16] += p);
        for width in [8, 4, 2, 1] {
            (0..width).for_each(|i| lanes[i] += lanes[i + width]);
        }
        let mut o = vec![0.0_f32; shape.n_embd_head_v];
        for (pos, p) in range.zip(&p) {
            o.iter_mut().zip(read(pos).1).for_each(|(o, v)| *o = p.mul_add(v, *o));
        }
        let max = big_m.max(m);
        let (a, b) = (math::exp(big_m - max), math::exp(m - max));
        big_l = lanes[0].mul_add(b, big_l * a);
        big_o.iter_mut().zip(o).for_each(|(big, o)| *big = o.mul_add(b, *big * a));
        big_m = max;
    }
    if let Some(sinks) = layer.sinks {
        let max = big_m.max(sinks[head]);
        let (a, b) = (math::exp(big_m - max), math::exp(sinks[head] - max));
        big_l = 1.0_f32.mul_add(b, big_l * a);
        big_o.iter_mut().for_each(|o| *o *= a);
    }
    big_o.iter().map(|o| (o + 0.0) / big_l).collect()
}

fn run(
    isa: Isa,
    team: &Team,
    layer: &Attention<'_>,
    q: &[f32],
    tokens: &[(usize, usize)],
) -> Vec<f32> {
    let mut out = vec![f32::NAN; tokens.len() * layer.n_head * layer.cache.shape().n_embd_head_v];
    attention(isa, team, layer, q, tokens, &mut out);
    out
}

/// Compares every query with the definition, on every ISA and for several teams.
fn check(layer: &Attention<'_>, tokens: &[(usize, usize)], seed: u64) {
    let shape = layer.cache.shape();
    let q = Rng::new(seed).activations(tokens.len() * layer.n_head * shape.n_embd_head_k);
    let heads = q.chunks_exact(shape.n_embd_head_k).enumerate();
    let want: Vec<f32> = heads
        .flat_map(|(i, q)| naive(layer, q, i % layer.n_head, tokens[i / layer.n_head]))
        .collect();
    for n_threads in [1, 2, 3] {
        let team = Team::new(n_threads).unwrap();
        for isa in Isa::available() {
            let got = run(isa, &team, layer, &q, tokens);
            for (i, (&got, &want)) in got.iter().zip(&want).enumerate() {
                assert!(
                    same(got, want),
                    "{shape:?}, {} heads, {isa}, {n_threads} threads, {} tokens, element {i}: {got:e} is not {want:e}",
                    layer.n_head,
                    tokens.len(),
                );
            }
        }
    }
}

fn plain(cache: &KvCache, n_head: usize) -> Attention<'_> {
    Attention {
        cache,
        il: 0,
        n_head,
        scale: 0.125,
        n_swa: None,
        attn_logit_softcap: None,
        sinks: None,
    }
}

#[test]
fn single_queries_at_every_length_are_the_definition() {
    for (n_head, n_head_kv, n_embd_head_k, n_embd_head_v) in [
        (1, 1, 64, 64),
        (9, 3, 64, 64),
        (4, 1, 16, 8),
        (2, 2, 5, 3),
        (7, 1, 20, 36),
        (6, 2, 128, 128),
    ] {
        let shape = KvShape {
            n_layer: 2,
            n_seq: 2,
            n_ctx: 600,
            n_head_kv,
            n_embd_head_k,
            n_embd_head_v,
            ..F16
        };
        let cache = filled(shape, 51);
        for pos in [0, 1, 2, 14, 15, 16, 17, 31, 32, 100, 254, 255, 256, 257, 511, 512, 599] {
            let layer = Attention { il: 1, ..plain(&cache, n_head) };
            check(&layer, &[(1, pos)], pos as u64);
        }
    }
}

/// What would show whether a first chunk is merged or left where it was computed.
#[test]
fn zeros_are_positive() {
    let shape = KvShape { n_ctx: 300, n_embd_head_k: 16, n_embd_head_v: 16, ..F16 };
    let mut cache = KvCache::new(shape).unwrap();
    for pos in 0..300 {
        cache.store(0, 0, pos, &[0.25; 16], &[-0.0; 16]);
    }
    let layer = plain(&cache, 1);
    for pos in [0, 40, 255, 256, 299] {
        check(&layer, &[(0, pos)], 57);
        for isa in Isa::available() {
            let out = run(isa, &Team::new(2).unwrap(), &layer, &[1.0; 16], &[(0, pos)]);
            assert!(out.iter().all(|out| out.to_bits() == 0), "{isa}, position {pos}: {out:?}");
        }
    }
}

#[test]
fn batches_are_the_definition() {
    let shape = KvShape {
        n_layer: 1,
        n_seq: 3,
        n_ctx: 600,
        n_head_kv: 3,
        n_embd_head_k: 64,
        n_embd_head_v: 64,
        ..F16
    };
    let cache = filled(shape, 52);
    for n_head in [3, 9, 12] {
        let layer = plain(&cache, n_head);
        for (first, n) in
            [(0, 1), (0, 2), (0, 9), (0, 64), (240, 40), (255, 2), (250, 8), (500, 70)]
        {
            let tokens: Vec<(usize, usize)> = (first..first + n).map(|pos| (0, pos)).collect();
            check(&layer, &tokens, 53);
        }
        // Several sequences, gaps, repetitions, backwards.
        check(
            &layer,
            &[(0, 5), (0, 6), (1, 7), (1, 300), (2, 301), (2, 302), (2, 302), (2, 100), (0, 0)],
            54,
        );
    }
}

/// Whatever the types of keys and values, what counts is the numbers that are read back from the cache.
#[test]
fn every_type_of_cache_is_the_definition() {
    for (type_k, type_v) in KvType::ALL.iter().flat_map(|k| KvType::ALL.map(|v| (*k, v))) {
        for (n_head, n_head_kv, n_embd_head_k, n_embd_head_v) in
            [(9, 3, 64, 64), (1, 1, 96, 32), (4, 1, 32, 160), (10, 2, 128, 96)]
        {
            let shape = KvShape {
                n_layer: 2,
                n_seq: 2,
                n_ctx: 310,
                n_head_kv,
                n_embd_head_k,
                n_embd_head_v,
                type_k,
                type_v,
            };
            let cache = filled(shape, 64);
            let layer = Attention { il: 1, ..plain(&cache, n_head) };
            for (first, n) in [(0, 1), (15, 1), (300, 1), (0, 9), (250, 13)] {
                let tokens: Vec<(usize, usize)> = (first..first + n).map(|pos| (1, pos)).collect();
                check(&layer, &tokens, 65);
                check(&Attention { n_swa: Some(100), ..layer }, &tokens, 66);
            }
        }
    }
}

#[test]
fn windows_caps_and_sinks_are_the_definition() {
    let shape = KvShape {
        n_layer: 1,
        n_seq: 1,
        n_ctx: 700,
        n_head_kv: 2,
        n_embd_head_k: 32,
        n_embd_head_v: 32,
        ..F16
    };
    let cache = filled(shape, 55);
    let sinks = [0.5, -3.0, 40.0, 0.0];
    let tokens = |first, n| (first..first + n).map(|pos| (0, pos)).collect::<Vec<_>>();
    for n_swa in [None, Some(1), Some(7), Some(16), Some(100), Some(256), Some(300)] {
        for attn_logit_softcap in [None, Some(5.0)] {
            for sinks in [None, Some(&sinks[..])] {
                let layer = Attention { n_swa, attn_logit_softcap, sinks, ..plain(&cache, 4) };
                check(&layer, &tokens(0, 12), 56);
                check(&layer, &tokens(600, 1), 57);
                check(&layer, &tokens(505, 20), 58);
            }
        }
    }
}

/// A ring gives the bits of a cache of all positions, whatever is stored at once.
#[test]
fn rings_are_the_whole_cache() {
    for (ty, n_swa, n_batch) in [
        (KvType::F16, 1, 1),
        (KvType::F16, 100, 40),
        (KvType::F32, 256, 1),
        (KvType::Q8_0, 200, 57),
        (KvType::F16, 300, 213),
        (KvType::Q8_0, 257, 300),
    ] {
        let shape = KvShape {
            n_layer: 2,
            n_seq: 2,
            n_ctx: 1500,
            n_head_kv: 2,
            n_embd_head_k: 32,
            n_embd_head_v: 32,
            type_k: ty,
            type_v: ty,
        };
        let n_cells = shape.window_cells(n_swa, n_batch);
        assert!(n_cells < 1500, "{n_cells}");
        let mut ring = KvCache::with_cells(shape, vec![1500, n_cells]).unwrap();
        let mut whole = KvCache::new(shape).unwrap();
        let (mut rng, teams) = (Rng::new(81), [1, 2, 3].map(|n| Team::new(n).unwrap()));
        let tokens: Vec<(usize, usize)> = (0..1500).map(|pos| (1, pos)).collect();
        for tokens in tokens.chunks(n_batch) {
            let n = tokens.len();
            let (k, v, q) =
                (rng.activations(n * 64), rng.activations(n * 64), rng.activations(n * 128));
            ring.store_all(&teams[1], 1, tokens, &k, &v);
            whole.store_all(&teams[1], 1, tokens, &k, &v);
            let layer = |cache| Attention { il: 1, n_swa: Some(n_swa), ..plain(cache, 4) };
            // All of a short run; of a long one, what is near a chunk's ends.
            let near = |pos: usize| n_batch > 1 || pos % CHUNK < 3 || pos.is_multiple_of(97);
            if !near(tokens[0].1) {
                continue;
            }
            let want = run(Isa::Scalar, &teams[0], &layer(&whole), &q, tokens);
            for isa in Isa::available() {
                for team in &teams {
                    let got = run(isa, team, &layer(&ring), &q, tokens);
                    let same = got.iter().zip(&want).all(|(a, b)| a.to_bits() == b.to_bits());
                    assert!(same, "{ty:?}, window {n_swa}, {n_batch} at once, {isa}, {tokens:?}");
                }
            }
        }
    }
}

#[test]
#[should_panic(expected = "256 cells are too few")]
fn windows_beyond_the_ring_panic() {
    let shape = KvShape { n_ctx: 600, n_embd_head_k: 16, n_embd_head_v: 16, ..F16 };
    let cache = KvCache::with_cells(shape, vec![256]).unwrap();
    let layer = Attention { n_swa: Some(257), ..plain(&cache, 1) };
    run(Isa::Scalar, &Team::new(1).unwrap(), &layer, &[1.0; 16], &[(0, 40)]);
}

#[test]
fn close_to_exact_arithmetic() {
    let shape = KvShape {
        n_layer: 1,
        n_seq: 1,
        n_ctx: 600,
        n_head_kv: 1,
        n_embd_head_k: 64,
        n_embd_head_v: 64,
        ..F16
    };
    let cache = filled(shape, 59);
    let layer = plain(&cache, 1);
    let q = Rng::new(60).activations(64);
    let got = run(Isa::detect(), &Team::new(1).unwrap(), &layer, &q, &[(0, 599)]);
    let (mut k, mut v) = ([0.0; 64], [0.0; 64]);
    let (mut total, mut exact, mut size) = (0.0, [0.0; 64], [0.0; 64]);
    // Scores of up to this size are off by 64 roundings of it at most, which is the relative error of exp.
    let mut largest = 0.0_f64;
    for pos in 0..600 {
        cache.load(0, 0, pos, &mut k, &mut v);
        let terms = q.iter().zip(k).map(|(&q, k)| f64::from(q) * f64::from(k) * 0.125);
        let p = terms.clone().sum::<f64>().exp();
        largest = largest.max(terms.map(f64::abs).sum());
        total += p;
        for ((exact, size), v) in exact.iter_mut().zip(&mut size).zip(v) {
            *exact += p * f64::from(v);
            *size += p * f64::from(v).abs();
        }
    }
    let eps = f64::from(f32::EPSILON) / 2.0;
    for i in 0..64 {
        let bound = eps * (2.0 * 66.0 * largest + 256.0 + 30.0) * size[i] / total;
        let error = (f64::from(got[i]) - exact[i] / total).abs();
        assert!(error <= bound, "element {i}: error {error:e}, bound {bound:e}");
    }
}

#[test]
fn what_is_not_seen_does_not_matter() {
    let shape = KvShape {
        n_layer: 1,
        n_seq: 2,
        n_ctx: 300,
        n_head_kv: 1,
        n_embd_head_k: 16,
        n_embd_head_v: 16,
        ..F16
    };
    let clean = filled(shape, 61);
    let mut dirty = filled(shape, 61);
    for pos in 270..300 {
        dirty.store(0, 0, pos, &[f32::NAN; 16], &[f32::INFINITY; 16]);
        dirty.store(0, 1, pos, &[f32::NAN; 16], &[f32::INFINITY; 16]);
    }
    let tokens: Vec<(usize, usize)> = (255..270).map(|pos| (0, pos)).collect();
    let q = Rng::new(62).activations(tokens.len() * 4 * 16);
    let team = Team::new(2).unwrap();
    for isa in Isa::available() {
        let [a, b] = [&clean, &dirty].map(|cache| run(isa, &team, &plain(cache, 4), &q, &tokens));
        assert_eq!(a, b, "{isa}");
    }
}

#[test]
fn nan_and_infinity_reach_the_output_on_every_isa() {
    let shape = KvShape { n_ctx: 40, n_embd_head_k: 32, n_embd_head_v: 32, ..F16 };
    let team = Team::new(1).unwrap();
    for (ty, bad) in KvType::ALL
        .iter()
        .flat_map(|ty| [f32::NAN, f32::INFINITY, f32::NEG_INFINITY].map(|bad| (*ty, bad)))
    {
        let mut cache = filled(KvShape { type_k: ty, type_v: ty, ..shape }, 63);
        let mut k = [1.0; 32];
        k[7] = bad;
        cache.store(0, 0, 20, &k, &[1.0; 32]);
        let q = [1.0; 32];
        let outs: Vec<Vec<f32>> = Isa::available()
            .map(|isa| run(isa, &team, &plain(&cache, 1), &q, &[(0, 30)]))
            .collect();
        for out in &outs {
            assert!(out.iter().zip(&outs[0]).all(|(&a, &b)| same(a, b)), "{ty:?} {bad}");
            // A score of -inf is a probability of 0. In Q8_0 the scale is infinite, and 0 times that is NaN.
            let is_zero = bad == f32::NEG_INFINITY && ty != KvType::Q8_0;
            assert!(is_zero || out.iter().all(|x| x.is_nan()), "{ty:?} {bad}");
        }
    }
}

#[test]
fn tiles_are_runs_of_one_sequence() {
    let tokens = [(0, 4), (0, 5), (0, 6), (1, 7), (1, 8), (1, 10), (1, 10), (0, 0)];
    assert_eq!(tiles(&tokens, 2), [0..2, 2..3, 3..5, 5..6, 6..7, 7..8]);
    assert_eq!(tiles(&tokens, 9), [0..3, 3..5, 5..6, 6..7, 7..8]);
    assert_eq!(tiles(&[], 9), []);
}

#[test]
#[should_panic(expected = "position 40 of 40")]
fn positions_outside_the_cache_panic() {
    let shape = KvShape {
        n_layer: 1,
        n_seq: 1,
        n_ctx: 40,
        n_head_kv: 1,
        n_embd_head_k: 16,
        n_embd_head_v: 16,
        ..F16
    };
    let cache = KvCache::new(shape).unwrap();
    run(Isa::Scalar, &Team::new(1).unwrap(), &plain(&cache, 1), &[1.0; 16], &[(0, 40)]);
}
