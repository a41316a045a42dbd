//! XTC, exclude top choices: now and then all tokens of at least a probability are left out, but for
//! the least likely of them (<https://github.com/oobabooga/text-generation-webui/pull/6335>).

use crate::{Candidates, Params, rng::Rng};

/// How often, from which probability on, and the generator that decides: one of its own, of the same
/// seed as the draw's.
#[derive(Debug, Clone)]
pub(crate) struct Xtc {
    probability: f32,
    threshold: f32,
    min_keep: usize,
    rng: Rng,
}

impl Xtc {
    /// `None` if the parameters turn it off. `seed` is that of the draw.
    pub(crate) fn new(params: &Params, seed: u32) -> Option<Self> {
        let Params { xtc_probability: probability, xtc_threshold: threshold, min_keep, .. } =
            *params;
        (probability > 0.0 && threshold <= 0.5).then(|| Self {
            probability,
            threshold,
            min_keep,
            rng: Rng::new(seed),
        })
    }

    /// Puts the generator at the beginning of `seed`.
    pub(crate) fn reset(&mut self, seed: u32) {
        self.rng = Rng::new(seed);
    }

    pub(crate) fn apply(&mut self, candidates: &mut Candidates) {
        // Nothing is drawn where there is nothing to choose.
        if candidates.len() < 2 || self.rng.uniform_f32() > self.probability {
            return;
        }
        candidates.sort();
        candidates.softmax();
        let likely = candidates
            .iter()
            .take_while(|c| c.p >= self.threshold && c.logit > f32::NEG_INFINITY)
            .count();
        let left_out = likely.saturating_sub(1);
        if candidates.len().saturating_sub(left_out) >= self.min_keep {
            candidates.drop_front(left_out);
        }
    }
}
