//! What can be wrong with a template or a conversation.

/// Why there is no prompt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The template's text is too long.
    #[error("the chat template has {found} bytes; must be at most {allowed}")]
    TooLarge {
        /// Its bytes.
        found: usize,
        /// The limit.
        allowed: usize,
    },
    /// The template is no Jinja, or not the part of it that is understood.
    #[error("the chat template, line {line}, column {column}: {problem}")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// What is wrong.
        problem: String,
    },
    /// The template did something that cannot be done, such as calling a string.
    #[error("the chat template, line {line}: {problem}")]
    Render {
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// The template itself refuses this conversation (`raise_exception`).
    #[error("the chat template refuses this conversation: {message}")]
    Refused {
        /// The template's words.
        message: String,
    },
    /// The template would run or write without end.
    #[error("the chat template, line {line}: {what}; must be at most {allowed}")]
    Limit {
        /// Line, from 1.
        line: usize,
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        allowed: u64,
    },
    /// A message or a tool is not what the format demands.
    #[error("{place} {problem}")]
    Conversation {
        /// Which: `message 2`.
        place: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
}
