//! Writing GGUF v3: plan the header, then stream the tensors. Atomic: a temporary file beside the target,
//! fsync, rename; dropped before `finish`, nothing is left.
use crate::{GgmlType, GgufError, Value};
use std::path::Path;

/// The header of a file to write: metadata and tensor table, in order.
#[derive(Debug, Default)]
pub struct GgufPlan {
    _private: (),
}

impl GgufPlan {
    /// An empty plan, alignment 32.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// Adds a metadata pair; an existing key is removed first and the new pair goes last, as ggml does.
    /// The value is encoded at once, so it need not outlive the call. Arrays of another file are copied as they are.
    pub fn set(&mut self, key: &str, value: Value<'_>) -> &mut Self {
        let _ = (key, value);
        self
    }
    /// Adds an array of strings.
    pub fn set_strs(&mut self, key: &str, items: &[&str]) -> &mut Self {
        let _ = (key, items);
        self
    }
    /// Adds an array of `f32`.
    pub fn set_f32s(&mut self, key: &str, items: &[f32]) -> &mut Self {
        let _ = (key, items);
        self
    }
    /// Adds an array of `i32`.
    pub fn set_i32s(&mut self, key: &str, items: &[i32]) -> &mut Self {
        let _ = (key, items);
        self
    }
    /// Removes a key.
    pub fn remove(&mut self, key: &str) -> &mut Self {
        let _ = key;
        self
    }
    /// Adds a tensor; `ne` innermost first.
    pub fn tensor(&mut self, name: &str, ty: GgmlType, ne: &[u64]) -> &mut Self {
        let _ = (name, ty, ne);
        self
    }
    /// Creates the temporary file and writes the header.
    /// # Errors
    /// A tensor that is no whole number of blocks, a name that is too long or double, and I/O errors.
    pub fn create(&self, path: &Path) -> Result<GgufWriter, GgufError> {
        let _ = path;
        unimplemented!()
    }
    /// The whole file in memory: the header, then `data` tensor by tensor. For tests and small models.
    /// # Errors
    /// As [`Self::create`], and a tensor whose bytes do not match its table entry.
    pub fn to_bytes(&self, data: &[&[u8]]) -> Result<Vec<u8>, GgufError> {
        let _ = data;
        unimplemented!()
    }
}

/// A file being written: call [`Self::write_tensor`] once per planned tensor, in order, then [`Self::finish`].
#[derive(Debug)]
pub struct GgufWriter {
    _private: (),
}

impl GgufWriter {
    /// Writes the next tensor's bytes and its padding.
    /// # Errors
    /// A size that does not match the plan, and I/O errors.
    pub fn write_tensor(&mut self, data: &[u8]) -> Result<(), GgufError> {
        let _ = data;
        unimplemented!()
    }
    /// Flushes, syncs and renames.
    /// # Errors
    /// Tensors missing, and I/O errors.
    pub fn finish(self) -> Result<(), GgufError> {
        unimplemented!()
    }
}
