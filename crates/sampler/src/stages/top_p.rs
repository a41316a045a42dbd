//! Top-p, nucleus sampling: the most likely tokens until their probabilities reach p (Holtzman et
//! al. 2019, <https://arxiv.org/abs/1904.09751>).

use crate::candidates::Candidate;
use crate::{Candidates, Params};

/// The mass to keep.
#[derive(Debug, Clone)]
pub(crate) struct TopP {
    p: f32,
    min_keep: usize,
}

impl TopP {
    /// `None` if the parameters turn it off.
    pub(crate) fn new(params: &Params) -> Option<Self> {
        let Params { top_p: p, min_keep, .. } = *params;
        (p < 1.0).then_some(Self { p, min_keep })
    }

    pub(crate) fn apply(&self, candidates: &mut Candidates) {
        /// The nucleus is mostly small: as many as this are sorted before all are.
        const FIRST_GUESS: usize = 256;
        // The softmax sums in the order found, before any sorting.
        candidates.softmax();
        if !candidates.is_sorted() && candidates.len() > FIRST_GUESS {
            candidates.sort_front(FIRST_GUESS);
            let front = candidates.list().get(..FIRST_GUESS).unwrap_or_default();
            if let Some(n) = self.nucleus(front) {
                candidates.truncate(n);
                candidates.set_sorted(true);
                return;
            }
        }
        candidates.sort();
        if let Some(n) = self.nucleus(candidates.list()) {
            candidates.truncate(n);
        }
    }

    /// How many of these, which are in descending order, reach the mass; `None` if all do not.
    fn nucleus(&self, sorted: &[Candidate]) -> Option<usize> {
        let mut sum = 0.0_f32;
        (1..).zip(sorted).find_map(|(n, candidate)| {
            sum += candidate.p;
            (sum >= self.p && n >= self.min_keep).then_some(n)
        })
    }
}
