//! Opening and mapping files. The only `unsafe` of the crate is here.
use crate::{GgufError, Metadata, TensorInfo, TensorView};
use std::path::Path;

/// An open GGUF model: one file, or all shards of a split one. `Send + Sync`.
#[derive(Debug)]
pub struct Gguf {
    _private: (),
}

impl Gguf {
    /// Opens, maps and validates a file (and its sibling shards, if it is the first of a split model).
    /// # Errors
    /// Anything that is wrong with the file.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        let _ = path;
        unimplemented!()
    }
    /// The same for a file held in memory.
    /// # Errors
    /// Anything that is wrong with the bytes.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, GgufError> {
        let _ = bytes;
        unimplemented!()
    }
    /// The metadata (of the first shard).
    #[must_use]
    pub fn metadata(&self) -> Metadata<'_> {
        unimplemented!()
    }
    /// The tensor table, all shards.
    #[must_use]
    pub fn tensors(&self) -> &[TensorInfo] {
        unimplemented!()
    }
    /// A tensor by name, `None` if absent.
    #[must_use]
    pub fn find_tensor(&self, name: &str) -> Option<TensorView<'_>> {
        let _ = name;
        unimplemented!()
    }
    /// A tensor by name.
    /// # Errors
    /// `MissingTensor`.
    pub fn tensor(&self, name: &str) -> Result<TensorView<'_>, GgufError> {
        let _ = name;
        unimplemented!()
    }
    /// Format version, 2 or 3.
    #[must_use]
    pub fn version(&self) -> u32 {
        unimplemented!()
    }
    /// Alignment of tensor data in bytes.
    #[must_use]
    pub fn alignment(&self) -> usize {
        unimplemented!()
    }
    /// Bytes of all files together.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        unimplemented!()
    }
    /// What is odd but harmless, one sentence each (bytes after the data, padding that is not zero).
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        unimplemented!()
    }
}
