//! One error type for all commands: a code, a place, a sentence, an exit status.
//!
//! People get `error[CODE]: PATH: MESSAGE` on one line of standard error, programs (`--json-errors`) the same as
//! JSON. Whatever came from a file is escaped, so that no message can reach the terminal as an escape sequence.
use crate::output;
use chat_template::TemplateError;
use compare::{TraceError, TraceErrorKind};
use gguf_parse::{ErrorClass, GgufError};
use llama_model::{ModelError, quantize::QuantizeError};
use model_store::{StoreError, StoreErrorKind};
use perplexity::PerplexityError;
use sampler::{ParamsError, SampleError};
use serde::Serialize;
use std::{
    error::Error,
    fmt::Write,
    io, panic,
    path::{Path, PathBuf},
    process::ExitCode,
};
use tokenizer::TokenizerError;

/// How a command ended; the numbers are those of BSD's sysexits.h where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Ok = 0,
    /// Two traces are not in lockstep.
    Diverged = 1,
    Usage = 2,
    Malformed = 65,
    Unreadable = 66,
    Unsupported = 69,
    Bug = 70,
    OverBudget = 71,
    Io = 74,
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<ErrorClass> for Exit {
    fn from(class: ErrorClass) -> Self {
        match class {
            ErrorClass::Malformed => Self::Malformed,
            ErrorClass::Unreadable => Self::Unreadable,
            ErrorClass::Unsupported => Self::Unsupported,
            ErrorClass::OverBudget => Self::OverBudget,
            ErrorClass::Io => Self::Io,
            ErrorClass::Usage => Self::Usage,
            // A class that this file does not know yet is a defect of this file.
            _ => Self::Bug,
        }
    }
}

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct CliError {
    code: &'static str,
    pub(crate) exit: Exit,
    path: Option<PathBuf>,
    /// Empty if there is nothing to tell: the reader of our output went away.
    message: String,
}

impl CliError {
    pub(crate) fn new(code: &'static str, exit: Exit, message: impl Into<String>) -> Self {
        Self { code, exit, path: None, message: message.into() }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new("E-USAGE", Exit::Usage, message)
    }

    /// Writing to standard output failed. A closed pipe is how `| head` ends a program: no error.
    pub(crate) fn stdout(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new("E-PIPE", Exit::Ok, "");
        }
        Self::new("E-IO", Exit::Io, format!("cannot write to standard output: {error}"))
    }

    /// Says which file it is about, unless the error knows better.
    pub(crate) fn at(mut self, path: &Path) -> Self {
        self.path.get_or_insert_with(|| path.to_path_buf());
        self
    }

    /// Adds what to do about it.
    pub(crate) fn with_hint(mut self, hint: &str) -> Self {
        self.message.push_str(hint);
        self
    }

    /// Whether there is nothing to tell.
    pub(crate) fn is_silent(&self) -> bool {
        self.message.is_empty()
    }

    /// Prints it, unless there is nothing to tell.
    pub(crate) fn print(&self) {
        if self.is_silent() {
            return;
        }
        if output::errors_are_json() {
            output::eprint_line(&self.to_json());
        } else {
            output::eprint_error(self.code, &self.to_line());
        }
    }

    /// `PATH: MESSAGE`, safe to print.
    fn to_line(&self) -> String {
        let path = self.path.as_ref().map(|p| format!("{}: ", p.display())).unwrap_or_default();
        one_line(&format!("{path}{}", self.message))
    }

    fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct Outer<'a> {
            error: Inner<'a>,
        }
        #[derive(Serialize)]
        struct Inner<'a> {
            code: &'a str,
            path: Option<String>,
            message: String,
            exit: u8,
        }
        let error = Inner {
            code: self.code,
            path: self.path.as_ref().map(|p| p.display().to_string()),
            message: one_line(&self.message),
            exit: self.exit as u8,
        };
        // Strings and numbers always serialize.
        serde_json::to_string(&Outer { error }).unwrap_or_default()
    }
}

/// Attaches the file an error is about.
pub(crate) trait At<T> {
    fn at(self, path: &Path) -> Result<T, CliError>;
}

impl<T, E: Into<CliError>> At<T> for Result<T, E> {
    fn at(self, path: &Path) -> Result<T, CliError> {
        self.map_err(|e| e.into().at(path))
    }
}

/// The library crates' errors bring their code and class along.
macro_rules! from_classed {
    ($($error:ty),*) => { $(
        impl From<$error> for CliError {
            fn from(e: $error) -> Self {
                Self::new(e.code(), e.class().into(), with_causes(&e))
            }
        }
    )* };
}
from_classed!(GgufError, TokenizerError, ModelError, QuantizeError);

impl From<ParamsError> for CliError {
    fn from(e: ParamsError) -> Self {
        Self::usage(with_causes(&e))
    }
}

