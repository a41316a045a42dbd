//! llama-like models on CPUs: hyper-parameters, weights, KV cache and one forward pass in three arithmetics.
//!
//! [`Model::load`] takes an open [`gguf_parse::Gguf`], [`Context::new`] makes room for sequences,
//! [`Context::decode`] extends them and returns logits. [`Numerics`] says how to compute: fast, bit-identical to
//! llama.cpp's scalar build, or in f64. A [`Trace`] sees every intermediate tensor.
//!
//! The transformer itself is `forward.rs`; what an arithmetic is stands in `arith/mod.rs`.

mod arch;
mod arith;
pub mod bench;
mod context;
mod error;
#[cfg(test)]
mod faults_tests;
mod forward;
mod hparams;
mod memory;
mod model;
pub mod quantize;
pub mod synth;
mod trace;
mod weights;

pub use context::{BatchToken, Context, ContextOptions};
pub use error::ModelError;
pub use hparams::{Hparams, RopeParams};
pub use kernels::{Isa, KvType, RopeKind};
pub use model::{LoadOptions, Model, Numerics};
pub use trace::{NodeData, NodeName, Trace};
