use super::{KvCache, KvShape, KvType, Rotation};
use crate::testing::Rng;
use crate::{
    Isa, KernelError, RopeAngles, RopeKind, RopeParams, RopeScaling, RopeTable, Team, rope,
};

const SHAPE: KvShape = KvShape {
    n_layer: 2,
    n_seq: 3,
    n_ctx: 37,
    n_head_kv: 2,
    n_embd_head_k: 6,
    n_embd_head_v: 5,
    type_k: KvType::F16,
    type_v: KvType::F16,
};

/// The same with heads that every type can hold.
fn wide(type_k: KvType, type_v: KvType) -> KvShape {
    KvShape { n_embd_head_k: 64, n_embd_head_v: 96, type_k, type_v, ..SHAPE }
}

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

fn pairs() -> impl Iterator<Item = (KvType, KvType)> {
    KvType::ALL.into_iter().flat_map(|k| KvType::ALL.map(|v| (k, v)))
}

/// What a row of numbers becomes in a cache of type `ty`.
fn rounded(ty: KvType, x: &[f32]) -> Vec<f32> {
    let blocks = x.as_chunks::<32>().0;
    match ty {
        KvType::F32 => x.to_vec(),
        KvType::F16 => x.iter().map(|x| dequant::f16_to_f32(dequant::f32_to_f16(*x))).collect(),
        KvType::Q8_0 => {
            blocks.iter().flat_map(|x| dequant::BlockQ8_0::encode(x).decode()).collect()
        }
    }
}

/// Random keys and values at every place of a cache; they are stored one by one, or all tokens of a layer at once.
#[test]
fn numbers_are_rounded_to_the_type() {
    for (type_k, type_v) in pairs() {
        for at_once in [false, true] {
            let mut cache = KvCache::new(wide(type_k, type_v)).unwrap();
            let (mut rng, team) = (Rng::new(71), Team::new(2).unwrap());
            let tokens: Vec<_> =
                places().filter(|p| p.0 == 0).map(|(_, s, pos)| (s, pos)).collect();
            let n = tokens.len();
            let layers = [0, 1].map(|_| (rng.activations(n * 128), rng.activations(n * 192)));
            for (il, (k, v)) in layers.iter().enumerate() {
                if at_once {
                    cache.store_all(&team, il, &tokens, k, v);
                    continue;
                }
                for (i, &(seq, pos)) in tokens.iter().enumerate() {
                    cache.store(il, seq, pos, &k[i * 128..][..128], &v[i * 192..][..192]);
                }
            }
            for (il, (k, v)) in layers.iter().enumerate() {
                for (i, &(seq, pos)) in tokens.iter().enumerate() {
                    let (mut got_k, mut got_v) = ([0.0; 128], [0.0; 192]);
                    cache.load(il, seq, pos, &mut got_k, &mut got_v);
                    let place = format!("{type_k:?} {type_v:?}, layer {il} seq {seq} pos {pos}");
                    assert_eq!(got_k[..], rounded(type_k, &k[i * 128..][..128]), "{place}");
                    assert_eq!(got_v[..], rounded(type_v, &v[i * 192..][..192]), "{place}");
                }
            }
        }
    }
}

/// One token, few and many, heads that are rotated in part.
#[test]
fn keys_are_rotated_on_their_way() {
    let (mut rng, team) = (Rng::new(73), Team::new(2).unwrap());
    for (kind, n_rot) in [(RopeKind::Norm, 64), (RopeKind::Neox, 64), (RopeKind::Neox, 20)] {
        let (freq_base, scaling) = (10_000.0, RopeScaling::None);
        let params = RopeParams { kind, n_rot, freq_base, freq_factors: None, scaling };
        let table = RopeTable::new(&params).unwrap();
        for (n, type_k) in [1, 5, 70].into_iter().flat_map(|n| KvType::ALL.map(|ty| (n, ty))) {
            let tokens: Vec<_> = (0..n).map(|i| (i % 3, i / 3 + 2)).collect();
            let (k, v) = (rng.activations(n * 128), rng.activations(n * 192));
            let mut angles = RopeAngles::new();
            angles.prepare(&table, tokens.iter().map(|t| t.1));
            for isa in Isa::available() {
                let mut rotated = k.clone();
                rope(isa, &team, &angles, &mut rotated, 64);
                let shape = wide(type_k, KvType::F16);
                let mut caches = [(); 2].map(|()| KvCache::new(shape).unwrap());
                caches[0].store_all(&team, 1, &tokens, &rotated, &v);
                let by = Rotation { isa, angles: &angles };
                caches[1].store_rotated(&team, 1, &tokens, (&k, by), &v);
                for (seq, head) in (0..3).flat_map(|seq| [(seq, 0), (seq, 1)]) {
                    let [a, b] = caches.each_ref().map(|c| c.keys(1, seq, head));
                    assert!(a.codes == b.codes && a.scales == b.scales, "{isa} {type_k:?} {n}");
                    let [a, b] = caches.each_ref().map(|c| c.values(1, seq, head).codes);
                    assert!(a == b, "values: {isa} {type_k:?} {n}");
                }
            }
        }
    }
}

