//! Prints what is in a GGUF file: `cargo run -p gguf-parse --example dump -- FILE`.
use gguf_parse::{Escaped, Gguf, Value};
use std::io::{self, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1) else {
        eprintln!("usage: dump FILE");
        return ExitCode::from(2);
    };
    let printed = Gguf::open(path.as_ref()).map(|gguf| dump(&gguf, &mut io::stdout().lock()));
    match printed {
        Ok(Ok(())) => return ExitCode::SUCCESS,
        Ok(Err(error)) => eprintln!("error: {error}"),
        Err(error) => eprintln!("error[{}]: {error}", error.code()),
    }
    ExitCode::FAILURE
}

fn dump(gguf: &Gguf, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "GGUF v{}, alignment {}, {} bytes",
        gguf.version(),
        gguf.alignment(),
        gguf.file_bytes()
    )?;
    for (key, value) in gguf.metadata().iter() {
        match value {
            Value::Str(text) => writeln!(out, "{} = {}", Escaped(key), Escaped(text))?,
            other => writeln!(out, "{} = {other:?}", Escaped(key))?,
        }
    }
    for tensor in gguf.tensors() {
        writeln!(out, "{:8} {:?} {}", tensor.ty.name(), tensor.dims.ne(), Escaped(&tensor.name))?;
    }
    gguf.warnings().iter().try_for_each(|warning| writeln!(out, "{warning}"))
}
