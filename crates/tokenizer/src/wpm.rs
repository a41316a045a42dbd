//! WordPiece (Schuster and Nakajima, 2012), BERT's tokenizer: text is normalized and cut at white space and
//! punctuation; of each word again and again the longest token is taken, and a word for which that fails somewhere is
//! unknown as a whole.

use crate::error::TokenizerError;
use crate::spm::SPACE;
use crate::trie::Trie;
use crate::unicode::{Class, base, lower};
use crate::vocab::Vocab;
use crate::words::{Seen, between};

/// BERT's options of normalization.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Normalizer {
    pub(crate) lowercase: bool,
    pub(crate) strip_accents: bool,
}

/// A WPM model.
#[derive(Debug)]
pub(crate) struct Wpm {
    normalizer: Normalizer,
    /// All tokens; those that begin a word have [`SPACE`] in front.
    tokens: Trie,
    unk: u32,
    /// The ASCII white space, which ends words whatever is around it.
    spaces: [bool; 256],
}

impl Wpm {
    /// Prepares the search.
    pub(crate) fn new(
        vocab: &Vocab,
        normalizer: Normalizer,
        unk: u32,
    ) -> Result<Self, TokenizerError> {
        let is_space = |byte| {
            let c = u8::try_from(byte).map_or('\0', char::from);
            c.is_ascii() && Class::of(c) == Class::Space
        };
        Ok(Self {
            normalizer,
            tokens: Trie::new(vocab.first_texts().map(|(text, id)| (text, id, ())))?,
            unk,
            spaces: std::array::from_fn(is_space),
        })
    }

    /// Appends the ids of `text`.
    pub(crate) fn encode(&self, text: &str, out: &mut Vec<u32>) {
        let mut seen = Seen::new(text.len());
        let mut buffer = String::new();
        for part in between(text, &self.spaces) {
            seen.encode(part, out, |out| {
                self.normalizer.words(part, &mut buffer, &mut |word| self.encode_word(word, out));
            });
        }
    }

    /// Appends the ids of a word, which begins with [`SPACE`].
    fn encode_word(&self, word: &str, out: &mut Vec<u32>) {
        let n_before = out.len();
        let mut rest = word.as_bytes();
        while !rest.is_empty() {
            let Some((len, id)) = self.tokens.longest_prefix(rest) else {
                out.truncate(n_before);
                out.push(self.unk);
                return;
            };
            out.push(id);
            rest = &rest[len..];
        }
    }
}

impl Normalizer {
    /// Calls `word` with each normalized word of `text`, [`SPACE`] in front.
    fn words(self, text: &str, buffer: &mut String, word: &mut dyn FnMut(&str)) {
        buffer.clear();
        buffer.push(SPACE);
        let mut finish = |buffer: &mut String| {
            if buffer.len() > SPACE.len_utf8() {
                word(buffer);
                buffer.truncate(SPACE.len_utf8());
            }
        };
        for c in text.chars() {
            let c = if self.strip_accents { base(c) } else { c };
            let class = Class::of(c);
            if class == Class::Space {
                finish(buffer);
                continue;
            }
            let vanishes = matches!(c, '\0' | char::REPLACEMENT_CHARACTER)
                || class == Class::Control
                || (self.strip_accents && class == Class::Mark);
            if vanishes {
                continue;
            }
            let is_word = class == Class::Punctuation
                || (c < '\x7f' && class == Class::Symbol)
                || is_ideograph(c);
            if is_word {
                finish(buffer);
            }
            buffer.push(if self.lowercase { lower(c) } else { c });
            if is_word {
                finish(buffer);
            }
        }
        finish(buffer);
    }
}

/// What BERT isolates as Chinese. (U+2B820 to U+2B91F are missing as in Hugging Face's code.)
fn is_ideograph(c: char) -> bool {
    matches!(c,
        '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{2a6df}' | '\u{2a700}'..='\u{2b81f}' | '\u{2b920}'..='\u{2ceaf}'
        | '\u{2f800}'..='\u{2fa1f}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    /// What becomes of `x`, a character and `y`: as golden/capture/tokens.py shows it.
    fn fate(normalizer: Normalizer, c: char) -> String {
        let mut words = Vec::new();
        normalizer
            .words(&format!("x{c}y"), &mut String::new(), &mut |word| words.push(word.to_owned()));
        let words: Vec<&str> = words.iter().filter_map(|word| word.strip_prefix(SPACE)).collect();
        match words.as_slice() {
            ["xy"] => "-".into(),
            ["x", "y"] => "_".into(),
            ["x", middle, "y"] if *middle == c.to_string() => "!".into(),
            ["x", middle, "y"] => format!("!{}", hex(middle)),
            [one] if *one == format!("x{c}y") => "=".into(),
            [one] => hex(&one[1..one.len() - 1]),
            other => panic!("{c:?}: {other:?}"),
        }
    }

    fn hex(text: &str) -> String {
        text.chars().map(|c| format!("{:x}", c as u32)).collect::<Vec<_>>().join("+")
    }

    /// Every character against llama.cpp, as runs of one fate.
    #[test]
    fn every_character() {
        for (name, normalizer) in [
            ("wpm_characters", Normalizer { lowercase: true, strip_accents: true }),
            ("wpm_characters_cased", Normalizer { lowercase: false, strip_accents: false }),
        ] {
            let mut text = String::new();
            let (mut last, mut width) = (String::new(), 0);
            for c in ('\0'..=char::MAX).filter(|c| !matches!(c, 'x' | 'y')) {
                let fate = fate(normalizer, c);
                if fate == last {
                    continue;
                }
                let run = format!("{:x}{fate}", c as u32);
                let sep = match width {
                    0 => "",
                    width if width + 1 + run.len() > 110 => "\n",
                    _ => " ",
                };
                width = if sep == " " { width + 1 + run.len() } else { run.len() };
                write!(text, "{sep}{run}").unwrap();
                last = fate;
            }
            golden::check("tokens", name, &text);
        }
    }
}
