//! Traces of language models, and where two of them part.
//!
//! A trace is a file that holds the tensors of an evaluation under llama.cpp's names; any engine can write one
//! (docs/trace-format.md). [`Writer`] writes, [`TraceFile`] reads, [`compare`] walks two of them in the order of the
//! graph and names the first divergence: the stage, how it looks, and what explains it. Nothing here knows a model:
//! files in, verdict out.

mod compare;
mod diagnose;
mod error;
mod floor;
mod format;
mod html;
mod laws;
mod pair;
mod reader;
mod shape;
mod stage;
mod stats;
mod text;
mod verdict;
mod view;
mod writer;

pub use compare::{Others, compare};
pub use error::{TraceError, TraceErrorKind};
pub use floor::{F32_NOISE, MARGIN};
pub use format::{EvalInfo, TraceHparams, TraceInfo};
pub use html::html;
pub use reader::{Node, TraceFile};
pub use stage::Stage;
pub use stats::Stats;
pub use text::{text, verdict};
pub use verdict::{Comparison, Divergence, FloorSource, Kind, Row, Side, TopTokens};
pub use writer::{Values, Writer};
