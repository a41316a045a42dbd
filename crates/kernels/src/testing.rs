//! What the tests of several modules share: random numbers, random weights, the plainest form of each product.

use crate::format::{self, Float, Format, with_format};
use dequant::{BlockQ8_1, BlockQ8_K, GgmlType, Quantize};

/// Every type with kernels.
pub(crate) const TYPES: [GgmlType; 16] = [
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

/// Reproducible random numbers (SplitMix64, Steele, Lea and Flood 2014).
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    /// Uniform in -1..1.
    pub(crate) fn symmetric(&mut self) -> f32 {
        ((self.next() >> 40) as f32).mul_add(1.0 / 8_388_608.0, -1.0)
    }

    /// Roughly normal, now and then far out, as activations are.
    pub(crate) fn activation(&mut self) -> f32 {
        let sum: f32 = (0..4).map(|_| self.symmetric()).sum();
        if self.next().is_multiple_of(61) { sum * 20.0 } else { sum }
    }

    pub(crate) fn activations(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.activation()).collect()
    }

    /// Bytes of a weight matrix: random codes (every value occurs), moderate scales.
    pub(crate) fn weights(&mut self, ty: GgmlType, n_rows: usize, n_cols: usize) -> Vec<u8> {
        let n_blocks = n_rows * n_cols / ty.block_elems();
        (0..n_blocks).flat_map(|_| self.block(ty)).collect()
    }

    fn block(&mut self, ty: GgmlType) -> Vec<u8> {
        let scale = dequant::f32_to_f16(self.symmetric() * 0.02);
        let min = dequant::f32_to_f16(self.symmetric() * 0.02);
        let mut bytes: Vec<u8> =
            (0..ty.block_bytes()).map(|_| self.next().to_le_bytes()[0]).collect();
        let end = bytes.len();
        match ty {
            GgmlType::F32 => bytes.copy_from_slice(&self.symmetric().to_le_bytes()),
            GgmlType::F16 => bytes.copy_from_slice(&dequant::f32_to_f16(self.symmetric())),
            GgmlType::BF16 => bytes.copy_from_slice(&dequant::f32_to_bf16(self.symmetric())),
            GgmlType::Q3_K | GgmlType::Q6_K => bytes[end - 2..].copy_from_slice(&scale),
            GgmlType::Q2_K => {
                bytes[80..82].copy_from_slice(&scale);
                bytes[82..84].copy_from_slice(&min);
            }
            GgmlType::Q4_0
            | GgmlType::Q5_0
            | GgmlType::Q8_0
            | GgmlType::IQ4_NL
            | GgmlType::IQ4_XS => bytes[..2].copy_from_slice(&scale),
            // A power of two from 2^-8 on.
            GgmlType::MXFP4 => bytes[0] = 120 + bytes[0] % 8,
            _ => {
                bytes[..2].copy_from_slice(&scale);
                bytes[2..4].copy_from_slice(&min);
            }
        }
        bytes
    }
}

/// The product of a row of weights and a row of activations by its definition (see [`crate::linear`]), from the
/// blocks of the file and the activation blocks of `dequant`: no packing, no tiles.
pub(crate) fn naive_dot(ty: GgmlType, row: &[u8], x: &[f32]) -> f32 {
    with_format!(ty, F => naive_quant::<F>(row, x), W => naive_float::<W>(ty, row, x)).unwrap()
}

fn naive_quant<F: Format>(row: &[u8], x: &[f32]) -> f32 {
    let mut acc = 0.0_f32;
    for (block, x) in dequant::blocks::<F::Block>(row).unwrap().iter().zip(x.chunks_exact(F::K)) {
        let (words, p) = (F::words(block), F::scales(block));
        let codes: Vec<u8> = words.as_ref().iter().flat_map(|w| w.to_le_bytes()).collect();
        let (a, d, s): (Vec<i8>, f32, f32) = if F::K == 32 {
            let a = BlockQ8_1::quantize(x);
            (a.codes().to_vec(), a.scale(), a.scaled_sum())
        } else {
            let a = BlockQ8_K::quantize(x);
            (a.codes().to_vec(), a.scale(), f32::NAN)
        };
        let scale =
            |k: usize| if F::HEADER.has_scales() { i32::from(p.scales[k / F::GROUP]) } else { 1 };
        let product =
            |k: usize| i32::from(format::code::<F>(codes[k])) * i32::from(a[k]) * scale(k);
        let isum: i32 = (0..F::K).map(product).sum();
        let (dw, m) = (F::HEADER.scale(p.d), dequant::f16_to_f32(p.m));
        acc = (isum as f32 * dw).mul_add(d, acc);
        if F::HEADER.has_m() {
            acc = m.mul_add(s, acc);
        }
        if F::HEADER.has_mins() {
            let imin: i32 =
                (0..F::K).map(|k| i32::from(p.mins[k / F::GROUP]) * i32::from(a[k])).sum();
            acc = (-(imin as f32 * m)).mul_add(d, acc);
        }
    }
    acc
}

fn naive_float<W: Float>(ty: GgmlType, row: &[u8], x: &[f32]) -> f32 {
    let w = row.chunks_exact(W::BYTES).map(W::value);
    if ty == GgmlType::BF16 {
        let flush = |x: f32| if x.is_subnormal() { 0.0_f32.copysign(x) } else { x };
        let x = x.iter().map(|&x| dequant::bf16_to_f32(dequant::f32_to_bf16(x)));
        let mut products: Vec<(f32, f32)> = w.zip(x).collect();
        products.resize(products.len().next_multiple_of(2), (0.0, 0.0));
        let pairs = products.chunks_exact(2).flat_map(|pair| [pair[1], pair[0]]);
        return pairs.fold(0.0, |acc, (w, x)| flush(flush(w).mul_add(flush(x), acc)));
    }
    w.zip(x).fold(0.0, |acc, (w, &x)| {
        let x = match ty {
            GgmlType::F16 => dequant::f16_to_f32(dequant::f32_to_f16(x)),
            _ => x,
        };
        w.mul_add(x, acc)
    })
}

/// Equal bits, or both NaN.
pub(crate) fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
}
