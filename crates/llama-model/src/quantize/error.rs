//! What can go wrong when a file is quantized.
use dequant::DequantError;
use gguf_parse::{ErrorClass, GgmlType, GgufError};
use std::path::PathBuf;

/// Why a file was not quantized. Nothing is left of the target.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuantizeError {
    /// The source or the target as a container.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// Source and target are one file.
    #[error("{} would be quantized onto itself", path.display())]
    SameFile {
        /// The target as it was given.
        path: PathBuf,
    },
    /// A tensor has been quantized before, which costs quality, and nobody said that this is wanted.
    #[error("tensor {tensor} is {} already: quantizing it again must be allowed", ty.name())]
    Requantize {
        /// The tensor.
        tensor: String,
        /// Its type.
        ty: GgmlType,
    },
    /// A tensor of a type that cannot be converted to another.
    #[error("tensor {tensor} is {}, which cannot be converted to {}", from.name(), to.name())]
    Unsupported {
        /// The tensor.
        tensor: String,
        /// Its type.
        from: GgmlType,
        /// What it should become.
        to: GgmlType,
    },
    /// An architecture for which llama.cpp has rules of its own, which are not known here.
    #[error("no rules are known by which {architecture} is quantized")]
    Architecture {
        /// The value of `general.architecture`.
        architecture: String,
    },
    /// A model of several experts has a feed-forward tensor whose name tells no layer, or one that the model has not.
    #[error("tensor {tensor} belongs to none of the {n_layer} layers")]
    Layer {
        /// The tensor.
        tensor: String,
        /// Layers of the model.
        n_layer: usize,
    },
    /// The source holds an infinity or a NaN.
    #[error("tensor {tensor} of the source is broken")]
    NotFinite {
        /// The tensor.
        tensor: String,
        /// Where.
        source: DequantError,
    },
    /// A tensor holds numbers too large for a scale of the target's type.
    #[error("tensor {tensor} has weights too large for {}", to.name())]
    OutOfRange {
        /// The tensor.
        tensor: String,
        /// What it should become.
        to: GgmlType,
        /// Where.
        source: DequantError,
    },
    /// The callback asked to stop.
    #[error("cancelled")]
    Cancelled,
}

impl QuantizeError {
    /// What a caller can do about it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Gguf(error) => error.class(),
            Self::SameFile { .. } | Self::Requantize { .. } | Self::Cancelled => ErrorClass::Usage,
            Self::Unsupported { .. } | Self::Architecture { .. } => ErrorClass::Unsupported,
            Self::Layer { .. } | Self::NotFinite { .. } | Self::OutOfRange { .. } => {
                ErrorClass::Malformed
            }
        }
    }

    /// The stable code, `E-…`, by which tests and scripts know this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Gguf(error) => error.code(),
            Self::SameFile { .. } => "E-SAMEFILE",
            Self::Requantize { .. } => "E-REQUANTIZE",
            Self::Unsupported { .. } => "E-DTYPE",
            Self::Architecture { .. } => "E-ARCH",
            Self::Layer { .. } => "E-NAME",
            Self::NotFinite { .. } => "E-NAN",
            Self::OutOfRange { .. } => "E-RANGE",
            Self::Cancelled => "E-CANCELLED",
        }
    }
}
