//! An open model.
use crate::file::{Bytes, Shard};
use crate::index::NameIndex;
use crate::{GgufError, Metadata, TensorInfo, TensorView, split};
use std::path::Path;

/// An open GGUF model: one file, or all shards of a split one. `Send + Sync`; it borrows nothing.
///
/// Everything is validated when it is opened: afterwards every access is a lookup that cannot fail but for a
/// name that is not there.
pub struct Gguf {
    shards: Vec<Shard>,
    tensors: Vec<TensorInfo>,
    index: NameIndex,
    warnings: Vec<String>,
}

impl Gguf {
    /// Opens, maps and validates a file, and its sibling shards if it is the first of a split model
    /// (`…-00001-of-0000N.gguf`).
    ///
    /// The file is mapped, not read: it should not be written to while it is open. If another program cuts it,
    /// reading the part that is gone ends the process with SIGBUS.
    /// # Errors
    /// Anything that is wrong with the file.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        let (shards, tensors, index) = split::open(path)?;
        Ok(Self { warnings: warnings(&shards), shards, tensors, index })
    }

    /// The same for a file held in memory.
    /// # Errors
    /// Anything that is wrong with the bytes.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, GgufError> {
        let mut shard = Shard::new(Bytes::Owned(bytes))?;
        split::refuse_in_memory(&shard.metadata())?;
        let (tensors, index) = shard.header.take_tensors();
        let shards = vec![shard];
        Ok(Self { warnings: warnings(&shards), shards, tensors, index })
    }

    /// The metadata (of the first shard).
    #[must_use]
    pub fn metadata(&self) -> Metadata<'_> {
        self.shards[0].metadata()
    }

    /// The tensor table, all shards.
    #[must_use]
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// A tensor by name, `None` if absent.
    #[must_use]
    pub fn find_tensor(&self, name: &str) -> Option<TensorView<'_>> {
        let row = self.index.find(name.as_bytes(), |row| self.tensors[row].name.as_bytes())?;
        let info = self.tensors.get(row)?;
        let data = self.shards.get(info.shard)?.tensor_data(info);
        Some(TensorView { ty: info.ty, dims: info.dims, data })
    }

    /// A tensor by name.
    /// # Errors
    /// `MissingTensor`.
    pub fn tensor(&self, name: &str) -> Result<TensorView<'_>, GgufError> {
        self.find_tensor(name).ok_or_else(|| GgufError::MissingTensor { name: name.to_string() })
    }

    /// Tells the system that the pages of `data`, a tensor's bytes or a part of them, will not be read soon, so that
    /// they no longer count as this process's memory. Reading them again is as right as before and only costs the
    /// time to map them.
    pub fn release(&self, data: &[u8]) {
        self.shards.iter().for_each(|shard| shard.release(data));
    }

    /// Format version, 2 or 3.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.shards[0].header.version
    }

    /// Alignment of tensor data in bytes (of the first shard).
    #[must_use]
    pub fn alignment(&self) -> usize {
        usize::try_from(self.shards[0].header.alignment).unwrap_or(usize::MAX)
    }

    /// Where the data section begins in the first file; where the header ends if it has no tensors.
    #[must_use]
    pub fn data_offset(&self) -> usize {
        self.shards[0].data_start
    }

    /// Number of files.
    #[must_use]
    pub fn n_shards(&self) -> usize {
        self.shards.len()
    }

    /// The bytes of file `i`, header and all, as they are mapped.
    #[must_use]
    pub fn shard_bytes(&self, i: usize) -> Option<&[u8]> {
        self.shards.get(i).map(Shard::file)
    }

    /// Bytes of all files together.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.file().len() as u64).sum()
    }

    /// What is odd but harmless, one sentence each (bytes after the data, padding that is not zero).
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Refuses what [`Self::warnings`] only tells.
    /// # Errors
    /// `TrailingBytes` or `Padding`, the first there is.
    pub fn check_strict(&self) -> Result<(), GgufError> {
        match self.shards.iter().find_map(|shard| shard.odd.first()) {
            Some(&odd) => Err(odd.into()),
            None => Ok(()),
        }
    }
}

fn warnings(shards: &[Shard]) -> Vec<String> {
    let odd = shards.iter().flat_map(|shard| &shard.odd);
    odd.map(|&odd| GgufError::from(odd))
        .map(|odd| format!("{}: {odd}", odd.code().replace("E-", "W-")))
        .collect()
}

impl std::fmt::Debug for Gguf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gguf")
            .field("version", &self.version())
            .field("n_kv", &self.metadata().len())
            .field("n_tensors", &self.tensors.len())
            .field("n_shards", &self.shards.len())
            .field("file_bytes", &self.file_bytes())
            .finish()
    }
}