#[test]
fn every_type_copies_a_prefix() {
    for (type_k, type_v) in pairs() {
        for len in [0, 1, 15, 16, 17, 37] {
            let mut cache = KvCache::new(wide(type_k, type_v)).unwrap();
            let read = |cache: &KvCache, (il, seq, pos)| {
                let (mut k, mut v) = ([0.0; 128], [0.0; 192]);
                cache.load(il, seq, pos, &mut k, &mut v);
                (k, v)
            };
            let mut rng = Rng::new(73);
            for (il, seq, pos) in places() {
                cache.store(il, seq, pos, &rng.activations(128), &rng.activations(192));
            }
            let before: Vec<_> = places().map(|place| read(&cache, place)).collect();
            cache.copy(0, 2, len).unwrap();
            for ((il, seq, pos), before) in places().zip(&before) {
                let place = format!("{type_k:?} {type_v:?}, layer {il} seq {seq} pos {pos}");
                if seq == 2 && pos < len {
                    assert_eq!(read(&cache, (il, 2, pos)), read(&cache, (il, 0, pos)), "{place}");
                } else if seq != 2 {
                    assert_eq!(read(&cache, (il, seq, pos)), *before, "{place}");
                }
            }
        }
    }
}

#[test]
fn names_of_types() {
    assert_eq!(KvType::ALL.map(KvType::name), ["f32", "f16", "q8_0"]);
    assert_eq!(KvType::ALL.map(|ty| ty.n_bytes(64)), [Some(256), Some(128), Some(68)]);
    assert_eq!(KvType::F32.n_bytes(usize::MAX / 2), None);
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

/// A layer of all positions between two rings: each holds its last positions, and a copy has them too.
#[test]
fn rings_hold_what_was_stored_last() {
    for (type_k, type_v) in pairs() {
        let shape = KvShape { n_layer: 3, n_ctx: 1100, ..wide(type_k, type_v) };
        let n_cells = [256, 1100, 512];
        let mut cache = KvCache::with_cells(shape, n_cells.to_vec()).unwrap();
        assert_eq!([0, 1, 2].map(|il| cache.n_cells(il)), n_cells);
        let (mut rng, team) = (Rng::new(79), Team::new(2).unwrap());
        let (k, v) = (rng.activations(1100 * 128), rng.activations(1100 * 192));
        let tokens: Vec<_> = (0..1100).map(|pos| (1, pos)).collect();
        let mut first = 0;
        for n in [1, 15, 100, 300, 1, 1, 500, 182] {
            let (tokens, of) = (&tokens[first..first + n], first..first + n);
            for il in 0..3 {
                let (k, v) = (&k[of.start * 128..of.end * 128], &v[of.start * 192..of.end * 192]);
                cache.store_all(&team, il, tokens, k, v);
            }
            first += n;
            cache.copy(1, 2, first).unwrap();
            for (il, seq) in (0..3).flat_map(|il| [(il, 1), (il, 2)]) {
                for pos in first.saturating_sub(n_cells[il])..first {
                    let (mut got_k, mut got_v) = ([0.0; 128], [0.0; 192]);
                    cache.load(il, seq, pos, &mut got_k, &mut got_v);
                    let place = format!("{type_k:?} {type_v:?}, {il} {seq} {pos} of {first}");
                    assert_eq!(got_k[..], rounded(type_k, &k[pos * 128..][..128]), "{place}");
                    assert_eq!(got_v[..], rounded(type_v, &v[pos * 192..][..192]), "{place}");
                }
            }
        }
        assert_eq!(first, 1100, "all positions were stored");
    }
}

#[test]
fn cells_of_windows() {
    let shape = KvShape { n_ctx: 2000, ..SHAPE };
    for (n_swa, n_batch, n_cells) in [
        (1, 1, 256),
        (256, 1, 256),
        (256, 2, 512),
        (512, 512, 1024),
        (512, 513, 1024),
        (512, 514, 1280),
        (1024, 900, 2000),
        (4096, 1, 2000),
        (usize::MAX, usize::MAX, 2000),
    ] {
        assert_eq!(shape.window_cells(n_swa, n_batch), n_cells, "{n_swa} {n_batch}");
    }
    let sizes = [vec![256, 2000], vec![2000, 2000]].map(|n| KvCache::bytes_of(&shape, &n).unwrap());
    assert!(sizes[0] < sizes[1], "{sizes:?}");
    for n_cells in [vec![256], vec![256; 3], vec![255, 256], vec![0, 256], vec![2048, 256]] {
        let cache = KvCache::with_cells(shape, n_cells.clone());
        assert!(matches!(cache, Err(KernelError::CacheShape { .. })), "{n_cells:?}");
    }
}

#[test]
fn sizes_are_right_and_wrong_ones_are_errors() {
    let cache = KvCache::new(SHAPE).unwrap();
    let heads = 2 * 3 * 2;
    // Heads begin at multiples of 64 bytes.
    assert_eq!(
        cache.n_bytes(),
        heads * (2 * 48 * 6 + (2 * 37 * 5_usize).next_multiple_of(64)) + 128
    );
    let q8_0 = KvCache::new(wide(KvType::Q8_0, KvType::Q8_0)).unwrap();
    let v = (37 * 3 * 34_usize).next_multiple_of(64);
    assert_eq!(q8_0.n_bytes(), heads * (48 * 2 * 34 + v) + 128);
    for shape in [
        KvShape { n_layer: 0, ..SHAPE },
        KvShape { n_ctx: 0, ..SHAPE },
        KvShape { n_embd_head_v: 0, ..SHAPE },
        KvShape { n_ctx: usize::MAX, ..SHAPE },
        KvShape { n_seq: usize::MAX / 8, ..SHAPE },
        KvShape { type_k: KvType::Q8_0, ..SHAPE },
        KvShape { n_embd_head_v: 48, ..wide(KvType::F16, KvType::Q8_0) },
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
