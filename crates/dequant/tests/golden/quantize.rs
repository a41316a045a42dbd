//! Every quantizer, of weights and of activations, against ggml's.

use crate::inputs::{cases, hex};
use dequant::{BlockQ8_0, BlockQ8_1, BlockQ8_K, GgmlType};
use sha2::{Digest, Sha256};

fn line(name: &str, data: &[u8], size: usize) -> String {
    let (n, hash, first) = (data.len() / size, hex(Sha256::digest(data)), hex(&data[..size]));
    format!("{name}: {n} blocks, sha256 {hash}, first {first}\n")
}

/// If this fails, the inputs differ, and the other tests tell nothing.
#[test]
fn inputs_are_those_of_the_capture() {
    let mut text = String::new();
    for (name, x) in cases() {
        let bytes: Vec<u8> = x.iter().flat_map(|x| x.to_le_bytes()).collect();
        let hash = hex(Sha256::digest(bytes));
        text += &format!("{name}: {} elements, sha256 {hash}\n", x.len());
    }
    golden::check("quantize", "inputs", &text);
}

fn check(ty: GgmlType) {
    let mut text = String::new();
    for (name, x) in cases() {
        let mut out = vec![0; ty.row_bytes(x.len()).unwrap()];
        dequant::quantize(ty, &x, 256, &mut out).unwrap();
        text += &line(&name, &out, ty.block_bytes());
    }
    golden::check("quantize", ty.name(), &text);
}

macro_rules! formats {
    ($($test:ident $ty:ident)*) => {
        $(#[test] fn $test() { check(GgmlType::$ty); })*

        #[test]
        fn every_target_is_compared() {
            let tested = [$(GgmlType::$ty),*];
            for &ty in GgmlType::ALL {
                let want = ty == GgmlType::F32 || tested.contains(&ty);
                assert_eq!(dequant::is_target(ty), want, "{}", ty.name());
            }
        }
    };
}
formats! {
    f16 F16 bf16 BF16 q4_0 Q4_0 q4_1 Q4_1 q5_0 Q5_0 q5_1 Q5_1 q8_0 Q8_0 q4_k Q4_K q5_k Q5_K q6_k Q6_K
    iq4_nl IQ4_NL iq4_xs IQ4_XS
}

macro_rules! activations {
    ($($test:ident $block:ident $function:ident $name:literal)*) => {$(
        #[test]
        fn $test() {
            let mut text = String::new();
            for (name, x) in cases() {
                let n = x.len() / <$block as dequant::Block>::N_ELEMS;
                let mut out = vec![$block::ZERO; n];
                dequant::$function(&x, &mut out);
                text += &line(&name, dequant::as_bytes(&out), size_of::<$block>());
            }
            golden::check("activations", $name, &text);
        }
    )*};
}
activations! {
    activations_q8_0 BlockQ8_0 quantize_q8_0 "q8_0"
    activations_q8_1 BlockQ8_1 quantize_q8_1 "q8_1"
    activations_q8_k BlockQ8_K quantize_q8_k "q8_K"
}
