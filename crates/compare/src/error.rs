//! What can be wrong with a trace file.

use std::io;

/// An error of this crate. Messages say where in the file, not which file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// The file cannot be opened or read.
    #[error("cannot be read")]
    Open(#[source] io::Error),
    /// The file cannot be written.
    #[error("cannot be written")]
    Write(#[source] io::Error),
    /// It is not a safetensors file at all, or cut short.
    #[error("no safetensors file: {what}")]
    NotSafetensors {
        /// What is wrong.
        what: &'static str,
    },
    /// The header is no JSON of the right form.
    #[error("the header is malformed")]
    Header(#[source] serde_json::Error),
    /// The header is larger than any trace needs.
    #[error("the header has {n_bytes} bytes; must have at most {max}")]
    HeaderTooLarge {
        /// Its size.
        n_bytes: u64,
        /// The largest size taken.
        max: u64,
    },
    /// A metadata entry is missing or unreadable.
    #[error("metadata {key:?} {problem}; see docs/trace-format.md")]
    Metadata {
        /// Its key.
        key: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A tensor's entry contradicts itself or the file.
    #[error("tensor {name:?}: {problem}")]
    Tensor {
        /// Its name, clipped.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Two traces have nothing that could be compared.
    #[error("the traces have no node in common: are the names llama.cpp's?")]
    NothingInCommon,
}

/// What a caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TraceErrorKind {
    /// The file's content is wrong.
    Malformed,
    /// The file is missing or may not be read.
    Unreadable,
    /// Writing failed.
    Io,
}

impl TraceError {
    /// The class.
    #[must_use]
    pub fn kind(&self) -> TraceErrorKind {
        match self {
            Self::Open(_) => TraceErrorKind::Unreadable,
            Self::Write(_) => TraceErrorKind::Io,
            _ => TraceErrorKind::Malformed,
        }
    }

    /// The stable code by which tests and scripts know this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Open(_) => "E-OPEN",
            Self::Write(_) => "E-IO",
            _ => "E-TRACE",
        }
    }
}