impl From<SampleError> for CliError {
    fn from(e: SampleError) -> Self {
        match e {
            SampleError::NotFinite => Self::new("E-NAN", Exit::Malformed, with_causes(&e)),
            SampleError::AllBanned => Self::usage(with_causes(&e)),
            _ => Self::new("E-SAMPLER", Exit::Bug, with_causes(&e)),
        }
    }
}

impl From<PerplexityError> for CliError {
    fn from(e: PerplexityError) -> Self {
        let exit = match e {
            PerplexityError::TooShort { .. }
            | PerplexityError::Context { .. }
            | PerplexityError::NoChunks
            | PerplexityError::Format { .. }
            | PerplexityError::Vocabulary { .. } => Exit::Usage,
            PerplexityError::Write(_) => Exit::Io,
            PerplexityError::Read(_) => Exit::Unreadable,
            _ => Exit::Malformed,
        };
        Self::new(e.code(), exit, with_causes(&e))
    }
}

impl From<TemplateError> for CliError {
    fn from(e: TemplateError) -> Self {
        let exit = match e {
            // The template and the conversation do not fit; another conversation may.
            TemplateError::Refused { .. } => Exit::Unsupported,
            TemplateError::TooLarge { .. } | TemplateError::Limit { .. } => Exit::OverBudget,
            _ => Exit::Malformed,
        };
        Self::new("E-TEMPLATE", exit, with_causes(&e))
    }
}

impl From<TraceError> for CliError {
    fn from(e: TraceError) -> Self {
        let exit = match e.kind() {
            TraceErrorKind::Malformed => Exit::Malformed,
            TraceErrorKind::Unreadable => Exit::Unreadable,
            TraceErrorKind::Io => Exit::Io,
            _ => Exit::Bug,
        };
        Self::new(e.code(), exit, with_causes(&e))
    }
}

impl From<StoreError> for CliError {
    fn from(e: StoreError) -> Self {
        let exit = match e.kind() {
            StoreErrorKind::Usage => Exit::Usage,
            StoreErrorKind::Malformed => Exit::Malformed,
            StoreErrorKind::Missing => Exit::Unreadable,
            StoreErrorKind::Io => Exit::Io,
            _ => Exit::Bug,
        };
        let error = Self::new(e.code(), exit, with_causes(&e));
        match e.path() {
            Some(path) => error.at(path),
            None => error,
        }
    }
}

/// The message and those of its causes, leaving out what was said already.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            let _ = write!(text, ": {more}");
        }
        cause = error.source();
    }
    text
}

/// Text made safe for one line of a terminal: control and invisible characters are written as Rust escapes, and
/// what is longer than any message of ours is cut.
pub(crate) fn one_line(text: &str) -> String {
    const MAX_CHARS: usize = 2000;
    let mut line = String::with_capacity(text.len().min(MAX_CHARS));
    for c in text.chars().take(MAX_CHARS) {
        // `escape_debug` also escapes quotes and backslashes, which are harmless.
        if matches!(c, '"' | '\'' | '\\') { line.push(c) } else { line.extend(c.escape_debug()) }
    }
    line
}

/// A panic is a defect of ours: one line says so, and the exit status is 70.
pub(crate) fn install_panic_hook() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(|l| format!(" at {}:{}", l.file(), l.line()));
        let payload = info.payload();
        let what = payload.downcast_ref::<String>().map(String::as_str);
        let what = what.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
        let text = format!(
            "internal error{}: {what}; this is a defect of lockstep, please report it",
            place.unwrap_or_default()
        );
        CliError::new("E-BUG", Exit::Bug, text).print();
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_says_cannot_reach_the_terminal() {
        let error = CliError::new("E-X", Exit::Malformed, "name \u{1b}[2J\nis \"odd\" \u{202e}é")
            .at(Path::new("a\u{7}b"));
        assert_eq!(error.to_line(), r#"a\u{7}b: name \u{1b}[2J\nis "odd" \u{202e}é"#);
        let json: serde_json::Value = serde_json::from_str(&error.to_json()).unwrap();
        assert_eq!(json["error"]["code"], "E-X");
        assert_eq!(json["error"]["exit"], 65);
        assert_eq!(one_line(&"x".repeat(1 << 20)).len(), 2000);
    }

    #[test]
    fn causes_are_told_once() {
        let cause = io::Error::other("disk on fire");
        let error = StoreError::Io { action: "write", path: PathBuf::from("p"), source: cause };
        assert_eq!(with_causes(&error), "cannot write: disk on fire");
    }

    #[test]
    fn a_closed_pipe_is_silent() {
        let error = CliError::stdout(&io::ErrorKind::BrokenPipe.into());
        assert_eq!((error.exit, error.message.as_str()), (Exit::Ok, ""));
        assert_eq!(CliError::stdout(&io::ErrorKind::StorageFull.into()).exit, Exit::Io);
    }
}
