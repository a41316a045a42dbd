//! The `lockstep` command: GGUF language models on CPUs.
//!
//! Every command is a thin use of the library crates; what is here is arguments, printing, progress, and the
//! translation of errors into one line and an exit status.
#![forbid(unsafe_code)]

mod app;
mod args;
mod bench;
mod errors;
mod human;
mod inspect;
mod interrupt;
mod model;
mod output;
mod progress;
mod pull;
mod quantize;
mod run;
mod sampling;
mod synth;
mod tokenize;
mod trace;

use std::process::ExitCode;

fn main() -> ExitCode {
    app::main()
}
