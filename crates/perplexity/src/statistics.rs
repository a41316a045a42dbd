//! Means with their uncertainty, and quantiles, computed as llama.cpp computes them.
use serde::Serialize;

/// A number and how far it may be off (one standard error).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The number.
    pub mean: f64,
    /// Its standard error; 0 where there are too few values to tell.
    pub uncertainty: f64,
}

/// A number that so many percent of all values are below.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quantile {
    /// From 0 (the least) to 100 (the greatest).
    pub percent: f32,
    /// The value there.
    pub value: f32,
}

/// Sums from which the mean and its uncertainty follow.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sums {
    pub(crate) sum: f64,
    pub(crate) squares: f64,
}

impl Sums {
    pub(crate) fn push(&mut self, value: f64, square: f64) {
        self.sum += value;
        self.squares += square;
    }

    /// Mean and standard error of `n` values.
    pub(crate) fn estimate(&self, n: f64) -> Estimate {
        if n < 1.0 {
            return Estimate { mean: 0.0, uncertainty: 0.0 };
        }
        let mean = self.sum / n;
        let variance = self.squares / n - mean * mean;
        let uncertainty =
            if variance > 0.0 && n > 10.0 { (variance / (n - 1.0)).sqrt() } else { 0.0 };
        Estimate { mean, uncertainty }
    }
}

/// A count as a number to compute with.
#[expect(clippy::cast_precision_loss, reason = "counts of tokens are below 2^53")]
pub(crate) fn real(n: usize) -> f64 {
    n as f64
}

/// `percents` of `values`, between neighbors linearly. No values have no quantiles.
pub(crate) fn quantiles(values: &[f32], percents: &[f32]) -> Vec<Quantile> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let at = |percent: f32| Some(Quantile { percent, value: quantile(&sorted, percent / 100.0)? });
    percents.iter().filter_map(|percent| at(*percent)).collect()
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "in f32, as llama.cpp does it; an index is looked up, not believed"
)]
fn quantile(sorted: &[f32], fraction: f32) -> Option<f32> {
    let last = sorted.len().checked_sub(1)?;
    let at = fraction.clamp(0.0, 1.0) * last as f32;
    let low = (at as usize).min(last);
    let above = at - low as f32;
    let high = sorted.get(low + 1).or(sorted.last())?;
    Some((1.0 - above) * sorted.get(low)? + above * high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_neighbors() {
        let values = [4.0, 1.0, 2.0, 3.0];
        let found = quantiles(&values, &[0.0, 50.0, 75.0, 100.0]);
        assert_eq!(found.iter().map(|q| q.value).collect::<Vec<_>>(), [1.0, 2.5, 3.25, 4.0]);
        assert_eq!(quantiles(&[7.0], &[50.0])[0].value, 7.0);
        assert!(quantiles(&[], &[50.0]).is_empty());
    }

    #[test]
    fn the_standard_error_of_the_mean() {
        let mut sums = Sums::default();
        for value in 0..20 {
            sums.push(f64::from(value), f64::from(value * value));
        }
        // The variance of 0..20 is 33.25.
        let Estimate { mean, uncertainty } = sums.estimate(20.0);
        assert!(
            (mean - 9.5).abs() < 1e-12 && (uncertainty - (33.25_f64 / 19.0).sqrt()).abs() < 1e-12
        );
        assert_eq!(Sums::default().estimate(0.0).mean, 0.0);
    }
}
