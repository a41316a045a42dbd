//! What the cache holds, and taking things out of it.
//!
//! ```text
//! ROOT/models/NAME/FILE                                  a registry model, see `cache`
//! ROOT/hub/models--OWNER--REPO/refs/REVISION             the commit of a revision
//! ROOT/hub/models--OWNER--REPO/snapshots/COMMIT/FILE     a link to the blob
//! ROOT/hub/models--OWNER--REPO/blobs/ETAG
//! ```
use crate::{Store, StoreError, cache, registry, stamp};
use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// A model in the cache, whole and verified.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CachedModel {
    /// The name by which [`Store::resolve`] knows it: of the registry table, or `hf:…`.
    pub name: String,
    /// The file, or the first of several shards.
    pub path: PathBuf,
    /// Size in bytes, of all shards.
    pub n_bytes: u64,
    /// The SHA-256 that was verified; of the first shard.
    pub sha256: String,
    /// When it was fetched, if the file system tells.
    pub modified: Option<SystemTime>,
}

/// What [`Store::remove`] took away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Removed {
    /// Bytes that are free now.
    pub n_bytes: u64,
    /// The model's files, as they were named in the cache.
    pub files: Vec<PathBuf>,
}

impl Store {
    /// The models in the cache: those of the registry table in its order, then those of the hub by name.
    #[must_use]
    pub fn list(&self) -> Vec<CachedModel> {
        let named = registry()
            .iter()
            .filter_map(|model| CachedModel::at(model.name.to_owned(), vec![self.cached(model)?]));
        let mut all: Vec<_> = named.collect();
        let mut hub: Vec<_> = Repository::all(&self.root().join("hub"))
            .iter()
            .flat_map(Repository::models)
            .filter_map(|(name, files)| CachedModel::at(name, files))
            .collect();
        hub.sort_by(|a, b| a.name.cmp(&b.name));
        all.append(&mut hub);
        all
    }

    /// Removes a model from the cache: `name` as [`Self::list`] gives it; `hf:OWNER/REPO` and `hf:OWNER/REPO:QUANT`
    /// will do if they fit one alone. Only files inside of [`Self::root`] are touched.
    /// # Errors
    /// There is no such model, or there are several; the file system refuses.
    pub fn remove(&self, name: &str) -> Result<Removed, StoreError> {
        let all = self.list();
        let fitting: Vec<_> = all.iter().filter(|model| fits(&model.name, name)).collect();
        let [model] = fitting[..] else {
            let several = fitting.len() > 1;
            let names = if several { fitting } else { all.iter().collect() };
            return Err(StoreError::NotCached {
                name: name.to_owned(),
                several,
                names: names.into_iter().map(|model| model.name.clone()).collect(),
            });
        };
        let hub = self.root().join("hub");
        for repository in Repository::all(&hub) {
            if let Some((_, files)) = repository.models().into_iter().find(|m| m.0 == model.name) {
                return repository.remove(files);
            }
        }
        let folder = model.path.parent().unwrap_or(self.root());
        let _lock = cache::lock(folder)?;
        remove_file(&model.path)?;
        remove_stamp(&model.path);
        Ok(Removed { n_bytes: model.n_bytes, files: vec![model.path.clone()] })
    }
}

/// Whether `wanted` is `name`, or all of it but the file: a repository, or one and a quantization.
fn fits(name: &str, wanted: &str) -> bool {
    let (repo, quant) = match wanted.strip_prefix("hf:").and_then(|rest| rest.split_once(':')) {
        Some((_, quant)) => {
            (wanted.get(..wanted.len() - quant.len() - 1).unwrap_or(wanted), Some(quant))
        }
        None => (wanted, None),
    };
    let file = name.strip_prefix(repo).and_then(|rest| rest.strip_prefix('/'));
    let file = file.filter(|_| repo.matches('/').count() == 1 && repo.starts_with("hf:"));
    name == wanted || file.is_some_and(|file| quant.is_none_or(|quant| is_of(file, quant)))
}

#[cfg(feature = "hub")]
use crate::hub::is_of;

#[cfg(not(feature = "hub"))]
fn is_of(_file: &str, _quant: &str) -> bool {
    false
}

impl CachedModel {
    /// `None` if not all files are whole.
    fn at(name: String, files: Vec<PathBuf>) -> Option<Self> {
        let sha256 = stamp::read(files.first()?)?;
        let mut n_bytes = 0_u64;
        for file in &files {
            stamp::read(file)?;
            n_bytes = n_bytes.saturating_add(fs::metadata(file).ok()?.len());
        }
        let path = files.into_iter().next()?;
        let modified = fs::metadata(&path).and_then(|m| m.modified()).ok();
        Some(Self { name, path, n_bytes, sha256, modified })
    }
}

