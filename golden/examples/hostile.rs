//! Writes the small models that need no download: `cargo run -p golden --example hostile -- FOLDER`.
use golden::hostile::{T1, t0};
use std::path::Path;

fn main() -> std::io::Result<()> {
    let folder = std::env::args_os().nth(1).unwrap_or_else(|| ".".into());
    for (name, file) in [("t0", t0()), ("t1", T1::new().build()), ("t1-bpe", T1::bpe().build())] {
        std::fs::write(Path::new(&folder).join(format!("{name}.gguf")), file)?;
    }
    Ok(())
}
