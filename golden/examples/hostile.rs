//! Writes the files that need no download: `cargo run -p golden --example hostile -- FOLDER`.
//!
//! `mutants.bin` holds the first 20,000 changed T0s, each after its length as a little-endian u32.
use golden::hostile::{T1, every_type, mutants, t0};
use std::path::Path;

fn main() -> std::io::Result<()> {
    let folder = std::env::args_os().nth(1).unwrap_or_else(|| ".".into());
    let mut corpus = Vec::new();
    for file in mutants(1).take(20_000) {
        corpus.extend(u32::try_from(file.len()).unwrap_or(u32::MAX).to_le_bytes());
        corpus.extend(file);
    }
    let files = [
        ("t0.gguf", t0()),
        ("t1.gguf", T1::new().build()),
        ("t1-bpe.gguf", T1::bpe().build()),
        ("every-type.gguf", every_type()),
        ("mutants.bin", corpus),
    ];
    for (name, file) in files {
        std::fs::write(Path::new(&folder).join(name), file)?;
    }
    Ok(())
}
