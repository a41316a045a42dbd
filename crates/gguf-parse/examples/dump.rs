//! Prints what is in a GGUF file: `cargo run -p gguf-parse --example dump -- FILE`.
use gguf_parse::{Escaped, Gguf, GgufError, Value};
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1) else {
        eprintln!("usage: dump FILE");
        return ExitCode::from(2);
    };
    match dump(path.as_ref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error[{}]: {error}", error.code());
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "printing is what it is for")]
fn dump(path: &std::path::Path) -> Result<(), GgufError> {
    let gguf = Gguf::open(path)?;
    println!(
        "GGUF v{}, alignment {}, {} bytes",
        gguf.version(),
        gguf.alignment(),
        gguf.file_bytes()
    );
    for (key, value) in gguf.metadata().iter() {
        match value {
            Value::Str(text) => println!("{} = {}", Escaped(key), Escaped(text)),
            other => println!("{} = {other:?}", Escaped(key)),
        }
    }
    for tensor in gguf.tensors() {
        println!("{:8} {:?} {}", tensor.ty.name(), tensor.dims.ne(), Escaped(&tensor.name));
    }
    gguf.warnings().iter().for_each(|warning| println!("{warning}"));
    Ok(())
}
