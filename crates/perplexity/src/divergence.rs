//! How far predictions are from those of a base model.
use crate::base::BaseRow;
use crate::likelihood::max_and_sum_exp;
use crate::statistics::{Estimate, Quantile, Sums, quantiles, real};
use serde::Serialize;

/// Below this the base's log-probability counts as 0.
const NEGLIGIBLE: f32 = -16.0;

/// One token: what its logits say beside what the base says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RowDivergence {
    nll: f32,
    nll_base: f32,
    kld: f64,
    p_diff: f32,
    same_top: bool,
}

impl RowDivergence {
    /// Compares a row of logits with the base's, for the token `target` that the text goes on with.
    ///
    /// # Panics
    /// If the row has no such token.
    #[must_use]
    pub fn new(logits: &[f32], base: &BaseRow<'_>, target: u32) -> Self {
        let (max, sum_exp) = max_and_sum_exp(logits);
        #[expect(clippy::cast_possible_truncation, reason = "in f32, as llama.cpp does it")]
        let log_sum_exp = sum_exp.ln() as f32;
        let log_norm = max + log_sum_exp;
        let nll = log_norm - logits[target as usize];
        let nll_base = -base.log_prob(target);
        let kld = logits.iter().zip(base.log_probs()).filter(|(_, p)| *p > NEGLIGIBLE);
        let kld = kld.map(|(logit, p)| f64::from(p.exp() * (p - logit + log_norm))).sum();
        Self {
            nll,
            nll_base,
            kld,
            p_diff: (-nll).exp() - (-nll_base).exp(),
            same_top: top(logits.iter().copied()) == top(base.log_probs()),
        }
    }

    /// The Kullback-Leibler divergence from the base, in nats.
    #[must_use]
    pub fn kld(&self) -> f64 {
        self.kld
    }
}

/// Index of the first highest value.
fn top(values: impl Iterator<Item = f32>) -> usize {
    let first = (0, f32::NEG_INFINITY);
    values.enumerate().fold(first, |best, found| if found.1 > best.1 { found } else { best }).0
}

/// The divergence of a text, token by token.
#[derive(Debug, Clone, Default)]
pub struct Divergence {
    nll: Sums,
    nll_base: Sums,
    nll_product: f64,
    kld: Sums,
    p_diff: Sums,
    p_diff_fourth: f64,
    n_same_top: usize,
    klds: Vec<f32>,
    p_diffs: Vec<f32>,
}

/// All statistics; those of llama.cpp, whose names for them stand behind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Tokens compared.
    pub n_tokens: usize,
    /// Perplexity of the model: `PPL(Q)`.
    pub ppl: Estimate,
    /// Perplexity of the base: `PPL(base)`.
    pub ppl_base: Estimate,
    /// `Cor(ln(PPL(Q)), ln(PPL(base)))`; NaN for too few tokens.
    pub ln_ppl_correlation: f64,
    /// `ln(PPL(Q)/PPL(base))`.
    pub ln_ppl_ratio: Estimate,
    /// `PPL(Q)/PPL(base)`.
    pub ppl_ratio: Estimate,
    /// `PPL(Q)-PPL(base)`.
    pub ppl_difference: Estimate,
    /// Kullback-Leibler divergence in nats: `KLD`.
    pub kld: Estimate,
    /// Its quantiles, highest first.
    pub kld_quantiles: Vec<Quantile>,
    /// How much likelier the text's tokens are to the model: `Δp`.
    pub p_diff: Estimate,
    /// Its quantiles, highest first.
    pub p_diff_quantiles: Vec<Quantile>,
    /// The root of the mean of its square: `RMS Δp`.
    pub p_diff_rms: Estimate,
    /// The share of tokens at which both like the same token best: `Same top p`.
    pub same_top: Estimate,
}

impl Divergence {
    const KLD_PERCENTS: [f32; 11] = [100.0, 99.9, 99.0, 95.0, 90.0, 50.0, 10.0, 5.0, 1.0, 0.1, 0.0];
    const P_DIFF_PERCENTS: [f32; 13] =
        [100.0, 99.9, 99.0, 95.0, 90.0, 75.0, 50.0, 25.0, 10.0, 5.0, 1.0, 0.1, 0.0];

    /// Adds a token.
    pub fn push(&mut self, row: &RowDivergence) {
        let RowDivergence { nll, nll_base, kld, p_diff, same_top } = *row;
        let squared = |x: f32| (f64::from(x), f64::from(x * x));
        let (value, square) = squared(nll);
        self.nll.push(value, square);
        let (value, square) = squared(nll_base);
        self.nll_base.push(value, square);
        self.nll_product += f64::from(nll * nll_base);
        self.kld.push(kld, kld * kld);
        let (value, square) = squared(p_diff);
        self.p_diff.push(value, square);
        self.p_diff_fourth += square * square;
        self.n_same_top += usize::from(same_top);
        #[expect(clippy::cast_possible_truncation, reason = "quantiles in f32, as llama.cpp's")]
        self.klds.push(kld as f32);
        self.p_diffs.push(p_diff);
    }

    /// Tokens so far.
    #[must_use]
    pub fn n_tokens(&self) -> usize {
        self.klds.len()
    }

    /// The mean divergence so far, in nats.
    #[must_use]
    pub fn mean(&self) -> Estimate {
        self.kld.estimate(real(self.n_tokens()))
    }

