//! Model names to verified local files: a path, a name of the registry table, or `hf:owner/repo/file.gguf`.
use std::path::{Path, PathBuf};

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No such file or name.
    #[error("no model named {name}")]
    NotFound {
        /// What was asked for.
        name: String,
    },
}

/// Where models are kept. The root is `$LOCKSTEP_CACHE`, else the platform's cache folder + `lockstep`.
#[derive(Debug, Clone)]
pub struct Store {
    _private: (),
}

impl Store {
    /// The store at its usual place.
    /// # Errors
    /// No home folder to put it in.
    pub fn open() -> Result<Self, StoreError> {
        unimplemented!()
    }
    /// A store at `root`.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        let _ = root;
        unimplemented!()
    }
    /// The folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        unimplemented!()
    }
    /// The local file of `name`, fetched and verified first if need be. `progress` gets (bytes done, bytes in all if known).
    /// # Errors
    /// See [`StoreError`]; offline errors say which file to fetch from where and how to use `-m PATH`.
    pub fn resolve(
        &self,
        name: &str,
        progress: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<PathBuf, StoreError> {
        let _ = (name, progress);
        unimplemented!()
    }
}
