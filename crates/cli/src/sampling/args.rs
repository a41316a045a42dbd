//! The sampler's flags.
use clap::Args;
use sampler::{Params, Stage, UserSet};
use std::str::FromStr;

/// The sampler's flags; those not given are the model's `general.sampling.*`, else llama.cpp's defaults.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct SamplingArgs {
    /// Temperature; 0 takes the most likely token [default: 0.8]
    #[arg(long, value_name = "N", visible_alias = "temperature")]
    temp: Option<f32>,
    /// Range in which entropy moves the temperature [default: 0, off]
    #[arg(long, value_name = "N")]
    dynatemp_range: Option<f32>,
    /// Exponent of that movement [default: 1]
    #[arg(long, value_name = "N")]
    dynatemp_exp: Option<f32>,
    /// Keep the K most likely tokens [default: 40; 0: all]
    #[arg(long, value_name = "K")]
    top_k: Option<i32>,
    /// Keep the likeliest tokens that make up this probability [default: 0.95; 1: all]
    #[arg(long, value_name = "P")]
    top_p: Option<f32>,
    /// Keep tokens at least this likely, relative to the likeliest [default: 0.05; 0: all]
    #[arg(long, value_name = "P")]
    min_p: Option<f32>,
    /// Keep the most typical tokens that make up this probability [default: 1, off]
    #[arg(long, value_name = "P", visible_alias = "typical-p")]
    typical: Option<f32>,
    /// Make recent tokens less likely [default: 1, off]
    #[arg(long, value_name = "N")]
    repeat_penalty: Option<f32>,
    /// How many tokens are recent, prompt included [default: 64]
    #[arg(long, value_name = "N")]
    repeat_last_n: Option<i32>,
    /// Taken from a recent token's logit each time it occurs [default: 0, off]
    #[arg(long, value_name = "N")]
    frequency_penalty: Option<f32>,
    /// Taken from a recent token's logit once [default: 0, off]
    #[arg(long, value_name = "N")]
    presence_penalty: Option<f32>,
    /// Ban tokens whose logit is N standard deviations below the highest [default: -1, off]
    #[arg(long, value_name = "N", visible_alias = "top-n-sigma")]
    top_nsigma: Option<f32>,
    /// How often the most likely tokens are left out [default: 0, off]
    #[arg(long, value_name = "P")]
    xtc_probability: Option<f32>,
    /// Probability from which on a token is one of those [default: 0.1; above 0.5: none is]
    #[arg(long, value_name = "P")]
    xtc_threshold: Option<f32>,
    /// What the next token of a repetition costs [default: 0, off]
    #[arg(long, value_name = "N")]
    dry_multiplier: Option<f32>,
    /// By how much that grows with each token of the repetition [default: 1.75]
    #[arg(long, value_name = "N")]
    dry_base: Option<f32>,
    /// Length up to which a repetition does not grow dearer [default: 2]
    #[arg(long, value_name = "N")]
    dry_allowed_length: Option<i32>,
    /// How many recent tokens are searched for repetitions, prompt included [default: 64]
    #[arg(long, value_name = "N")]
    dry_penalty_last_n: Option<i32>,
    /// Text at which a repetition ends, with escapes as \n; may be repeated; none: no such text
    /// [default: \n : " *]
    #[arg(long, value_name = "TEXT")]
    dry_sequence_breaker: Vec<String>,
    /// Mirostat 1 or 2, in place of all other samplers but the temperature [default: 0, off]
    #[arg(long, value_name = "N")]
    mirostat: Option<i32>,
    /// Surprise that mirostat aims at, in bits [default: 5]
    #[arg(long, value_name = "N")]
    mirostat_ent: Option<f32>,
    /// How fast mirostat corrects itself [default: 0.1]
    #[arg(long, value_name = "N")]
    mirostat_lr: Option<f32>,
    /// Probability that adaptive_p aims at, if --samplers names it [default: -1, off]
    #[arg(long, value_name = "P")]
    adaptive_target: Option<f32>,
    /// How much adaptive_p remembers of its picks, up to 0.99 [default: 0.9]
    #[arg(long, value_name = "N")]
    adaptive_decay: Option<f32>,
    /// The samplers in order; those left out do not run
    /// [default: penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature]
    #[arg(long, value_name = "NAME;NAME;…", conflicts_with = "sampler_seq")]
    samplers: Option<Names>,
    /// The same as letters [default: edskypmxt]; a is adaptive_p
    #[arg(long, value_name = "LETTERS", visible_alias = "sampling-seq")]
    sampler_seq: Option<Letters>,
    /// Add BIAS to the logit of token ID (ID-inf bans it); may be repeated
    #[arg(long, value_name = "ID+BIAS|ID-BIAS")]
    logit_bias: Vec<LogitBias>,
    /// Seed of the random numbers; -1: a new one each time
    #[arg(short, long, value_name = "N", default_value = "-1")]
    seed: Seed,
}

