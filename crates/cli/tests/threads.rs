//! More threads than CPUs.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]
mod common;

use common::TempFile;
use golden::hostile::T1;
use std::process::Command;
use std::time::{Duration, Instant};

/// The command on one CPU. `None` where it cannot be confined.
fn on_one_cpu(args: &[&str]) -> Option<Command> {
    let confined = |program: &str| {
        let mut command = Command::new("taskset");
        command.args(["-c", "0", program]);
        command
    };
    confined("true").status().ok().filter(std::process::ExitStatus::success)?;
    let mut command = confined(env!("CARGO_BIN_EXE_lockstep"));
    command.args(args);
    Some(command)
}

/// Threads that wait for one that is not running must let it run: the text is the same, and comes soon.
#[test]
fn any_number_of_threads_on_one_cpu() {
    let model = TempFile::new("t1.gguf", &T1::new().set_u32("llama.context_length", 1024).build());
    let mut texts = Vec::new();
    for n_threads in ["1", "2", "3", "4", "8"] {
        let args = ["run", "aa", "--ignore-eos", "--temp", "0", "-n", "100", "-c", "512"];
        let args = [&args[..], &["-t", n_threads, "-m", model.str()]].concat();
        let Some(mut command) = on_one_cpu(&args) else { return };
        let begin = Instant::now();
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{n_threads} threads: {output:?}");
        // Even on a busy machine: some thousand handovers.
        assert!(begin.elapsed() < Duration::from_secs(60), "{n_threads}: {:?}", begin.elapsed());
        texts.push(output.stdout);
    }
    assert!(!texts[0].is_empty() && texts.iter().all(|text| *text == texts[0]), "{texts:?}");
}
