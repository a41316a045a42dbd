//! Running the binary.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    ffi::OsStr,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// What a run of the binary did.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// `None` if a signal ended it.
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) elapsed: Duration,
}

impl Outcome {
    /// Standard output as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// Fails unless it ended well.
    pub(crate) fn expect_success(self) -> Self {
        assert_eq!(self.status, Some(0), "{self:?}");
        self
    }
}

/// The binary, in an environment that no user's settings reach.
pub(crate) fn lockstep() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep"));
    for name in ["LOCKSTEP_ISA", "HF_TOKEN", "HF_HOME", "HF_ENDPOINT", "NO_COLOR", "CLICOLOR_FORCE"]
    {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// Runs the binary.
pub(crate) fn run(args: &[impl AsRef<OsStr>]) -> Outcome {
    finish(lockstep().args(args), b"")
}

/// Runs the binary with this standard input.
pub(crate) fn run_with_input(args: &[impl AsRef<OsStr>], input: &[u8]) -> Outcome {
    finish(lockstep().args(args), input)
}

/// Runs a command to its end.
pub(crate) fn finish(command: &mut Command, input: &[u8]) -> Outcome {
    let started = Instant::now();
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    if !input.is_empty() {
        command.stdin(Stdio::piped());
    }
    let mut child = command.spawn().unwrap();
    let stdin = child.stdin.take();
    let input = input.to_vec();
    // In a thread: input and output together may be larger than the pipes.
    let writer = std::thread::spawn(move || stdin.map(|mut stdin| stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    drop(writer.join().unwrap());
    Outcome {
        status: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        elapsed: started.elapsed(),
    }
}

/// A file in a folder of its own, both gone at the end of the test.
pub(crate) struct TempFile {
    _folder: TempDir,
    pub(crate) path: PathBuf,
}

impl TempFile {
    pub(crate) fn new(name: &str, bytes: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        Self { _folder: folder, path }
    }

    pub(crate) fn str(&self) -> &str {
        self.path.to_str().unwrap()
    }
}

/// The default model, fetched if need be.
pub(crate) fn smollm2() -> PathBuf {
    let store = model_store::Store::open().unwrap();
    store.resolve("smollm2", &mut |_, _| {}).unwrap()
}

/// A path as an argument.
pub(crate) fn arg(path: &Path) -> &str {
    path.to_str().unwrap()
}
