//! `FILE.verified`: the SHA-256 that a file had when it was last read in full, with the size and time it had then.
use std::{
    fs::{self, Metadata},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

/// The hash that `file` is known to have, if it has not been touched since. Reads no data of the file.
pub(crate) fn read(file: &Path) -> Option<String> {
    let metadata = fs::metadata(file).ok().filter(Metadata::is_file)?;
    let stamp = fs::read_to_string(path_of(file)).ok()?;
    let sha256 = stamp.strip_prefix("sha256 ")?.lines().next()?;
    (stamp == text(sha256, &metadata)).then(|| sha256.to_owned())
}

/// Failing is harmless (a full disk, a read-only folder): the next start hashes the file again.
pub(crate) fn write(file: &Path, sha256: &str) {
    let Ok(metadata) = fs::metadata(file) else { return };
    let temp = file.with_file_name(format!(".fetch-{}-stamp", std::process::id()));
    let written =
        fs::write(&temp, text(sha256, &metadata)).and_then(|()| fs::rename(&temp, path_of(file)));
    if written.is_err() {
        drop(fs::remove_file(&temp));
    }
}

pub(crate) fn path_of(file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".verified");
    file.with_file_name(name)
}

fn text(sha256: &str, metadata: &Metadata) -> String {
    let time = metadata.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
    let nanos = time.map_or(0, |t| t.as_nanos());
    format!("sha256 {sha256}\nbytes {}\nmtime_ns {nanos}\n", metadata.len())
}
