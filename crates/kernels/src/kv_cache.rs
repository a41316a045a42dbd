//! Keys and values of past positions.

use crate::KernelError;

/// The shape of a [`KvCache`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvShape {
    /// Layers.
    pub n_layer: usize,
    /// Sequences.
    pub n_seq: usize,
    /// Positions of a sequence.
    pub n_ctx: usize,
    /// Heads of keys and values.
    pub n_head_kv: usize,
    /// Elements of a key head.
    pub n_embd_head_k: usize,
    /// Elements of a value head.
    pub n_embd_head_v: usize,
}

/// Keys and values in F16, for each layer, sequence and position. Memory is committed as it is first written.
#[derive(Debug)]
pub struct KvCache {
    shape: KvShape,
}

impl KvCache {
    /// An empty cache.
    /// # Errors
    /// [`KernelError::CacheShape`] for a dimension of zero or more bytes than can be addressed.
    pub fn new(shape: KvShape) -> Result<Self, KernelError> {
        let _ = shape;
        unimplemented!()
    }
    /// Bytes that a cache of this shape takes; `None` if that overflows.
    #[must_use]
    pub fn bytes_of(shape: &KvShape) -> Option<usize> {
        let _ = shape;
        unimplemented!()
    }
    /// The shape.
    #[must_use]
    pub fn shape(&self) -> &KvShape {
        &self.shape
    }
    /// Bytes allocated.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        unimplemented!()
    }
    /// Stores the key `[n_head_kv, n_embd_head_k]` and value `[n_head_kv, n_embd_head_v]` of a position, rounded to F16.
    /// # Panics
    /// On an index out of range or a length that does not match.
    pub fn store(&mut self, il: usize, seq: usize, pos: usize, k: &[f32], v: &[f32]) {
        let _ = (il, seq, pos, k, v);
        unimplemented!()
    }
    /// Reads a position back.
    /// # Panics
    /// As [`Self::store`].
    pub fn load(&self, il: usize, seq: usize, pos: usize, k: &mut [f32], v: &mut [f32]) {
        let _ = (il, seq, pos, k, v);
        unimplemented!()
    }
    /// Makes the first `len` positions of `dst` those of `src`, in every layer.
    /// # Errors
    /// [`KernelError::CacheRange`].
    pub fn copy(&mut self, src: usize, dst: usize, len: usize) -> Result<(), KernelError> {
        let _ = (src, dst, len);
        unimplemented!()
    }
}
