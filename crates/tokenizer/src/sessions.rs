//! What two kinds of vocabularies do to a text before its parts go to byte-pair encoding.

use crate::bpe::Bpe;
use crate::unicode::lower;
use crate::vocab::Vocab;
use crate::words::Seen;

/// Text between white space, for itself and without it (`tokenizer.ggml.model` = `whitespace`).
pub(crate) fn encode_without_spaces(
    bpe: &Bpe,
    lowercase: bool,
    text: &str,
    vocab: &Vocab,
    out: &mut Vec<u32>,
) {
    let mut seen = Seen::new(text.len());
    for segment in text.split_whitespace() {
        seen.encode(segment, out, |out| {
            if lowercase {
                let lower: String = segment.chars().map(lower).collect();
                bpe.encode(&lower, vocab, &mut Seen::new(0), out);
            } else {
                bpe.encode(segment, vocab, &mut Seen::new(0), out);
            }
        });
    }
}

/// Characters of a piece of DNA that make one token.
const K: usize = 6;

/// What tokens of DNA end with in files, lest they be mistaken for words: U+E000.
pub(crate) const MARKER: &str = "\u{e000}";

const OPEN: &str = "<dna>";
const CLOSE: &str = "</dna>";
const UNKNOWN: &str = "<oov>";

/// Text with DNA between `<dna>` and `</dna>` (`tokenizer.ggml.model` = `hybriddna`).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dna {
    open: u32,
    close: u32,
    unknown: u32,
}

impl Dna {
    /// `None` if the vocabulary lacks the tokens of DNA: then it is plain byte-pair encoding.
    pub(crate) fn new(vocab: &Vocab) -> Option<Self> {
        Some(Self {
            open: vocab.find(OPEN)?,
            close: vocab.find(CLOSE)?,
            unknown: vocab.find(UNKNOWN)?,
        })
    }

    /// The token after which those of DNA come.
    pub(crate) fn last_before(vocab: &Vocab) -> Option<u32> {
        vocab.find(UNKNOWN)
    }

    /// Appends the ids of `text`.
    pub(crate) fn encode(self, bpe: &Bpe, text: &str, vocab: &Vocab, out: &mut Vec<u32>) {
        let mut rest = text;
        while !rest.is_empty() {
            let (before, after) = rest.split_once(OPEN).map_or((rest, None), |(b, a)| (b, Some(a)));
            if !before.is_empty() {
                bpe.encode(before, vocab, &mut Seen::new(before.len()), out);
            }
            let Some(after) = after else { return };
            out.push(self.open);
            let closed = after.split_once(CLOSE);
            self.encode_dna(closed.map_or(after, |(dna, _)| dna), vocab, out);
            let Some((_, behind)) = closed else { return };
            out.push(self.close);
            rest = behind;
        }
    }

    /// Each six characters are a token, the last filled up with `A`.
    fn encode_dna(self, dna: &str, vocab: &Vocab, out: &mut Vec<u32>) {
        for part in dna.as_bytes().chunks(K) {
            let mut name = part.to_ascii_uppercase();
            name.resize(K, b'A');
            name.extend_from_slice(MARKER.as_bytes());
            let token = std::str::from_utf8(&name).ok().and_then(|name| vocab.find(name));
            out.push(token.unwrap_or(self.unknown));
        }
    }
}
