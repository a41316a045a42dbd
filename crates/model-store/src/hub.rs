//! `hf:owner/repo/file.gguf`: files of the Hugging Face hub, through the crate hf-hub.
//!
//! A file that Python's `huggingface_hub` has already fetched is used where it lies. Otherwise it is put under
//! `ROOT/hub`, in the hub's own layout (`models--OWNER--REPO/{blobs,snapshots,refs}`). Large files carry their
//! SHA-256 as ETag: it is checked once, after the download. The access token is `$HF_TOKEN`, else the one that
//! `hf auth login` left; the endpoint is `$HF_ENDPOINT`, else the public hub.
use crate::{Progress, StoreError, cache, hash, inventory, stamp};
use hf_hub::{
    Cache, Repo, RepoType,
    api::sync::{Api, ApiBuilder, ApiError, Metadata},
};
use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
};

mod choice;

pub(crate) use choice::is_of;

/// What may stand behind `hf:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HubName {
    File(HubFile),
    Repo(HubRepo),
}

impl HubName {
    /// `OWNER/REPO[@REVISION]/FILE.gguf` or `OWNER/REPO[@REVISION][:QUANT]`. `None` if it is anything else.
    pub(crate) fn parse(rest: &str) -> Option<Self> {
        HubFile::parse(rest).map(Self::File).or_else(|| HubRepo::parse(rest).map(Self::Repo))
    }
}

/// A repository, of which one file is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HubRepo {
    /// `owner/repo`.
    pub(crate) repo: String,
    pub(crate) revision: String,
    pub(crate) quant: Option<String>,
}

impl HubRepo {
    fn parse(rest: &str) -> Option<Self> {
        let (rest, quant) = match rest.split_once(':') {
            Some((rest, quant)) => (rest, Some(quant)),
            None => (rest, None),
        };
        let (owner, repo) = rest.split_once('/')?;
        let (repo, revision) = repo.split_once('@').unwrap_or((repo, "main"));
        let names = [owner, repo, revision].into_iter().chain(quant);
        names.into_iter().all(is_plain_name).then(|| Self {
            repo: format!("{owner}/{repo}"),
            revision: revision.to_owned(),
            quant: quant.map(str::to_owned),
        })
    }

    fn repo(&self) -> Repo {
        Repo::with_revision(self.repo.clone(), RepoType::Model, self.revision.clone())
    }

    /// The file of that name.
    fn file(&self, file: &str) -> Option<HubFile> {
        HubFile::parse(&format!("{}@{}/{file}", self.repo, self.revision))
    }
}

/// A file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HubFile {
    /// `owner/repo`.
    repo: String,
    revision: String,
    /// The path inside the repository, or all shards of a split model.
    files: Vec<String>,
}

impl HubFile {
    /// `OWNER/REPO[@REVISION]/FILE.gguf`; the first shard stands for all. `None` if it is anything else.
    pub(crate) fn parse(rest: &str) -> Option<Self> {
        let mut parts = rest.splitn(3, '/');
        let (owner, repo, file) = (parts.next()?, parts.next()?, parts.next()?);
        let (repo, revision) = repo.split_once('@').unwrap_or((repo, "main"));
        let names = [owner, repo, revision].into_iter().chain(file.split('/'));
        if !names.into_iter().all(is_plain_name) || !file.ends_with(".gguf") {
            return None;
        }
        let files = shards(file).unwrap_or_else(|| vec![file.to_owned()]);
        Some(Self { repo: format!("{owner}/{repo}"), revision: revision.to_owned(), files })
    }
}

/// Whether `name` can stand in a URL and in a path as it is, and cannot leave a folder.
fn is_plain_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.+".contains(&b))
}

/// All shards of `x-00001-of-00003.gguf`, or `None` if `file` is not the first of several.
fn shards(file: &str) -> Option<Vec<String>> {
    let (stem, count) = file.strip_suffix(".gguf")?.rsplit_once("-00001-of-")?;
    let n: usize = count.parse().ok().filter(|n| count.len() == 5 && (1..=4096).contains(n))?;
    Some((1..=n).map(|i| format!("{stem}-{i:05}-of-{count}.gguf")).collect())
}

/// Where to fetch from and where to put it.
pub(crate) struct Hub {
    folder: PathBuf,
    /// The cache of `huggingface_hub`, which is only read.
    shared: Option<PathBuf>,
    endpoint: Option<String>,
    token: Option<String>,
}

