//! The `lockstep` command: GGUF language models on CPUs.
//!
//! Every command is a thin use of the library crates; what is here is arguments, printing, progress, and the
//! translation of errors into one line and an exit status.
#![forbid(unsafe_code)]

mod app;
mod args;
mod bench;
mod cache;
mod chat;
mod compare;
mod errors;
mod generate;
mod human;
mod inspect;
mod interrupt;
mod manual;
mod model;
mod new_file;
mod output;
mod perplexity;
mod progress;
mod pull;
mod quantize;
mod run;
mod sampling;
mod session;
mod show;
mod synth;
mod template;
mod tokenize;
mod trace;

use std::process::ExitCode;

fn main() -> ExitCode {
    app::main()
}
