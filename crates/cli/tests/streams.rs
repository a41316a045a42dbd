//! Pipes that close, streams that are not there, endless prompts (row C11 of the corpus), Ctrl-C.
#![cfg(unix)]
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]
mod common;

use common::{Outcome, TempFile, finish, lockstep, run};
use golden::hostile::T1;
use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Read},
    os::unix::ffi::OsStrExt,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

/// T1 with a context that takes a while to fill, and no end of text.
fn endless() -> TempFile {
    TempFile::new("t1.gguf", &T1::new().set_u32("llama.context_length", 1 << 20).build())
}

fn endless_run(model: &TempFile) -> Command {
    let mut command = lockstep();
    command.args(["run", "aa", "--ignore-eos", "--temp", "0", "-c", "200000", "-m", model.str()]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(status.success(), "{status}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let model = endless();
    let mut child = endless_run(&model).spawn().unwrap();
    let mut first = [0; 4];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    // The pipe is closed now; the next write fails.
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    for args in
        [&["inspect", model.str(), "--json"][..], &["inspect", model.str()], &["run", "--help"]]
    {
        let mut child = lockstep();
        let mut child =
            child.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            (output.status.code(), output.stderr.len()),
            (Some(0), 0),
            "{args:?} {output:?}"
        );
    }
}

#[test]
fn ctrl_c_ends_the_text() {
    let model = endless();
    let mut child = endless_run(&model).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut text = vec![0; 16];
    stdout.read_exact(&mut text).unwrap();
    signal(&child, "-INT");
    stdout.read_to_end(&mut text).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    assert!(text.ends_with(b"\n"), "{}", String::from_utf8_lossy(&text));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("decode") && stderr.lines().count() == 1, "{stderr}");
}

/// Starts `command`, sends Ctrl-C after a while, and again with a longer while until `reached` says that it came late
/// enough: nothing tells from outside how far a process is.
fn interrupted(command: &mut Command, reached: impl Fn(&Output) -> bool) -> Output {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for tenths in [3, 10, 30, 100] {
        let mut child = command.spawn().unwrap();
        // Held open: the end of the input would be the end of the command.
        let _stdin = child.stdin.take();
        std::thread::sleep(Duration::from_millis(tenths * 100));
        signal(&child, "-INT");
        let output = child.wait_with_output().unwrap();
        if reached(&output) {
            return output;
        }
    }
    panic!("{command:?} was never far enough");
}

#[test]
fn ctrl_c_keeps_what_is_known_of_a_text() {
    let model = endless();
    let text = TempFile::new("text", "ab ".repeat(1 << 20).as_bytes());
    let base = text.path.with_file_name("base");
    let mut command = lockstep();
    command.args(["perplexity", model.str(), "-f", text.str(), "-t", "1", "--kl-base"]).arg(&base);
    let output = interrupted(&mut command, |o| !o.stdout.is_empty());
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.starts_with("Interrupted after ") && stdout.contains("PPL = "), "{stdout}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("not written: chunks are missing"), "{stderr}");
    assert!(!base.exists(), "a part of a file is none");
}

#[test]
fn ctrl_c_keeps_the_report() {
    let model = endless();
    let output = interrupted(endless_run(&model).arg("--json"), |o| !o.stdout.is_empty());
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["end"], "interrupted");
    let counts = ["ids", "steps"].map(|key| report[key].as_array().unwrap().len());
    assert_eq!(counts[0], counts[1]);
}

#[test]
fn ctrl_c_before_there_is_text_ends_at_once() {
    let model = endless();
    // Killed by the signal itself until the handler stands.
    let output = interrupted(lockstep().args(["tokenize", model.str(), "--null"]), |o| {
        o.status.code().is_some()
    });
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(130), &b""[..]));
}

/// Runs `lockstep ARGS` under a shell with these redirections.
fn redirected(args: &str, redirections: &str) -> Outcome {
    let mut command = Command::new("sh");
    let script = format!("exec \"$0\" {args} {redirections}");
    finish(command.args(["-c", &script, env!("CARGO_BIN_EXE_lockstep")]), b"")
}

#[test]
fn streams_that_are_not_there() {
    let model = TempFile::new("t1.gguf", &T1::new().build());
    let run = format!("run aa -n 3 --temp 0 -m {}", model.str());
    assert_eq!(redirected(&run, "<&- >&- 2>&-").status, Some(0));
    let stdout = redirected(&run, ">&-").expect_success();
    assert!(stdout.stderr.contains("decode"), "{stdout:?}");
    redirected(&run, "2>&-").expect_success();
    // A prompt is wanted from a closed standard input: there is none.
    let no_prompt = redirected(&format!("run -m {}", model.str()), "<&-");
    assert!(matches!(no_prompt.status, Some(0 | 2)), "{no_prompt:?}");
    let full = redirected(&run, ">/dev/full");
    assert_eq!(full.status, Some(74), "{full:?}");
    assert!(full.stderr.contains("error[E-IO]"), "{full:?}");
}

#[test]
fn text_arrives_while_it_is_made() {
    let model = endless();
    let mut child = endless_run(&model).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    // More than nothing, long before 200,000 tokens are there.
    assert!(!stdout.fill_buf().unwrap().is_empty());
    assert!(child.try_wait().unwrap().is_none(), "it is still writing");
    signal(&child, "-INT");
    drop(stdout);
    child.wait().unwrap();
}

#[test]
fn arguments_that_are_not_text() {
    let broken = OsStr::from_bytes(b"a\xffb");
    let prompt = run(&[OsStr::new("run"), broken]);
    assert_eq!(prompt.status, Some(2), "{prompt:?}");
    let path = run(&[OsStr::new("inspect"), broken]);
    assert_eq!(path.status, Some(66), "{path:?}");
    // As a path it is as good as any.
    let model = TempFile::new("t1.gguf", &T1::new().build());
    let odd = model.path.with_file_name(broken);
    std::fs::rename(&model.path, &odd).unwrap();
    run(&[OsStr::new("inspect"), odd.as_os_str()]).expect_success();
}

#[test]
fn prompts_without_end() {
    let model = TempFile::new("t1.gguf", &T1::new().build());
    let huge = TempFile::new("prompt.txt", b"");
    std::fs::File::create(&huge.path).unwrap().set_len(4 << 30).unwrap();
    let outcome = run(&["run", "-m", model.str(), "-f", huge.str()]);
    assert_eq!(outcome.status, Some(71), "{outcome:?}");
    assert!(outcome.stderr.contains("4294967296 bytes"), "{outcome:?}");
    assert!(outcome.elapsed.as_secs() < 5, "{outcome:?}");
    for endless in ["-f /dev/zero", "< /dev/zero"] {
        let outcome = redirected(&format!("run -m {}", model.str()), endless);
        assert_eq!(outcome.status, Some(71), "{outcome:?}");
    }
    let broken = TempFile::new("prompt.txt", b"ab\xff");
    let outcome = run(&["run", "-m", model.str(), "-f", broken.str()]);
    assert_eq!(outcome.status, Some(65), "{outcome:?}");
    assert!(outcome.stderr.contains("byte 2"), "{outcome:?}");
}
