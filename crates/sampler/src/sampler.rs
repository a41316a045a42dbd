//! The chain itself: parameters made into stages, run in order.

use crate::stages::{
    adaptive_p::AdaptiveP, dist, dry::Dry, logit_bias, min_p::MinP, mirostat::Mirostat,
    penalties::Penalties, temperature::Temperature, top_k::TopK, top_n_sigma::TopNSigma,
    top_p::TopP, typical::Typical, xtc::Xtc,
};
use crate::{Candidates, Params, ParamsError, SampleError, Stage, rng::Rng};

/// A stage with its parameters and its memory.
#[derive(Debug, Clone)]
enum Step {
    Penalties(Penalties),
    Dry(Dry),
    TopNSigma(TopNSigma),
    TopK(TopK),
    Typical(Typical),
    TopP(TopP),
    MinP(MinP),
    Xtc(Box<Xtc>),
    Temperature(Temperature),
}

impl Step {
    /// `None` if the parameters turn the stage off, or if it is no step but the draw.
    fn new(stage: Stage, params: &Params, seed: u32) -> Option<Self> {
        match stage {
            Stage::Penalties => Penalties::new(params).map(Self::Penalties),
            Stage::Dry => Dry::new(params).map(Self::Dry),
            Stage::TopNSigma => TopNSigma::new(params).map(Self::TopNSigma),
            Stage::TopK => TopK::new(params).map(Self::TopK),
            Stage::TypicalP => Typical::new(params).map(Self::Typical),
            Stage::TopP => TopP::new(params).map(Self::TopP),
            Stage::MinP => MinP::new(params).map(Self::MinP),
            Stage::Xtc => Xtc::new(params, seed).map(Box::new).map(Self::Xtc),
            Stage::Temperature => Temperature::new(params).map(Self::Temperature),
            Stage::AdaptiveP => None,
        }
    }

    fn accept(&mut self, id: u32) {
        match self {
            Self::Penalties(penalties) => penalties.accept(id),
            Self::Dry(dry) => dry.accept(id),
            _ => {}
        }
    }

    fn reset(&mut self, seed: u32) {
        match self {
            Self::Penalties(penalties) => penalties.reset(),
            Self::Dry(dry) => dry.reset(),
            Self::Xtc(xtc) => xtc.reset(seed),
            _ => {}
        }
    }

    fn apply(&mut self, candidates: &mut Candidates) {
        match self {
            Self::Penalties(penalties) => penalties.apply(candidates),
            Self::Dry(dry) => dry.apply(candidates),
            Self::TopNSigma(top_n_sigma) => top_n_sigma.apply(candidates),
            Self::TopK(top_k) => top_k.apply(candidates),
            Self::Typical(typical) => typical.apply(candidates),
            Self::TopP(top_p) => top_p.apply(candidates),
            Self::MinP(min_p) => min_p.apply(candidates),
            Self::Xtc(xtc) => xtc.apply(candidates),
            Self::Temperature(temperature) => temperature.apply(candidates),
        }
    }
}

/// What picks in the end.
#[derive(Debug, Clone)]
enum Draw {
    Dist,
    Mirostat(Mirostat),
    AdaptiveP(AdaptiveP),
}

impl Draw {
    fn new(params: &Params, n_vocab: usize) -> Self {
        if let Some(mirostat) = Mirostat::new(params, n_vocab) {
            Self::Mirostat(mirostat)
        } else if params.order.contains(&Stage::AdaptiveP) {
            Self::AdaptiveP(AdaptiveP::new(params))
        } else {
            Self::Dist
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Dist => "dist",
            Self::Mirostat(_) => "mirostat",
            Self::AdaptiveP(_) => "adaptive_p",
        }
    }

    fn reset(&mut self) {
        match self {
            Self::Dist => {}
            Self::Mirostat(mirostat) => mirostat.reset(),
            Self::AdaptiveP(adaptive_p) => adaptive_p.reset(),
        }
    }

    fn pick(&mut self, candidates: &mut Candidates, rng: &mut Rng) -> Option<u32> {
        match self {
            Self::Dist => dist::pick(candidates, rng),
            Self::Mirostat(mirostat) => mirostat.pick(candidates, rng),
            Self::AdaptiveP(adaptive_p) => adaptive_p.pick(candidates, rng),
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
    draw: Draw,
    rng: Rng,
    candidates: Candidates,
}

impl Sampler {
    /// A chain for a vocabulary of `n_vocab` tokens.
    /// # Errors
    /// A parameter that is NaN or out of its range, a bias for an id that does not exist.
    pub fn new(params: Params, n_vocab: usize) -> Result<Self, ParamsError> {
        params.validate(n_vocab)?;
        let rng = Rng::new(params.seed);
        let steps = steps(&params, rng.seed());
        let draw = Draw::new(&params, n_vocab);
        Ok(Self { params, n_vocab, steps, draw, rng, candidates: Candidates::default() })
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

    /// Tells the penalties and DRY of a token: every prompt token, special ones included, then (done by
    /// [`Self::sample`] itself) every pick.
    pub fn accept(&mut self, id: u32) {
        self.steps.iter_mut().for_each(|(_, step)| step.accept(id));
    }

    /// Starts over: an empty window, nothing learned of the picks, and the generators at their seed (a
    /// new one if it is to be random).
    pub fn reset(&mut self) {
        self.rng = Rng::new(self.params.seed);
        let seed = self.rng.seed();
        self.steps.iter_mut().for_each(|(_, step)| step.reset(seed));
        self.draw.reset();
    }

    /// Picks a token and accepts it. Leaves `logits`, `[n_vocab]`, as they are.
    /// # Errors
    /// [`SampleError`]; then nothing was drawn and nothing accepted.
    pub fn sample(&mut self, logits: &[f32]) -> Result<u32, SampleError> {
        self.sample_traced(logits, &mut |_, _| {})
    }

    /// As [`Self::sample`], showing the candidates after every stage that is on: `logit_bias`, the
    /// names of [`Stage`], and the draw (`dist`, `mirostat` or `adaptive_p`), after which `p` is what
    /// the pick was made by.
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
        let id = self.draw.pick(candidates, &mut self.rng).ok_or(SampleError::NotFinite)?;
        trace(self.draw.name(), candidates);
        self.accept(id);
        Ok(id)
    }

    /// The candidates of the last sample as the draw left them, with their probabilities.
    #[must_use]
    pub fn candidates(&self) -> &Candidates {
        &self.candidates
    }
}

/// The stages that are on, in order.
fn steps(params: &Params, seed: u32) -> Vec<(Stage, Step)> {
    let step = |&stage: &Stage| Step::new(stage, params, seed).map(|step| (stage, step));
    if params.mirostat == 0 {
        return params.order.iter().filter_map(step).collect();
    }
    // Mirostat stands behind a plain temperature alone, whatever the order says.
    let plain = Params { dynatemp_range: 0.0, ..params.clone() };
    let temperature = Temperature::new(&plain).map(Step::Temperature);
    temperature.map(|step| (Stage::Temperature, step)).into_iter().collect()
}
