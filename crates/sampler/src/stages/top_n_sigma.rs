//! Top-n-sigma: the tokens whose logits are at most n standard deviations below the highest (Tang et
//! al. 2024, <https://arxiv.org/abs/2411.07641>).

use super::temperature::round;
use crate::{Candidates, Params};

/// How many standard deviations.
#[derive(Debug, Clone)]
pub(crate) struct TopNSigma {
    n: f32,
}

impl TopNSigma {
    /// `None` if the parameters turn it off.
    pub(crate) fn new(params: &Params) -> Option<Self> {
        (params.top_n_sigma > 0.0).then_some(Self { n: params.top_n_sigma })
    }

    pub(crate) fn apply(&self, candidates: &mut Candidates) {
        if candidates.len() <= 1 {
            return;
        }
        let valid = || candidates.logits().filter(|logit| *logit > f32::NEG_INFINITY);
        let (n, sum) = valid().fold((0.0_f32, 0.0_f32), |(n, sum), logit| (n + 1.0, sum + logit));
        // Up to 2^24 candidates n is exact; beyond, adding 1 would not change it any more.
        let n = if n < 16_777_216.0 { n } else { valid().count() as f32 };
        let mean = sum / n;
        // ggml squares and adds in f64, and keeps the sum in f32.
        let squares = valid().fold(0.0_f32, |sum, logit| {
            let difference = f64::from(logit - mean);
            round(f64::from(sum) + difference * difference)
        });
        let floor = candidates.max() - self.n * (squares / n).sqrt();
        // Logits so large that these sums overflow make the floor -infinity or NaN, which bans nothing.
        candidates.ban_below(floor);
    }
}
