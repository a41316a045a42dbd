//! What `/set` changes: any flag of the sampler, by its name, and how an answer ends.
use super::{args::ChatArgs, turn::Settings};
use crate::{
    args::{self, Cli, Command},
    errors::CliError,
    sampling::{self, SamplingArgs},
};
use clap::{Args, Parser};
use gguf_parse::Gguf;
use std::{env, ffi::OsString, path::Path};
use tokenizer::Tokenizer;

/// The flags that are no sampler's.
const OTHERS: [&str; 3] = ["n-predict", "stop", "ignore-eos"];

/// The settings that the command line asks for.
pub(super) fn of(
    args: &ChatArgs,
    path: &Path,
    gguf: &Gguf,
    tokenizer: &Tokenizer,
) -> Result<Settings, CliError> {
    let ignore_eos = args.engine.ignore_eos;
    let sampler = sampling::sampler(&args.sampling, ignore_eos, path, gguf, tokenizer)?;
    Ok(Settings {
        sampler,
        n_predict: args.engine.n_predict.0,
        stops: args.engine.stop.clone(),
        context_shift: args.context_shift,
    })
}

/// The same with changes, as if they had stood at the end of the command line.
pub(super) fn changed(
    changes: &[(String, String)],
    path: &Path,
    gguf: &Gguf,
    tokenizer: &Tokenizer,
) -> Result<Settings, CliError> {
    let args = parsed(env::args_os(), changes)?;
    sampling::check(&args.sampling)?;
    of(&args, path, gguf, tokenizer)
}

fn parsed(
    line: impl Iterator<Item = OsString>,
    changes: &[(String, String)],
) -> Result<ChatArgs, CliError> {
    for (name, _) in changes {
        if !is_setting(name) {
            let text =
                format!("{name} is no setting; see the sampling flags of `lockstep chat --help`");
            return Err(CliError::usage(text));
        }
    }
    let flags = changes.iter().map(|(name, value)| match (name.as_str(), value.as_str()) {
        ("ignore-eos", _) => "--ignore-eos".into(),
        _ => OsString::from(format!("--{name}={value}")),
    });
    // The changes go in front of a `--`, behind which all are names.
    let (mut line, rest): (Vec<OsString>, Vec<OsString>) = split_at_dashes(line);
    line.extend(flags);
    line.extend(rest);
    match Cli::try_parse_from(args::long_names(line.into_iter())).map(|cli| cli.command) {
        Ok(Command::Chat(args)) => Ok(*args),
        Ok(_) => Err(CliError::usage("that is no setting")),
        Err(error) => Err(CliError::usage(crate::app::first_sentence(&error.render().to_string()))),
    }
}

fn split_at_dashes(line: impl Iterator<Item = OsString>) -> (Vec<OsString>, Vec<OsString>) {
    let mut line: Vec<OsString> = line.collect();
    let at = line.iter().position(|arg| arg == "--").unwrap_or(line.len());
    let rest = line.split_off(at);
    (line, rest)
}

fn is_setting(name: &str) -> bool {
    let command = SamplingArgs::augment_args(clap::Command::new("set"));
    let named = |arg: &clap::Arg| {
        let aliases = arg.get_all_aliases().unwrap_or_default();
        arg.get_long() == Some(name) || aliases.contains(&name)
    };
    OTHERS.contains(&name) || command.get_arguments().any(named)
}

/// The settings that people ask for, on a few lines.
pub(super) fn shown(settings: &Settings) -> String {
    let params = settings.sampler.params();
    let n_predict = settings.n_predict.map_or("-1".to_owned(), |n| n.to_string());
    format!(
        "temperature {}, top-k {}, top-p {}, min-p {}, repeat-penalty {}, seed {}, n-predict {n_predict}",
        params.temp,
        params.top_k,
        params.top_p,
        params.min_p,
        params.penalty_repeat,
        settings.sampler.seed(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &[&str], changes: &[(&str, &str)]) -> Result<ChatArgs, CliError> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let changes: Vec<_> = changes.iter().map(owned).collect();
        parsed(line.iter().map(OsString::from), &changes)
    }

    #[test]
    fn changes_win_over_the_command_line() {
        let line = ["lockstep", "chat", "--temp", "0.5", "-n", "5", "--", "smollm2"];
        let params = |changes: &[(&str, &str)]| {
            let args = parse(&line, changes).unwrap();
            let (params, user_set) = args.sampling.params();
            assert!(user_set.temp, "given");
            (params.temp, params.top_k, args.engine.n_predict.0)
        };
        assert_eq!(params(&[]), (0.5, 40, Some(5)));
        assert_eq!(params(&[("temperature", "0.7")]), (0.7, 40, Some(5)));
        let more = [("temp", "0.7"), ("top-k", "3"), ("n-predict", "-1"), ("temp", "0")];
        assert_eq!(params(&more), (0.0, 3, None));
        for (name, value) in
            [("ctx-size", "9"), ("nonsense", "1"), ("temp", "warm"), ("model", "x")]
        {
            assert!(parse(&line, &[(name, value)]).is_err(), "{name} {value}");
        }
    }
}
