//! How fast texts become ids: megabytes a second of mixed text, and of the texts that make tokenizers slow.
//!
//! `cargo bench -p tokenizer`, or with names of patterns after `--`; with the paths of GGUF files, mixed text, or that of
//! `--text=FILE`, with their vocabularies instead (bench/tokenize/run.py compares that with llama.cpp).
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark prints, and fails by panicking"
)]

use gguf_parse::Gguf;
use model_store::Store;
use std::time::Instant;
use tokenizer::{Special, Tokenizer};

const MIB: usize = 1 << 20;

/// Prose, code, other scripts, numbers, white space and emoji: what prompts are made of.
const MIXED: &str = include_str!("../../../bench/tokenize/mixed.txt");

/// The shortest of five times that `text` takes, in seconds, and the number of ids.
fn best_of_five(tok: &Tokenizer, text: &str) -> (f64, usize) {
    let mut best = f64::INFINITY;
    let mut n_ids = 0;
    for _ in 0..5 {
        let start = Instant::now();
        n_ids = tok.encode(text, false, Special::Parse).len();
        best = best.min(start.elapsed().as_secs_f64());
    }
    (best, n_ids)
}

/// A line for each file: milliseconds and ids of a megabyte of `text`.
fn vocabularies(paths: &[String], text: &str) {
    let text = text.repeat((MIB / text.len()).max(1));
    for path in paths {
        let gguf = Gguf::open(path.as_ref()).unwrap();
        let tok = Tokenizer::from_metadata(gguf.metadata()).unwrap();
        let (seconds, n_ids) = best_of_five(&tok, &text);
        println!("{path}\t{:.2}\t{n_ids}", seconds * 1e3);
    }
}

fn read_text(path: &str) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    if wanted.iter().any(|arg| arg.ends_with(".gguf")) {
        let text = std::env::args().find_map(|arg| arg.strip_prefix("--text=").map(read_text));
        return vocabularies(&wanted, text.as_deref().unwrap_or(MIXED));
    }
    let start = Instant::now();
    let path = Store::open().unwrap().resolve("smollm2", &mut |_, _| {}).unwrap();
    let gguf = Gguf::open(&path).unwrap();
    println!("open {:.1?}", start.elapsed());
    let start = Instant::now();
    let tok = Tokenizer::from_metadata(gguf.metadata()).unwrap();
    println!("load {:.1?}", start.elapsed());
    let patterns = [
        ("mixed", MIXED),
        ("a", "a"),
        ("spaces", " "),
        ("accents", "\u{301}"),
        ("newlines", "\n"),
        ("special", "<|im_end|>"),
    ];
    for (name, pattern) in
        patterns.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|w| w == name))
    {
        for n_mib in [1, 10] {
            let text = pattern.repeat(n_mib * MIB / pattern.len());
            let (best, n_ids) = best_of_five(&tok, &text);
            println!(
                "{name:10} {n_mib:2} MiB: {:7.1} ms, {:6.1} MB/s, {n_ids} ids",
                best * 1e3,
                text.len() as f64 / best / 1e6
            );
        }
    }
}
