//! How fast texts become ids: megabytes a second of mixed text, and of the texts that make tokenizers slow.
//!
//! `cargo bench -p tokenizer`, or with names of patterns after `--`.
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
const MIXED: &str = "It was late. Nobody had called, and the rain -- a thin, stubborn rain -- went on; \
    \"well,\" she said, 'that's it'.\n\nfn main() {\n    let total: u64 = (0..=255).map(|x| x * 31).sum();\n    \
    println!(\"{total}\");\n}\n\n今天天气怎么样？我们去公园吧。 Съешь же ещё этих мягких булок. 1,234,567.89 € \
    on 2026-11-22\t\u{1f680}\u{1f600} naïve façade, l'été; {\"key\": [1, 2.5, null], \"url\": \"https://example.com/?q=1\"}\n";

fn main() {
    let start = Instant::now();
    let path = Store::open().unwrap().resolve("smollm2", &mut |_, _| {}).unwrap();
    let gguf = Gguf::open(&path).unwrap();
    println!("open {:.1?}", start.elapsed());
    let start = Instant::now();
    let tok = Tokenizer::from_metadata(gguf.metadata()).unwrap();
    println!("load {:.1?}", start.elapsed());
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
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
            let mut best = f64::INFINITY;
            let mut n_ids = 0;
            for _ in 0..5 {
                let start = Instant::now();
                n_ids = tok.encode(&text, false, Special::Parse).len();
                best = best.min(start.elapsed().as_secs_f64());
            }
            println!(
                "{name:10} {n_mib:2} MiB: {:7.1} ms, {:6.1} MB/s, {n_ids} ids",
                best * 1e3,
                text.len() as f64 / best / 1e6
            );
        }
    }
}
