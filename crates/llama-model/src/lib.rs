//! Hyper-parameters, weights, KV cache and the forward pass.
mod error;
mod interface;
pub mod quantize;
pub mod synth;
pub use error::ModelError;
pub use interface::{
    BatchToken, Context, ContextOptions, Hparams, LoadOptions, Model, NodeData, Numerics, Trace,
};
