//! Locally typical sampling: the tokens whose surprise is nearest to the entropy, until their
//! probabilities exceed p (Meister et al. 2022, <https://arxiv.org/abs/2202.00666>).

use crate::candidates::Candidate;
use crate::{Candidates, Params, math};

/// The mass to keep, and room to order candidates in.
#[derive(Debug, Clone)]
pub(crate) struct Typical {
    p: f32,
    min_keep: usize,
    /// For each candidate, the bits of its distance from the entropy, then its place: one number,
    /// which sorts fastest. Kept between samples for its memory, as is `kept`.
    scored: Vec<u64>,
    /// The candidates kept, nearest to the entropy first.
    kept: Vec<Candidate>,
}

impl Typical {
    /// `None` if the parameters turn it off.
    pub(crate) fn new(params: &Params) -> Option<Self> {
        let Params { typical_p: p, min_keep, .. } = *params;
        (p < 1.0).then_some(Self { p, min_keep, scored: Vec::new(), kept: Vec::new() })
    }

    pub(crate) fn apply(&mut self, candidates: &mut Candidates) {
        candidates.sort();
        candidates.softmax();
        let items = candidates.list();
        // A token of probability 0 adds nothing to the entropy and is infinitely surprising.
        // (llama.cpp computes 0 · ln 0 = NaN here, and then its order means nothing.)
        let possible = |p: &f32| *p > 0.0;
        let entropy = items.iter().map(|c| c.p).filter(possible).fold(0.0, |sum: f32, p| {
            // The sign first, as llama.cpp has it.
            sum + -p * math::ln(p)
        });
        let score =
            |p: f32| if possible(&p) { (-math::ln(p) - entropy).abs() } else { f32::INFINITY };
        // Distances are not negative, so their bits sort as they do; equal ones stay in descending
        // order of logits.
        let bits = |score: f32| u64::from(score.to_bits()) << 32;
        self.scored.clear();
        self.scored.extend((0..).zip(&*items).map(|(at, c)| bits(score(c.p)) | at));
        self.scored.sort_unstable();
        self.keep_mass(items);
        items.clear();
        items.extend_from_slice(&self.kept);
        candidates.set_sorted(false);
    }

    /// Copies candidates in the order of their scores until they exceed the mass.
    fn keep_mass(&mut self, items: &[Candidate]) {
        self.kept.clear();
        let mut sum = 0.0_f32;
        for place in self.scored.iter().map(|scored| (scored & 0xffff_ffff) as u32) {
            if let Some(candidate) = items.get(place as usize) {
                self.kept.push(*candidate);
                sum += candidate.p;
            }
            if sum > self.p && self.kept.len() >= self.min_keep {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Params, Sampler, Stage};

    fn kept(logits: &[f32]) -> Vec<u32> {
        let order = vec![Stage::TypicalP];
        let params = Params { typical_p: 0.25, order, ..Params::default() };
        let mut sampler = Sampler::new(params, logits.len()).unwrap();
        sampler.sample(logits).unwrap();
        sampler.candidates().iter().map(|c| c.id).collect()
    }

    #[test]
    fn tokens_of_probability_zero_change_nothing() {
        // Half of the mass on token 0 makes it less typical than the rest.
        let logits = [2.0, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5];
        assert_eq!(kept(&logits), [6, 5, 4], "nearest to the entropy first");
        for impossible in [f32::NEG_INFINITY, -1000.0] {
            let more: Vec<f32> = logits.into_iter().chain([impossible; 3]).collect();
            assert_eq!(kept(&more), [6, 5, 4], "with three logits of {impossible}");
        }
    }
}
