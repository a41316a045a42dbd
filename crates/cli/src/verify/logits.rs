//! The logits of the three arithmetics: how far they are from each other as predictions.
use super::{
    certificate::{Logits, MeanMax},
    ladder::{Climbed, Step},
};
use crate::{errors::CliError, trace::likeliest};
use compare::{F32_NOISE, MARGIN, TraceError, TraceFile};

/// Logits, a row a position.
pub(super) struct Rows(pub(super) Vec<Vec<f32>>);

impl Rows {
    /// Those of all evaluations of a trace.
    pub(super) fn of(file: &TraceFile) -> Result<Self, TraceError> {
        let mut rows = Vec::new();
        for eval in 0..file.info().evals.len() {
            let is_logits =
                |node: &&compare::Node| node.eval == eval && node.name == "result_output";
            let Some(node) = file.nodes().iter().rfind(is_logits) else { continue };
            let n_vocab = node.shape.last().copied().unwrap_or(1).max(1);
            #[expect(clippy::cast_possible_truncation, reason = "two of three are f32")]
            let values: Vec<f32> = file.values(node)?.iter().map(|x| *x as f32).collect();
            rows.extend(values.chunks_exact(n_vocab).map(<[f32]>::to_vec));
        }
        Ok(Self(rows))
    }

    /// KL divergence of these from `base`, position by position.
    fn kl_from(&self, base: &Self) -> MeanMax {
        let pairs = base.0.iter().zip(&self.0);
        // Rounding may bring it below 0.
        let all: Vec<f64> = pairs.map(|(b, x)| perplexity::kl_divergence(b, x).max(0.0)).collect();
        #[expect(clippy::cast_precision_loss, reason = "a mean")]
        let n = all.len().max(1) as f64;
        MeanMax { mean: all.iter().sum::<f64>() / n, max: all.iter().copied().fold(0.0, f64::max) }
    }

    fn mean_square(&self) -> f64 {
        let all = self.0.iter().flatten();
        let (n, sum) = all.fold((0.0, 0.0), |(n, sum), x| (n + 1.0, sum + f64::from(*x).powi(2)));
        sum / f64::max(n, 1.0)
    }
}

/// Holds the logits of `fast` against those of `reference` and `oracle`.
pub(super) fn logits(
    fast: &TraceFile,
    reference: &TraceFile,
    oracle: &TraceFile,
) -> Climbed<Logits> {
    let rows = |file| Rows::of(file).map_err(CliError::from);
    let (fast, reference, oracle) = (rows(fast)?, rows(reference)?, rows(oracle)?);
    let lens = [&fast, &reference, &oracle].map(|rows| rows.0.len());
    if lens[0] == 0 || lens != [lens[0]; 3] {
        return Ok(Step::skipped("the traces have no logits"));
    }
    let of_reference = reference.kl_from(&oracle);
    // A small change of logits has half its mean square, at most, as its divergence.
    let floor = F32_NOISE * oracle.mean_square() / 2.0;
    let ties = Ties::new(&fast, &reference, &oracle);
    // The mean of `fast` may be further from the truth than that of `reference` by the margin of `lockstep compare`.
    let report = Logits {
        n_positions: lens[0],
        kl_fast_from_reference: fast.kl_from(&reference),
        kl_fast_from_oracle: fast.kl_from(&oracle),
        kl_reference_from_oracle: of_reference,
        kl_allowed: MARGIN * of_reference.mean.max(floor),
        n_same_top: ties.n_same,
        n_near_ties: ties.n_near,
    };
    let ours = report.kl_fast_from_oracle.mean;
    let detail = format!(
        "{} positions; mean KL from oracle: fast {ours:.1e}, reference {:.1e}; likeliest token the same in {}{}",
        report.n_positions,
        of_reference.mean,
        ties.n_same,
        if ties.n_near == 0 { String::new() } else { format!(", nearly tied in {}", ties.n_near) },
    );
    let mut notes = Vec::new();
    // What is not a number is not near, either.
    let is_near = ours <= report.kl_allowed;
    if !is_near {
        notes.push(format!("the mean KL divergence of fast may be {:.1e}", report.kl_allowed));
    }
    if let Some((position, gap)) = ties.apart {
        notes.push(format!(
            "at position {position} the likeliest tokens differ, and are {gap:.3} apart on reference"
        ));
    }
    let holds = notes.is_empty();
    let step = if holds { Step::ok(report, detail) } else { Step::fail(report, detail) };
    Ok(step.with_notes(notes))
}

/// Positions at which `fast` and `reference` name different tokens.
struct Ties {
    n_same: usize,
    n_near: usize,
    /// The first position at which they differ by more than noise, and by how much on `reference`.
    apart: Option<(usize, f32)>,
}

impl Ties {
    fn new(fast: &Rows, reference: &Rows, oracle: &Rows) -> Self {
        let mut ties = Self { n_same: 0, n_near: 0, apart: None };
        let rows = fast.0.iter().zip(&reference.0).zip(&oracle.0).enumerate();
        for (position, ((fast, reference), oracle)) in rows {
            let (ours, theirs) = (likeliest(fast), likeliest(reference));
            if ours == theirs {
                ties.n_same += 1;
                continue;
            }
            let noise = reference.iter().zip(oracle).map(|(a, b)| (a - b).abs());
            let noise = noise.fold(0.0, f32::max);
            let gap = reference[theirs] - reference[ours];
            // Both logits may be off by that much, and `MARGIN` is one of squares.
            if f64::from(gap) <= 2.0 * MARGIN.sqrt() * f64::from(noise) {
                ties.n_near += 1;
            } else {
                ties.apart = ties.apart.or(Some((position, gap)));
            }
        }
        ties
    }
}
