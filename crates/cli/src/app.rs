//! From the command line to a command, and from its outcome to an exit status.
use crate::{
    args::{Cli, Command},
    errors::{self, CliError, Exit},
    inspect,
    interrupt::Interrupt,
    output, pull, quantize, run, tokenize,
};
use clap::{Parser, error::ErrorKind};
use std::{panic, process::ExitCode};

/// Runs the command line of this process.
pub(crate) fn main() -> ExitCode {
    // Even a command line that does not parse says how its errors are wanted.
    let json_errors = std::env::args_os().any(|arg| arg == "--json-errors");
    errors::install_panic_hook(json_errors);
    let outcome = panic::catch_unwind(|| match Cli::try_parse() {
        Ok(cli) => dispatch(&cli),
        Err(error) => explain(&error),
    });
    match outcome {
        Ok(Ok(exit)) => exit.into(),
        Ok(Err(error)) => {
            error.print(json_errors);
            error.exit.into()
        }
        // The hook has told about it.
        Err(_) => Exit::Bug.into(),
    }
}

fn dispatch(cli: &Cli) -> Result<Exit, CliError> {
    let interrupt = Interrupt::install()?;
    match &cli.command {
        Command::Run(args) => run::run(args, &interrupt),
        Command::Tokenize(args) => tokenize::tokenize(args),
        Command::Inspect(args) => inspect::inspect(args),
        Command::Quantize(args) => quantize::quantize(args, &interrupt),
        Command::Pull(args) => pull::pull(args),
        Command::List(args) => pull::list(args),
    }
}

/// Help and version are answers; the rest becomes one line.
fn explain(error: &clap::Error) -> Result<Exit, CliError> {
    match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            output::print_styled(&error.render())?;
            Ok(Exit::Ok)
        }
        _ => Err(CliError::usage(first_sentence(&error.render().to_string()))),
    }
}

/// clap's message without its heading, its tips and the usage block, on one line.
fn first_sentence(text: &str) -> String {
    let lines = text.lines().take_while(|line| !line.starts_with("Usage:"));
    let words: Vec<_> = lines.flat_map(str::split_whitespace).collect();
    words.join(" ").trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_errors_fit_on_a_line() {
        let error = Cli::try_parse_from(["lockstep", "run", "--temp", "x"]).unwrap_err();
        let text = first_sentence(&error.render().to_string());
        assert!(text.starts_with("invalid value 'x' for '--temp <N>'"), "{text}");
        assert!(!text.contains("Usage") && !text.contains('\n'), "{text}");
    }
}
