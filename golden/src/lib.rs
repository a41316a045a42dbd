//! Golden outputs captured from llama.cpp, and how tests compare with them.
//!
//! Snapshots live in `golden/snapshots/<stage>/<name>.snap`, written by the scripts in `golden/capture/`.
//! Nothing here depends on another crate of the workspace.

pub mod hostile;
pub mod package;
pub mod text;
pub mod trace;

use std::path::{Path, PathBuf};

/// The `golden/` folder.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

/// Asserts that `text` is the golden `stage/name`, line by line.
///
/// # Panics
/// With insta's diff, if it is not.
#[track_caller]
pub fn check(stage: &str, name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(root().join("snapshots").join(stage));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// The text of the golden `stage/name`, for tests that compare otherwise than line by line.
///
/// # Panics
/// If there is no such golden.
#[must_use]
#[expect(clippy::panic, reason = "a loader for tests: a broken golden is a failed test")]
pub fn load(stage: &str, name: &str) -> String {
    let path = root().join("snapshots").join(stage).join(format!("{name}.snap"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let body = text.strip_prefix("---\n").and_then(|text| text.split_once("\n---\n"));
    body.unwrap_or_else(|| panic!("{}: no snapshot", path.display())).1.to_owned()
}

/// The `info` of the golden `stage/name`: where it comes from.
///
/// # Panics
/// If there is no such golden, or it says nothing.
#[must_use]
#[expect(clippy::panic, reason = "a loader for tests: a broken golden is a failed test")]
pub fn info(stage: &str, name: &str) -> serde_json::Value {
    let path = root().join("snapshots").join(stage).join(format!("{name}.snap"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    parse_info(&text).unwrap_or_else(|| panic!("{}: no provenance", path.display()))
}

/// The `info` line of a snapshot's head.
pub(crate) fn parse_info(snapshot: &str) -> Option<serde_json::Value> {
    let (head, _) = snapshot.strip_prefix("---\n")?.split_once("\n---\n")?;
    let info = head.lines().find_map(|line| line.strip_prefix("info: "))?;
    serde_json::from_str(info).ok()
}