/// A repository's folder in the cache.
struct Repository {
    folder: PathBuf,
    /// `owner/repo`.
    name: String,
}

impl Repository {
    fn all(hub: &Path) -> Vec<Self> {
        let folders = fs::read_dir(hub).into_iter().flatten().flatten().map(|entry| entry.path());
        folders
            .filter_map(|folder| {
                let name = folder.file_name()?.to_str()?.strip_prefix("models--")?;
                let (owner, repo) = name.split_once("--")?;
                Some(Self { name: format!("{owner}/{repo}"), folder })
            })
            .collect()
    }

    /// Its models: names, and files, the shards of one model in order.
    fn models(&self) -> Vec<(String, Vec<PathBuf>)> {
        let mut models: Vec<(String, Vec<PathBuf>)> = Vec::new();
        for snapshot in entries(&self.folder.join("snapshots")) {
            let revision = self.revision(&snapshot);
            for path in files_under(&snapshot) {
                let file = path.strip_prefix(&snapshot).ok().and_then(Path::to_str);
                let Some(file) = file.filter(|file| file.ends_with(".gguf")) else { continue };
                let file = file.replace('\\', "/");
                let name = format!("hf:{}{revision}/{file}", self.name);
                match first_shard(&name) {
                    Some(first) if models.last().is_some_and(|(name, _)| *name == first) => {
                        if let Some((_, files)) = models.last_mut() {
                            files.push(path);
                        }
                    }
                    _ => models.push((name, vec![path])),
                }
            }
        }
        models
    }

    /// How a name says that it means this snapshot: nothing for `main`, else `@REVISION`.
    fn revision(&self, snapshot: &Path) -> String {
        let commit = snapshot.file_name().unwrap_or_default().to_string_lossy();
        let refs = self.folder.join("refs");
        let mut names: Vec<String> = entries(&refs)
            .into_iter()
            .filter(|path| fs::read_to_string(path).is_ok_and(|text| text.trim() == commit))
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect();
        names.sort_by_key(|name| name != "main");
        match names.first() {
            Some(name) if name == "main" => String::new(),
            Some(name) => format!("@{name}"),
            None => format!("@{commit}"),
        }
    }

    /// Removes files of snapshots, and their blobs if no other snapshot has them.
    fn remove(&self, files: Vec<PathBuf>) -> Result<Removed, StoreError> {
        let _lock = cache::lock(&self.folder)?;
        let mut removed = Removed::default();
        for file in files {
            // What a link leads to outside of this folder is not ours.
            let blob = fs::canonicalize(&file).ok().filter(|blob| {
                fs::canonicalize(&self.folder).is_ok_and(|folder| blob.starts_with(folder))
            });
            let n_bytes =
                blob.as_ref().and_then(|blob| fs::metadata(blob).ok()).map_or(0, |m| m.len());
            remove_file(&file)?;
            remove_stamp(&file);
            if let Some(blob) = blob {
                let snapshots = files_under(&self.folder.join("snapshots"));
                let shared = |other: &PathBuf| fs::canonicalize(other).is_ok_and(|to| to == blob);
                if !snapshots.iter().any(shared) {
                    if blob.exists() {
                        remove_file(&blob)?;
                    }
                    removed.n_bytes = removed.n_bytes.saturating_add(n_bytes);
                }
            }
            removed.files.push(file);
        }
        // Folders that are empty now; the others refuse.
        for snapshot in entries(&self.folder.join("snapshots")) {
            drop(fs::remove_dir(snapshot));
        }
        Ok(removed)
    }
}

/// `x-00001-of-00003.gguf` for the second and third shard.
fn first_shard(name: &str) -> Option<String> {
    let (stem, count) = name.rsplit_once("-of-")?;
    let (stem, index) = stem.rsplit_once('-')?;
    let is_later = index.parse::<u32>().is_ok_and(|index| index > 1);
    is_later.then(|| format!("{stem}-{:0width$}-of-{count}", 1, width = index.len()))
}

fn remove_file(path: &Path) -> Result<(), StoreError> {
    fs::remove_file(path).map_err(|e| StoreError::io("remove", path, e))
}

/// Failing is harmless: a stamp without its file says nothing.
fn remove_stamp(file: &Path) {
    drop(fs::remove_file(stamp::path_of(file)));
}

/// What a folder holds, by name.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// The files in a folder and below it, by name; links to folders are not followed.
pub(crate) fn files_under(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in entries(folder) {
        match path.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => files.extend(files_under(&path)),
            Ok(_) => files.push(path),
            Err(_) => {}
        }
    }
    files
}
