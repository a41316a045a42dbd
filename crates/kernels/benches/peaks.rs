//! What this machine can do at most, and what handing out work costs: the yardsticks for everything else.
//!
//! `cargo bench -p kernels --bench peaks -- [--threads a,b]`.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a program for developers")]

use kernels::peak::{self, Unit};
use kernels::{Isa, Team};
use std::hint::black_box;
use std::time::{Duration, Instant};

fn threads() -> Vec<usize> {
    let mut args = std::env::args().skip_while(|arg| arg != "--threads").skip(1);
    match args.next() {
        Some(list) => list.split(',').map(|n| n.parse().unwrap()).collect(),
        None => (0..)
            .map(|i| 1 << i)
            .take_while(|n| *n <= std::thread::available_parallelism().map_or(1, usize::from))
            .collect(),
    }
}

/// Nanoseconds of a call: (the fastest of many batches, their median).
fn nanoseconds(mut f: impl FnMut()) -> (f64, f64) {
    const CALLS: u32 = 1000;
    let mut batch = || {
        let start = Instant::now();
        (0..CALLS).for_each(|_| f());
        start.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
    };
    batch();
    let (start, mut all) = (Instant::now(), Vec::new());
    while all.is_empty() || start.elapsed() < Duration::from_millis(200) {
        all.push(batch());
    }
    all.sort_by(f64::total_cmp);
    (all[0], all[all.len() / 2])
}

fn multiply(team: &Team) {
    for (name, unit) in [("int8", Unit::Int8), ("bf16", Unit::Bf16), ("f32", Unit::F32)] {
        match peak::multiply(team, unit) {
            Some(peak) => println!(
                "multiply {name:18} {:10.1} GMAC/s  {}",
                peak.macs_per_second / 1e9,
                peak.instruction
            ),
            None => println!("multiply {name:18} no instruction known"),
        }
    }
}

fn read(team: &Team) {
    const KIB: usize = 1024;
    let n = team.n_threads();
    // The caches of a core are each thread's own.
    let sizes = [
        ("L1: 16 KiB a thread", 16 * KIB * n),
        ("L2: 256 KiB a thread", 256 * KIB * n),
        ("L3: 8 MiB in all", 8192 * KIB),
        ("DRAM: 96 MiB in all", (96 << 10) * KIB),
        ("DRAM: 512 MiB in all", (512 << 10) * KIB),
    ];
    for (name, n_bytes) in sizes {
        let passes = ((4 << 20) / n_bytes).max(1) * if n_bytes < 8 << 20 { 8 } else { 1 };
        let rate = peak::read(team, n_bytes, passes).unwrap();
        println!("read {name:22} {:10.1} GB/s", rate / 1e9);
    }
}

/// An empty job for all threads, ours and rayon's way.
fn sync(team: &Team) {
    let (best, median) = nanoseconds(|| team.run(&|tid| _ = black_box(tid)));
    println!("Team::run, an empty job     {best:10.0} ns, median {median:.0} ns");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(team.n_threads()).build().unwrap();
    let (best, median) = nanoseconds(|| drop(pool.broadcast(|context| black_box(context.index()))));
    println!("rayon broadcast, the same   {best:10.0} ns, median {median:.0} ns");
}

/// The exponential, in the operation that consists of little else: it is bound to the instruction sets there.
fn exp() {
    let gate: Vec<f32> = (0..1 << 18).map(|i| (i % 4096) as f32 * -0.01).collect();
    let mut out = vec![0.0; gate.len()];
    let team = Team::new(1).unwrap();
    for isa in Isa::available() {
        let (start, mut best) = (Instant::now(), f64::INFINITY);
        while best.is_infinite() || start.elapsed() < Duration::from_millis(200) {
            let call = Instant::now();
            kernels::swiglu(isa, &team, &gate, &gate, &mut out);
            best = best.min(call.elapsed().as_secs_f64());
        }
        println!("exp in swiglu, {:12} {:10.2} G/s", isa.name(), gate.len() as f64 / best / 1e9);
    }
}

fn main() {
    for n_threads in threads() {
        println!("{n_threads} threads");
        let team = Team::new(n_threads).unwrap();
        multiply(&team);
        read(&team);
        sync(&team);
    }
    println!("1 thread");
    exp();
}