    /// Everything there is to say about the tokens so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let n = real(self.n_tokens());
        let (ln_ppl, ln_base) = (self.nll.estimate(n), self.nll_base.estimate(n));
        let covariance = if n < 10.0 {
            0.0
        } else {
            (self.nll_product / n - (self.nll.sum / n) * (self.nll_base.sum / n)) / (n - 1.0)
        };
        let of_ln = |ln: Estimate| {
            let mean = ln.mean.exp();
            Estimate { mean, uncertainty: mean * ln.uncertainty }
        };
        let (ppl, ppl_base) = (of_ln(ln_ppl), of_ln(ln_base));
        let ln_ppl_ratio = difference(ln_ppl, ln_base, covariance);
        let mean_square =
            Sums { sum: self.p_diff.squares, squares: self.p_diff_fourth }.estimate(n);
        let rms = mean_square.mean.sqrt();
        let half = if rms > 0.0 { 0.5 / rms } else { 0.0 };
        let same = real(self.n_same_top) / n;
        Summary {
            n_tokens: self.n_tokens(),
            ppl,
            ppl_base,
            ln_ppl_correlation: covariance / (ln_ppl.uncertainty * ln_base.uncertainty),
            ln_ppl_ratio,
            ppl_ratio: of_ln(ln_ppl_ratio),
            ppl_difference: difference(ppl, ppl_base, ppl.mean * ppl_base.mean * covariance),
            kld: self.kld.estimate(n),
            kld_quantiles: quantiles(&self.klds, &Self::KLD_PERCENTS),
            p_diff: self.p_diff.estimate(n),
            p_diff_quantiles: quantiles(&self.p_diffs, &Self::P_DIFF_PERCENTS),
            p_diff_rms: Estimate { mean: rms, uncertainty: half * mean_square.uncertainty },
            same_top: Estimate {
                mean: same,
                uncertainty: (same * (1.0 - same) / (n - 1.0)).sqrt(),
            },
        }
    }
}

/// `a - b` of two numbers that vary together. Rounding can make the variance of nearly equal ones negative: it is 0.
fn difference(a: Estimate, b: Estimate, covariance: f64) -> Estimate {
    let variance = a.uncertainty.powi(2) + b.uncertainty.powi(2) - 2.0 * covariance;
    Estimate { mean: a.mean - b.mean, uncertainty: variance.max(0.0).sqrt() }
}

/// The Kullback-Leibler divergence of `logits` from `base` in nats, in f64 and without the limits of a base file.
///
/// # Panics
/// If they are not equally long.
#[must_use]
pub fn kl_divergence(base: &[f32], logits: &[f32]) -> f64 {
    assert_eq!(base.len(), logits.len(), "logits of one vocabulary");
    let log_norm = |logits: &[f32]| {
        let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        max + logits.iter().map(|logit| (f64::from(*logit) - max).exp()).sum::<f64>().ln()
    };
    let (norm_base, norm) = (log_norm(base), log_norm(logits));
    let terms = base.iter().zip(logits).map(|(base, logit)| {
        let log_p = f64::from(*base) - norm_base;
        log_p.exp() * (log_p - (f64::from(*logit) - norm))
    });
    terms.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BaseReader, BaseWriter, Chunks, encode_row};

    fn logits(seed: f32) -> Vec<f32> {
        (0..50).map(|i| (i as f32 * 0.7 + seed).sin() * 4.0).collect()
    }

    /// The divergence of made-up rows from made-up rows, through a file.
    fn compare(shift: f32) -> Summary {
        let n_ctx = 41;
        let text = Chunks::new((0..2 * n_ctx).map(|i| i % 50).collect(), n_ctx as usize, None, 50);
        let text = text.unwrap();
        let mut writer = BaseWriter::new(Vec::new(), &text).unwrap();
        let rows: Vec<Vec<f32>> = (0..40).map(|i| logits(i as f32)).collect();
        rows.iter().for_each(|row| writer.write_row(&encode_row(row)).unwrap());
        let file = writer.into_inner();
        let mut reader = BaseReader::new(&file[..], file.len() as u64, 50).unwrap();
        let mut divergence = Divergence::default();
        for chunk in 0..2 {
            let base = reader.next_chunk().unwrap();
            for (i, (base, target)) in base.iter().zip(text.targets(chunk)).enumerate() {
                let row = logits((chunk * 20 + i) as f32 + shift);
                divergence.push(&RowDivergence::new(&row, base, *target));
            }
        }
        assert_eq!(divergence.n_tokens(), 40);
        divergence.summary()
    }

    #[test]
    fn a_model_does_not_diverge_from_itself() {
        let summary = compare(0.0);
        assert!(summary.kld.mean.abs() < 1e-5, "{:?}", summary.kld);
        assert_eq!(summary.same_top.mean, 1.0);
        assert!((summary.ppl.mean / summary.ppl_base.mean - 1.0).abs() < 1e-4, "{summary:?}");
        assert!((summary.ln_ppl_correlation - 1.0).abs() < 1e-3, "{summary:?}");
    }

    #[test]
    fn the_file_is_as_exact_as_sixteen_bits_can_be() {
        let summary = compare(0.1);
        let exact: f64 =
            (0..40).map(|i| kl_divergence(&logits(i as f32), &logits(i as f32 + 0.1))).sum();
        assert!((summary.kld.mean - exact / 40.0).abs() < 2e-5, "{summary:?} {exact}");
        assert!(summary.kld.mean > 0.01, "{summary:?}");
        let values: Vec<f32> = summary.kld_quantiles.iter().map(|q| q.value).collect();
        assert!(values.is_sorted_by(|a, b| a >= b), "{values:?}");
    }

    #[test]
    fn divergence_in_f64() {
        // ln(1/2 / 1/4) / 2 + ln(1/2 / 3/4) / 2
        let kl = kl_divergence(&[0.0, 0.0], &[0.0, 3.0_f32.ln()]);
        assert!((kl - 0.5 * (4.0_f64 / 3.0).ln()).abs() < 1e-7, "{kl}");
        assert_eq!(kl_divergence(&[1.0, 2.0], &[1.0, 2.0]), 0.0);
    }
}
