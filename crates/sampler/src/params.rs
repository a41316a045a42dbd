//! What the chain is told: llama.cpp's parameters under llama.cpp's defaults, with the ranges that
//! make sense enforced.

use crate::{ParamsError, Stage};

/// Parameters of the chain; the defaults are llama.cpp's.
///
/// llama.cpp takes any number; [`Params::validate`] refuses NaN and whatever has no meaning.
#[derive(Debug, Clone, PartialEq)]
pub struct Params {
    /// Seed of the random numbers; [`Params::RANDOM_SEED`], the default, takes one from the system.
    pub seed: u32,
    /// Temperature, >= 0. Logits are divided by it; 0 leaves the most likely token alone (greedy).
    /// Default 0.8.
    pub temp: f32,
    /// Half-width of the range that the entropy of the candidates moves the temperature in; 0, the
    /// default, is off.
    pub dynatemp_range: f32,
    /// How entropy maps to temperature within the range: normalized entropy to this power, >= 0.
    /// Default 1.
    pub dynatemp_exponent: f32,
    /// Candidates kept, by logit; 0 or -1 is off. Default 40.
    pub top_k: i32,
    /// Probability mass kept, in [0, 1]; 1 is off. Default 0.95.
    pub top_p: f32,
    /// Smallest probability kept, relative to that of the most likely token, in [0, 1]; 0 is off.
    /// Default 0.05.
    pub min_p: f32,
    /// Probability mass kept of the tokens nearest to the average surprise, in [0, 1]; 1, the
    /// default, is off.
    pub typical_p: f32,
    /// How many recent tokens the penalties look at, prompt included; 0 turns them off. Default 64.
    pub penalty_last_n: i32,
    /// Divides the positive logits (and multiplies the negative) of recent tokens; > 0, and 1, the
    /// default, is off.
    pub penalty_repeat: f32,
    /// Taken from a logit for each time its token occurs in the window; any finite number, 0 by
    /// default.
    pub penalty_freq: f32,
    /// Taken from a logit once if its token occurs in the window; any finite number, 0 by default.
    pub penalty_present: f32,
    /// What DRY takes from the logit of a token that would go on with a repetition no longer than
    /// allowed; any finite number, and 0, the default, is off.
    pub dry_multiplier: f32,
    /// By how much that grows for each further token of the repetition, >= 1. Default 1.75.
    pub dry_base: f32,
    /// Length of a repetition up to which its next token costs no more than the multiplier, >= 0.
    /// Default 2.
    pub dry_allowed_length: i32,
    /// How many recent tokens DRY looks at, prompt included; 0 turns it off. Default 64.
    pub dry_penalty_last_n: i32,
    /// Where repetitions end. None by default; llama.cpp's are the tokens of `\n`, `:`, `"` and `*`.
    pub dry_breakers: Vec<DryBreaker>,
    /// Standard deviations below the highest logit from which on tokens are banned; 0 or less is off.
    /// Default -1.
    pub top_n_sigma: f32,
    /// How often, in [0, 1], XTC leaves out the most likely tokens; 0, the default, is off.
    pub xtc_probability: f32,
    /// Probability from which on a token is one of those, in [0, 1]; above 0.5 XTC is off. Default
    /// 0.1.
    pub xtc_threshold: f32,
    /// Mirostat 1 or 2; 0, the default, is off. Either replaces all stages but the biases and a
    /// plain temperature.
    pub mirostat: i32,
    /// The surprise, in bits, that mirostat aims at, >= 0. Default 5.
    pub mirostat_tau: f32,
    /// How fast mirostat corrects itself, >= 0. Default 0.1.
    pub mirostat_eta: f32,
    /// The probability that adaptive-p aims at, at most 1; below 0, as by default, it draws plainly.
    pub adaptive_target: f32,
    /// How much adaptive-p remembers of its picks, in [0, 0.99]: about 1/(1 - decay) of them. Default
    /// 0.9.
    pub adaptive_decay: f32,
    /// Candidates that typical-p, top-p, min-p and XTC leave at least. Default 0.
    pub min_keep: usize,
    /// Added to the logits of these tokens before everything else; -infinity bans a token.
    ///
    /// llama.cpp also puts here, with -infinity, the tokens that a model's metadata asks to
    /// suppress, and every end-of-generation token under `--ignore-eos`. Two biases of one token
    /// add up.
    pub logit_bias: Vec<(u32, f32)>,
    /// The stages in order; one left out does not run. Default [`Stage::DEFAULT_ORDER`].
    pub order: Vec<Stage>,
}

/// A sequence of tokens at which DRY takes every repetition as ended: its text holds a breaker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DryBreaker {
    /// The first token. Alone it ends a repetition, and is then never penalized.
    pub head: u32,
    /// The tokens behind it, if the breaker goes on beyond the first.
    pub tail: Vec<u32>,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            seed: Self::RANDOM_SEED,
            temp: 0.8,
            dynatemp_range: 0.0,
            dynatemp_exponent: 1.0,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            typical_p: 1.0,
            penalty_last_n: 64,
            penalty_repeat: 1.0,
            penalty_freq: 0.0,
            penalty_present: 0.0,
            dry_multiplier: 0.0,
            dry_base: 1.75,
            dry_allowed_length: 2,
            dry_penalty_last_n: 64,
            dry_breakers: Vec::new(),
            top_n_sigma: -1.0,
            xtc_probability: 0.0,
            xtc_threshold: 0.1,
            mirostat: 0,
            mirostat_tau: 5.0,
            mirostat_eta: 0.1,
            adaptive_target: -1.0,
            adaptive_decay: 0.9,
            min_keep: 0,
            logit_bias: Vec::new(),
            order: Stage::DEFAULT_ORDER.to_vec(),
        }
    }
}

