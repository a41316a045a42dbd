//! GGUF files as validated, typed views: a nom grammar over a memory-mapped file, and a writer.
//!
//! This crate knows the container (metadata, tensor table, tensor bytes). It knows nothing of models:
//! no key but `general.alignment` and `split.*` means anything to it.
//!
//! A file is validated once, when it is opened: every length, count and offset is checked against the file before
//! it is used, and whatever is wrong becomes a [`GgufError`] that says where, what was found and what must be.
//! Hostile input cannot make it panic, loop, recurse or allocate more than the file itself is long.
//!
//! ```
//! use gguf_parse::{GgmlType, Gguf, GgufPlan, Value};
//!
//! # fn main() -> Result<(), gguf_parse::GgufError> {
//! let mut plan = GgufPlan::new();
//! plan.set("general.name", Value::Str("one vector")).tensor("v", GgmlType::F32, &[2]);
//! let gguf = Gguf::from_bytes(plan.to_bytes(&[&[0; 8]])?)?;
//!
//! assert_eq!(gguf.metadata().get::<&str>("general.name")?, "one vector");
//! assert_eq!(gguf.tensor("v")?.dims.n_cols(), 2);
//! # Ok(())
//! # }
//! ```

mod error;
mod escaped;
mod fault;
mod file;
mod ggml_type;
mod gguf;
mod grammar;
mod header;
mod index;
mod limits;
mod looks_like;
mod metadata;
mod split;
mod tensor;
mod value;
mod writer;

pub use error::{ErrorClass, GgufError};
pub use escaped::Escaped;
pub use ggml_type::GgmlType;
pub use gguf::Gguf;
pub use metadata::Metadata;
pub use tensor::{Dims, TensorInfo, TensorView};
pub use value::{ArrayView, FromValue, Value, ValueType};
pub use writer::{GgufPlan, GgufWriter};
