//! What holds for every file, tried on many: writing back what was read gives the same bytes, and no change of T0
//! makes the parser do anything but answer.
#![expect(
    clippy::cast_possible_truncation,
    reason = "random bits are cut to the size that is wanted"
)]
use gguf_parse::{GgmlType, Gguf, GgufPlan, Value};
use golden::hostile::{Random, T1, mutants, t0};

/// Writes `gguf` again from what it says about itself.
fn copy_of(gguf: &Gguf) -> Vec<u8> {
    let mut plan = GgufPlan::new();
    for (key, value) in gguf.metadata().iter() {
        plan.set(key, value);
    }
    let mut data = Vec::new();
    for info in gguf.tensors() {
        plan.tensor(&info.name, info.ty, info.dims.ne());
        data.push(gguf.find_tensor(&info.name).map(|view| view.data).unwrap_or_default());
    }
    plan.to_bytes(&data).unwrap_or_default()
}

/// A file of random pairs of every type and random tensors.
fn random_file(random: &mut Random) -> Vec<u8> {
    let mut plan = GgufPlan::new();
    if random.below(2) == 0 {
        plan.set("general.alignment", Value::U32(1 << random.below(9)));
    }
    let text: String =
        (0..random.below(20)).map(|_| random.pick(&['a', 'é', '▁', '\n', '\u{1f600}'])).collect();
    for _ in 0..random.below(20) {
        let bits = random.bits();
        let key = format!("k{}", random.below(10));
        match random.below(15) {
            0 => plan.set(&key, Value::U8(bits as u8)),
            1 => plan.set(&key, Value::I8(bits as i8)),
            2 => plan.set(&key, Value::U16(bits as u16)),
            3 => plan.set(&key, Value::I16(bits as i16)),
            4 => plan.set(&key, Value::U32(bits as u32)),
            5 => plan.set(&key, Value::I32(bits as i32)),
            6 => plan.set(&key, Value::F32(f32::from_bits(bits as u32))),
            7 => plan.set(&key, Value::Bool(bits & 1 == 1)),
            8 => plan.set(&key, Value::Str(&text)),
            9 => plan.set(&key, Value::U64(bits)),
            10 => plan.set(&key, Value::I64(bits as i64)),
            11 => plan.set(&key, Value::F64(f64::from_bits(bits << 3))),
            12 => plan.set_strs(&key, &vec![text.as_str(); random.below(4)]),
            13 => plan.set_f32s(&key, &vec![f32::from_bits(bits as u32); random.below(4)]),
            _ => plan.remove(&key),
        };
    }
    let mut data = Vec::new();
    for i in 0..random.below(6) {
        let ty = random.pick(GgmlType::ALL);
        let ne: Vec<u64> = (0..=random.below(4)).map(|_| 1 + random.bits() % 3).collect();
        let ne = [&[ne[0] * ty.block_elems() as u64], &ne[1..]].concat();
        let n_bytes = ne.iter().product::<u64>() as usize / ty.block_elems() * ty.block_bytes();
        plan.tensor(&format!("t{i}"), ty, &ne);
        data.push((0..n_bytes).map(|_| random.bits() as u8).collect::<Vec<u8>>());
    }
    plan.to_bytes(&data.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap_or_default()
}

#[test]
fn what_is_read_and_written_again_is_the_same_file() {
    let mut random = Random::new(1);
    let files = [t0(), T1::new().build(), T1::bpe().build()];
    let mut empty = 0;
    for file in files.into_iter().chain((0..2_000).map(|_| random_file(&mut random))) {
        match Gguf::from_bytes(file.clone()) {
            Ok(gguf) => {
                assert!(gguf.warnings().is_empty(), "{:?}", gguf.warnings());
                assert!(copy_of(&gguf) == file, "{gguf:?} is written differently");
            }
            Err(error) if error.code() == "E-EMPTY" || file.is_empty() => empty += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(empty < 100, "{empty} of 2000 files had nothing in them");
}

/// Reads everything a file that opened offers, so that a view out of bounds would show; what it counted.
fn read_all(gguf: &Gguf) -> usize {
    let mut n = 0;
    for (key, value) in gguf.metadata().iter() {
        assert!(gguf.metadata().value(key).is_some(), "{key}");
        n += match value {
            Value::Array(array) => {
                assert_eq!(array.iter().count(), array.len(), "{key}");
                array.len()
            }
            Value::Str(text) => text.len(),
            _ => 1,
        };
    }
    for info in gguf.tensors() {
        let view = gguf.find_tensor(&info.name);
        assert_eq!(view.map(|view| view.data.len()), info.dims.n_bytes(info.ty), "{}", info.name);
        n += info.n_bytes;
    }
    n
}

#[test]
fn no_change_of_a_file_makes_the_parser_panic() {
    let mut opened = 0;
    let mut codes = std::collections::BTreeMap::new();
    for file in mutants(2).take(200_000) {
        match Gguf::from_bytes(file) {
            Ok(gguf) => {
                opened += 1;
                read_all(&gguf);
                let copy = copy_of(&gguf);
                let again = Gguf::from_bytes(copy.clone()).map(|again| copy_of(&again) == copy);
                assert!(
                    matches!(again, Ok(true)),
                    "what was accepted is written in one way: {again:?}"
                );
            }
            Err(error) => {
                assert!(error.to_string().len() <= 400, "{error}");
                *codes.entry(error.code()).or_insert(0) += 1;
            }
        }
    }
    // Otherwise the changes were too wild to reach what is behind the first checks, or too tame.
    assert!(opened > 10_000, "{opened} opened");
    assert!(codes.len() >= 20, "{codes:?}");
}
