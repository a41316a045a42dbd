//! The crate's two errors: parameters refused before anything runs, and logits nothing can be
//! picked from.

/// A parameter out of its range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} is {found}; must be {allowed}")]
pub struct ParamsError {
    /// The parameter: a field of [`crate::Params`], or the metadata key the value came from.
    pub name: &'static str,
    /// The value given.
    pub found: String,
    /// The values allowed.
    pub allowed: &'static str,
}

/// What can go wrong while sampling.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SampleError {
    /// The logits hold NaN or +infinity, or nothing finite.
    #[error("the model produced no finite logits")]
    NotFinite,
    /// Every token with a finite logit has a bias of -infinity.
    #[error("every token is banned by a logit bias")]
    AllBanned,
    /// The logits are not those of the vocabulary the sampler was made for.
    #[error("{found} logits given for a vocabulary of {expected} tokens")]
    WrongLength {
        /// Tokens in the vocabulary.
        expected: usize,
        /// Logits given.
        found: usize,
    },
}
