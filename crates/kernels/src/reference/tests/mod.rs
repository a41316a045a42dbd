//! Every operation, bit for bit, against what llama.cpp's scalar build computed (golden/capture/ops.py).

mod libm;
mod matrix;
mod rope;
mod rows;
mod stream;

use dequant::GgmlType;
use golden::trace::{Detail, node_line};
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// The weight types with a dot product, in the order of the goldens.
const WEIGHTS: [GgmlType; 16] = [
    GgmlType::F32,
    GgmlType::F16,
    GgmlType::BF16,
    GgmlType::Q4_0,
    GgmlType::Q4_1,
    GgmlType::Q5_0,
    GgmlType::Q5_1,
    GgmlType::Q8_0,
    GgmlType::Q2_K,
    GgmlType::Q3_K,
    GgmlType::Q4_K,
    GgmlType::Q5_K,
    GgmlType::Q6_K,
    GgmlType::IQ4_NL,
    GgmlType::IQ4_XS,
    GgmlType::MXFP4,
];

/// The lines of a golden.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn values(&mut self, op: &str, name: &str, shape: &[usize], values: &[f32]) {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "{op} {name}");
        self.0 += &node_line(op, name, None, 0, shape, values, Detail::Full);
        self.0.push('\n');
    }

    fn bytes(&mut self, op: &str, name: &str, bytes: &[u8]) {
        let (sha256, first) = (hex(&Sha256::digest(bytes)), hex(&bytes[..36]));
        self.0 += &format!("{op} {name} bytes={} sha256={sha256} first={first}\n", bytes.len());
    }

    #[track_caller]
    fn check(self, family: &str) {
        golden::check("ops", family, &self.0);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
