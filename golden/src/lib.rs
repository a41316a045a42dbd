//! Golden outputs captured from llama.cpp, and how tests compare with them.
//!
//! Snapshots live in `golden/snapshots/<stage>/<name>.snap`, written by the scripts in `golden/capture/`.
//! Nothing here depends on another crate of the workspace.

pub mod hostile;
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
