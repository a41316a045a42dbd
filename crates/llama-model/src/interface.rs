//! Skeleton of the public interface.
use crate::ModelError;
use gguf_parse::Gguf;
use std::sync::{Arc, atomic::AtomicBool};

/// The arithmetic to compute with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numerics {
    /// SIMD on packed weights.
    Fast,
    /// Scalar, bit-identical to llama.cpp's scalar build.
    Reference,
    /// f64 throughout.
    Oracle,
}
/// How to load.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "skeleton")]
pub struct LoadOptions {
    pub numerics: Numerics,
    pub n_threads: usize,
}
/// Hyper-parameters.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "skeleton")]
pub struct Hparams {
    pub arch: String,
    pub n_layer: usize,
    pub n_embd: usize,
    pub n_head: usize,
    pub n_head_kv: usize,
    pub n_ff: usize,
    pub n_vocab: usize,
    pub n_ctx_train: usize,
}
/// A loaded model. `Send + Sync`; share it with `Arc`.
#[derive(Debug)]
pub struct Model {
    _private: (),
}
impl Model {
    /// Reads hyper-parameters and weights. `progress` gets the fraction done.
    /// # Errors
    /// See [`ModelError`].
    pub fn load(
        gguf: Arc<Gguf>,
        options: &LoadOptions,
        progress: &mut dyn FnMut(f32),
    ) -> Result<Self, ModelError> {
        let _ = (gguf, options, progress);
        unimplemented!()
    }
    /// Hyper-parameters.
    #[must_use]
    pub fn hparams(&self) -> &Hparams {
        unimplemented!()
    }
    /// Bytes that a context of this size will take, before anything is allocated.
    #[must_use]
    pub fn context_bytes(&self, options: &ContextOptions) -> u64 {
        let _ = options;
        unimplemented!()
    }
    /// Physical cores that affinity and cgroup quota allow: the default of `n_threads`.
    #[must_use]
    pub fn default_threads() -> usize {
        unimplemented!()
    }
}
/// How large a context to allocate.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "skeleton")]
pub struct ContextOptions {
    pub n_ctx: usize,
    pub n_seq: usize,
    pub n_ubatch: usize,
}
/// One token of a batch.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "skeleton")]
pub struct BatchToken {
    pub seq: usize,
    pub pos: usize,
    pub token: u32,
    pub output: bool,
}
/// A KV cache with its workspace. `Send`.
#[derive(Debug)]
pub struct Context {
    _private: (),
}
impl Context {
    /// Allocates cache and workspace.
    /// # Errors
    /// More memory than is free (with a context that fits), sizes out of range.
    pub fn new(model: Arc<Model>, options: &ContextOptions) -> Result<Self, ModelError> {
        let _ = (model, options);
        unimplemented!()
    }
    /// Runs a batch; returns the logits of the tokens with `output`, `[n_outputs, n_vocab]`. Positions must follow on from [`Self::len`].
    /// # Errors
    /// Ids or positions out of range, the context full, non-finite logits, `Cancelled`.
    pub fn decode(&mut self, batch: &[BatchToken]) -> Result<&[f32], ModelError> {
        let _ = batch;
        unimplemented!()
    }
    /// The same, handing every node to `trace`.
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_traced(
        &mut self,
        batch: &[BatchToken],
        trace: &mut dyn Trace,
    ) -> Result<&[f32], ModelError> {
        let _ = (batch, trace);
        unimplemented!()
    }
    /// Positions held of a sequence.
    #[must_use]
    pub fn len(&self, seq: usize) -> usize {
        let _ = seq;
        unimplemented!()
    }
    /// Forgets all positions from `len` on.
    pub fn truncate(&mut self, seq: usize, len: usize) {
        let _ = (seq, len);
    }
    /// Makes `dst` a copy of the first `len` positions of `src`.
    /// # Errors
    /// Sequence or length out of range.
    pub fn copy(&mut self, src: usize, dst: usize, len: usize) -> Result<(), ModelError> {
        let _ = (src, dst, len);
        unimplemented!()
    }
    /// Set it from any thread: `decode` stops between micro-batches and layers with `Cancelled`.
    #[must_use]
    pub fn cancel_flag(&self) -> Arc<AtomicBool> {
        unimplemented!()
    }
    /// Positions that fit in a sequence.
    #[must_use]
    pub fn n_ctx(&self) -> usize {
        unimplemented!()
    }
}
/// A node's values.
#[derive(Debug, Clone, Copy)]
pub enum NodeData<'a> {
    /// `Fast` and `Reference`.
    F32(&'a [f32]),
    /// `Oracle`.
    F64(&'a [f64]),
}
/// Receives every node of the graph, in llama.cpp's order and with its names.
pub trait Trace {
    /// `op` is ggml's (`"MUL_MAT"`), `name` llama.cpp's (`"Qcur"`), `il` the layer, `shape` outermost first.
    fn node(
        &mut self,
        op: &'static str,
        name: &'static str,
        il: Option<usize>,
        shape: &[usize],
        data: NodeData<'_>,
    );
}
