//! The draw of mirostat and adaptive-p: libstdc++'s `discrete_distribution`.

use crate::candidates::Candidate;
use crate::{Candidates, rng::Rng};

/// Draws a candidate by the probabilities `p`, which sum up to about 1.
///
/// The sum and the running sum of the quotients are f64, in the order of the list. Nothing is drawn
/// from the generator if there is but one candidate.
pub(crate) fn pick(candidates: &Candidates, rng: &mut Rng) -> Option<Candidate> {
    if candidates.len() < 2 {
        return candidates.iter().next();
    }
    let sum: f64 = candidates.iter().fold(0.0, |sum, c| sum + f64::from(c.p));
    let target = rng.uniform();
    let mut running = 0.0_f64;
    let mut last = None;
    // A draw of exactly 0 must not pick a banned token that happens to come first.
    for candidate in candidates.iter().filter(|c| c.p > 0.0) {
        running += f64::from(candidate.p) / sum;
        if running >= target {
            return Some(candidate);
        }
        last = Some(candidate);
    }
    // Rounding left the running sum below the draw.
    last
}
