//! Random texts for tests, the same at each run.

/// The state after `state`: a linear congruential generator (Numerical Recipes), whose high bits are the random ones.
pub(crate) fn next(state: u32) -> u32 {
    state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223)
}
