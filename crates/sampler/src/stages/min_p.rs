//! Min-p: the tokens at least p times as likely as the most likely one (Nguyen et al. 2024,
//! <https://arxiv.org/abs/2407.01082>).

use crate::{Candidates, Params, math};

/// The share of the highest probability to keep.
#[derive(Debug, Clone)]
pub(crate) struct MinP {
    /// ln p: in logits, how far below the highest the floor lies.
    ln_p: f32,
    min_keep: usize,
}

impl MinP {
    /// `None` if the parameters turn it off.
    pub(crate) fn new(params: &Params) -> Option<Self> {
        let Params { min_p, min_keep, .. } = *params;
        (min_p > 0.0).then(|| Self { ln_p: math::ln(min_p), min_keep })
    }

    pub(crate) fn apply(&self, candidates: &mut Candidates) {
        let floor = candidates.max() + self.ln_p;
        // Without sorting, unless too few would be left.
        if !candidates.keep_from(floor, self.min_keep) {
            candidates.sort();
            candidates.truncate(self.min_keep);
        }
    }
}
