//! Logit biases: the first stage, on the whole vocabulary.

use crate::{Candidates, SampleError};

/// Adds each bias to the logit of its token, in the order given.
pub(crate) fn apply(biases: &[(u32, f32)], candidates: &mut Candidates) -> Result<(), SampleError> {
    let logits = candidates.by_id();
    for &(id, bias) in biases {
        if let Some(logit) = logits.get_mut(id as usize) {
            let sum = *logit + bias;
            // What overflows is the largest number; what is banned, by either, stays so.
            let banned = *logit == f32::NEG_INFINITY || bias == f32::NEG_INFINITY;
            *logit = if banned { f32::NEG_INFINITY } else { sum.clamp(f32::MIN, f32::MAX) };
        }
    }
    if candidates.any_finite() { Ok(()) } else { Err(SampleError::AllBanned) }
}
