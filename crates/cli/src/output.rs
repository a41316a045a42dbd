//! Standard output and standard error. A closed pipe ends the program quietly; colors appear only on a terminal.
use crate::errors::{CliError, one_line};
use clap::builder::StyledStr;
use serde::Serialize;
use std::{
    borrow::Cow,
    io::{self, BufWriter, IsTerminal, Write},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

/// Writes text to standard output at once, so that it can be read while it is being made.
pub(crate) fn print(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|e| CliError::stdout(&e))
}

/// Writes a model's text to standard output as [`print()`] does; on a terminal, with the characters that would drive it
/// as escapes.
pub(crate) fn print_text(text: &str) -> Result<(), CliError> {
    if io::stdout().is_terminal() { print(&printable(text)) } else { print(text) }
}

/// Text of several lines that cannot drive a terminal: control characters are written as Rust escapes.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let drives = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if !text.contains(drives) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if drives(c) { safe.extend(c.escape_default()) } else { safe.push(c) }
    }
    Cow::Owned(safe)
}

/// Hands a buffered standard output to `write`.
pub(crate) fn print_with(
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), CliError> {
    let mut out = BufWriter::new(io::stdout().lock());
    write(&mut out).and_then(|()| out.flush()).map_err(|e| CliError::stdout(&e))
}

/// Prints a value as one line of JSON.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), CliError> {
    print_with(|out| {
        serde_json::to_writer(&mut *out, value)?;
        writeln!(out)
    })
}

/// Prints help as clap styles it.
pub(crate) fn print_styled(text: &StyledStr) -> Result<(), CliError> {
    let mut out = anstream::AutoStream::auto(io::stdout().lock());
    write!(out, "{}", text.ansi()).map_err(|e| CliError::stdout(&e))
}

/// A line on standard error. If that fails there is nobody left to tell.
pub(crate) fn eprint_line(line: &str) {
    let mut err = io::stderr().lock();
    drop(writeln!(err, "{line}"));
}

/// A remark on standard error, dim where there are colors. It may quote files and their names.
pub(crate) fn eprint_note(text: &str) {
    let text = printable(text);
    let mut err = anstream::AutoStream::auto(io::stderr().lock());
    drop(writeln!(err, "\x1b[2m{text}\x1b[0m"));
}

/// `error[CODE]: LINE`.
pub(crate) fn eprint_error(code: &str, line: &str) {
    eprint_labelled("\x1b[1;31m", &format!("error[{code}]"), line);
}

/// Whether whatever is told on standard error is told as JSON. Set once, before anything is told.
static JSON: AtomicBool = AtomicBool::new(false);

/// From now on errors and warnings are JSON.
pub(crate) fn use_json_for_errors() {
    JSON.store(true, Ordering::Relaxed);
}

/// Whether [`use_json_for_errors`] was called.
pub(crate) fn errors_are_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

/// `warning: PATH: TEXT` for what is odd but harmless.
pub(crate) fn eprint_warning(path: &Path, text: &str) {
    #[derive(Serialize)]
    struct Outer {
        warning: Inner,
    }
    #[derive(Serialize)]
    struct Inner {
        path: String,
        message: String,
    }
    let (path, message) = (path.display().to_string(), one_line(text));
    if errors_are_json() {
        let warning = Outer { warning: Inner { path, message } };
        eprint_line(&serde_json::to_string(&warning).unwrap_or_default());
    } else {
        eprint_labelled("\x1b[1;33m", "warning", &format!("{}: {message}", one_line(&path)));
    }
}

fn eprint_labelled(style: &str, label: &str, line: &str) {
    let mut err = anstream::AutoStream::auto(io::stderr().lock());
    drop(writeln!(err, "{style}{label}\x1b[0m: {line}"));
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn what_a_model_writes_cannot_drive_a_terminal() {
        assert_eq!(printable("a\tb\né 👩‍👩‍👧"), "a\tb\né 👩‍👩‍👧");
        assert_eq!(printable("\u{1b}[2Jx\r\u{9b}0m\0"), r"\u{1b}[2Jx\r\u{9b}0m\u{0}");
    }
}
