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
        // The softmax sums in the order found, before any sorting.
        candidates.softmax();
        let n = if candidates.is_sorted() {
            self.nucleus(candidates.list())
        } else {
            self.sort_nucleus(candidates)
        };
        candidates.truncate(n.unwrap_or(usize::MAX));
        candidates.set_sorted(true);
    }

    /// As [`Self::nucleus`] of the candidates in descending order, sorting no more of them than
    /// needed.
    fn sort_nucleus(&self, candidates: &mut Candidates) -> Option<usize> {
        let mut done = 0;
        let mut next = 256;
        while next < candidates.len() {
            if let Some(n) = self.nucleus(candidates.sort_front(done, next)) {
                return Some(n);
            }
            done = next;
            next = next.saturating_mul(8);
        }
        self.nucleus(candidates.sort_front(done, candidates.len()))
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
