//! RWKV's tokenizer: again and again the longest token that the rest of the text begins with.
//!
//! Its tokens are bytes, which files write with escapes as Python does.

use crate::error::TokenizerError;
use crate::trie::Trie;
use crate::vocab::Vocab;
use crate::words::{BeforeSpaces, Seen};

/// A RWKV model.
#[derive(Debug)]
pub(crate) struct Rwkv {
    tokens: Trie,
    before_spaces: BeforeSpaces,
    /// Stands for bytes with which no token begins; they vanish without it.
    unk: Option<u32>,
}

impl Rwkv {
    /// Prepares the search.
    pub(crate) fn new(
        vocab: &Vocab,
        unk: Option<u32>,
        warnings: &mut Vec<String>,
    ) -> Result<Self, TokenizerError> {
        let keys: Vec<(Vec<u8>, u32)> =
            vocab.ids().map(|id| (unescape(vocab.text(id)), id)).collect();
        let tokens = Trie::new(keys.iter().map(|(key, id)| (key.as_slice(), *id, ())))?;
        let n_missing = (0..=255).filter(|&byte| tokens.longest_prefix(&[byte]).is_none()).count();
        if n_missing > 0 && unk.is_none() {
            warnings.push(format!(
                "{n_missing} of 256 byte tokens are missing, and there is no unknown token: such bytes vanish"
            ));
        }
        let before_spaces = BeforeSpaces::of(keys.iter().map(|(key, _)| key.as_slice()));
        Ok(Self { tokens, before_spaces, unk })
    }

    /// Appends the ids of `text`.
    pub(crate) fn encode(&self, text: &str, out: &mut Vec<u32>) {
        let mut seen = Seen::new(text.len());
        for word in self.before_spaces.words(text) {
            seen.encode(word, out, |out| self.encode_word(word.as_bytes(), out));
        }
    }

    /// Appends the ids of a part of a text that no token goes on across.
    fn encode_word(&self, word: &[u8], out: &mut Vec<u32>) {
        let mut rest = word;
        while !rest.is_empty() {
            let (len, id) =
                self.tokens.longest_prefix(rest).map_or((1, self.unk), |(len, id)| (len, Some(id)));
            out.extend(id);
            rest = &rest[len..];
        }
    }
}

/// The bytes of a token: `\t`, `\n`, `\r`, `\x41`, and any other character after a backslash for itself. Digits that
/// are none count as in llama.cpp, by their distance from `0` or `a`.
pub(crate) fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let escaped = if byte == b'\\' { bytes.next() } else { Some(byte) };
        match escaped {
            Some(b'x') if byte == b'\\' => {
                if let (Some(high), Some(low)) = (bytes.next(), bytes.next()) {
                    out.push((digit(high) << 4).wrapping_add(digit(low)));
                }
            }
            Some(b't') if byte == b'\\' => out.push(b'\t'),
            Some(b'n') if byte == b'\\' => out.push(b'\n'),
            Some(b'r') if byte == b'\\' => out.push(b'\r'),
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

fn digit(byte: u8) -> u8 {
    if (b'a'..128).contains(&byte) { byte - b'a' + 10 } else { byte.wrapping_sub(b'0') }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes() {
        for (escaped, bytes) in [
            (r"a\tb\n\r", &b"a\tb\n\r"[..]),
            (r"\x41\xff\\x", b"A\xff\\x"),
            (r#"\"\'\q"#, b"\"'q"),
            ("é\\", "é".as_bytes()),
            (r"\x4", b""),
            (r"\x4G", &[0x40 + (b'G' - b'0')]),
        ] {
            assert_eq!(unescape(escaped), bytes, "{escaped}");
        }
    }
}
