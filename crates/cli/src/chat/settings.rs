//! What `/set` changes: any flag of the sampler, by its name, and how an answer ends.
use super::{args::ChatArgs, turn::Settings};
use crate::{
    args::{self, Cli, Command},
    errors::CliError,
    sampling::{self, SamplingArgs},
};
use clap::{Args, Parser};
use gguf_parse::Gguf;
use sampler::Sampler;
use std::{env, ffi::OsString, path::Path};
use tokenizer::Tokenizer;

/// What is no flag with one value.
const OWN: [&str; 3] = ["stop", "ignore-eos", "context-shift"];

/// Flags of which the last counts, however it spells it.
const SPELLINGS: [&str; 3] = ["samplers", "sampler-seq", "sampling-seq"];

/// The settings that the command line asks for, with the sampler made of them.
pub(super) fn of(args: &ChatArgs, sampler: Sampler) -> Settings {
    Settings {
        sampler,
        n_predict: args.engine.n_predict.0,
        stops: args.engine.stop.clone(),
        ignore_eos: args.engine.ignore_eos,
        context_shift: args.context_shift,
    }
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
    let ignore_eos = args.engine.ignore_eos;
    // What the model asks for in vain was told when it was opened.
    let (sampler, _) = sampling::made(&args.sampling, ignore_eos, path, gguf, tokenizer)?;
    Ok(of(&args, sampler))
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
    let is_own = |name: &str| OWN.contains(&name);
    let spelled = changes.iter().rposition(|(name, _)| SPELLINGS.contains(&name.as_str()));
    let counts = |at: usize, name: &str| !SPELLINGS.contains(&name) || spelled == Some(at);
    let flags =
        changes.iter().enumerate().filter(|(i, (name, _))| !is_own(name) && counts(*i, name));
    let flags = flags.map(|(_, (name, value))| OsString::from(format!("--{name}={value}")));
    // The changes go in front of a `--`, behind which all are names.
    let (mut line, rest): (Vec<OsString>, Vec<OsString>) = split_at_dashes(line);
    line.extend(flags);
    line.extend(rest);
    let mut args = match Cli::try_parse_from(args::long_names(line.into_iter())) {
        Ok(Cli { command: Command::Chat(args), .. }) => *args,
        Ok(_) => return Err(CliError::usage("that is no setting")),
        Err(error) => {
            return Err(CliError::usage(crate::app::first_sentence(&error.render().to_string())));
        }
    };
    for (name, value) in changes.iter().filter(|(name, _)| is_own(name)) {
        set_own(&mut args, name, value)?;
    }
    Ok(args)
}

/// Sets one of [`OWN`].
fn set_own(args: &mut ChatArgs, name: &str, value: &str) -> Result<(), CliError> {
    let on = || match value {
        "on" | "true" | "1" => Ok(true),
        "off" | "false" | "0" => Ok(false),
        _ => Err(CliError::usage(format!("{name} is {value}; must be on or off"))),
    };
    match name {
        "ignore-eos" => args.engine.ignore_eos = on()?,
        "context-shift" => args.context_shift = on()?,
        // Takes back what was set before, as `none` does for other texts that add up.
        _ if value == "none" => args.engine.stop.clear(),
        _ => args.engine.stop.push(value.to_owned()),
    }
    Ok(())
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
    name == "n-predict" || OWN.contains(&name) || command.get_arguments().any(named)
}

/// The settings that people ask for, on a few lines.
pub(super) fn shown(settings: &Settings) -> String {
    let params = settings.sampler.params();
    let n_predict = settings.n_predict.map_or("-1".to_owned(), |n| n.to_string());
    let on = |on: bool| if on { "on" } else { "off" };
    let mut text = format!(
        "temperature {}, top-k {}, top-p {}, min-p {}, repeat-penalty {}, seed {}, n-predict {n_predict}, \
         ignore-eos {}, context-shift {}",
        params.temp,
        params.top_k,
        params.top_p,
        params.min_p,
        params.penalty_repeat,
        settings.sampler.seed(),
        on(settings.ignore_eos),
        on(settings.context_shift),
    );
    for stop in &settings.stops {
        text += &format!(", stop {stop:?}");
    }
    text
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
        // Two ways to spell one thing: the last counts.
        parse(&line, &[("samplers", "top_k"), ("sampler-seq", "kt")]).unwrap();
        for (name, value) in
            [("ctx-size", "9"), ("nonsense", "1"), ("temp", "warm"), ("ignore-eos", "maybe")]
        {
            assert!(parse(&line, &[(name, value)]).is_err(), "{name} {value}");
        }
    }

    #[test]
    fn what_is_switched_on_can_be_switched_off() {
        let line = ["lockstep", "chat", "--ignore-eos", "-r", "a"];
        let found = |changes: &[(&str, &str)]| {
            let args = parse(&line, changes).unwrap();
            (args.engine.ignore_eos, args.context_shift, args.engine.stop)
        };
        let stops =
            |stops: &[&str]| stops.iter().map(|stop| (*stop).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            found(&[("context-shift", "on"), ("stop", "b")]),
            (true, true, stops(&["a", "b"]))
        );
        assert_eq!(
            found(&[("ignore-eos", "off"), ("stop", "b"), ("stop", "none"), ("stop", "c")]),
            (false, false, stops(&["c"]))
        );
    }
}
