//! Ten prompts in four types: the text that llama.cpp writes.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "tests: a failed unwrap is a failed test, and sizes are small"
)]

mod common;

use common::{smollm2_in, text};

const TYPES: [&str; 4] = ["Q4_1", "Q4_0", "Q4_K_M", "Q6_K"];

fn name(ty: &str) -> String {
    format!("smollm2-{}", ty.to_lowercase())
}

#[test]
fn reference_writes_the_text_of_llama_cpp() {
    for ty in TYPES {
        text::check_reference(&name(ty), &smollm2_in(ty));
    }
}

#[test]
fn fast_writes_the_text_of_llama_cpp() {
    for ty in TYPES {
        println!("{}", text::check_fast(&name(ty), &smollm2_in(ty)));
    }
}

#[test]
fn ids_are_the_text() {
    text::check_ids("smollm2-q4_1", &smollm2_in("Q4_1"));
}
