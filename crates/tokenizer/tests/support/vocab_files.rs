//! The `ggml-vocab-*.gguf` of llama.cpp, out of the source package of the reference, fetched once into the cache.

use model_store::Store;
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

const PACKAGE: &str = "llama-cpp-python";
const VERSION: &str = "0.3.36";

/// Copies the vocabularies out of the archive `argv[1]` into the folder `argv[2]`.
const EXTRACT: &str = "
import pathlib, shutil, sys, tarfile
with tarfile.open(sys.argv[1]) as archive:
    for member in archive:
        name = pathlib.PurePosixPath(member.name).name
        if member.isfile() and name.startswith('ggml-vocab-') and name.endswith('.gguf'):
            with archive.extractfile(member) as source, open(pathlib.Path(sys.argv[2]) / name, 'wb') as target:
                shutil.copyfileobj(source, target)
";

/// The file of a vocabulary, checked against the SHA-256 that its golden was captured from.
pub(crate) fn fetch(name: &str) -> PathBuf {
    let folder = Store::open().unwrap().root().join("vocabs").join(format!("{PACKAGE}-{VERSION}"));
    let path = folder.join(format!("ggml-vocab-{name}.gguf"));
    let expected = sha256_in_golden(name);
    fs::create_dir_all(&folder).unwrap();
    // Tests run side by side: one fetches, the others wait.
    let lock = File::create(folder.join(".lock")).unwrap();
    lock.lock().unwrap();
    if !path.exists() {
        fetch_all(&folder);
    }
    let found = sha256_of(&path);
    if found != expected {
        fs::remove_file(&path).unwrap();
        panic!("{} had SHA-256 {found}, must be {expected}; it was removed", path.display());
    }
    path
}

fn fetch_all(folder: &Path) {
    let temp = tempfile::tempdir_in(folder).unwrap();
    // Only the metadata of the package is prepared, nothing is compiled.
    let mut pip =
        vec!["-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", PACKAGE, "--dest"];
    let requirement = format!("{PACKAGE}=={VERSION}");
    pip.extend([temp.path().to_str().unwrap(), &requirement]);
    let python = ["python3", "python"]
        .into_iter()
        .find(|python| Command::new(python).args(&pip).status().is_ok_and(|status| status.success()))
        .unwrap_or_else(|| panic!("could not download the source of {requirement} with python3 -m pip or python -m pip"));
    let archives: Vec<PathBuf> =
        fs::read_dir(temp.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(archives.len(), 1, "pip downloaded one archive: {archives:?}");
    let status = Command::new(python)
        .args(["-c", EXTRACT])
        .arg(&archives[0])
        .arg(temp.path())
        .status()
        .unwrap();
    assert!(status.success(), "extracting the vocabularies failed");
    for entry in fs::read_dir(temp.path()).unwrap() {
        let file = entry.unwrap();
        if file.path().extension().is_some_and(|e| e == "gguf") {
            fs::rename(file.path(), folder.join(file.file_name())).unwrap();
        }
    }
}

/// `model_sha256` in the information that a snapshot carries.
fn sha256_in_golden(name: &str) -> String {
    let snapshot =
        fs::read_to_string(golden::root().join(format!("snapshots/tokens/{name}.snap"))).unwrap();
    let info = snapshot.lines().find_map(|line| line.strip_prefix("info: ")).unwrap();
    let info: serde_json::Value = serde_json::from_str(info).unwrap();
    info["model_sha256"].as_str().unwrap().to_owned()
}

fn sha256_of(path: &Path) -> String {
    let digest = Sha256::digest(fs::read(path).unwrap());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
