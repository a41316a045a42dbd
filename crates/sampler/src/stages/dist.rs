//! The draw: the last stage, which picks by probability.

use super::temperature::round;
use crate::{Candidates, math, rng::Rng};

/// Draws a candidate, sets every `p` to its probability, and returns the id.
///
/// One number is drawn even if there is nothing to choose, so that the state of the generator
/// depends on the number of tokens alone. Exponentials are f32, their sum is f64, and the pick is
/// the first candidate at which the running sum reaches the drawn share of the whole.
pub(crate) fn pick(candidates: &mut Candidates, rng: &mut Rng) -> Option<u32> {
    let max = candidates.max();
    let items = candidates.list();
    let mut sum = 0.0_f64;
    for item in items.iter_mut() {
        item.p = math::exp(item.logit - max);
        sum += f64::from(item.p);
    }
    let target = sum * rng.uniform();
    let mut running = 0.0_f64;
    let mut picked = None;
    for item in items {
        running += f64::from(item.p);
        // A draw of exactly 0 must not pick a banned token that happens to come first.
        if picked.is_none() && running >= target && item.p > 0.0 {
            picked = Some(item.id);
        }
        item.p = round(f64::from(item.p) / sum);
    }
    picked
}
