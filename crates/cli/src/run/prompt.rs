//! Where the prompt comes from.
use crate::errors::{At, CliError, Exit};
use std::{
    fs::File,
    io::{self, IsTerminal, Read},
    path::Path,
};
use tokenizer::{Special, Tokenizer};

/// More text than any context holds: a token is rarely longer than 16 bytes, a context rarely than 2^22 tokens.
pub(crate) const MAX_BYTES: u64 = 64 << 20;

/// What to continue.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Prompt {
    Text(String),
    Ids(Vec<u32>),
}

/// The prompt that the arguments, or standard input, give.
pub(crate) fn read(
    ids: Option<&[u32]>,
    text: Option<&str>,
    file: Option<&Path>,
) -> Result<Prompt, CliError> {
    if let Some(ids) = ids {
        return Ok(Prompt::Ids(ids.to_vec()));
    }
    if let Some(text) = text {
        return Ok(Prompt::Text(text.to_owned()));
    }
    match file {
        Some(path) => read_path(path).map(Prompt::Text),
        None if io::stdin().is_terminal() => Err(CliError::usage(
            "no prompt: give one as an argument, with -f FILE, or through standard input",
        )),
        None => read_stdin().map(Prompt::Text),
    }
}

/// Text from standard input, without the newline at its end.
pub(crate) fn read_stdin() -> Result<String, CliError> {
    let path = Path::new("standard input");
    let bytes = read_limited(io::stdin().lock()).at(path)?;
    to_text(bytes).at(path).map(without_newline)
}

/// Text from a file, or from standard input if that is `-`, without the newline at its end.
pub(crate) fn read_path(path: &Path) -> Result<String, CliError> {
    if path.as_os_str() == "-" { read_stdin() } else { read_file(path) }
}

fn read_file(path: &Path) -> Result<String, CliError> {
    let unreadable = |e: io::Error| {
        CliError::new("E-OPEN", Exit::Unreadable, format!("cannot be read: {e}")).at(path)
    };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    // Told before a byte is read: the file may be sparse and read as gigabytes of zeros.
    if metadata.len() > MAX_BYTES {
        return Err(too_large(metadata.len()).at(path));
    }
    if metadata.is_dir() {
        return Err(unreadable(io::ErrorKind::IsADirectory.into()));
    }
    let bytes = read_limited(file).at(path)?;
    to_text(bytes).at(path).map(without_newline)
}

/// Everything, unless there is no end to it (a device, a pipe from `yes`).
pub(crate) fn read_limited(reader: impl Read) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    reader
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| CliError::new("E-READ", Exit::Unreadable, format!("cannot be read: {e}")))?;
    if bytes.len() as u64 > MAX_BYTES { Err(too_large(MAX_BYTES + 1)) } else { Ok(bytes) }
}

pub(crate) fn too_large(n_bytes: u64) -> CliError {
    let at_least = if n_bytes > MAX_BYTES + 1 { "" } else { "at least " };
    let text = format!("the text has {at_least}{n_bytes} bytes; must have at most {MAX_BYTES}");
    CliError::new("E-TEXTSIZE", Exit::OverBudget, text)
}

/// Bytes as text.
pub(crate) fn to_text(bytes: Vec<u8>) -> Result<String, CliError> {
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        CliError::new("E-UTF8", Exit::Malformed, format!("the text is not valid UTF-8 (byte {at})"))
    })
}

/// Editors and `echo` end a text with a newline that nobody meant; llama.cpp drops one, too.
fn without_newline(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
    }
    text
}

impl Prompt {
    /// Its token ids; special tokens are added and parsed.
    pub(crate) fn ids(&self, tokenizer: &Tokenizer) -> Result<Vec<u32>, CliError> {
        let n_vocab = tokenizer.n_vocab();
        let ids = match self {
            Self::Text(text) => tokenizer.encode(text, true, Special::Parse),
            Self::Ids(ids) => ids.clone(),
        };
        if let Some(id) = ids.iter().find(|id| **id as usize >= n_vocab) {
            return Err(CliError::usage(format!("--ids has {id}; must be below {n_vocab}")));
        }
        Ok(ids)
    }
}

/// Refuses a prompt without tokens. (A chat template may write nothing at all.)
pub(crate) fn check_some(ids: &[u32]) -> Result<(), CliError> {
    if ids.is_empty() {
        return Err(CliError::usage("the prompt is empty: there is nothing to continue"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endless_input_is_refused() {
        let error = read_limited(io::repeat(b'y')).unwrap_err();
        assert_eq!(error.exit, Exit::OverBudget);
        assert_eq!(read_limited(&b"abc"[..]).unwrap(), b"abc");
    }

    #[test]
    fn one_newline_is_dropped() {
        for (given, wanted) in [("a\n", "a"), ("a\n\n", "a\n"), ("a", "a"), ("", ""), ("\n", "")] {
            assert_eq!(without_newline(given.to_owned()), wanted);
        }
        assert_eq!(to_text(b"ab\xff".to_vec()).unwrap_err().exit, Exit::Malformed);
    }
}
