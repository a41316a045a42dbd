//! How a divergence looks, whatever the stage.

use crate::pair::Pair;
use crate::stats::{Stats, fit, nmse};
use crate::verdict::Kind;

/// What of a kind may be left unexplained.
const REST: f64 = 1e-6;
/// How small an error counts as none beside the whole error.
const SHARE: f64 = 1e-4;

/// The kind of a divergence; `size` is how many elements of a row belong together (a head).
pub(crate) fn kind_of(pair: &Pair, stats: &Stats, size: usize) -> Kind {
    if stats.n_not_finite[0] != stats.n_not_finite[1] {
        return Kind::NotFinite;
    }
    let (a, b) = (&pair.a, &pair.b);
    let (factor, rest) = fit(a, b);
    if rest < REST.min(stats.nmse * 0.01) && factor != 0.0 {
        return if (factor + 1.0).abs() < 1e-3 { Kind::Sign } else { Kind::Scale(factor) };
    }
    let n_cols = pair.n_cols;
    if let Some(row) = alone(a, b, n_cols, |i| i / n_cols) {
        return Kind::OneRow(row);
    }
    let rows = || a.chunks_exact(n_cols).zip(b.chunks_exact(n_cols));
    if n_cols > 1
        && rows().count() > 1
        && rows().all(|(a, b)| fit(a, b).1 < REST.min(stats.nmse * 0.01))
    {
        return Kind::RowScale;
    }
    if size < n_cols
        && let Some(head) = alone(a, b, n_cols, |i| i % n_cols / size)
    {
        return Kind::OneHead(head);
    }
    for shift in [1_usize, 2] {
        let n = shift * n_cols;
        if a.len() > 2 * n {
            if nmse(&a[n..], &b[..b.len() - n]) < REST {
                return Kind::Shift(i64::try_from(shift).unwrap_or(0));
            }
            if nmse(&a[..a.len() - n], &b[n..]) < REST {
                return Kind::Shift(-i64::try_from(shift).unwrap_or(0));
            }
        }
    }
    let sorted = |x: &[f64]| {
        let mut x = x.to_vec();
        x.sort_by(f64::total_cmp);
        x
    };
    if nmse(&sorted(a), &sorted(b)) < REST.min(stats.nmse * 1e-3) {
        return Kind::Permutation;
    }
    Kind::Different
}

/// The only group of elements that holds the error, if there are others.
fn alone(a: &[f64], b: &[f64], n_cols: usize, group: impl Fn(usize) -> usize) -> Option<usize> {
    if n_cols == 0 {
        return None;
    }
    let mut errors: Vec<f64> = Vec::new();
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        let g = group(i);
        if g >= errors.len() {
            errors.resize(g + 1, 0.0);
        }
        errors[g] += (a - b) * (a - b);
    }
    let (worst, largest) =
        errors.iter().enumerate().max_by(|x, y| x.1.total_cmp(y.1)).map(|(i, e)| (i, *e))?;
    let rest: f64 = errors.iter().sum::<f64>() - largest;
    (errors.len() > 1 && rest <= SHARE * largest).then_some(worst)
}
