//! What can be wrong with a conversion.
use gguf_parse::{ErrorClass, GgmlType};

/// An error of this crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DequantError {
    /// The type has no dequantizer (or quantizer) here.
    #[error("tensor type {} is not supported", ty.name())]
    Unsupported {
        /// The type.
        ty: GgmlType,
    },
    /// Bytes and elements do not match.
    #[error("{} data has {n_bytes} bytes for {n_elems} elements", ty.name())]
    Length {
        /// The type.
        ty: GgmlType,
        /// Bytes given.
        n_bytes: usize,
        /// Elements given.
        n_elems: usize,
    },
    /// Bytes that are no whole number of blocks.
    #[error("{n_bytes} bytes are no whole number of {} blocks of {} bytes", ty.name(), ty.block_bytes())]
    PartialBlock {
        /// The type.
        ty: GgmlType,
        /// Bytes given.
        n_bytes: usize,
    },
    /// A row that is no whole number of blocks.
    #[error("a row of {n_per_row} elements is no whole number of {} blocks of {}", ty.name(), ty.block_elems())]
    PartialRow {
        /// The type.
        ty: GgmlType,
        /// Elements in a row.
        n_per_row: usize,
    },
    /// A scale (or, in a float type, a value) is infinite or not a number.
    #[error("{} block {block} holds a number that is infinite or NaN", ty.name())]
    NotFinite {
        /// The type.
        ty: GgmlType,
        /// Index of the first such block; for a float type that is the element.
        block: usize,
    },
}

impl DequantError {
    /// What a caller can do about it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Unsupported { .. } => ErrorClass::Unsupported,
            _ => ErrorClass::Malformed,
        }
    }

    /// The stable code, `E-…`, by which tests and scripts know this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unsupported { .. } => "E-DTYPE",
            Self::NotFinite { .. } => "E-NAN",
            _ => "E-BLOCK",
        }
    }
}
