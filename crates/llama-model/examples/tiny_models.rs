//! Writes the tiny random models that llama.cpp's goldens are captured from: `tiny_models OUTDIR`.

use llama_model::synth::{SynthModel, tiny_models};
use std::error::Error;
use std::ops::ControlFlow;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: tiny_models OUTDIR")?);
    std::fs::create_dir_all(&folder)?;
    for (name, options) in tiny_models() {
        let path = folder.join(format!("{name}.gguf"));
        SynthModel::new(options)?.write(&path, |_| ControlFlow::Continue(()))?;
    }
    Ok(())
}