impl SamplingArgs {
    /// llama.cpp's defaults with what the user gave, and which of these the model may not change.
    pub(crate) fn params(&self) -> (Params, UserSet) {
        let d = Params::default();
        let order = self.order();
        let params = Params {
            seed: self.seed.0,
            temp: self.temp.unwrap_or(d.temp),
            dynatemp_range: self.dynatemp_range.unwrap_or(d.dynatemp_range),
            dynatemp_exponent: self.dynatemp_exp.unwrap_or(d.dynatemp_exponent),
            top_k: self.top_k.unwrap_or(d.top_k),
            top_p: self.top_p.unwrap_or(d.top_p),
            min_p: self.min_p.unwrap_or(d.min_p),
            typical_p: self.typical.unwrap_or(d.typical_p),
            penalty_last_n: self.repeat_last_n.unwrap_or(d.penalty_last_n),
            penalty_repeat: self.repeat_penalty.unwrap_or(d.penalty_repeat),
            penalty_freq: self.frequency_penalty.unwrap_or(d.penalty_freq),
            penalty_present: self.presence_penalty.unwrap_or(d.penalty_present),
            dry_multiplier: self.dry_multiplier.unwrap_or(d.dry_multiplier),
            dry_base: self.dry_base.unwrap_or(d.dry_base),
            dry_allowed_length: self.dry_allowed_length.unwrap_or(d.dry_allowed_length),
            dry_penalty_last_n: self.dry_penalty_last_n.unwrap_or(d.dry_penalty_last_n),
            top_n_sigma: self.top_nsigma.unwrap_or(d.top_n_sigma),
            xtc_probability: self.xtc_probability.unwrap_or(d.xtc_probability),
            xtc_threshold: self.xtc_threshold.unwrap_or(d.xtc_threshold),
            mirostat: self.mirostat.unwrap_or(d.mirostat),
            mirostat_tau: self.mirostat_ent.unwrap_or(d.mirostat_tau),
            mirostat_eta: self.mirostat_lr.unwrap_or(d.mirostat_eta),
            adaptive_target: self.adaptive_target.unwrap_or(d.adaptive_target),
            adaptive_decay: self.adaptive_decay.unwrap_or(d.adaptive_decay),
            logit_bias: self.logit_bias.iter().map(|b| (b.id, b.bias)).collect(),
            order: order.unwrap_or(d.order),
            // Their tokens only the model knows.
            dry_breakers: d.dry_breakers,
            min_keep: d.min_keep,
        };
        (params, self.user_set())
    }

    /// What the model may not change.
    fn user_set(&self) -> UserSet {
        UserSet {
            order: self.samplers.is_some() || self.sampler_seq.is_some(),
            top_k: self.top_k.is_some(),
            top_p: self.top_p.is_some(),
            min_p: self.min_p.is_some(),
            temp: self.temp.is_some(),
            penalty_last_n: self.repeat_last_n.is_some(),
            penalty_repeat: self.repeat_penalty.is_some(),
            xtc_probability: self.xtc_probability.is_some(),
            xtc_threshold: self.xtc_threshold.is_some(),
            mirostat: self.mirostat.is_some(),
            mirostat_tau: self.mirostat_ent.is_some(),
            mirostat_eta: self.mirostat_lr.is_some(),
        }
    }

    /// The order given, as names or as letters.
    fn order(&self) -> Option<Vec<Stage>> {
        let names = self.samplers.as_ref().map(|names| names.0.clone());
        names.or_else(|| self.sampler_seq.as_ref().map(|letters| letters.0.clone()))
    }

    /// The texts at which DRY takes a repetition as ended.
    pub(crate) fn dry_sequence_breakers(&self) -> Vec<String> {
        if self.dry_sequence_breaker.is_empty() {
            return ["\n", ":", "\"", "*"].map(str::to_owned).into();
        }
        let mut breakers = Vec::new();
        for text in &self.dry_sequence_breaker {
            // As in llama.cpp, `none` takes back what stands before it.
            if text == "none" {
                breakers.clear();
            } else {
                breakers.push(unescape(text));
            }
        }
        breakers
    }
}

