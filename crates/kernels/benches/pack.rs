//! Packing: GB/s of file bytes, by type: into memory that is there, and into fresh memory.
//!
//! `cargo bench -p kernels --bench pack -- [filter] [--threads N]`, e.g. `Q4_K --threads 1`.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a program for developers")]

use dequant::GgmlType;
use kernels::{Arena, Isa, Matrix, Team};
use std::time::Instant;

const TYPES: [GgmlType; 16] = [
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
    GgmlType::F16,
    GgmlType::BF16,
    GgmlType::F32,
];
const ROUNDS: usize = 15;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let threads = args.iter().position(|arg| arg == "--threads");
    let n_threads = threads.map_or(2, |i| args[i + 1].parse().unwrap());
    let filter = args.first().filter(|arg| !arg.starts_with("--")).cloned().unwrap_or_default();
    let team = Team::new(n_threads).unwrap();
    let (n_rows, n_cols) = (4096, 2048);
    println!("{n_rows} x {n_cols}, {n_threads} threads: GB/s again, GB/s into fresh memory");
    for ty in TYPES.into_iter().filter(|ty| ty.name().contains(&filter)) {
        let n_bytes = ty.row_bytes(n_cols).unwrap() * n_rows;
        let bytes: Vec<u8> = (0..n_bytes).map(|i| (i * 31 % 251).to_le_bytes()[0]).collect();
        let mut fresh = f64::INFINITY;
        let mut again = f64::INFINITY;
        for _ in 0..ROUNDS {
            let mut w = Matrix::zeroed(Isa::detect(), ty, n_rows, n_cols, &Arena::new()).unwrap();
            for best in [&mut fresh, &mut again] {
                let start = Instant::now();
                w.pack_rows(0, &bytes, &team).unwrap();
                *best = best.min(start.elapsed().as_secs_f64());
            }
        }
        let rate = |seconds: f64| n_bytes as f64 / seconds / 1e9;
        println!("{:>5} {:6.2} {:6.2}", ty.name(), rate(again), rate(fresh));
    }
}