impl Params {
    /// The seed that stands for one taken from the system, llama.cpp's `LLAMA_DEFAULT_SEED`.
    pub const RANDOM_SEED: u32 = u32::MAX;

    /// Whether every parameter is in its range and every bias is of one of the `n_vocab` tokens.
    /// # Errors
    /// The first that is not.
    pub fn validate(&self, n_vocab: usize) -> Result<(), ParamsError> {
        require("n_vocab", n_vocab, "from 1 to 2^31 - 1", (1..1 << 31).contains(&n_vocab))?;
        self.validate_temperature()?;
        self.validate_cuts()?;
        self.validate_penalties()?;
        self.validate_draw()?;
        self.logit_bias.iter().try_for_each(|&(id, bias)| validate_bias(id, bias, n_vocab))
    }

    fn validate_temperature(&self) -> Result<(), ParamsError> {
        not_negative("temp", self.temp)?;
        not_negative("dynatemp_range", self.dynatemp_range)?;
        // The sum is the highest temperature; were it infinite, it would divide -infinity to NaN.
        require(
            "dynatemp_range",
            self.dynatemp_range,
            "finite when added to the temperature",
            (self.temp + self.dynatemp_range).is_finite(),
        )?;
        not_negative("dynatemp_exponent", self.dynatemp_exponent)
    }

    fn validate_cuts(&self) -> Result<(), ParamsError> {
        require("top_k", self.top_k, "a number of tokens, or 0 or -1 for all", self.top_k >= -1)?;
        finite("top_n_sigma", self.top_n_sigma)?;
        probability("top_p", self.top_p)?;
        probability("min_p", self.min_p)?;
        probability("typical_p", self.typical_p)?;
        probability("xtc_probability", self.xtc_probability)?;
        probability("xtc_threshold", self.xtc_threshold)
    }

    fn validate_penalties(&self) -> Result<(), ParamsError> {
        tokens("penalty_last_n", self.penalty_last_n)?;
        let repeat = self.penalty_repeat;
        require(
            "penalty_repeat",
            repeat,
            "a finite number above 0, its reciprocal finite too",
            repeat.is_finite() && repeat > 0.0 && (1.0 / repeat).is_finite(),
        )?;
        finite("penalty_freq", self.penalty_freq)?;
        finite("penalty_present", self.penalty_present)?;
        finite("dry_multiplier", self.dry_multiplier)?;
        let base = self.dry_base;
        require("dry_base", base, "a finite number, 1 or more", base.is_finite() && base >= 1.0)?;
        let length = self.dry_allowed_length;
        require("dry_allowed_length", length, "a number of tokens", length >= 0)?;
        tokens("dry_penalty_last_n", self.dry_penalty_last_n)
    }

    fn validate_draw(&self) -> Result<(), ParamsError> {
        require("mirostat", self.mirostat, "0, 1 or 2", (0..=2).contains(&self.mirostat))?;
        not_negative("mirostat_tau", self.mirostat_tau)?;
        not_negative("mirostat_eta", self.mirostat_eta)?;
        let target = self.adaptive_target;
        require(
            "adaptive_target",
            target,
            "from 0 to 1, or below 0 for off",
            target.is_finite() && target <= 1.0,
        )?;
        let decay = self.adaptive_decay;
        require("adaptive_decay", decay, "from 0 to 0.99", (0.0..=0.99).contains(&decay))
    }
}

fn probability(name: &'static str, p: f32) -> Result<(), ParamsError> {
    require(name, p, "from 0 to 1", (0.0..=1.0).contains(&p))
}

fn finite(name: &'static str, x: f32) -> Result<(), ParamsError> {
    require(name, x, "a finite number", x.is_finite())
}

fn not_negative(name: &'static str, x: f32) -> Result<(), ParamsError> {
    require(name, x, "a finite number, 0 or more", x.is_finite() && x >= 0.0)
}

fn tokens(name: &'static str, n: i32) -> Result<(), ParamsError> {
    require(name, n, "a number of tokens, or 0 for off", n >= 0)
}

fn validate_bias(id: u32, bias: f32, n_vocab: usize) -> Result<(), ParamsError> {
    let known = usize::try_from(id).is_ok_and(|id| id < n_vocab);
    let found = format!("{bias} for token {id}");
    require("logit_bias", &found, "for a token of the vocabulary", known)?;
    require("logit_bias", &found, "a finite number or -infinity", bias < f32::INFINITY)
}

/// `Ok` if `holds`; an error that shows `found` otherwise.
pub(crate) fn require(
    name: &'static str,
    found: impl ToString,
    allowed: &'static str,
    holds: bool,
) -> Result<(), ParamsError> {
    if holds { Ok(()) } else { Err(ParamsError { name, found: found.to_string(), allowed }) }
}
