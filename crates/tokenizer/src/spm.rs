//! SentencePiece's BPE (Kudo and Richardson, 2018): again and again the adjacent pair that makes the token of
//! highest score is merged, the leftmost of equals first; what is no token then is written as bytes.

use crate::error::TokenizerError;
use crate::vocab::{NONE, Vocab};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

/// What SentencePiece writes for a space.
pub(crate) const SPACE: char = '▁';

/// An SPM model.
#[derive(Debug)]
pub(crate) struct Spm {
    /// The token of each byte: `<0x41>`, else the character itself, else the unknown token, else `NONE`.
    byte_ids: [u32; 256],
    /// Characters that some token has before a `▁`. Between any other character and a `▁` nothing merges, so
    /// that the text can be cut there: mostly at every word.
    before_space: BTreeSet<char>,
}

impl Spm {
    /// Prepares the byte tokens. `unk` stands in for bytes that the vocabulary lacks, with a warning.
    pub(crate) fn new(
        vocab: &Vocab,
        unk: Option<u32>,
        warnings: &mut Vec<String>,
    ) -> Result<Self, TokenizerError> {
        let mut byte_ids = [NONE; 256];
        let mut has_byte_tokens = false;
        let mut n_missing = 0;
        for byte in 0..=255u8 {
            let token = vocab.find(&format!("<0x{byte:02X}>"));
            has_byte_tokens |= token.is_some();
            let plain = || {
                if byte.is_ascii() {
                    vocab.find(char::from(byte).encode_utf8(&mut [0; 4]))
                } else {
                    None
                }
            };
            let id = token.or_else(plain);
            n_missing += usize::from(id.is_none());
            byte_ids[usize::from(byte)] = id.or(unk).unwrap_or(NONE);
        }
        if !has_byte_tokens {
            return Err(TokenizerError::NoByteTokens);
        }
        if n_missing > 0 {
            warnings.push(format!(
                "{n_missing} of 256 byte tokens are missing: the unknown token stands in for them"
            ));
        }
        let mut before_space = BTreeSet::new();
        for id in vocab.ids() {
            let text = vocab.text(id);
            let spaces = text.match_indices(SPACE);
            before_space.extend(spaces.filter_map(|(pos, _)| text[..pos].chars().next_back()));
        }
        Ok(Self { byte_ids, before_space })
    }

    /// Appends the ids of `text`, in which spaces are already [`SPACE`].
    pub(crate) fn encode(&self, text: &str, vocab: &Vocab, out: &mut Vec<u32>) {
        let mut scratch = Scratch::default();
        let mut start = 0;
        let mut prev = None;
        for (pos, c) in text.char_indices() {
            if c == SPACE && prev.is_some_and(|prev| !self.before_space.contains(&prev)) {
                self.encode_part(&text[start..pos], vocab, &mut scratch, out);
                start = pos;
            }
            prev = Some(c);
        }
        self.encode_part(&text[start..], vocab, &mut scratch, out);
    }

    fn encode_part(&self, text: &str, vocab: &Vocab, scratch: &mut Scratch, out: &mut Vec<u32>) {
        scratch.merge(text, vocab);
        for symbol in scratch.symbols.iter().filter(|symbol| symbol.end > symbol.start) {
            let piece = &text[symbol.start..symbol.end];
            // A symbol that was merged is a token; a single character may be one.
            let id = if symbol.id == NONE { vocab.find(piece) } else { Some(symbol.id) };
            match id {
                Some(id) => out.push(id),
                None => out.extend(
                    piece
                        .bytes()
                        .map(|byte| self.byte_ids[usize::from(byte)])
                        .filter(|&id| id != NONE),
                ),
            }
        }
    }
}

/// A piece of the text in a linked list; `start == end` once it is merged into the one before.
#[derive(Debug, Clone, Copy)]
struct Symbol {
    /// The token it became by merging, `NONE` for a single character.
    id: u32,
    /// The token that it gives with the next symbol, `NONE` if none.
    pair: u32,
    start: usize,
    end: usize,
    /// `usize::MAX` for the first.
    prev: usize,
    /// The number of symbols for the last.
    next: usize,
}

/// Highest score first, then leftmost.
type Queue = BinaryHeap<(u32, Reverse<usize>)>;

/// Buffers that live as long as one text is encoded.
#[derive(Debug, Default)]
struct Scratch {
    symbols: Vec<Symbol>,
    queue: Queue,
}

impl Scratch {
    /// Cuts `text` into characters and merges them as far as they go.
    fn merge(&mut self, text: &str, vocab: &Vocab) {
        self.symbols.clear();
        self.queue.clear();
        for (i, (start, c)) in text.char_indices().enumerate() {
            let end = start + c.len_utf8();
            let symbol =
                Symbol { id: NONE, pair: NONE, start, end, prev: i.wrapping_sub(1), next: i + 1 };
            self.symbols.push(symbol);
        }
        let n = self.symbols.len();
        for right in 1..n {
            self.update_pair(text, vocab, right - 1, right);
        }
        while let Some((key, Reverse(left))) = self.queue.pop() {
            // Outdated entries: the symbol is gone, or has another neighbor by now.
            let Symbol { pair, next: right, .. } = self.symbols[left];
            if pair == NONE || score_key(vocab.score(pair)) != key {
                continue;
            }
            let Symbol { end, next, .. } = self.symbols[right];
            self.symbols[right].pair = NONE;
            self.symbols[right].start = end;
            let merged = &mut self.symbols[left];
            *merged = Symbol { id: pair, pair: NONE, end, next, ..*merged };
            let prev = merged.prev;
            if next < n {
                self.symbols[next].prev = left;
                self.update_pair(text, vocab, left, next);
            }
            if prev < n {
                self.update_pair(text, vocab, prev, left);
            }
        }
    }

    /// Looks up what two neighbors give together, one of which has changed.
    fn update_pair(&mut self, text: &str, vocab: &Vocab, left: usize, right: usize) {
        let (start, end) = (self.symbols[left].start, self.symbols[right].end);
        let pair =
            if end - start > vocab.max_token_bytes { None } else { vocab.find(&text[start..end]) };
        self.symbols[left].pair = pair.unwrap_or(NONE);
        if let Some(pair) = pair {
            self.queue.push((score_key(vocab.score(pair)), Reverse(left)));
        }
    }
}

/// A number that orders as the score does; the two zeros are equal.
fn score_key(score: f32) -> u32 {
    let bits = (score + 0.0).to_bits();
    if bits >> 31 == 0 { bits | 1 << 31 } else { !bits }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn score_keys_order_as_scores() {
        let scores = [f32::NEG_INFINITY, -1e9, -1.5, -1e-40, 0.0, 1e-40, 2.0, f32::INFINITY];
        assert!(scores.windows(2).all(|s| score_key(s[0]) < score_key(s[1])), "ascending");
        assert_eq!(score_key(-0.0), score_key(0.0), "zeros");
    }
}
