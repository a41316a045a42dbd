//! `lockstep inspect`: what is in a file, without loading it.
mod json;
pub(crate) mod plan;
mod text;

pub(crate) use text::value_text;

use crate::{
    args::InspectArgs,
    errors::{CliError, Exit},
    model, output,
};

/// Runs the command.
pub(crate) fn inspect(args: &InspectArgs) -> Result<Exit, CliError> {
    let path = model::resolve(&args.model)?;
    let gguf = model::open(&path)?;
    if args.json {
        output::print_json(&json::File::new(&path, &gguf))?;
    } else {
        output::print_with(|out| text::write(out, &path, &gguf))?;
    }
    Ok(Exit::Ok)
}
