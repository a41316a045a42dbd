//! What can be wrong with a model, a context or a batch.

use gguf_parse::{ErrorClass, GgufError};

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The container: a key or tensor is missing, or of the wrong type.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// A block could not be decoded.
    #[error(transparent)]
    Dequant(#[from] dequant::DequantError),
    /// A kernel does not know a tensor's type, or threads could not be started.
    #[error(transparent)]
    Kernel(#[from] kernels::KernelError),
    /// The architecture is not one of those this engine runs.
    #[error(
        "general.architecture {found:?} is not supported; the nearest that are: {} (of {})",
        nearest.join(", "), known.join(", ")
    )]
    UnknownArch {
        /// What the file says, clipped.
        found: String,
        /// Those of `known` whose names are most like it.
        nearest: Vec<&'static str>,
        /// What would run.
        known: &'static [&'static str],
    },
    /// A hyper-parameter is out of its range or contradicts another.
    #[error("{key} is {found}; must be {allowed}")]
    Hparam {
        /// The metadata key.
        key: String,
        /// The value found.
        found: String,
        /// The values allowed.
        allowed: String,
    },
    /// A feature of the model is known but not implemented.
    #[error("{key} is {found}: {feature} is not supported")]
    Unsupported {
        /// The metadata key or tensor that asks for it.
        key: String,
        /// Its value.
        found: String,
        /// What it would need.
        feature: &'static str,
    },
    /// A tensor's shape is not what the hyper-parameters say.
    #[error("tensor {name} has shape {found:?}; must be {expected:?} (outermost first)")]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape in the file, outermost first.
        found: Vec<u64>,
        /// The shape needed.
        expected: Vec<u64>,
    },
    /// More memory is needed than is free.
    #[error("{what} needs {} MiB, {} MiB are free{}", need >> 20, have >> 20, hint)]
    OverBudget {
        /// What for.
        what: &'static str,
        /// Bytes needed.
        need: u64,
        /// Bytes free.
        have: u64,
        /// What to try instead; starts with `"; "` or is empty.
        hint: String,
    },
    /// A parameter of the call is out of its range.
    #[error("{what} is {found}; must be {allowed}")]
    Argument {
        /// The parameter.
        what: &'static str,
        /// The value given.
        found: String,
        /// The values allowed.
        allowed: String,
    },
    /// A batch reaches beyond the context.
    #[error("the context is full: {needed} positions are needed, n_ctx is {n_ctx}")]
    ContextFull {
        /// Positions that the batch needs.
        needed: usize,
        /// Positions there are.
        n_ctx: usize,
    },
    /// The model's weights lead to NaN or infinity.
    #[error("the model produced a logit that is {found} (token {token}): its weights are damaged")]
    NotFinite {
        /// The value.
        found: f32,
        /// Whose logit it is.
        token: usize,
    },
    /// Another thread asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// The private thread pool could not be made.
    #[error("threads could not be started")]
    Threads(#[source] rayon::ThreadPoolBuildError),
}

impl ModelError {
    /// What a caller can do about it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Gguf(e) => e.class(),
            Self::UnknownArch { .. }
            | Self::Unsupported { .. }
            | Self::Dequant(_)
            | Self::Kernel(_) => ErrorClass::Unsupported,
            Self::Hparam { .. } | Self::Shape { .. } | Self::NotFinite { .. } => {
                ErrorClass::Malformed
            }
            Self::OverBudget { .. } | Self::Threads(_) => ErrorClass::OverBudget,
            Self::Argument { .. } | Self::ContextFull { .. } | Self::Cancelled => ErrorClass::Usage,
        }
    }

    /// The stable code by which tests and scripts know this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Gguf(e) => e.code(),
            Self::Dequant(_) | Self::Kernel(_) => "E-DTYPE",
            Self::UnknownArch { .. } => "E-ARCH",
            Self::Hparam { .. } => "E-HPARAM",
            Self::Unsupported { .. } => "E-UNSUPPORTED",
            Self::Shape { .. } => "E-SHAPE",
            Self::OverBudget { .. } => "E-MEMORY",
            Self::Argument { .. } => "E-ARGUMENT",
            Self::ContextFull { .. } => "E-CONTEXT",
            Self::NotFinite { .. } => "E-NAN",
            Self::Cancelled => "E-CANCELLED",
            Self::Threads(_) => "E-THREADS",
        }
    }
}
