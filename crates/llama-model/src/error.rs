//! What can be wrong with a model or a batch.
use gguf_parse::ErrorClass;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The container.
    #[error(transparent)]
    Gguf(#[from] gguf_parse::GgufError),
    /// Another thread asked to stop.
    #[error("cancelled")]
    Cancelled,
}
impl ModelError {
    /// What a caller can do about it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        ErrorClass::Malformed
    }
    /// The stable code, `E-…`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        "E-HPARAM"
    }
}
