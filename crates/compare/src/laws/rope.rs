//! RoPE: from what went in and came out of a side to its pairs, angles, base and positions.

use crate::view::{Found, View};
use std::f64::consts::{PI, TAU};

/// Which elements form a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pairs {
    /// 2i and 2i + 1.
    Norm,
    /// i and i + n/2.
    Neox,
}

impl Pairs {
    fn name(self) -> &'static str {
        match self {
            Self::Norm => "NORM (neighbors)",
            Self::Neox => "NEOX (halves)",
        }
    }

    fn of(self, i: usize, n_rot: usize) -> (usize, usize) {
        match self {
            Self::Norm => (2 * i, 2 * i + 1),
            Self::Neox => (i, i + n_rot / 2),
        }
    }
}

/// How a side rotates.
#[derive(Debug, Clone)]
pub(crate) struct Rope {
    pub(crate) pairs: Pairs,
    /// How much of the pairs' lengths is lost: 0 if the pairs are right.
    pub(crate) rest: f64,
    /// Angle of each token and pair.
    pub(crate) angles: Vec<Vec<f64>>,
}

/// How a side rotated `Qcur` or `Kcur`.
pub(crate) fn rope(side: View<'_>, label: &str, n_embd_head: usize, n_rot: usize) -> Found<Rope> {
    let name = side.name(label);
    let (before, after) = (side.before_last_of(&name)?, side.last_of(&name)?);
    let (Some(before), Some(after)) = (before, after) else { return Ok(None) };
    let n_tokens = side.n_tokens();
    if before.x.len() != after.x.len()
        || n_tokens == 0
        || before.x.len() % (n_tokens * n_embd_head) != 0
    {
        return Ok(None);
    }
    let all = [Pairs::Norm, Pairs::Neox]
        .map(|pairs| angles(&before.x, &after.x, n_tokens, [n_embd_head, n_rot], pairs));
    Ok(all.into_iter().min_by(|a, b| a.rest.total_cmp(&b.rest)))
}

fn angles(x: &[f64], y: &[f64], n_tokens: usize, [size, n_rot]: [usize; 2], pairs: Pairs) -> Rope {
    let (mut lost, mut all) = (0.0, 0.0);
    let mut angles = Vec::new();
    for (x, y) in x.chunks_exact(x.len() / n_tokens).zip(y.chunks_exact(y.len() / n_tokens)) {
        let of_token = (0..n_rot / 2).map(|i| {
            let (p, q) = pairs.of(i, n_rot);
            // The one angle that turns this pair best in every head.
            let (mut re, mut im, mut lengths) = (0.0, 0.0, 0.0);
            for (x, y) in x.chunks_exact(size).zip(y.chunks_exact(size)) {
                re += x[p] * y[p] + x[q] * y[q];
                im += x[p] * y[q] - x[q] * y[p];
                lengths += ((x[p] * x[p] + x[q] * x[q]) * (y[p] * y[p] + y[q] * y[q])).sqrt();
            }
            lost += lengths - re.hypot(im);
            all += lengths;
            im.atan2(re)
        });
        angles.push(of_token.collect());
    }
    Rope { pairs, rest: if all == 0.0 { 0.0 } else { lost / all }, angles }
}

/// The difference of two angles, in -PI..=PI.
pub(crate) fn turn(a: f64, b: f64) -> f64 {
    let d = (a - b).rem_euclid(TAU);
    if d > PI { d - TAU } else { d }
}

impl Rope {
    /// The angle per position of each pair, from neighboring tokens; `None` for a single token.
    fn frequencies(&self) -> Option<Vec<f64>> {
        let n = self.angles.len().checked_sub(1).filter(|n| *n > 0)?;
        let pairs = 0..self.angles[0].len();
        let step = |t: usize, i: usize| turn(self.angles[t + 1][i], self.angles[t][i]);
        // Differences may straddle PI: add them as deviations from the first.
        let mean = |i: usize| {
            let first = step(0, i);
            first + (0..n).map(|t| turn(step(t, i), first)).sum::<f64>() / n as f64
        };
        Some(pairs.map(mean).collect())
    }

    /// The base that the frequencies of all pairs but the first speak for.
    fn base(&self) -> Option<f64> {
        let frequencies = self.frequencies()?;
        let n = frequencies.len() as f64;
        let usable = frequencies.iter().enumerate().skip(1).filter(|(_, f)| **f > 1e-5);
        let mut bases: Vec<f64> = usable.map(|(i, f)| f.ln() * -n / i as f64).collect();
        bases.sort_by(f64::total_cmp);
        Some(bases.get(bases.len() / 2)?.exp())
    }
}

/// What is different between the sides: a shift of positions if that is all, and a sentence.
pub(crate) fn explain(a: &Rope, b: &Rope) -> (Option<i64>, Vec<String>) {
    if a.pairs != b.pairs {
        let text = format!("A rotates pairs {}, B {}", a.pairs.name(), b.pairs.name());
        return (None, vec![text]);
    }
    if a.rest > 1e-3 && b.rest < 1e-3 {
        return (None, vec!["A does not rotate: lengths of pairs change".to_owned()]);
    }
    let Some(frequencies) = b.frequencies() else {
        return (None, vec!["A rotates by other angles (one token: position or base)".to_owned()]);
    };
    let differ = |shift: f64| {
        let mut worst = 0.0_f64;
        for (a, b) in a.angles.iter().zip(&b.angles) {
            for ((a, b), f) in a.iter().zip(b).zip(&frequencies) {
                worst = worst.max(turn(*a, b + shift * f).abs());
            }
        }
        worst
    };
    let shifts = [-3, -2, -1, 1, 2, 3_i32];
    if let Some(shift) = shifts.into_iter().find(|s| differ(f64::from(*s)) < 0.01) {
        let text =
            format!("A rotates every token as if its position were {shift:+} from where it is");
        return (Some(i64::from(shift)), vec![text]);
    }
    if let (Some(of_a), Some(of_b)) = (a.base(), b.base())
        && (of_a / of_b - 1.0).abs() > 0.01
    {
        return (
            None,
            vec![format!("the frequencies speak for base {of_a:.0} on A and {of_b:.0} on B")],
        );
    }
    (
        None,
        vec![
            "the pairs are the same, the angles are not: scaling, factors, or dimensions"
                .to_owned(),
        ],
    )
}