impl Hub {
    /// As the environment says; `root` is the store's.
    pub(crate) fn from_env(root: &Path) -> Self {
        let var = |name| env::var(name).ok().filter(|v: &String| !v.trim().is_empty());
        let home = env::var_os("HF_HOME").filter(|v| !v.is_empty()).map(PathBuf::from);
        let home = home.or_else(|| env::home_dir().map(|h| h.join(".cache/huggingface")));
        let stored = || fs::read_to_string(home.as_ref()?.join("token")).ok();
        Self {
            folder: root.join("hub"),
            token: var("HF_TOKEN").or_else(stored).map(|t| t.trim().to_owned()),
            shared: home.map(|h| h.join("hub")),
            endpoint: var("HF_ENDPOINT").map(|e| e.trim_end_matches('/').to_owned()),
        }
    }

    /// The local path of what `wanted` means; `name` is what the user wrote.
    pub(crate) fn resolve(
        &self,
        name: &str,
        wanted: &HubName,
        progress: Progress<'_>,
    ) -> Result<PathBuf, StoreError> {
        match wanted {
            HubName::File(file) => self.resolve_file(name, file, progress),
            HubName::Repo(repo) => self.resolve_file(name, &self.choose(name, repo)?, progress),
        }
    }

    /// The file that is wanted of a repository. A quantization that is there already needs no network.
    fn choose(&self, name: &str, wanted: &HubRepo) -> Result<HubFile, StoreError> {
        let local = self.local_files(&wanted.repo());
        let choose = |files: &[String]| {
            choice::choose(files, wanted.quant.as_deref()).and_then(|file| wanted.file(file))
        };
        if let Some(file) = choose(&local).filter(|_| wanted.quant.is_some()) {
            return Ok(file);
        }
        let listed = self.api().map(|api| api.repo(wanted.repo())).and_then(|repo| repo.info());
        let files: Vec<String> = match listed {
            Ok(info) => info.siblings.into_iter().map(|sibling| sibling.rfilename).collect(),
            Err(e) => {
                let problem = explain(&e);
                return choose(&local)
                    .ok_or_else(|| StoreError::Hub { name: name.to_owned(), problem });
            }
        };
        choose(&files).ok_or_else(|| StoreError::HubFile {
            name: name.to_owned(),
            files: files.into_iter().filter(|file| file.ends_with(".gguf")).collect(),
        })
    }

    /// The files of a repository that [`Self::find`] finds.
    fn local_files(&self, repo: &Repo) -> Vec<String> {
        let mut files = Vec::new();
        for root in [Some(&self.folder), self.shared.as_ref()].into_iter().flatten() {
            let folder = root.join(repo.folder_name());
            let commit = fs::read_to_string(folder.join("refs").join(repo.revision()));
            let Ok(commit) = commit else { continue };
            let snapshot = folder.join("snapshots").join(commit.trim());
            for path in inventory::files_under(&snapshot) {
                let name = path.strip_prefix(&snapshot).ok().and_then(Path::to_str);
                files.extend(name.map(|name| name.replace('\\', "/")));
            }
        }
        files.retain(|file| self.find(repo, file).is_some());
        files.sort();
        files
    }

    /// The local path of `file` (of its first shard).
    fn resolve_file(
        &self,
        name: &str,
        file: &HubFile,
        progress: Progress<'_>,
    ) -> Result<PathBuf, StoreError> {
        let repo = Repo::with_revision(file.repo.clone(), RepoType::Model, file.revision.clone());
        let mut paths = Vec::new();
        for part in &file.files {
            paths.push(match self.find(&repo, part) {
                Some(path) => path,
                None => self.download(name, &repo, part, progress)?,
            });
        }
        paths.into_iter().next().ok_or_else(|| StoreError::HubName { name: name.to_owned() })
    }

    /// The file if it is there already: verified in our cache, or in that of `huggingface_hub`.
    fn find(&self, repo: &Repo, file: &str) -> Option<PathBuf> {
        let ours = Cache::new(self.folder.clone()).repo(repo.clone()).get(file);
        ours.filter(|path| stamp::read(path).is_some())
            .or_else(|| Cache::new(self.shared.clone()?).repo(repo.clone()).get(file))
    }

