//! The second tier: models that plain `cargo test` does not fetch.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "tests: a failed unwrap is a failed test, and sizes are small"
)]

mod common;

use common::{check_traces, registry, text};

/// Q5_0, Q4_K, Q6_K and Q8_0 in one file, biases on Q, K and V, rotated halves.
#[test]
fn qwen2_5_coder() {
    let n = check_traces("qwen2.5-coder-0.5b", &registry("qwen2.5-coder-0.5b"));
    println!("Qwen2.5-Coder-0.5B: {n} of {n} traced tensors bit-identical to llama.cpp");
}

/// Q5_0, Q4_K, Q6_K and Q8_0; norms of queries and keys, windows of 512 positions.
#[test]
fn gemma3_270m() {
    let n = check_traces("gemma3-270m", &registry("gemma3-270m"));
    println!("Gemma-3-270M: {n} of {n} traced tensors bit-identical to llama.cpp");
}

const MODELS: [&str; 2] = ["qwen2.5-coder-0.5b", "gemma3-270m"];

#[test]
fn reference_writes_the_text_of_llama_cpp() {
    for name in MODELS {
        text::check_reference(name, &registry(name));
    }
}

#[test]
fn fast_writes_the_text_of_llama_cpp() {
    for name in MODELS {
        println!("{}", text::check_fast(name, &registry(name)));
    }
}

#[test]
fn ids_are_the_text() {
    for name in MODELS {
        text::check_ids(name, &registry(name));
    }
}
