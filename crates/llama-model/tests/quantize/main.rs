//! Quantizing whole files: byte for byte llama.cpp's, and an error for everything that must not be.
#[cfg(test)]
mod misuse;
#[cfg(test)]
mod whole_files;

use llama_model::quantize::QuantizeProgress;
use std::ops::ControlFlow;
use tempfile::TempDir;

/// A folder of the build, which is on a disk: some of the files are large.
fn folder() -> std::io::Result<TempDir> {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))
}

fn go_on(_: QuantizeProgress<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}
