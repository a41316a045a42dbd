//! A file with a value and an array of every metadata type, and a tensor of every tensor type.
use super::{Random, T1};

/// Nothing in it is hostile: it is for comparing readers. The tensor types are those of the golden `header/tensor-types`.
#[must_use]
pub fn every_type() -> Vec<u8> {
    // Type ids, and three values of each: the least, the greatest and one between.
    let numbers: [(&str, u32, [Vec<u8>; 3]); 11] = [
        ("u8", 0, [vec![0], vec![255], vec![7]]),
        ("i8", 1, [-128_i8, 127, -1].map(|x| x.to_le_bytes().to_vec())),
        ("u16", 2, [0_u16, u16::MAX, 258].map(|x| x.to_le_bytes().to_vec())),
        ("i16", 3, [i16::MIN, i16::MAX, -2].map(|x| x.to_le_bytes().to_vec())),
        ("u32", 4, [0_u32, u32::MAX, 65_537].map(|x| x.to_le_bytes().to_vec())),
        ("i32", 5, [i32::MIN, i32::MAX, -3].map(|x| x.to_le_bytes().to_vec())),
        ("f32", 6, [f32::MIN, f32::MAX, 1e-45].map(|x| x.to_le_bytes().to_vec())),
        ("bool", 7, [vec![0], vec![1], vec![1]]),
        ("u64", 10, [0_u64, u64::MAX, 1 << 40].map(|x| x.to_le_bytes().to_vec())),
        ("i64", 11, [i64::MIN, i64::MAX, -5].map(|x| x.to_le_bytes().to_vec())),
        ("f64", 12, [f64::MIN, f64::MAX, 5e-324].map(|x| x.to_le_bytes().to_vec())),
    ];
    let mut file = T1::empty().set_u32("general.alignment", 32);
    for (name, id, values) in numbers {
        for (which, value) in ["least", "greatest", "between"].iter().zip(&values) {
            file = file.set_raw(&format!("{name}.{which}"), id, value);
        }
        file = file.set_array(&format!("{name}.array"), id, 6, &values.concat().repeat(2));
        file = file.set_array(&format!("{name}.none"), id, 0, &[]);
    }
    let texts = ["", "plain", "\"quoted\" \\ \n\t", "é ▁ 漢字 \u{1f600}", &"long ".repeat(40)];
    for (i, text) in texts.iter().enumerate() {
        file = file.set_str(&format!("str.{i}"), text);
    }
    add_tensors(file.set_strs("str.array", &texts).set_strs("str.none", &[""; 0])).build()
}

/// Three rows of two blocks each, in every type.
fn add_tensors(mut file: T1) -> T1 {
    let mut random = Random::new(3);
    for line in crate::load("header", "tensor-types").lines() {
        let words: Vec<&str> = line.split([' ', ':']).filter(|word| !word.is_empty()).collect();
        let number =
            |at: usize| words.get(at).and_then(|word| word.parse::<u32>().ok()).unwrap_or_default();
        let (id, elems, bytes) = (number(0), number(2), number(5));
        let name = words.get(1).copied().unwrap_or_default();
        let data: Vec<u8> = (0..3 * 2 * bytes).map(|_| random.bits().to_le_bytes()[0]).collect();
        file = file.add_tensor(name, &[2 * u64::from(elems), 3]).set_tensor_bytes(name, id, &data);
    }
    file
}
