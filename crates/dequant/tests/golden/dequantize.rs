//! Every dequantizer against ggml's, over all 65,536 values of every F16 scale.

use crate::inputs::{hex, random_bytes};
use dequant::GgmlType;
use golden::trace::hex_float;
use sha2::{Digest, Sha256};

/// Formats in the order of the capture (the seeds depend on it), with the offsets of the F16 scales in a block. (The scale
/// of MXFP4 is one byte; two codes are swept along.)
const FORMATS: [(GgmlType, &[usize]); 16] = [
    (GgmlType::F32, &[]),
    (GgmlType::F16, &[0]),
    (GgmlType::BF16, &[0]),
    (GgmlType::Q4_0, &[0]),
    (GgmlType::Q4_1, &[0, 2]),
    (GgmlType::Q5_0, &[0]),
    (GgmlType::Q5_1, &[0, 2]),
    (GgmlType::Q8_0, &[0]),
    (GgmlType::Q2_K, &[80, 82]),
    (GgmlType::Q3_K, &[108]),
    (GgmlType::Q4_K, &[0, 2]),
    (GgmlType::Q5_K, &[0, 2]),
    (GgmlType::Q6_K, &[208]),
    (GgmlType::IQ4_NL, &[0]),
    (GgmlType::IQ4_XS, &[0]),
    (GgmlType::MXFP4, &[0]),
];

fn dequantized(ty: GgmlType, bytes: &[u8]) -> Vec<f32> {
    let mut out = vec![0.0; bytes.len() / ty.block_bytes() * ty.block_elems()];
    dequant::dequantize(ty, bytes, &mut out).unwrap();
    out
}

/// 65,536 blocks: the scale at `offset` takes every value, the rest is `payload`.
fn sweep(ty: GgmlType, scales: &[usize], offset: usize, payload: &str, seed: u64) -> String {
    let size = ty.block_bytes();
    let mut data = random_bytes(seed, 65536 * size);
    for (d, block) in (0..=u16::MAX).zip(data.chunks_exact_mut(size)) {
        if let Ok(byte) = u8::from_str_radix(payload, 16) {
            block.fill(byte);
            for &other in scales {
                block[other..other + 2].copy_from_slice(&[0x66, 0x2E]);
            }
        }
        block[offset..offset + 2].copy_from_slice(&d.to_le_bytes());
    }
    let (mut sha256, mut n_nan) = (Sha256::new(), 0);
    for blocks in data.chunks(size * 1024) {
        let mut bytes = Vec::with_capacity(4 * 1024 * ty.block_elems());
        for x in dequantized(ty, blocks) {
            n_nan += usize::from(x.is_nan());
            let bits = if x.is_nan() { 0x7FC0_0000 } else { x.to_bits() };
            bytes.extend(bits.to_le_bytes());
        }
        sha256.update(&bytes);
    }
    let hash = hex(sha256.finalize());
    format!("scale at byte {offset}, payload {payload}: {n_nan} NaN, sha256 {hash}\n")
}

/// Random blocks with all their values.
fn examples(ty: GgmlType, scales: &[usize], seed: u64) -> String {
    let (size, packed) = (ty.block_bytes(), ty.block_elems() > 1);
    let mut data = random_bytes(seed, if packed { 4 } else { 64 } * size);
    let mut text = String::new();
    for block in data.chunks_exact_mut(size) {
        for offset in scales.iter().filter(|_| packed) {
            block[offset + 1] &= 0x9F;
        }
        let values = dequantized(ty, block);
        let values: Vec<_> = values.iter().map(|&x| hex_float(f64::from(x))).collect();
        text += &format!("{} -> {}\n", hex(block), values.join(" "));
    }
    text
}

fn check(ty: GgmlType) {
    let i = FORMATS.iter().position(|(t, _)| *t == ty).unwrap();
    let scales = FORMATS[i].1;
    let mut text =
        format!("{}: {} elements in {} bytes\n", ty.name(), ty.block_elems(), ty.block_bytes());
    let payloads: &[_] = if ty.block_elems() > 1 { &["00", "ff", "55", "random"] } else { &["00"] };
    for &offset in scales {
        for (j, payload) in payloads.iter().enumerate() {
            text += &sweep(ty, scales, offset, payload, (1000 * i + 10 * offset + j) as u64);
        }
    }
    text += &examples(ty, scales, (1000 * i + 999) as u64);
    golden::check("dequant", ty.name(), &text);
}

macro_rules! formats {
    ($($test:ident $ty:ident)*) => {
        $(#[test] fn $test() { check(GgmlType::$ty); })*

        #[test]
        fn every_supported_type_is_compared() {
            let tested = [$(GgmlType::$ty),*];
            for &ty in GgmlType::ALL {
                assert_eq!(dequant::is_supported(ty), tested.contains(&ty), "{}", ty.name());
            }
        }
    };
}
formats! {
    f32 F32 f16 F16 bf16 BF16 q4_0 Q4_0 q4_1 Q4_1 q5_0 Q5_0 q5_1 Q5_1 q8_0 Q8_0
    q2_k Q2_K q3_k Q3_K q4_k Q4_K q5_k Q5_K q6_k Q6_K iq4_nl IQ4_NL iq4_xs IQ4_XS mxfp4 MXFP4
}
