//! One folder per model in the cache: the file, its stamp, a lock, and temporary folders.
//!
//! ```text
//! ROOT/models/NAME/FILE            the model
//! ROOT/models/NAME/FILE.verified   the SHA-256 it had, with the size and time it had then
//! ROOT/models/NAME/.lock           held while fetching, so that ten processes fetch once
//! ROOT/models/NAME/.fetch-PID-N/   being fetched; swept by whoever holds the lock next
//! ```
use crate::{CACHE_VAR, RegistryModel, StoreError, hash, stamp};
use std::{
    env,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

const FETCH_PREFIX: &str = ".fetch-";

/// `$LOCKSTEP_CACHE`, else the platform's cache folder + `lockstep`.
pub(crate) fn default_root() -> Option<PathBuf> {
    if let Some(root) = env::var_os(CACHE_VAR).filter(|v| !v.is_empty()) {
        return Some(root.into());
    }
    platform_cache().map(|folder| folder.join("lockstep"))
}

#[cfg(windows)]
fn platform_cache() -> Option<PathBuf> {
    env::var_os("LOCALAPPDATA").filter(|v| !v.is_empty()).map(PathBuf::from)
}

#[cfg(target_os = "macos")]
fn platform_cache() -> Option<PathBuf> {
    env::home_dir().map(|home| home.join("Library/Caches"))
}

/// The XDG base directory specification: a relative `XDG_CACHE_HOME` is to be ignored.
#[cfg(not(any(windows, target_os = "macos")))]
fn platform_cache() -> Option<PathBuf> {
    env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| env::home_dir().filter(|h| h.is_absolute()).map(|home| home.join(".cache")))
}

/// The place of one model in the cache.
pub(crate) struct Slot<'m> {
    folder: PathBuf,
    model: &'m RegistryModel,
}

impl<'m> Slot<'m> {
    pub(crate) fn new(root: &Path, model: &'m RegistryModel) -> Self {
        Self { folder: root.join("models").join(model.name), model }
    }

    fn file(&self) -> PathBuf {
        self.folder.join(self.model.file_name)
    }

    /// The file, if its hash was checked before and it has not been touched since. Reads no model data.
    pub(crate) fn verified(&self) -> Option<PathBuf> {
        let file = self.file();
        (stamp::read(&file)? == self.model.sha256).then_some(file)
    }

    /// Fills the slot: `make` puts the model into the temporary folder it is given and returns its path and
    /// SHA-256. Only one process at a time runs `make`; those that waited find the file there.
    pub(crate) fn fill(
        &self,
        make: impl FnOnce(&Path) -> Result<(PathBuf, String), StoreError>,
    ) -> Result<PathBuf, StoreError> {
        let dir = &self.folder;
        fs::create_dir_all(dir).map_err(|e| StoreError::io("create the cache folder", dir, e))?;
        let _lock = lock(dir)?;
        if let Some(path) = self.verified() {
            return Ok(path);
        }
        self.sweep();
        if self.verify_unstamped()? {
            return Ok(self.file());
        }
        let temp = TempFolder::create(dir)?;
        let (made, found) = make(&temp.path)?;
        if found != self.model.sha256 {
            return Err(StoreError::Hash {
                name: self.model.name.to_owned(),
                expected: self.model.sha256.to_owned(),
                found,
            });
        }
        let file = self.file();
        fs::rename(&made, &file).map_err(|e| StoreError::io("rename into the cache", &file, e))?;
        sync_folder(dir);
        stamp::write(&file, self.model.sha256);
        Ok(file)
    }

    /// A file without a valid stamp (copied here, or the stamp could not be written): hashes it, and stamps
    /// it or removes it.
    fn verify_unstamped(&self) -> Result<bool, StoreError> {
        let path = self.file();
        let Ok(file) = File::open(&path) else { return Ok(false) };
        let found = hash::sha256_of(file).map_err(|e| StoreError::io("read", &path, e))?;
        if found == self.model.sha256 {
            stamp::write(&self.file(), self.model.sha256);
            return Ok(true);
        }
        fs::remove_file(&path).map_err(|e| StoreError::io("remove a damaged file", &path, e))?;
        Ok(false)
    }

    /// Removes what an interrupted fetch left; the caller holds the lock.
    fn sweep(&self) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(FETCH_PREFIX) {
                let path = entry.path();
                drop(fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path)));
            }
        }
    }
}

/// Waits for the lock of `folder`, which is released when the result is dropped. Where the file system has no
/// locks the unique temporary folder and the rename still keep processes apart; they only fetch more than once.
pub(crate) fn lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join(".lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|e| StoreError::io("open the cache lock", &path, e))?;
    drop(file.lock());
    Ok(file)
}

/// A folder that is removed with everything in it.
struct TempFolder {
    path: PathBuf,
}

impl TempFolder {
    fn create(parent: &Path) -> Result<Self, StoreError> {
        let pid = std::process::id();
        let mut n = 0_u32;
        loop {
            let path = parent.join(format!("{FETCH_PREFIX}{pid}-{n}"));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path }),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && n < 1000 => n += 1,
                Err(e) => return Err(StoreError::io("create a temporary folder", &path, e)),
            }
        }
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.path));
    }
}

/// Creates `path`, lets `write` fill it and brings it to the disk.
pub(crate) fn write_synced<T>(
    path: &Path,
    write: impl FnOnce(&mut File) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let fail = |e| StoreError::io("write", path, e);
    let mut file = File::create_new(path).map_err(fail)?;
    let value = write(&mut file)?;
    file.flush().and_then(|()| file.sync_all()).map_err(fail)?;
    Ok(value)
}

/// Makes the rename itself durable. Not every system can open a folder; then the rename is durable a little later.
fn sync_folder(path: &Path) {
    if let Ok(folder) = File::open(path) {
        drop(folder.sync_all());
    }
}
