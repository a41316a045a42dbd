//! What can be wrong with a text, or with a file of log-probabilities.

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PerplexityError {
    /// llama.cpp wants two chunks at least, and so does everybody who wants to know how sure a number is.
    #[error(
        "the text has {n_tokens} tokens; a context of {n_ctx} needs {}: take a longer text{}",
        n_ctx.saturating_mul(2),
        if n_tokens / 2 >= Self::MIN_CTX { format!(", or a context of at most {}", n_tokens / 2) } else { String::new() }
    )]
    TooShort {
        /// Tokens of the text.
        n_tokens: usize,
        /// Tokens of a chunk.
        n_ctx: usize,
    },
    /// A context in which there is nothing to score.
    #[error("the context is {n_ctx}; must be at least {}", Self::MIN_CTX)]
    Context {
        /// Tokens of a chunk.
        n_ctx: usize,
    },
    /// No chunks are to be computed.
    #[error("the number of chunks is 0; must be at least 1")]
    NoChunks,
    /// A token that the model does not have.
    #[error("the text has token {token}; must be below {n_vocab}, the size of the vocabulary")]
    Token {
        /// The token.
        token: u32,
        /// Tokens in the vocabulary.
        n_vocab: usize,
    },
    /// A file that holds no log-probabilities.
    #[error(
        "it does not begin with \"_logits_\", so it holds no log-probabilities: write it first, with the model that \
         others are to be compared with"
    )]
    NotABase,
    /// A number of the header that cannot be.
    #[error("its {what} is {found}; must be {allowed}")]
    Header {
        /// The field, as llama.cpp calls it.
        what: &'static str,
        /// The value found.
        found: i64,
        /// The values allowed.
        allowed: String,
    },
    /// A file that ends before its last chunk.
    #[error(
        "it has {n_bytes} bytes; its {n_chunk} chunks need {needed}: writing it was interrupted, write it again"
    )]
    Truncated {
        /// Bytes there are.
        n_bytes: u64,
        /// Bytes needed.
        needed: u64,
        /// Chunks that the header promises.
        n_chunk: usize,
    },
    /// A model with another vocabulary wrote the file.
    #[error(
        "it is of a model with {found} tokens, this one has {expected}: only models with one vocabulary compare"
    )]
    Vocabulary {
        /// Tokens in the file's vocabulary.
        found: usize,
        /// Tokens in the model's.
        expected: usize,
    },
    /// More than the format's 32 bits hold.
    #[error("{what} is {found}; the format holds at most {}", i32::MAX)]
    Format {
        /// The field.
        what: &'static str,
        /// The value.
        found: usize,
    },
    /// Reading failed.
    #[error("cannot be read")]
    Read(#[source] std::io::Error),
    /// Writing failed.
    #[error("cannot be written")]
    Write(#[source] std::io::Error),
}

impl PerplexityError {
    /// The least context that has something to score.
    pub(crate) const MIN_CTX: usize = 3;

    /// The stable code, `E-…`, by which tests and scripts know this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooShort { .. } => "E-TEXTSHORT",
            Self::Context { .. } | Self::NoChunks | Self::Format { .. } => "E-ARGUMENT",
            Self::Token { .. } => "E-TOKEN",
            Self::NotABase => "E-MAGIC",
            Self::Header { .. } => "E-HEADER",
            Self::Truncated { .. } => "E-TRUNC",
            Self::Vocabulary { .. } => "E-VOCAB",
            Self::Read(_) => "E-READ",
            Self::Write(_) => "E-WRITE",
        }
    }
}