/// Stages by name, between semicolons.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Names(Vec<Stage>);

impl FromStr for Names {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Stage::parse_names(text)
            .map(Self)
            .map_err(|e| format!("{} is no sampler; must be {}", e.found, e.allowed))
    }
}

/// Stages by letter.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Letters(Vec<Stage>);

impl FromStr for Letters {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Stage::parse_letters(text)
            .map(Self)
            .map_err(|e| format!("{} is no sampler; must be {}", e.found, e.allowed))
    }
}

/// Replaces `\n`, `\r`, `\t`, `\\`, `\'` and `\"`; any other backslash stays.
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let replaced = match chars.peek() {
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some(&literal @ ('\\' | '\'' | '"')) => literal,
            _ => c,
        };
        if c == '\\' && (replaced != c || chars.peek() == Some(&'\\')) {
            chars.next();
            out.push(replaced);
        } else {
            out.push(c);
        }
    }
    out
}

/// A seed, or -1 for a random one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seed(u32);

impl FromStr for Seed {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<u32>() {
            Ok(seed) => Ok(Self(seed)),
            Err(_) if text == "-1" => Ok(Self(Params::RANDOM_SEED)),
            Err(_) => Err("must be -1 or a number below 2^32"),
        }
    }
}

/// `ID+BIAS` or `ID-BIAS`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct LogitBias {
    id: u32,
    bias: f32,
}

impl FromStr for LogitBias {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WANTED: &str = "must be a token id, + or -, and a number";
        let sign = text.find(['+', '-']).ok_or(WANTED)?;
        let (id, signed) = text.split_at(sign);
        let id = id.parse().map_err(|_| WANTED)?;
        let bias: f32 = signed.parse().map_err(|_| WANTED)?;
        Ok(Self { id, bias })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser;

    /// The flags given behind `lockstep run x`.
    fn parsed(flags: &[&str]) -> SamplingArgs {
        let cli = Cli::try_parse_from([&["lockstep", "run", "x"], flags].concat()).unwrap();
        let Command::Run(args) = cli.command else { panic!("run was asked for") };
        args.sampling
    }

    #[test]
    fn small_languages() {
        assert_eq!("7".parse(), Ok(Seed(7)));
        assert_eq!("-1".parse(), Ok(Seed(u32::MAX)));
        assert!("4294967296".parse::<Seed>().is_err() && "-2".parse::<Seed>().is_err());
        assert_eq!("15+2.5".parse(), Ok(LogitBias { id: 15, bias: 2.5 }));
        assert_eq!("15-inf".parse(), Ok(LogitBias { id: 15, bias: f32::NEG_INFINITY }));
        for bad in ["15", "-1+5", "+5", "15+", "15*2", "x+1", "4294967296+1", "1+-2"] {
            assert!(bad.parse::<LogitBias>().is_err(), "{bad}");
        }
        for (text, meant) in [
            (r"\n", "\n"),
            (r"a\tb", "a\tb"),
            (r"\\n", r"\n"),
            (r"\x", r"\x"),
            ("\\", "\\"),
            ("", ""),
        ] {
            assert_eq!(unescape(text), meant, "{text}");
        }
    }

    #[test]
    fn what_the_user_gave_is_not_the_models_to_change() {
        let (params, user_set) = parsed(&["--temp", "0", "--top-k=3"]).params();
        assert_eq!(params, Params { temp: 0.0, top_k: 3, ..Params::default() });
        assert_eq!(user_set, UserSet { temp: true, top_k: true, ..UserSet::default() });
        let (params, user_set) = parsed(&["--samplers", "top_k;xtc"]).params();
        assert_eq!(params.order, [Stage::TopK, Stage::Xtc]);
        assert!(user_set.order, "{user_set:?}");
        assert_eq!(
            parsed(&["--sampler-seq", "ka"]).params().0.order,
            [Stage::TopK, Stage::AdaptiveP]
        );
    }

    #[test]
    fn breakers_are_llama_cpps_or_the_users() {
        assert_eq!(parsed(&[]).dry_sequence_breakers(), ["\n", ":", "\"", "*"]);
        let flag = "--dry-sequence-breaker";
        assert_eq!(parsed(&[flag, r"\n", flag, "x"]).dry_sequence_breakers(), ["\n", "x"]);
        assert_eq!(parsed(&[flag, "x", flag, "none"]).dry_sequence_breakers(), [""; 0]);
    }
}
