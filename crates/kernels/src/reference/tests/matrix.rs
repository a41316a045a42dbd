//! Dot products, the conversions before them, and whole matrix products.

use super::super::{
    Rows, act_type, dots, f16_to_f32, f32_to_f16, get_row, quantize_row, vec_dot, weighted_sum,
};
use super::stream::Stream;
use super::{Lines, WEIGHTS};
use dequant::GgmlType;

#[test]
fn dot_products() {
    let mut lines = Lines::default();
    for ty in WEIGHTS {
        let act = act_type(ty).unwrap();
        let mut stream = Stream::new(&format!("vec_dot {}", ty.name()));
        let many = if ty.block_elems() == 1 { 100 } else { 3 };
        let lengths: Vec<usize> = (1..=20).chain([many; 50]).collect();
        for (kind, draw) in [
            ("mixed", Stream::blocks as fn(&mut Stream, GgmlType, usize) -> Vec<u8>),
            ("loud", Stream::loud_blocks),
        ] {
            let dot =
                |&n: &usize| vec_dot(ty, &draw(&mut stream, ty, n), &draw(&mut stream, act, n));
            let dots: Vec<f32> = lengths.iter().map(dot).collect();
            let name = format!("{}*{},{kind}", ty.name(), act.name());
            lines.values("VEC_DOT", &name, &[dots.len()], &dots);
        }
    }
    lines.check("vec_dot");
}

/// Random floats, zeros, ties and very small values, a block and more of each.
fn tricky_floats(stream: &mut Stream) -> Vec<f32> {
    let ties = || (0..256_u16).map(|i| f32::from(i % 64) - 31.5);
    let mut x = stream.floats(1024);
    x.extend([0.0; 256]);
    x.extend(ties());
    x.extend(ties().map(|x| x * f32::from_bits((127 - 120) << 23)));
    x
}

#[test]
fn quantized_activations() {
    let mut lines = Lines::default();
    for ty in [GgmlType::F16, GgmlType::BF16, GgmlType::Q8_0, GgmlType::Q8_1, GgmlType::Q8_K] {
        let x = tricky_floats(&mut Stream::new(&format!("quantize {}", ty.name())));
        let mut out = vec![0; ty.row_bytes(x.len()).unwrap()];
        quantize_row(ty, &x, &mut out);
        lines.bytes("QUANTIZE", ty.name(), &out);
    }
    lines.check("quantize");
}

#[test]
fn matrix_products() {
    let mut lines = Lines::default();
    for ty in WEIGHTS {
        let act = act_type(ty).unwrap();
        let mut stream = Stream::new(&format!("mul_mat {}", ty.name()));
        let weights = stream.blocks(ty, 7 * 512 / ty.block_elems());
        let mut out = Vec::new();
        let mut row = vec![0; act.row_bytes(512).unwrap()];
        for token in stream.floats(3 * 512).chunks_exact(512) {
            quantize_row(act, token, &mut row);
            out.extend(weights.chunks_exact(weights.len() / 7).map(|w| vec_dot(ty, w, &row)));
        }
        lines.values("MUL_MAT", ty.name(), &[3, 7], &out);
    }
    lines.check("mul_mat");
}

#[test]
fn table_rows() {
    let mut lines = Lines::default();
    for ty in WEIGHTS {
        let mut stream = Stream::new(&format!("get_rows {}", ty.name()));
        let table = stream.blocks(ty, 5 * 256 / ty.block_elems());
        let mut out = [0.0; 3 * 256];
        for (row, out) in [4, 0, 2].into_iter().zip(out.chunks_exact_mut(256)) {
            get_row(ty, &table, row, out);
        }
        lines.values("GET_ROWS", ty.name(), &[3, 256], &out);
    }
    lines.check("get_rows");
}

#[test]
fn conversions() {
    let mut lines = Lines::default();
    let floats = || (0..1_u32 << 20).map(|i| f32::from_bits(i.wrapping_mul(4099)));
    let fp16: Vec<u8> = floats().flat_map(|x| f32_to_f16(x).to_le_bytes()).collect();
    let bf16: Vec<u8> = floats().flat_map(dequant::f32_to_bf16).collect();
    let all: Vec<u8> = (0..=u16::MAX).flat_map(|h| f16_to_f32(h).to_le_bytes()).collect();
    lines.bytes("FROM_F32", "fp16", &fp16);
    lines.bytes("FROM_F32", "bf16", &bf16);
    lines.bytes("TO_F32", "fp16", &all);
    lines.check("f16");
}

#[test]
#[should_panic(expected = "no whole number of blocks")]
fn half_a_block_panics() {
    let _ = vec_dot(GgmlType::Q4_1, &[0; 19], &[0; 36]);
}

#[test]
#[should_panic(expected = "differ in length")]
fn unequal_rows_panic() {
    let _ = vec_dot(GgmlType::Q4_1, &[0; 40], &[0; 36]);
}

#[test]
fn products_of_many_rows_are_those_of_each() {
    const N_ACTS: usize = 9;
    for ty in WEIGHTS {
        let act = act_type(ty).unwrap();
        let mut stream = Stream::new(&format!("dots {}", ty.name()));
        let n_blocks = 512 / ty.block_elems();
        let w = stream.loud_blocks(ty, n_blocks);
        let acts = stream.loud_blocks(act, N_ACTS * 512 / act.block_elems());
        let mut out = [0.0; N_ACTS];
        dots(&Rows::new(ty, &w), &Rows::new(act, &acts), &mut out);
        let each = acts.chunks_exact(acts.len() / N_ACTS).map(|a| vec_dot(ty, &w, a).to_bits());
        assert!(out.iter().map(|x| x.to_bits()).eq(each), "{}", ty.name());
    }
}

#[test]
fn weighted_sums_are_products_with_columns() {
    let mut stream = Stream::new("weighted sums");
    // Columns that fill whole groups of sums, and some more.
    for (n_rows, n) in [(64, 256), (256, 64), (3, 19), (1, 1)] {
        let f16 = |x: f32| f16_to_f32(f32_to_f16(x));
        let weights: Vec<f32> = stream.floats(n_rows).into_iter().map(f16).collect();
        let rows: Vec<f32> = stream.floats(n_rows * n).into_iter().map(f16).collect();
        let mut out = vec![0.0; n];
        weighted_sum(&weights, &rows, &mut out);
        let bytes = |x: &mut dyn Iterator<Item = f32>| -> Vec<u8> {
            x.flat_map(|x| f32_to_f16(x).to_le_bytes()).collect()
        };
        for (c, x) in out.iter().enumerate() {
            let column = bytes(&mut rows.iter().skip(c).step_by(n).copied());
            let want = vec_dot(GgmlType::F16, &column, &bytes(&mut weights.iter().copied()));
            assert_eq!(x.to_bits(), want.to_bits(), "{n_rows} rows, column {c} of {n}");
        }
    }
}
