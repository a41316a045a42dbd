//! RMSNorm: from input and output of a side to the epsilon it used, and where.

use crate::stats::fit;
use crate::view::{Found, Rows, View};

/// How a side normalizes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Norm {
    /// Epsilon, if it is inside the root.
    pub(crate) inside: f64,
    /// Epsilon, if it is added to the root.
    pub(crate) outside: f64,
    /// Relative rest of the scales under each of the two.
    rests: [f64; 2],
    /// What rounding to f32 makes epsilon uncertain by.
    uncertainty: f64,
    /// NMSE of output against scaled input: 0 unless it is no RMSNorm.
    pub(crate) rest: f64,
}

/// What a side's `norm` did to its input. `which` counts the norms of the layer.
pub(crate) fn norm(side: View<'_>, which: usize) -> Found<Norm> {
    let input = if which == 0 || side.il.is_none() {
        side.stream()?
    } else {
        side.last_of(&side.name("ffn_inp"))?
    };
    let (Some(input), Some(output)) = (input, side.node(&side.name("norm"), which)?) else {
        return Ok(None);
    };
    let input = input.last(output.n_rows());
    Ok((input.x.len() == output.x.len()).then(|| measure(&input, &output)))
}

fn measure(input: &Rows, output: &Rows) -> Norm {
    let n = input.n_cols as f64;
    // Scale and mean square of each row.
    let rows: Vec<(f64, f64, f64)> = input
        .iter()
        .zip(output.iter())
        .map(|(x, y)| {
            let (scale, rest) = fit(y, x);
            (scale, x.iter().map(|x| x * x).sum::<f64>() / n, rest)
        })
        .collect();
    // Rows with small values tell most: rounding of the scale hides epsilon in proportion to the mean square.
    let weighted = |value: &dyn Fn(f64, f64) -> f64, sigma: &dyn Fn(f64) -> f64| {
        let (mut sum, mut weights) = (0.0, 0.0);
        for (scale, ms, _) in &rows {
            let weight = sigma(*ms).max(f64::MIN_POSITIVE).powi(-2);
            sum += value(*scale, *ms) * weight;
            weights += weight;
        }
        sum / weights
    };
    let inside = weighted(&|s, ms| 1.0 / (s * s) - ms, &|ms| ms);
    let outside = weighted(&|s, ms| 1.0 / s - ms.sqrt(), &f64::sqrt);
    let rest = |predicted: &dyn Fn(f64) -> f64| {
        rows.iter().map(|(s, ms, _)| (s / predicted(*ms) - 1.0).powi(2)).sum::<f64>()
    };
    let least = rows.iter().map(|(_, ms, _)| *ms).fold(f64::INFINITY, f64::min);
    Norm {
        inside,
        outside,
        rests: [
            rest(&|ms| 1.0 / (ms + inside).max(f64::MIN_POSITIVE).sqrt()),
            rest(&|ms| 1.0 / (ms.sqrt() + outside)),
        ],
        // The scale is an f32: twice its rounding, as 1/s^2 doubles it.
        uncertainty: 1.2e-7 * least,
        rest: rows.iter().map(|(_, _, rest)| *rest).fold(0.0, f64::max),
    }
}

/// What is different between the sides.
pub(crate) fn explain(a: &Norm, b: &Norm) -> Vec<String> {
    if a.rest > 1e-4 && b.rest < 1e-4 {
        return vec!["A's output is not its input times a factor: a mean is subtracted, or this is another norm".to_owned()];
    }
    let tolerance = 0.02 * b.inside.abs() + 2.0 * (a.uncertainty + b.uncertainty);
    if (a.inside - b.inside).abs() <= tolerance {
        return Vec::new();
    }
    let same = |x: f64, y: f64| (x - y).abs() < 0.1 * y.abs() + a.uncertainty.sqrt() * 1e-3;
    if same(a.outside, b.inside) && a.rests[1] <= a.rests[0] * 4.0 + 1e-12 {
        return vec![format!(
            "A adds epsilon {:.2e} to the root; B has it inside the root",
            a.outside
        )];
    }
    vec![format!("epsilon is {:.2e} on A and {:.2e} on B", a.inside, b.inside)]
}
