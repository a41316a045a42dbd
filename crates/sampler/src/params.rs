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
    /// Candidates that typical-p, top-p and min-p leave at least. Default 0.
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
        let probability = |name, p: f32| require(name, p, "from 0 to 1", (0.0..=1.0).contains(&p));
        let finite = |name, x: f32| require(name, x, "a finite number", x.is_finite());
        let not_negative = |name, x: f32| {
            require(name, x, "a finite number, 0 or more", x.is_finite() && x >= 0.0)
        };
        require("n_vocab", n_vocab, "from 1 to 2^31 - 1", (1..1 << 31).contains(&n_vocab))?;
        not_negative("temp", self.temp)?;
        not_negative("dynatemp_range", self.dynatemp_range)?;
        // The sum is the highest temperature; were it infinite, it would divide -infinity to NaN.
        require(
            "dynatemp_range",
            self.dynatemp_range,
            "finite when added to the temperature",
            (self.temp + self.dynatemp_range).is_finite(),
        )?;
        not_negative("dynatemp_exponent", self.dynatemp_exponent)?;
        require("top_k", self.top_k, "a number of tokens, or 0 or -1 for all", self.top_k >= -1)?;
        probability("top_p", self.top_p)?;
        probability("min_p", self.min_p)?;
        probability("typical_p", self.typical_p)?;
        let last_n = self.penalty_last_n;
        require("penalty_last_n", last_n, "a number of tokens, or 0 for off", last_n >= 0)?;
        let repeat = self.penalty_repeat;
        require(
            "penalty_repeat",
            repeat,
            "a finite number above 0, its reciprocal finite too",
            repeat.is_finite() && repeat > 0.0 && (1.0 / repeat).is_finite(),
        )?;
        finite("penalty_freq", self.penalty_freq)?;
        finite("penalty_present", self.penalty_present)?;
        self.logit_bias.iter().try_for_each(|&(id, bias)| validate_bias(id, bias, n_vocab))
    }
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
