//! What can be wrong with a vocabulary.

use gguf_parse::{ErrorClass, GgufError};

/// What is wrong with an entry of `tokenizer.ggml.merges`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MergeProblem {
    /// The two parts are not separated by a space.
    #[error("has no space between two parts")]
    NoSpace,
    /// A part is empty, so that merging would give the other part again.
    #[error("has an empty part")]
    EmptyPart,
    /// A part, or what the parts give together, is no token.
    #[error("names a part or gives a result that is no token")]
    UnknownPart,
}

/// An error of this crate: metadata from which no tokenizer can be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The metadata could not be read.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// `tokenizer.ggml.model` names a kind of tokenizer that lockstep does not have.
    #[error(
        "tokenizer model \"{name}\" is not supported \
         (llama, gpt2, gemma4, hybriddna, whitespace, bert, t5, rwkv and plamo2 are)"
    )]
    UnknownModel {
        /// The name.
        name: String,
    },
    /// `tokenizer.ggml.pre` names a pre-tokenizer that lockstep does not have; guessing would give wrong ids.
    #[error("pre-tokenizer \"{name}\" is not supported")]
    UnknownPreTokenizer {
        /// The name.
        name: String,
    },
    /// The vocabulary has no token, or more than ids can count.
    #[error("the vocabulary has {n_tokens} tokens")]
    VocabSize {
        /// Their number.
        n_tokens: usize,
    },
    /// An array that belongs to the tokens is shorter than their list.
    #[error("{key} has {found} elements for {expected} tokens")]
    ArrayLength {
        /// The key.
        key: &'static str,
        /// Number of tokens.
        expected: usize,
        /// Number of elements.
        found: usize,
    },
    /// An array has elements of another type.
    #[error("{key} must be an array of {expected}")]
    ElementType {
        /// The key.
        key: &'static str,
        /// The type it must have.
        expected: &'static str,
    },
    /// A token is longer than any real one.
    #[error("token {id} has {n_bytes} bytes, more than {max_bytes}")]
    TokenTooLong {
        /// The token.
        id: usize,
        /// Its length in bytes.
        n_bytes: usize,
        /// The longest accepted.
        max_bytes: usize,
    },
    /// A score is not a number.
    #[error("the score of token {id} is NaN")]
    NanScore {
        /// The token.
        id: usize,
    },
    /// A token of type byte is not written as `<0x00>` to `<0xFF>`.
    #[error("byte token {id} is written {text:?} instead of \"<0x..>\"")]
    ByteToken {
        /// The token.
        id: usize,
        /// The beginning of its text.
        text: String,
    },
    /// An SPM vocabulary has no byte tokens, so that unknown characters could not be encoded.
    #[error("the vocabulary has no byte tokens \"<0x00>\" to \"<0xFF>\"")]
    NoByteTokens,
    /// A vocabulary lacks some of the byte tokens that it writes unknown characters with.
    #[error("{n_missing} of the byte tokens \"<0x00>\" to \"<0xFF>\" are missing")]
    MissingByteTokens {
        /// How many.
        n_missing: usize,
    },
    /// The map of characters of a unigram vocabulary is broken.
    #[error("tokenizer.ggml.precompiled_charsmap: {problem}")]
    CharsMap {
        /// What is wrong.
        problem: &'static str,
    },
    /// An entry of the merge list makes no sense.
    #[error("merge {index}, {text:?}, {problem}")]
    Merge {
        /// Its position, which is its rank.
        index: usize,
        /// The beginning of the entry.
        text: String,
        /// What is wrong.
        problem: MergeProblem,
    },
    /// There are more merges than ways to split the tokens in two.
    #[error("{found} merges, but the tokens can be split in at most {max} ways")]
    TooManyMerges {
        /// Number of merges.
        found: usize,
        /// The most that a vocabulary of these tokens can have.
        max: usize,
    },
    /// A special token's id is not in the vocabulary.
    #[error("{key} is {id}, but there are {n_vocab} tokens")]
    TokenId {
        /// The key.
        key: &'static str,
        /// The id.
        id: u32,
        /// Number of tokens.
        n_vocab: usize,
    },
    /// The vocabulary needs a token, but does not say which it is.
    #[error("{key} asks for a token, but the vocabulary has no such token")]
    NoSuchSpecial {
        /// The key that asks for it or should name it.
        key: &'static str,
    },
}

impl TokenizerError {
    /// What a caller can do about it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Gguf(e) => e.class(),
            Self::UnknownModel { .. } | Self::UnknownPreTokenizer { .. } => ErrorClass::Unsupported,
            _ => ErrorClass::Malformed,
        }
    }

    /// The stable code, `E-…`, by which tests and scripts know this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Gguf(e) => e.code(),
            Self::UnknownModel { .. } => "E-TOKENIZER",
            Self::UnknownPreTokenizer { .. } => "E-PRE",
            Self::ElementType { .. } => "E-KEYTYPE",
            Self::TokenTooLong { .. } => "E-STRLEN",
            Self::Merge { .. } | Self::TooManyMerges { .. } => "E-MERGE",
            Self::TokenId { .. } | Self::NoSuchSpecial { .. } => "E-TOKENID",
            Self::VocabSize { .. }
            | Self::ArrayLength { .. }
            | Self::NanScore { .. }
            | Self::ByteToken { .. }
            | Self::NoByteTokens
            | Self::MissingByteTokens { .. }
            | Self::CharsMap { .. } => "E-VOCAB",
        }
    }
}

/// The beginning of a text that may be long, for an error message.
pub(crate) fn excerpt(text: &str) -> String {
    const MAX_CHARS: usize = 40;
    match text.char_indices().nth(MAX_CHARS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
