//! No golden changes unnoticed: the manifest that `golden/capture/manifest.py` wrote names every snapshot with its hash
//! and every model and build they come from.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

fn manifest() -> Value {
    serde_json::from_slice(&fs::read(golden::root().join("manifest.json")).unwrap()).unwrap()
}

/// Every file below `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Stage, name and bytes of every snapshot, by its path as the manifest has it.
fn snapshots() -> BTreeMap<String, Vec<u8>> {
    let root = golden::root().join("snapshots");
    let name = |path: &Path| {
        let parts = path.strip_prefix(&root).unwrap().components();
        parts.map(|part| part.as_os_str().to_str().unwrap()).collect::<Vec<_>>().join("/")
    };
    files(&root).into_iter().map(|path| (name(&path), fs::read(&path).unwrap())).collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_manifest_names_every_snapshot() {
    let manifest = manifest();
    let listed: BTreeMap<String, String> = manifest["snapshots"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, hash)| (name.clone(), hash.as_str().unwrap().to_owned()))
        .collect();
    let found: BTreeMap<String, String> =
        snapshots().into_iter().map(|(name, bytes)| (name, sha256(&bytes))).collect();
    let wrong: Vec<&String> = listed
        .keys()
        .chain(found.keys())
        .filter(|name| listed.get(*name) != found.get(*name))
        .collect();
    assert!(
        wrong.is_empty(),
        "a golden changes by a capture and together with the manifest: {wrong:?}"
    );
    assert!(found.len() > 400, "{} snapshots", found.len());
}

#[test]
fn every_snapshot_says_where_it_comes_from() {
    let manifest = manifest();
    for name in snapshots().keys() {
        let (stage, file) = name.rsplit_once('/').unwrap();
        let info = golden::info(stage, file.strip_suffix(".snap").unwrap());
        let build = info["build"].as_str().unwrap();
        assert_eq!(info["reference"], manifest["builds"][build], "{name}: the build");
        if let Some(libc) = info.get("libc") {
            assert!(manifest["libc"].as_array().unwrap().contains(libc), "{name}: {libc}");
        }
        if let Some(hash) = info.get("model_sha256") {
            let model = info.get("model").and_then(Value::as_str);
            let model = model.unwrap_or_else(|| file.strip_suffix(".snap").unwrap());
            assert_eq!(*hash, manifest["models"][model], "{name}: the model");
        }
    }
}

#[test]
fn the_files_that_the_readme_names_are_there() {
    let root = golden::root();
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let mut n_named = 0;
    // Words in backticks that are paths of this folder, or of `capture/`.
    for word in readme.split('`').skip(1).step_by(2).flat_map(str::split_whitespace) {
        let is_file = [".py", ".sh", ".json", ".rs"].iter().any(|end| word.ends_with(end));
        if !is_file || word.contains(['*', '~']) {
            continue;
        }
        n_named += 1;
        let places = [root.join(word), root.join("capture").join(word), root.join("..").join(word)];
        assert!(places.iter().any(|path| path.is_file()), "golden/README.md names {word}");
    }
    assert!(n_named > 10, "{n_named} files");
}

/// One command repeats every capture: it calls each script that writes a golden.
#[test]
fn one_command_repeats_every_capture() {
    let capture = golden::root().join("capture");
    let all = fs::read_to_string(capture.join("run_all.sh")).unwrap();
    for path in files(&capture) {
        let name = path.file_name().unwrap().to_str().unwrap();
        let text = fs::read_to_string(&path).unwrap_or_default();
        // quantize.py calls mixes.py and quantize_files.py.
        let called = all.contains(&format!(" {name}"));
        let indirectly = ["mixes.py", "quantize_files.py", "common.py"].contains(&name);
        let writes = name.ends_with(".py") && text.contains("write_snap(");
        assert!(!writes || called || indirectly, "run_all.sh does not call {name}");
    }
}
