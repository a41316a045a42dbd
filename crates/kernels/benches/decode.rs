//! One token through all matrices of a model, as in generation: GB/s of weights that come from memory.
//!
//! `cargo bench -p kernels --bench decode -- [filter] [--threads N] [--model 135m|1b] [--passes N] [--isa NAME]
//! [--no-repack]`. Types take turns pass by pass, so that a machine that others use treats them alike. With `--no-repack`
//! rows are packed as they are read. (From the caches: the bench `matmul` with a
//! small shape, e.g. `q4_K --threads 1 --tokens 1 --shape 256x2048`.)
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a program for developers")]

use dequant::GgmlType;
use kernels::{Acts, Arena, Isa, Linear, Matrix, Rows, Team, linears};
use std::time::Instant;

const TYPES: [GgmlType; 10] = [
    GgmlType::Q4_0,
    GgmlType::Q4_1,
    GgmlType::Q8_0,
    GgmlType::Q2_K,
    GgmlType::Q3_K,
    GgmlType::Q4_K,
    GgmlType::Q5_K,
    GgmlType::Q6_K,
    GgmlType::F16,
    GgmlType::BF16,
];

/// Widths and depth of a model.
struct Shape {
    n_embd: usize,
    n_kv: usize,
    n_ff: usize,
    n_layer: usize,
    n_vocab: usize,
}

/// SmolLM2's, but for a width of whole super-blocks.
const SHAPE_135M: Shape = Shape { n_embd: 512, n_kv: 256, n_ff: 1536, n_layer: 30, n_vocab: 49152 };
/// TinyLlama's.
const SHAPE_1B: Shape = Shape { n_embd: 2048, n_kv: 256, n_ff: 5632, n_layer: 22, n_vocab: 32000 };

struct Options {
    filter: String,
    n_threads: usize,
    shape: Shape,
    n_passes: usize,
    isa: Isa,
    repack: bool,
}

/// The bytes of a tensor.
#[derive(Debug)]
struct Tensor(Vec<u8>);

impl Rows for Tensor {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Options {
    fn parse() -> Self {
        let mut options = Self {
            filter: String::new(),
            n_threads: std::thread::available_parallelism().map_or(1, usize::from),
            shape: SHAPE_135M,
            n_passes: 40,
            isa: Isa::detect(),
            repack: true,
        };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().unwrap();
            match arg.as_str() {
                "--threads" => options.n_threads = value().parse().unwrap(),
                "--model" if value() == "1b" => options.shape = SHAPE_1B,
                "--passes" => options.n_passes = value().parse().unwrap(),
                "--isa" => {
                    let name = value();
                    let mut all = Isa::available();
                    options.isa = all.find(|isa| isa.name() == name).unwrap();
                }
                "--no-repack" => options.repack = false,
                "--bench" | "--model" => {}
                _ => options.filter = arg,
            }
        }
        options
    }
}

/// Matrices of the same activations.
struct Step {
    matrices: Vec<Matrix>,
    acts: Acts,
    outs: Vec<Vec<f32>>,
}

/// Small positive codes and scales, whatever the type.
fn weights(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i * 37 % 61).to_le_bytes()[0]).collect()
}

fn step(o: &Options, team: &Team, arena: &Arena, ty: GgmlType, rows: &[usize], n: usize) -> Step {
    let matrices: Vec<Matrix> = rows
        .iter()
        .map(|rows| {
            let bytes = weights(ty.row_bytes(n).unwrap() * rows);
            if !o.repack {
                return Matrix::on_demand(o.isa, ty, *rows, n, Box::new(Tensor(bytes))).unwrap();
            }
            Matrix::pack(o.isa, ty, *rows, n, &bytes, team, arena).unwrap()
        })
        .collect();
    let x: Vec<f32> = (0..n).map(|i| (i % 17) as f32 - 8.0).collect();
    let mut acts = Acts::new();
    acts.prepare(o.isa, team, matrices[0].act_form().into(), &x, n);
    Step { matrices, acts, outs: rows.iter().map(|rows| vec![0.0; *rows]).collect() }
}

fn model(o: &Options, team: &Team, arena: &Arena, ty: GgmlType) -> Vec<Step> {
    let Shape { n_embd, n_kv, n_ff, n_layer, n_vocab } = o.shape;
    let mut steps = Vec::new();
    for _ in 0..n_layer {
        steps.push(step(o, team, arena, ty, &[n_embd, n_kv, n_kv], n_embd));
        steps.push(step(o, team, arena, ty, &[n_embd], n_embd));
        steps.push(step(o, team, arena, ty, &[n_ff, n_ff], n_embd));
        steps.push(step(o, team, arena, ty, &[n_embd], n_ff));
    }
    steps.push(step(o, team, arena, ty, &[n_vocab], n_embd));
    steps
}

fn pass(isa: Isa, team: &Team, steps: &mut [Step]) {
    for Step { matrices, acts, outs } in steps {
        let mut outs = outs.iter_mut();
        let mut products = matrices.iter().zip(outs.by_ref()).map(|(w, out)| Linear {
            w,
            bias: None,
            out,
            add: false,
        });
        match [products.next(), products.next(), products.next()] {
            [Some(a), None, _] => linears(isa, team, acts, [a]),
            [Some(a), Some(b), None] => linears(isa, team, acts, [a, b]),
            [Some(a), Some(b), Some(c)] => linears(isa, team, acts, [a, b, c]),
            _ => unreachable!("a step has one to three matrices"),
        }
    }
}

fn main() {
    let options = Options::parse();
    let (team, arena) = (Team::new(options.n_threads).unwrap(), Arena::new());
    let types = TYPES.into_iter().filter(|ty| ty.name().contains(&options.filter));
    let mut models: Vec<(GgmlType, Vec<Step>, Vec<f64>)> =
        types.map(|ty| (ty, model(&options, &team, &arena, ty), Vec::new())).collect();
    for _ in 0..options.n_passes {
        for (_, steps, seconds) in &mut models {
            let start = Instant::now();
            pass(options.isa, &team, steps);
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    println!("{} threads, {}", options.n_threads, options.isa);
    println!("{:8} {:>6} {:>8} {:>8} {:>8}  GB/s", "type", "MB", "best", "quarter", "median");
    for (ty, steps, seconds) in &mut models {
        let size = |w: &Matrix| Matrix::packed_bytes(w.ty(), w.n_rows(), w.n_cols()).unwrap();
        let n_bytes: usize = steps.iter().flat_map(|step| &step.matrices).map(size).sum();
        seconds.sort_by(f64::total_cmp);
        let rate = |part: usize| n_bytes as f64 / seconds[(seconds.len() - 1) / part] / 1e9;
        let (best, quarter, median) = (n_bytes as f64 / seconds[0] / 1e9, rate(4), rate(2));
        println!("{:8} {:6} {best:8.1} {quarter:8.1} {median:8.1}", ty.name(), n_bytes / 1_000_000);
    }
}
