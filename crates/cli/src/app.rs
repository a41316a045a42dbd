//! From the command line to a command, and from its outcome to an exit status.
use crate::{
    args::{self, Cli, Command},
    bench, chat, compare,
    errors::{self, CliError, Exit},
    inspect,
    interrupt::Interrupt,
    manual, output, perplexity, pull, quantize, run, show, synth, template, tokenize, trace,
};
use clap::{Parser, error::ErrorKind};
use std::{panic, process::ExitCode};

/// Runs the command line of this process.
pub(crate) fn main() -> ExitCode {
    // Even a command line that does not parse says how its errors are wanted.
    if std::env::args_os().any(|arg| arg == "--json-errors") {
        output::use_json_for_errors();
    }
    errors::install_panic_hook();
    let outcome =
        panic::catch_unwind(|| match Cli::try_parse_from(args::long_names(std::env::args_os())) {
            Ok(cli) => dispatch(&cli),
            Err(error) => explain(&error),
        });
    match outcome {
        Ok(Ok(exit)) => exit.into(),
        Ok(Err(error)) => {
            error.print();
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
        Command::Chat(args) => chat::chat(args, &interrupt),
        Command::Tokenize(args) => tokenize::tokenize(args),
        Command::Template(args) => template::template(args),
        Command::Inspect(args) => inspect::inspect(args),
        Command::Quantize(args) => quantize::quantize(args, &interrupt),
        Command::Bench(args) => bench::bench(args, &interrupt),
        Command::Perplexity(args) => perplexity::perplexity(args, &interrupt),
        Command::Trace(args) => trace::trace(args, &interrupt),
        Command::Compare(args) => compare::compare(args),
        Command::Synth(args) => synth::synth(args, &interrupt),
        Command::Pull(args) => pull::pull(args),
        Command::List(args) => pull::list(args),
        Command::Rm(args) => pull::rm(args),
        Command::Show(args) => show::show(args),
        Command::Completions(args) => manual::completions(args),
        Command::Man(args) => manual::man(args),
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

/// clap's message on one line, its tips behind semicolons, without heading and usage block.
pub(crate) fn first_sentence(text: &str) -> String {
    let text = text.split("\n\nUsage:").next().unwrap_or(text);
    let text = text.split("\n\nFor more information").next().unwrap_or(text);
    let words = |paragraph: &str| paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    let paragraphs: Vec<_> = text.split("\n\n").map(words).filter(|p| !p.is_empty()).collect();
    paragraphs.join("; ").trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_errors_fit_on_a_line() {
        let says = |args: &[&str]| {
            let error = Cli::try_parse_from([&["lockstep"], args].concat()).unwrap_err();
            first_sentence(&error.render().to_string())
        };
        assert_eq!(
            says(&["run", "--temp", "x"]),
            "invalid value 'x' for '--temp <N>': invalid float literal"
        );
        assert_eq!(
            says(&["run", "--tmp", "1"]),
            "unexpected argument '--tmp' found; tip: a similar argument exists: '--temp'"
        );
        assert_eq!(
            says(&["inspect"]),
            "the following required arguments were not provided: <MODEL>"
        );
    }
}
