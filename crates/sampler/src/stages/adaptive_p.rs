//! Adaptive-p: a draw that prefers tokens near a probability, which moves against the picks of late,
//! so that their mean stays near the target (<https://github.com/ggml-org/llama.cpp/pull/17927>).

use super::discrete;
use crate::{Candidates, Params, rng::Rng};

/// How wide the preference is, in probability; llama.cpp multiplies by the reciprocal.
const WIDTH: f32 = 0.3;
/// The logit of a token that has just the probability wanted.
const PEAK: f32 = 5.0;
/// How fast logits fall with the distance.
const SHARPNESS: f32 = 10.0;

/// The target, and the mean of the picks so far.
#[derive(Debug, Clone)]
pub(crate) struct AdaptiveP {
    target: f32,
    decay: f32,
    /// Probabilities of the picks, each older one times the decay; as if they had always been on target.
    weighted_sum: f32,
    /// The sum of these weights.
    total_weight: f32,
    /// The probabilities before they are bent. Kept between samples for its memory.
    original: Vec<f32>,
}

impl AdaptiveP {
    pub(crate) fn new(params: &Params) -> Self {
        let mut adaptive = Self {
            target: params.adaptive_target,
            decay: params.adaptive_decay,
            weighted_sum: 0.0,
            total_weight: 0.0,
            original: Vec::new(),
        };
        adaptive.reset();
        adaptive
    }

    pub(crate) fn reset(&mut self) {
        self.weighted_sum = self.target / (1.0 - self.decay);
        self.total_weight = 1.0 / (1.0 - self.decay);
    }

    pub(crate) fn pick(&mut self, candidates: &mut Candidates, rng: &mut Rng) -> Option<u32> {
        candidates.softmax();
        if self.target < 0.0 {
            return discrete::pick(candidates, rng).map(|c| c.id);
        }
        self.original.clear();
        self.original.extend(candidates.iter().map(|c| c.p));
        let wanted = 2.0 * self.target - self.weighted_sum / self.total_weight;
        bend(candidates, wanted.clamp(0.0, 1.0));
        let picked = discrete::pick(candidates, rng)?;
        let at = candidates.iter().position(|c| c.id == picked.id)?;
        let p = self.original.get(at)?;
        self.weighted_sum = p + self.decay * self.weighted_sum;
        self.total_weight = 1.0 + self.decay * self.total_weight;
        Some(picked.id)
    }
}

/// Makes logits of the distances from the probability wanted, and probabilities of these.
fn bend(candidates: &mut Candidates, wanted: f32) {
    let was_sorted = candidates.is_sorted();
    let items = candidates.list();
    for item in items.iter_mut() {
        if item.logit > f32::NEG_INFINITY {
            let distance = ((item.p - wanted) * (1.0 / WIDTH)).abs();
            item.logit = PEAK - SHARPNESS * distance * distance / (1.0 + distance);
        }
    }
    // llama.cpp takes the first of what was sorted for the highest still; the differences are small
    // enough for it not to matter but to the last bits.
    let first = items.first().map(|c| c.logit).filter(|_| was_sorted);
    let is_sorted = was_sorted && items.is_sorted_by(|a, b| a.logit >= b.logit);
    candidates.set_sorted(is_sorted);
    let max = first.unwrap_or_else(|| candidates.max());
    candidates.softmax_from(max);
}
