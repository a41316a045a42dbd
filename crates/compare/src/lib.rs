//! Traces of language models, and where two of them part.
//!
//! A trace is a file that holds the tensors of an evaluation under llama.cpp's names; any engine can write one
//! (docs/trace-format.md). [`Writer`] writes, [`TraceFile`] reads. Nothing here knows a model: files in, verdict out.

mod error;
mod format;
mod reader;
mod writer;

pub use error::{TraceError, TraceErrorKind};
pub use format::{EvalInfo, TraceHparams, TraceInfo};
pub use reader::{Node, TraceFile};
pub use writer::{Values, Writer};
