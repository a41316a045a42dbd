//! How well a text was predicted.
use crate::statistics::{Estimate, Sums, real};

/// The highest logit, and the logarithm's argument: the sum of `exp(logit - highest)`.
///
/// As llama.cpp has it: differences and exponentials in f32, their sum in f64. The exponential is the system's.
pub(crate) fn max_and_sum_exp(logits: &[f32]) -> (f32, f64) {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    (max, logits.iter().map(|logit| f64::from((logit - max).exp())).sum())
}

/// `-ln p(target)` of a row of logits; infinite for a token that is not in it.
#[must_use]
pub fn neg_log_likelihood(logits: &[f32], target: u32) -> f64 {
    let Some(logit) = logits.get(target as usize) else { return f64::INFINITY };
    let (max, sum_exp) = max_and_sum_exp(logits);
    sum_exp.ln() - f64::from(logit - max)
}

/// The likelihood of a text, token by token.
#[derive(Debug, Clone, Copy, Default)]
pub struct Likelihood {
    nll: Sums,
    n: usize,
}

impl Likelihood {
    /// Adds a token's `-ln p`.
    pub fn push(&mut self, nll: f64) {
        self.nll.push(nll, nll * nll);
        self.n += 1;
    }

    /// Tokens so far.
    #[must_use]
    pub fn n_tokens(&self) -> usize {
        self.n
    }

    /// `exp` of the mean of `-ln p`; NaN without tokens.
    #[must_use]
    pub fn perplexity(&self) -> Estimate {
        let n = real(self.n);
        let mean = self.nll.sum / n;
        let variance = self.nll.squares / n - mean * mean;
        let error = if variance > 0.0 && self.n > 1 { (variance / (n - 1.0)).sqrt() } else { 0.0 };
        let ppl = mean.exp();
        Estimate { mean: ppl, uncertainty: ppl * error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_logits_are_as_good_as_dice() {
        let mut likelihood = Likelihood::default();
        for target in [0, 3, 5] {
            likelihood.push(neg_log_likelihood(&[-7.5; 6], target));
        }
        let Estimate { mean, uncertainty } = likelihood.perplexity();
        assert!((mean - 6.0).abs() < 1e-12 && uncertainty < 1e-6, "{mean} {uncertainty}");
        assert_eq!(likelihood.n_tokens(), 3);
        assert_eq!(neg_log_likelihood(&[0.0; 6], 6), f64::INFINITY);
    }

    #[test]
    fn large_logits_do_not_overflow() {
        let nll = neg_log_likelihood(&[3e38, 0.0, -3e38], 0);
        assert_eq!(nll, 0.0);
        assert_eq!(neg_log_likelihood(&[100.0, 0.0], 1), 100.0);
    }
}
