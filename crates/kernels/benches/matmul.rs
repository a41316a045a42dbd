//! Matrix products: GB/s of weights and GMAC/s, by type, instruction set and batch size.
//!
//! `cargo bench -p kernels --bench matmul -- [filter] [--threads N] [--tokens a,b,c] [--shape RxC] [--isa NAME]`, e.g. `q4_K --threads 1`.
//! The scalar row is there unless `--isa` names another. Before it is timed, each result is compared with the first row's,
//! bit for bit.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a program for developers")]

use dequant::GgmlType;
use kernels::{Acts, Arena, Isa, Linear, Matrix, Team, linears};
use std::time::{Duration, Instant};

struct Options {
    filter: String,
    n_threads: usize,
    tokens: Vec<usize>,
    shape: (usize, usize),
    time: Duration,
    isa: String,
}

impl Options {
    fn parse() -> Self {
        let mut options = Self {
            filter: String::new(),
            n_threads: std::thread::available_parallelism().map_or(1, usize::from),
            tokens: vec![1, 2, 4, 8, 64, 512],
            shape: (2048, 2048),
            time: Duration::from_millis(200),
            isa: String::new(),
        };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().unwrap();
            match arg.as_str() {
                "--threads" => options.n_threads = value().parse().unwrap(),
                "--tokens" => {
                    options.tokens = value().split(',').map(|n| n.parse().unwrap()).collect()
                }
                "--shape" => {
                    let value = value();
                    let (rows, columns) = value.split_once('x').unwrap();
                    options.shape = (rows.parse().unwrap(), columns.parse().unwrap());
                }
                "--isa" => options.isa = value(),
                "--ms" => options.time = Duration::from_millis(value().parse().unwrap()),
                "--bench" => {}
                _ => options.filter = arg,
            }
        }
        options
    }
}

/// Numbers that repeat from run to run.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn symmetric(&mut self) -> f32 {
        (self.next() >> 40) as f32 / 8_388_608.0 - 1.0
    }

    /// Weights with random codes and moderate scales.
    fn weights(&mut self, ty: GgmlType, n: usize) -> Vec<u8> {
        let half = dequant::f32_to_f16(0.01);
        let mut bytes = Vec::new();
        for _ in 0..n / ty.block_elems() {
            let mut block: Vec<u8> =
                (0..ty.block_bytes()).map(|_| self.next().to_le_bytes()[3]).collect();
            let end = block.len();
            match ty {
                GgmlType::F32 => block.copy_from_slice(&self.symmetric().to_le_bytes()),
                GgmlType::F16 => block.copy_from_slice(&dequant::f32_to_f16(self.symmetric())),
                GgmlType::BF16 => block.copy_from_slice(&dequant::f32_to_bf16(self.symmetric())),
                GgmlType::Q3_K | GgmlType::Q6_K => block[end - 2..].copy_from_slice(&half),
                GgmlType::Q2_K => block[80..84].copy_from_slice(&[half, half].concat()),
                GgmlType::Q4_0
                | GgmlType::Q5_0
                | GgmlType::Q8_0
                | GgmlType::IQ4_NL
                | GgmlType::IQ4_XS => block[..2].copy_from_slice(&half),
                GgmlType::MXFP4 => block[0] = 120,
                _ => block[..4].copy_from_slice(&[half, half].concat()),
            }
            bytes.extend(block);
        }
        bytes
    }
}

/// Seconds of the fastest of many calls: other processes only ever slow a call down.
fn time(budget: Duration, mut f: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut best = f64::INFINITY;
    while start.elapsed() < budget || best.is_infinite() {
        let call = Instant::now();
        f();
        best = best.min(call.elapsed().as_secs_f64());
    }
    best
}

fn main() {
    let options = Options::parse();
    let team = Team::new(options.n_threads).unwrap();
    let (n_rows, n_cols) = options.shape;
    println!("{n_rows} x {n_cols}, {} threads", options.n_threads);
    println!(
        "{:8} {:8} {:>6} {:>12} {:>10} {:>10}",
        "type", "isa", "tokens", "us", "GB/s", "GMAC/s"
    );
    let mut rng = Rng(0x1234_5678_9ABC_DEF1);
    let types = GgmlType::ALL.iter().copied().filter(|ty| Matrix::is_supported(*ty));
    for ty in types.filter(|ty| ty.name().contains(&options.filter)) {
        if n_cols % ty.block_elems() != 0 {
            continue;
        }
        let bytes = rng.weights(ty, n_rows * n_cols);
        let w = Matrix::pack(Isa::detect(), ty, n_rows, n_cols, &bytes, &team, &Arena::new());
        let w = w.unwrap();
        for &n_tokens in &options.tokens {
            let x: Vec<f32> = (0..n_tokens * n_cols).map(|_| rng.symmetric()).collect();
            let mut want = Vec::new();
            for isa in Isa::available() {
                if isa == Isa::Scalar && n_tokens > 4 && !want.is_empty() {
                    continue;
                }
                if !isa.name().contains(&options.isa) {
                    continue;
                }
                let mut acts = Acts::new();
                acts.prepare(isa, &team, w.act_form().into(), &x, n_cols);
                let mut out = vec![0.0; n_tokens * n_rows];
                let mut call = || {
                    let product = Linear { w: &w, bias: None, out: &mut out, add: false };
                    linears(isa, &team, &acts, [product]);
                };
                let seconds = time(options.time, &mut call);
                if want.is_empty() {
                    want.clone_from(&out);
                }
                assert!(
                    out.iter().zip(&want).all(|(a, b)| a.to_bits() == b.to_bits()),
                    "{isa} differs"
                );
                let macs = (n_rows * n_cols * n_tokens) as f64;
                println!(
                    "{:8} {:8} {n_tokens:6} {:12.1} {:10.1} {:10.1}",
                    ty.name(),
                    isa.name(),
                    seconds * 1e6,
                    w.n_bytes() as f64 / seconds / 1e9,
                    macs / seconds / 1e9,
                );
            }
        }
    }
}
