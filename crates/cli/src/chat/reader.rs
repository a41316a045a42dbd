//! Where the lines come from: an editor on a terminal, plain lines otherwise.
use super::command::{COMMANDS, goes_on};
use crate::{
    errors::{At, CliError, Exit},
    run::prompt,
};
use rustyline::{
    CompletionType, Config, Context, Editor, Helper,
    completion::Completer,
    error::ReadlineError,
    highlight::Highlighter,
    hint::Hinter,
    history::MemHistory,
    validate::{ValidationContext, ValidationResult, Validator},
};
use std::{
    borrow::Cow,
    io::{self, BufRead, IsTerminal, Read},
    path::Path,
};

/// What came in.
#[derive(Debug)]
pub(super) enum Line {
    Text(String),
    /// Ctrl-C at the prompt.
    Interrupted,
    End,
}

/// The user's side.
pub(super) enum Reader {
    Terminal(Box<Editor<Hints, MemHistory>>),
    Lines,
}

impl Reader {
    pub(super) fn open() -> Result<Self, CliError> {
        if !io::stdin().is_terminal() {
            return Ok(Self::Lines);
        }
        let config = Config::builder().completion_type(CompletionType::List).build();
        let mut editor = Editor::with_history(config, MemHistory::new()).map_err(|e| failed(&e))?;
        editor.set_helper(Some(Hints {
            colors: anstream::stdout().current_choice() != anstream::ColorChoice::Never,
        }));
        Ok(Self::Terminal(Box::new(editor)))
    }

    pub(super) fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }

    /// The next message or command, whole.
    pub(super) fn next(&mut self, prompt: &str) -> Result<Line, CliError> {
        match self {
            Self::Lines => lines(&mut io::stdin().lock()),
            Self::Terminal(editor) => match editor.readline(prompt) {
                Ok(text) => {
                    // A history that cannot grow is no reason to stop.
                    drop(editor.add_history_entry(text.as_str()));
                    Ok(Line::Text(text))
                }
                Err(ReadlineError::Interrupted) => Ok(Line::Interrupted),
                Err(ReadlineError::Eof) => Ok(Line::End),
                Err(error) => Err(failed(&error)),
            },
        }
    }
}

fn failed(error: &ReadlineError) -> CliError {
    CliError::new("E-TERMINAL", Exit::Io, format!("cannot read from the terminal: {error}"))
}

/// A line and those that it goes on with.
fn lines(input: &mut impl BufRead) -> Result<Line, CliError> {
    let stdin = Path::new("standard input");
    let mut text = String::new();
    loop {
        let mut bytes = Vec::new();
        let limit = prompt::MAX_BYTES.saturating_sub(text.len() as u64) + 1;
        let n = Read::take(&mut *input, limit).read_until(b'\n', &mut bytes).map_err(|e| {
            CliError::new("E-READ", Exit::Unreadable, format!("cannot be read: {e}")).at(stdin)
        })?;
        if text.len() as u64 + n as u64 > prompt::MAX_BYTES {
            return Err(prompt::too_large(prompt::MAX_BYTES + 1).at(stdin));
        }
        let ended = bytes.pop_if(|last| *last == b'\n').is_none();
        text.push_str(prompt::to_text(bytes).at(stdin)?.trim_end_matches('\r'));
        if n == 0 && text.is_empty() {
            return Ok(Line::End);
        }
        if ended || !goes_on(&text) {
            return Ok(Line::Text(text));
        }
        text.push('\n');
    }
}

/// What the editor knows of the language.
pub(super) struct Hints {
    colors: bool,
}

impl Helper for Hints {}

impl Hinter for Hints {
    type Hint = String;
}

impl Highlighter for Hints {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        if self.colors {
            Cow::Owned(format!("\x1b[1;36m{prompt}\x1b[0m"))
        } else {
            Cow::Borrowed(prompt)
        }
    }
}

impl Completer for Hints {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = line.get(..pos).unwrap_or_default();
        let fits = COMMANDS.iter().filter(|name| !typed.is_empty() && name.starts_with(typed));
        Ok((0, fits.map(|name| format!("{name} ")).collect()))
    }
}

impl Validator for Hints {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let open = goes_on(context.input());
        Ok(if open { ValidationResult::Incomplete } else { ValidationResult::Valid(None) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_belong_together() {
        let mut input = &b"one\r\n\ntwo\\\nthree\n\"\"\"\nfour\n\nfive\n\"\"\"\nsix\\"[..];
        let mut found = Vec::new();
        while let Line::Text(text) = lines(&mut input).unwrap() {
            found.push(text);
        }
        let wanted = ["one", "", "two\\\nthree", "\"\"\"\nfour\n\nfive\n\"\"\"", "six\\"];
        assert_eq!(found, wanted);
        assert_eq!(lines(&mut &b"\xff\n"[..]).unwrap_err().exit, Exit::Malformed);
        let mut endless = io::BufReader::new(io::repeat(b'y'));
        assert_eq!(lines(&mut endless).unwrap_err().exit, Exit::OverBudget);
    }
}
