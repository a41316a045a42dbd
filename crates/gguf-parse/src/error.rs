//! What can be wrong with a GGUF file, each with where it is and what was expected.

/// What a caller can do about an error; the command line maps it to an exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorClass {
    /// The input breaks the format (sysexits 65).
    Malformed,
    /// The input is missing or cannot be read (66).
    Unreadable,
    /// The input is valid, but this engine does not run it (69).
    Unsupported,
    /// More memory is needed than is free (71).
    OverBudget,
    /// Reading or writing failed, or the file changed under us (74).
    Io,
    /// A parameter is out of its range (2).
    Usage,
}

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GgufError {
    /// A required key is absent.
    #[error("metadata key {key} is missing")]
    MissingKey {
        /// The key.
        key: String,
    },
}

impl GgufError {
    /// What a caller can do about it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        ErrorClass::Malformed
    }

    /// The stable code, `E-…`, by which tests and scripts know this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::MissingKey { .. } => "E-KEY",
        }
    }
}