    fn download(
        &self,
        name: &str,
        repo: &Repo,
        file: &str,
        progress: Progress<'_>,
    ) -> Result<PathBuf, StoreError> {
        let fail = |problem: String| StoreError::Hub { name: name.to_owned(), problem };
        let folder = self.folder.join(repo.folder_name());
        fs::create_dir_all(&folder)
            .map_err(|e| StoreError::io("create the cache folder", &folder, e))?;
        let _lock = cache::lock(&folder)?;
        if let Some(path) = self.find(repo, file) {
            return Ok(path);
        }
        let api = self.api().map_err(|e| fail(e.to_string()))?;
        let api_repo = api.repo(repo.clone());
        let metadata = api.metadata(&api_repo.url(file)).map_err(|e| fail(explain(&e)))?;
        let blob = self.checked_blob(repo, &metadata).map_err(fail)?;
        let bar = Bar { progress, done: 0, all: None };
        let path = api_repo.download_with_progress(file, bar).map_err(|e| match e {
            ApiError::IoError(e) if e.kind() == std::io::ErrorKind::StorageFull => {
                StoreError::io("write", &blob, e)
            }
            e => fail(explain(&e)),
        })?;
        verify(name, &path, &blob, &metadata)?;
        Ok(path)
    }

    fn api(&self) -> Result<Api, ApiError> {
        let mut builder = ApiBuilder::from_cache(Cache::new(self.folder.clone()))
            .with_progress(false)
            .with_token(self.token.clone());
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint.clone());
        }
        builder.build()
    }

    /// The blob that the download will make. hf-hub uses the server's ETag and commit as file names as they
    /// are, so what could leave the folder is refused here.
    fn checked_blob(&self, repo: &Repo, metadata: &Metadata) -> Result<PathBuf, String> {
        for (what, value) in [("ETag", metadata.etag()), ("commit", metadata.commit_hash())] {
            if !is_plain_name(value) {
                return Err(format!("the server sent an unusable {what}"));
            }
        }
        let blob = Cache::new(self.folder.clone()).repo(repo.clone()).blob_path(metadata.etag());
        // hf-hub resumes a partial file, but gives up for good on one that is too long.
        let partial = blob.with_extension("part");
        if fs::metadata(&partial).is_ok_and(|m| m.len() >= metadata.size() as u64) {
            drop(fs::remove_file(&partial));
        }
        Ok(blob)
    }
}

/// Checks size and, where the ETag is one, SHA-256; a file that fails is removed.
fn verify(name: &str, path: &Path, blob: &Path, metadata: &Metadata) -> Result<(), StoreError> {
    let read = |path: &Path| {
        let file = File::open(path)?;
        file.sync_all()?;
        Ok((file.metadata()?.len(), hash::sha256_of(file)?))
    };
    let (n_bytes, found) = read(path).map_err(|e| StoreError::io("read", path, e))?;
    let etag = metadata.etag();
    let is_sha256 = etag.len() == 64 && etag.bytes().all(|b| b.is_ascii_hexdigit());
    if n_bytes == metadata.size() as u64 && (!is_sha256 || etag.eq_ignore_ascii_case(&found)) {
        stamp::write(path, &found);
        return Ok(());
    }
    drop(fs::remove_file(path));
    drop(fs::remove_file(blob));
    Err(StoreError::Hash { name: name.to_owned(), expected: etag.to_owned(), found })
}

/// hf-hub's errors for people: the cause, and what to do where that is known.
fn explain(error: &ApiError) -> String {
    let text = error.to_string();
    let hint = [
        ("404", "; no such repository or file"),
        ("401", "; it does not exist, or needs a token in HF_TOKEN"),
        ("403", "; it needs a token in HF_TOKEN with access to it"),
    ];
    let hint = hint.iter().find(|(code, _)| text.contains(code)).map_or("", |(_, hint)| hint);
    format!("{text}{hint}")
}

struct Bar<'a> {
    progress: Progress<'a>,
    done: u64,
    all: Option<u64>,
}

impl hf_hub::api::Progress for Bar<'_> {
    fn init(&mut self, size: usize, _filename: &str) {
        (self.done, self.all) = (0, Some(size as u64));
    }

    fn update(&mut self, size: usize) {
        self.done += size as u64;
        (self.progress)(self.done, self.all);
    }

    fn finish(&mut self) {}
}

#[cfg(test)]
mod tests;
