//! The chain itself: parameters made into stages, run in order.

use crate::stages::{
    dist, logit_bias, min_p::MinP, penalties::Penalties, temperature::Temperature, top_k::TopK,
    top_p::TopP, typical::Typical,
};
use crate::{Candidates, Params, ParamsError, SampleError, Stage, rng::Rng};

/// A stage with its parameters and its memory.
#[derive(Debug, Clone)]
enum Step {
    Penalties(Penalties),
    TopK(TopK),
    Typical(Typical),
    TopP(TopP),
    MinP(MinP),
    Temperature(Temperature),
}

impl Step {
    /// `None` if the parameters turn the stage off.
    fn new(stage: Stage, params: &Params) -> Option<Self> {
        match stage {
            Stage::Penalties => Penalties::new(params).map(Self::Penalties),
            Stage::TopK => TopK::new(params).map(Self::TopK),
            Stage::TypicalP => Typical::new(params).map(Self::Typical),
            Stage::TopP => TopP::new(params).map(Self::TopP),
            Stage::MinP => MinP::new(params).map(Self::MinP),
            Stage::Temperature => Temperature::new(params).map(Self::Temperature),
            Stage::Dry | Stage::TopNSigma | Stage::Xtc => None,
        }
    }

    fn apply(&mut self, candidates: &mut Candidates) {
        match self {
            Self::Penalties(penalties) => penalties.apply(candidates),
            Self::TopK(top_k) => top_k.apply(candidates),
            Self::Typical(typical) => typical.apply(candidates),
            Self::TopP(top_p) => top_p.apply(candidates),
            Self::MinP(min_p) => min_p.apply(candidates),
            Self::Temperature(temperature) => temperature.apply(candidates),
        }
    }
}

/// The chain with its random numbers and its window of recent tokens.
///
/// Sampling allocates nothing once the arrays have their size, takes no lock and reads no clock.
/// A clone goes on exactly as the original would.
#[derive(Debug, Clone)]
pub struct Sampler {
    params: Params,
    n_vocab: usize,
    steps: Vec<(Stage, Step)>,
    rng: Rng,
    candidates: Candidates,
}

impl Sampler {
    /// A chain for a vocabulary of `n_vocab` tokens.
    /// # Errors
    /// A parameter that is NaN or out of its range, a bias for an id that does not exist.
    pub fn new(params: Params, n_vocab: usize) -> Result<Self, ParamsError> {
        params.validate(n_vocab)?;
        let step = |&stage: &Stage| Step::new(stage, &params).map(|step| (stage, step));
        let steps = params.order.iter().filter_map(step).collect();
        let rng = Rng::new(params.seed);
        Ok(Self { params, n_vocab, steps, rng, candidates: Candidates::default() })
    }

    /// The parameters the chain was made from.
    #[must_use]
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The seed in use: [`Params::seed`], or the one taken from the system in its place. Given
    /// again, it leads to the same picks.
    #[must_use]
    pub fn seed(&self) -> u32 {
        self.rng.seed()
    }

    /// Tells the penalties of a token: every prompt token, special ones included, then (done by
    /// [`Self::sample`] itself) every pick.
    pub fn accept(&mut self, id: u32) {
        for (_, step) in &mut self.steps {
            if let Step::Penalties(penalties) = step {
                penalties.accept(id);
            }
        }
    }

    /// Starts over: an empty window, and the generator at its seed (a new one if it is to be
    /// random).
    pub fn reset(&mut self) {
        self.rng = Rng::new(self.params.seed);
        for (_, step) in &mut self.steps {
            if let Step::Penalties(penalties) = step {
                penalties.reset();
            }
        }
    }

    /// Picks a token and accepts it. Leaves `logits`, `[n_vocab]`, as they are.
    /// # Errors
    /// [`SampleError`]; then nothing was drawn and nothing accepted.
    pub fn sample(&mut self, logits: &[f32]) -> Result<u32, SampleError> {
        self.sample_traced(logits, &mut |_, _| {})
    }

    /// As [`Self::sample`], showing the candidates after every stage that is on: `logit_bias`, the
    /// names of [`Stage`], and `dist`, the draw, after which `p` is what the pick was made by.
    /// Looking changes nothing.
    /// # Errors
    /// As [`Self::sample`].
    pub fn sample_traced(
        &mut self,
        logits: &[f32],
        trace: &mut dyn FnMut(&'static str, &Candidates),
    ) -> Result<u32, SampleError> {
        if logits.len() != self.n_vocab {
            return Err(SampleError::WrongLength { expected: self.n_vocab, found: logits.len() });
        }
        let candidates = &mut self.candidates;
        candidates.load(logits)?;
        if !self.params.logit_bias.is_empty() {
            logit_bias::apply(&self.params.logit_bias, candidates)?;
            trace("logit_bias", candidates);
        }
        for (stage, step) in &mut self.steps {
            step.apply(candidates);
            trace(stage.name(), candidates);
        }
        let id = dist::pick(candidates, &mut self.rng).ok_or(SampleError::NotFinite)?;
        trace("dist", candidates);
        self.accept(id);
        Ok(id)
    }

    /// The candidates of the last sample as the draw left them, with their probabilities.
    #[must_use]
    pub fn candidates(&self) -> &Candidates {
        &self.candidates
    }
}
