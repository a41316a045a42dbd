//! Temperature, with the dynamic range that llama.cpp calls `temp-ext`.

use crate::candidates::Candidate;
use crate::{Candidates, Params, math};

/// The temperature, or the range it moves in.
#[derive(Debug, Clone)]
pub(crate) struct Temperature {
    temp: f32,
    range: f32,
    exponent: f32,
}

impl Temperature {
    /// `None` if the parameters turn it off.
    pub(crate) fn new(params: &Params) -> Option<Self> {
        let Params { temp, dynatemp_range: range, dynatemp_exponent: exponent, .. } = *params;
        (temp != 1.0 || range > 0.0).then_some(Self { temp, range, exponent })
    }

    pub(crate) fn apply(&self, candidates: &mut Candidates) {
        if self.range <= 0.0 {
            divide(candidates, self.temp);
        } else if candidates.len() > 1 {
            // One candidate alone keeps its logit: no temperature changes its probability.
            candidates.sort();
            candidates.softmax();
            let temp = self.dynamic(candidates.list());
            divide(candidates, temp);
            renormalize(candidates);
        }
    }

    /// The temperature for candidates of these probabilities: the more even, the hotter.
    fn dynamic(&self, items: &[Candidate]) -> f32 {
        let coldest = (self.temp - self.range).max(0.0);
        let hottest = self.temp + self.range;
        let max_entropy = -math::ln(1.0 / items.len() as f32);
        let possible = items.iter().map(|c| c.p).filter(|p| *p > 0.0);
        let entropy = possible.fold(0.0_f32, |sum, p| sum - p * math::ln(p));
        let share = math::pow(entropy / max_entropy, self.exponent);
        let temp = coldest + (hottest - coldest) * share;
        // Rounding can bring the entropy above its maximum, and a high power of that overflows.
        if temp.is_finite() { temp } else { hottest }
    }
}

/// Divides the logits by the temperature; at 0 (and where it would overflow, which is the same
/// limit) all but the first of the highest become -infinity.
fn divide(candidates: &mut Candidates, temp: f32) {
    let max = candidates.max();
    let items = candidates.list();
    if temp > 0.0 && (max / temp).is_finite() {
        for item in items {
            item.logit /= temp;
        }
        return;
    }
    let first = items.iter().position(|c| c.logit == max);
    for (at, item) in items.iter_mut().enumerate() {
        if Some(at) != first {
            item.logit = f32::NEG_INFINITY;
        }
    }
}

/// Sets every `p` to the softmax of the (sorted) logits, this time in f64.
fn renormalize(candidates: &mut Candidates) {
    let max = f64::from(candidates.max());
    let mut sum = 0.0_f64;
    for item in candidates.list() {
        let p = math::exp_f64(f64::from(item.logit) - max);
        item.p = round(p);
        sum += p;
    }
    for item in candidates.list() {
        item.p = round(f64::from(item.p) / sum);
    }
}

/// A probability as f32.
#[expect(clippy::cast_possible_truncation, reason = "rounding is the point")]
pub(crate) fn round(p: f64) -> f32 {
    p as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_above_its_maximum_is_the_hottest() {
        let temperature = Temperature { temp: 0.8, range: 0.5, exponent: 1e6 };
        let even = |p| (0..4).map(|id| Candidate { id, logit: 0.0, p }).collect::<Vec<_>>();
        assert_eq!(temperature.dynamic(&even(0.25)), 0.8 + 0.5, "at the maximum");
        assert_eq!(temperature.dynamic(&even(0.3)), 0.8 + 0.5, "above it, to a high power");
    }
}
