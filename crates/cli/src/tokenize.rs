//! `lockstep tokenize`: how a text is cut.
use crate::{
    args::TokenizeArgs,
    errors::{At, CliError, Exit, one_line},
    model, output,
    run::prompt,
};
use std::{
    io::{self, Write},
    path::Path,
};
use tokenizer::{Special, Tokenizer};

/// Runs the command.
pub(crate) fn tokenize(args: &TokenizeArgs) -> Result<Exit, CliError> {
    let path = model::resolve(&args.model)?;
    let gguf = model::open(&path)?;
    let tokenizer = model::tokenizer(&path, &gguf)?;
    let encode = |text: &str| {
        let special = if args.no_special { Special::AsText } else { Special::Parse };
        tokenizer.encode(text, !args.no_special, special)
    };
    if args.null {
        return each_text(encode);
    }
    let text = match &args.text {
        Some(text) => text.clone(),
        None => prompt::read_stdin()?,
    };
    let ids = encode(&text);
    if args.ids_only {
        output::print_json(&ids)?;
    } else {
        output::print_with(|out| table(out, &tokenizer, &ids))?;
    }
    Ok(Exit::Ok)
}

/// One JSON array of ids a line for each NUL-separated text of standard input. A NUL at the end ends the last text;
/// nothing at all is no text.
fn each_text(encode: impl Fn(&str) -> Vec<u32>) -> Result<Exit, CliError> {
    let stdin = Path::new("standard input");
    let input = prompt::read_limited(io::stdin().lock()).at(stdin)?;
    let input = prompt::to_text(input).at(stdin)?;
    let input = input.strip_suffix('\0').unwrap_or(&input);
    if input.is_empty() {
        return Ok(Exit::Ok);
    }
    output::print_with(|out| {
        for text in input.split('\0') {
            serde_json::to_writer(&mut *out, &encode(text))?;
            writeln!(out)?;
        }
        Ok(())
    })?;
    Ok(Exit::Ok)
}

/// A line for each token: its id and the bytes it stands for, escaped.
fn table(out: &mut dyn Write, tokenizer: &Tokenizer, ids: &[u32]) -> io::Result<()> {
    for id in ids {
        let piece = tokenizer.piece(*id, true);
        match std::str::from_utf8(piece) {
            Ok(text) => writeln!(out, "{id:>8}  \"{}\"", one_line(text))?,
            Err(_) => writeln!(out, "{id:>8}  {}", piece.escape_ascii())?,
        }
    }
    writeln!(out, "{:>8}  tokens", ids.len())
}
