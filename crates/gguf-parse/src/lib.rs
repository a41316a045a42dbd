//! GGUF files as validated, typed views: a nom grammar over a memory-mapped file, and a writer.
//!
//! This crate knows the container (metadata, tensor table, tensor bytes). It knows nothing of models:
//! no key but `general.alignment` and `split.*` means anything to it.

mod error;
mod file;
mod ggml_type;
mod metadata;
mod tensor;
mod writer;

pub use error::{ErrorClass, GgufError};
pub use file::Gguf;
pub use ggml_type::GgmlType;
pub use metadata::{ArrayView, FromValue, Metadata, Value, ValueType};
pub use tensor::{Dims, TensorInfo, TensorView};
pub use writer::{GgufPlan, GgufWriter};
