use super::{KvCache, KvShape};
use crate::KernelError;
use crate::testing::Rng;

const SHAPE: KvShape =
    KvShape { n_layer: 2, n_seq: 3, n_ctx: 37, n_head_kv: 2, n_embd_head_k: 6, n_embd_head_v: 5 };

/// A distinct key and value for every place, exact in F16.
fn row(il: usize, seq: usize, pos: usize) -> (Vec<f32>, Vec<f32>) {
    let base = ((il * 3 + seq) * 37 + pos) as f32 * 0.5;
    let k = (0..12_u8).map(|i| base + f32::from(i) * 0.0625).collect();
    let v = (0..10_u8).map(|i| -base - f32::from(i) * 0.0625).collect();
    (k, v)
}

fn places() -> impl Iterator<Item = (usize, usize, usize)> {
    (0..2).flat_map(|il| (0..3).flat_map(move |seq| (0..37).map(move |pos| (il, seq, pos))))
}

fn load(cache: &KvCache, il: usize, seq: usize, pos: usize) -> (Vec<f32>, Vec<f32>) {
    let (mut k, mut v) = (vec![0.0; 12], vec![0.0; 10]);
    cache.load(il, seq, pos, &mut k, &mut v);
    (k, v)
}

fn filled() -> KvCache {
    let mut cache = KvCache::new(SHAPE).unwrap();
    for (il, seq, pos) in places() {
        let (k, v) = row(il, seq, pos);
        cache.store(il, seq, pos, &k, &v);
    }
    cache
}

#[test]
fn every_place_is_its_own() {
    let cache = filled();
    for (il, seq, pos) in places() {
        assert_eq!(load(&cache, il, seq, pos), row(il, seq, pos), "layer {il} seq {seq} pos {pos}");
    }
}

#[test]
fn values_are_rounded_to_f16() {
    let mut cache = KvCache::new(SHAPE).unwrap();
    let (k, v) = (Rng::new(71).activations(12), Rng::new(72).activations(10));
    cache.store(0, 0, 0, &k, &v);
    let round = |x: &f32| dequant::f16_to_f32(dequant::f32_to_f16(*x));
    assert_eq!(
        load(&cache, 0, 0, 0),
        (k.iter().map(round).collect(), v.iter().map(round).collect())
    );
}

#[test]
fn copying_takes_a_prefix_of_every_layer() {
    for len in [0, 1, 15, 16, 17, 37] {
        let mut cache = filled();
        cache.copy(0, 2, len).unwrap();
        cache.copy(1, 1, len).unwrap();
        for (il, seq, pos) in places().filter(|&(_, seq, pos)| seq != 2 || pos < len) {
            let from = if seq == 2 { 0 } else { seq };
            assert_eq!(
                load(&cache, il, seq, pos),
                row(il, from, pos),
                "layer {il} seq {seq} pos {pos}"
            );
        }
    }
}

#[test]
fn sizes_are_right_and_wrong_ones_are_errors() {
    let cache = KvCache::new(SHAPE).unwrap();
    let heads = 2 * 3 * 2;
    assert_eq!(cache.n_bytes(), 2 * heads * (48 * 6 + 37 * 5) + 128);
    for shape in [
        KvShape { n_layer: 0, ..SHAPE },
        KvShape { n_ctx: 0, ..SHAPE },
        KvShape { n_embd_head_v: 0, ..SHAPE },
        KvShape { n_ctx: usize::MAX, ..SHAPE },
        KvShape { n_seq: usize::MAX / 8, ..SHAPE },
    ] {
        assert!(matches!(KvCache::new(shape), Err(KernelError::CacheShape { .. })), "{shape:?}");
    }
    let mut cache = KvCache::new(SHAPE).unwrap();
    for (src, dst, len) in [(3, 0, 1), (0, 3, 1), (0, 1, 38)] {
        assert!(matches!(cache.copy(src, dst, len), Err(KernelError::CacheRange { .. })));
    }
}

#[test]
#[should_panic(expected = "position 37 of 37")]
fn positions_outside_panic() {
    let (k, v) = row(0, 0, 0);
    KvCache::new(SHAPE).unwrap().store(0, 0, 37, &k, &v);
}
