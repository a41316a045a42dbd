//! Top-k: the k highest logits, exactly k even if there are ties at the border (Fan et al. 2018,
//! <https://arxiv.org/abs/1805.04833>).

use crate::{Candidates, Params};

/// How many candidates to keep.
#[derive(Debug, Clone)]
pub(crate) struct TopK {
    k: usize,
}

impl TopK {
    /// `None` if the parameters turn it off.
    pub(crate) fn new(params: &Params) -> Option<Self> {
        let k = usize::try_from(params.top_k).ok()?;
        (k > 0).then_some(Self { k })
    }

    pub(crate) fn apply(&self, candidates: &mut Candidates) {
        candidates.keep_top(self.k);
    }
}
