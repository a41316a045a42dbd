//! The list of tokens: texts, types and scores, and the way from a text to its id.

use crate::arena::Texts;
use crate::error::{TokenizerError, excerpt};
use gguf_parse::{ArrayView, Metadata};
use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher as _;

/// No token.
pub(crate) const NONE: u32 = u32::MAX;

/// The longest text a token may have. The longest of any vocabulary seen has 1,024 bytes.
const MAX_TOKEN_BYTES: usize = 65_535;

const TOKENS: &str = "tokenizer.ggml.tokens";
const SCORES: &str = "tokenizer.ggml.scores";
const TOKEN_TYPE: &str = "tokenizer.ggml.token_type";

/// What kind of token it is: a set of flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attr(u16);

impl Attr {
    /// Stands for unknown characters.
    pub(crate) const UNKNOWN: Self = Self(1);
    /// Ordinary text.
    pub(crate) const NORMAL: Self = Self(2);
    /// Control: not shown, and matched only where special tokens are parsed.
    pub(crate) const CONTROL: Self = Self(4);
    /// Added to the vocabulary by hand: always matched, before anything else.
    pub(crate) const USER_DEFINED: Self = Self(8);
    /// One byte, `<0x41>`.
    pub(crate) const BYTE: Self = Self(16);
    /// Swallows the white space after it when matched.
    pub(crate) const RSTRIP: Self = Self(32);
    /// Swallows the white space before it when matched.
    pub(crate) const LSTRIP: Self = Self(64);
    /// Reserved: never shown.
    pub(crate) const UNUSED: Self = Self(128);
    /// A control token by its nature that is shown and matched in any text like a user-defined one (gpt-oss).
    pub(crate) const RAISED: Self = Self(256);
    /// Undefined: never shown.
    const NEITHER: Self = Self(0);

    /// The flags of a value of `tokenizer.ggml.token_type`.
    fn from_token_type(token_type: i32) -> Self {
        match token_type {
            1 => Self::NORMAL,
            2 => Self::UNKNOWN,
            3 => Self::CONTROL,
            4 => Self::USER_DEFINED,
            5 => Self::UNUSED,
            6 => Self::BYTE,
            _ => Self::NEITHER,
        }
    }

    /// Both sets.
    pub(crate) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set but for `other`.
    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the sets have a flag in common.
    pub(crate) const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// The tokens.
#[derive(Debug)]
pub(crate) struct Vocab {
    texts: Texts,
    attrs: Vec<Attr>,
    scores: Vec<f32>,
    by_text: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// Ids whose text another token had before, ascending.
    pub(crate) duplicates: Vec<u32>,
    /// Length in bytes of the longest text.
    pub(crate) max_token_bytes: usize,
    /// What texts after this id are shown without.
    hidden: Option<(u32, &'static str)>,
}

impl Vocab {
    /// Reads tokens, scores and types.
    pub(crate) fn from_metadata(metadata: Metadata<'_>) -> Result<Self, TokenizerError> {
        let tokens: ArrayView<'_> = metadata.get(TOKENS)?;
        let n_tokens = tokens.len();
        if n_tokens == 0 || i32::try_from(n_tokens).is_err() {
            return Err(TokenizerError::VocabSize { n_tokens });
        }
        let mut vocab = Self {
            texts: Texts::default(),
            attrs: read_attrs(metadata, n_tokens)?,
            scores: read_scores(metadata, n_tokens)?,
            by_text: HashTable::with_capacity(n_tokens),
            hasher: DefaultHashBuilder::default(),
            duplicates: Vec::new(),
            max_token_bytes: 0,
            hidden: None,
        };
        let texts = tokens
            .strs()
            .ok_or(TokenizerError::ElementType { key: TOKENS, expected: "strings" })?;
        for text in texts {
            vocab.push(text)?;
        }
        Ok(vocab)
    }

    fn push(&mut self, text: &str) -> Result<(), TokenizerError> {
        let id = self.texts.len();
        if text.len() > MAX_TOKEN_BYTES {
            return Err(TokenizerError::TokenTooLong {
                id,
                n_bytes: text.len(),
                max_bytes: MAX_TOKEN_BYTES,
            });
        }
        if self.attr_at(id).intersects(Attr::BYTE) && byte_of(text).is_none() {
            return Err(TokenizerError::ByteToken { id, text: excerpt(text) });
        }
        match text {
            "" => self.texts.push(&format!("[EMPTY_{id}]")),
            _ => self.texts.push(text),
        }

        let text = self.texts.get(id);
        self.max_token_bytes = self.max_token_bytes.max(text.len());
        let hash = self.hasher.hash_one(text);
        let texts = &self.texts;
        let hasher = &self.hasher;
        // `from_metadata` has checked that ids fit.
        let id = u32::try_from(id).unwrap_or(NONE);
        let entry = self.by_text.entry(
            hash,
            |&other| texts.get(other as usize) == text,
            |&other| hasher.hash_one(texts.get(other as usize)),
        );
        match entry {
            hashbrown::hash_table::Entry::Occupied(_) => self.duplicates.push(id),
            hashbrown::hash_table::Entry::Vacant(vacant) => {
                vacant.insert(id);
            }
        }
        Ok(())
    }

    /// Number of tokens.
    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }

    /// The text of `id`, empty past the end.
    pub(crate) fn text(&self, id: u32) -> &str {
        self.texts.get(id as usize)
    }

    /// The token with this text; the first of duplicates.
    pub(crate) fn find(&self, text: &str) -> Option<u32> {
        self.by_text
            .find(self.hasher.hash_one(text), |&id| self.texts.get(id as usize) == text)
            .copied()
    }

    /// [`Self::find`] for a text that probably is the token `guess`.
    pub(crate) fn find_near(&self, guess: u32, text: &str) -> Option<u32> {
        if self.text(guess) == text && !text.is_empty() && self.is_first(guess) {
            return Some(guess);
        }
        self.find(text)
    }

    /// Whether no token before `id` has its text.
    pub(crate) fn is_first(&self, id: u32) -> bool {
        self.duplicates.binary_search(&id).is_err()
    }

    /// Texts and ids of all tokens but those with the text of an earlier one.
    pub(crate) fn first_texts(&self) -> impl Iterator<Item = (&[u8], u32)> {
        let first = self.ids().filter(|&id| self.is_first(id));
        first.map(|id| (self.text(id).as_bytes(), id))
    }

    /// Lets the texts of the tokens after `id` be shown without `suffix`.
    pub(crate) fn hide_suffix(&mut self, id: u32, suffix: &'static str) {
        self.hidden = Some((id, suffix));
    }

    /// The text of `id` as it is shown.
    pub(crate) fn shown(&self, id: u32) -> &str {
        let text = self.text(id);
        match self.hidden {
            Some((before, suffix)) if id > before && text.len() > suffix.len() => {
                text.strip_suffix(suffix).unwrap_or(text)
            }
            _ => text,
        }
    }

    /// The flags of `id`, none past the end.
    pub(crate) fn attr(&self, id: u32) -> Attr {
        self.attr_at(id as usize)
    }

    fn attr_at(&self, id: usize) -> Attr {
        self.attrs.get(id).copied().unwrap_or(Attr::NEITHER)
    }

    /// Replaces the flags of `id`.
    pub(crate) fn set_attr(&mut self, id: u32, attr: Attr) {
        if let Some(slot) = self.attrs.get_mut(id as usize) {
            *slot = attr;
        }
    }

    /// The score of `id`; 0 where the file has none.
    pub(crate) fn score(&self, id: u32) -> f32 {
        self.scores.get(id as usize).copied().unwrap_or(0.0)
    }

    /// All ids.
    pub(crate) fn ids(&self) -> impl Iterator<Item = u32> + use<> {
        0..u32::try_from(self.len()).unwrap_or(NONE)
    }

    /// In how many ways the tokens can be split in two between characters: the most merges there can be.
    pub(crate) fn n_splits(&self) -> usize {
        // No text is empty.
        self.texts.n_chars() - self.len()
    }
}

/// The byte that a byte token stands for: `<0x41>` is 0x41.
pub(crate) fn byte_of(text: &str) -> Option<u8> {
    let hex = text.strip_prefix("<0x")?.strip_suffix('>')?;
    let is_hex = hex.len() == 2 && hex.bytes().all(|b| b.is_ascii_hexdigit());
    if is_hex { u8::from_str_radix(hex, 16).ok() } else { None }
}

/// The token types; every token is normal if the file has none.
fn read_attrs(metadata: Metadata<'_>, n_tokens: usize) -> Result<Vec<Attr>, TokenizerError> {
    let Some(array) = metadata.get_opt::<ArrayView<'_>>(TOKEN_TYPE)? else {
        return Ok(vec![Attr::NORMAL; n_tokens]);
    };
    let types =
        array.to_i32s().ok_or(TokenizerError::ElementType { key: TOKEN_TYPE, expected: "i32" })?;
    check_length(TOKEN_TYPE, n_tokens, types.len())?;
    Ok(types.into_iter().take(n_tokens).map(Attr::from_token_type).collect())
}

/// The scores; none if the file has none.
fn read_scores(metadata: Metadata<'_>, n_tokens: usize) -> Result<Vec<f32>, TokenizerError> {
    let Some(array) = metadata.get_opt::<ArrayView<'_>>(SCORES)? else { return Ok(Vec::new()) };
    #[expect(clippy::cast_precision_loss, reason = "as llama.cpp reads integer scores")]
    let from_ints = |ints: Vec<i32>| ints.into_iter().map(|score| score as f32).collect();
    let mut scores: Vec<f32> = array
        .to_f32s()
        .or_else(|| array.to_i32s().map(from_ints))
        .ok_or(TokenizerError::ElementType { key: SCORES, expected: "f32 or i32" })?;
    check_length(SCORES, n_tokens, scores.len())?;
    scores.truncate(n_tokens);
    match scores.iter().position(|score| score.is_nan()) {
        Some(id) => Err(TokenizerError::NanScore { id }),
        None => Ok(scores),
    }
}

/// Longer lists are accepted, as llama.cpp does: the rest belongs to no token.
fn check_length(key: &'static str, expected: usize, found: usize) -> Result<(), TokenizerError> {
    if found < expected {
        Err(TokenizerError::ArrayLength { key, expected, found })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_tokens_are_two_hex_digits() {
        assert_eq!(byte_of("<0x0A>"), Some(10), "upper case");
        assert_eq!(byte_of("<0xff>"), Some(255), "lower case");
        for bad in ["<0x-1>", "<0xZZ>", "<0x+1>", "<0x1>", "<0x123>", "0x12", "<0x€>", ""] {
            assert_eq!(byte_of(bad), None, "{bad}");
        }
    }
}
