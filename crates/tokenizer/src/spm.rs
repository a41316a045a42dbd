//! SentencePiece's BPE (Kudo and Richardson, 2018): again and again the adjacent pair that makes the token of
//! highest score is merged, the leftmost of equals first; what is no token then is written as bytes.

use crate::error::TokenizerError;
use crate::queue::Queue;
use crate::vocab::{NONE, Vocab};
use crate::words::Seen;
use std::collections::BTreeSet;

/// What SentencePiece writes for a space.
pub(crate) const SPACE: char = '▁';

/// An SPM model.
#[derive(Debug)]
pub(crate) struct Spm {
    /// The token of each byte: `<0x41>`, else the character itself, else the unknown token, else `NONE`.
    byte_ids: [u32; 256],
    before_space: BeforeSpace,
}

/// Characters that some token has before a `▁`. Between any other character and a `▁` nothing merges, so that a text
/// can be cut there: mostly at every word.
#[derive(Debug)]
pub(crate) struct BeforeSpace {
    /// By byte.
    ascii: [bool; 128],
    others: BTreeSet<char>,
}

impl Default for BeforeSpace {
    fn default() -> Self {
        Self { ascii: [false; 128], others: BTreeSet::new() }
    }
}

impl BeforeSpace {
    /// Those of the tokens of `vocab`.
    pub(crate) fn of(vocab: &Vocab) -> Self {
        let mut before = Self::default();
        for id in vocab.ids() {
            let text = vocab.text(id);
            for (pos, _) in text.match_indices(SPACE) {
                if let Some(c) = text[..pos].chars().next_back() {
                    match before.ascii.get_mut(c as usize) {
                        Some(ascii) => *ascii = true,
                        None => _ = before.others.insert(c),
                    }
                }
            }
        }
        before
    }

    fn contains(&self, c: char) -> bool {
        self.ascii.get(c as usize).copied().unwrap_or_else(|| self.others.contains(&c))
    }

    /// Calls `part` with the parts of `text` that are merged each for itself.
    pub(crate) fn cut<'t>(&self, text: &'t str, part: &mut dyn FnMut(&'t str)) {
        let mut start = 0;
        for (pos, _) in text.match_indices(SPACE) {
            let prev = text[..pos].chars().next_back();
            if prev.is_some_and(|prev| !self.contains(prev)) {
                part(&text[start..pos]);
                start = pos;
            }
        }
        part(&text[start..]);
    }
}

/// `text` with [`SPACE`] for spaces, and one in front if `prefix`.
pub(crate) fn escape_spaces(text: &str, prefix: bool) -> String {
    let mut escaped = String::with_capacity(text.len() + text.len() / 2 + SPACE.len_utf8());
    if prefix {
        escaped.push(SPACE);
    }
    for (i, part) in text.split(' ').enumerate() {
        if i > 0 {
            escaped.push(SPACE);
        }
        escaped.push_str(part);
    }
    escaped
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
        Ok(Self { byte_ids, before_space: BeforeSpace::of(vocab) })
    }

    /// Appends the ids of `text`, in which spaces are already [`SPACE`].
    pub(crate) fn encode(&self, text: &str, vocab: &Vocab, out: &mut Vec<u32>) {
        let mut scratch = Scratch::default();
        let mut seen = Seen::new(text.len());
        self.before_space.cut(text, &mut |part| {
            seen.encode(part, out, |out| self.encode_part(part, vocab, &mut scratch, out));
        });
    }

    fn encode_part(&self, text: &str, vocab: &Vocab, scratch: &mut Scratch, out: &mut Vec<u32>) {
        if text.len() <= SHORT_PART_BYTES {
            scratch.merge_short(text, vocab);
        } else {
            scratch.merge_long(text, vocab);
        }
        for ends in scratch.starts.windows(2) {
            let piece = &text[ends[0] as usize..ends[1] as usize];
            // What was merged is a token; a single character may be one.
            match vocab.find(piece) {
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

/// Parts up to this many bytes are merged by plain search, which is faster there than a queue.
const SHORT_PART_BYTES: usize = 40;

/// A piece of the text in a linked list; it ends where the next begins. Positions are 32-bit: texts are encoded in
/// parts of at most [`crate::tokenizer::MAX_PART_BYTES`].
#[derive(Debug, Clone, Copy)]
struct Symbol {
    start: u32,
    /// The token that it gives with the next symbol; `NONE` if none, and once it is merged into the one before.
    pair: u32,
    /// `NONE` for the first.
    prev: u32,
    /// The number of symbols for the last.
    next: u32,
}

/// Buffers that live as long as one text is encoded.
#[derive(Debug, Default)]
struct Scratch {
    /// The result: where each piece starts, and where the last one ends.
    starts: Vec<u32>,
    /// For short parts: the priority of the token that each piece gives with the next, `NONE` if none.
    priorities: Vec<u32>,
    symbols: Vec<Symbol>,
    queue: Queue,
    n_bytes: usize,
}

impl Scratch {
    /// Cuts `text` into characters.
    fn set_starts(&mut self, text: &str) {
        self.starts.clear();
        #[expect(clippy::cast_possible_truncation, reason = "parts have less than 4 GiB")]
        self.starts
            .extend(text.char_indices().map(|(pos, _)| pos as u32).chain([text.len() as u32]));
    }

    /// Cuts `text` into characters and merges them as far as they go, searching for the best pair each time.
    fn merge_short(&mut self, text: &str, vocab: &Vocab) {
        self.set_starts(text);
        let Self { starts, priorities, .. } = self;
        let priority = |starts: &[u32], i: usize| {
            let pair = find_pair(text, vocab, starts[i] as usize, starts[i + 2] as usize);
            pair.map_or(NONE, |pair| priority_of(vocab.score(pair)))
        };
        priorities.clear();
        priorities.extend((0..starts.len().saturating_sub(2)).map(|i| priority(starts, i)));
        // `min_by_key` gives the first, that is the leftmost, of equals.
        while let Some((i, &best)) = priorities.iter().enumerate().min_by_key(|&(_, p)| p)
            && best != NONE
        {
            starts.remove(i + 1);
            priorities.remove(i);
            if i > 0 {
                priorities[i - 1] = priority(starts, i - 1);
            }
            if i < priorities.len() {
                priorities[i] = priority(starts, i);
            }
        }
    }

    /// The same by means of a priority queue.
    fn merge_long(&mut self, text: &str, vocab: &Vocab) {
        self.set_starts(text);
        self.n_bytes = text.len();
        let n = self.starts.len() - 1;
        self.symbols.clear();
        self.symbols.extend(self.starts[..n].iter().zip(0u32..).map(|(&start, i)| Symbol {
            start,
            pair: NONE,
            prev: i.wrapping_sub(1),
            next: i + 1,
        }));
        for right in (1..).take(n.saturating_sub(1)) {
            self.update_pair(text, vocab, right - 1, right);
        }
        while let Some((priority, left)) = self.queue.pop() {
            let Symbol { start, pair, prev, next: right } = self.symbols[left as usize];
            // Outdated entries: the symbol is gone, or has another neighbor by now.
            if pair == NONE || priority_of(vocab.score(pair)) != priority {
                continue;
            }
            let next = self.symbols[right as usize].next;
            self.symbols[right as usize].pair = NONE;
            self.symbols[left as usize] = Symbol { start, pair: NONE, prev, next };
            if let Some(symbol) = self.symbols.get_mut(next as usize) {
                symbol.prev = left;
                self.update_pair(text, vocab, left, next);
            }
            if prev != NONE {
                self.update_pair(text, vocab, prev, left);
            }
        }
        let last = self.starts[n];
        self.starts.clear();
        let mut at = 0;
        while let Some(symbol) = self.symbols.get(at as usize) {
            self.starts.push(symbol.start);
            at = symbol.next;
        }
        self.starts.push(last);
    }

    /// Looks up what two neighbors give together, one of which has changed.
    fn update_pair(&mut self, text: &str, vocab: &Vocab, left: u32, right: u32) {
        let start = self.symbols[left as usize].start as usize;
        let end = self.end(self.symbols[right as usize].next);
        let pair =
            if end - start > vocab.max_token_bytes { None } else { vocab.find(&text[start..end]) };
        self.symbols[left as usize].pair = pair.unwrap_or(NONE);
        if let Some(pair) = pair {
            self.queue.push(priority_of(vocab.score(pair)), left);
        }
    }

    /// Where a symbol ends after which `next` comes.
    fn end(&self, next: u32) -> usize {
        self.symbols.get(next as usize).map_or(self.n_bytes, |symbol| symbol.start as usize)
    }
}

/// The token that two neighbors give together.
fn find_pair(text: &str, vocab: &Vocab, start: usize, end: usize) -> Option<u32> {
    if end - start > vocab.max_token_bytes { None } else { vocab.find(&text[start..end]) }
}

/// The place of a token in the queue: the highest score comes first. The two zeros are equal. Never `NONE`, which
/// would be a NaN.
fn priority_of(score: f32) -> u32 {
    let bits = (score + 0.0).to_bits();
    if bits >> 31 == 0 { !(bits | 1 << 31) } else { bits }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gguf_parse::{Gguf, GgufPlan};

    #[test]
    fn higher_scores_come_first() {
        let scores = [f32::INFINITY, 2.0, 1e-40, 0.0, -1e-40, -1.5, -1e9, f32::NEG_INFINITY];
        assert!(scores.windows(2).all(|s| priority_of(s[0]) < priority_of(s[1])), "descending");
        assert_eq!(priority_of(-0.0), priority_of(0.0), "zeros");
    }

    #[test]
    fn both_ways_of_merging_agree() {
        let mut state = 11u32;
        let mut draw = move |n: u32| {
            state = crate::testing::next(state);
            (state >> 16) % n
        };
        let mut word =
            |n: u32| -> String { (0..n).map(|_| ['a', 'b', 'é'][draw(3) as usize]).collect() };
        let tokens: Vec<String> = (0..300).map(|i| word(1 + i % 7)).collect();
        let scores: Vec<f32> = (0..300u16).map(|i| f32::from(i * 7 % 20)).collect();
        let mut plan = GgufPlan::new();
        plan.set_strs(
            "tokenizer.ggml.tokens",
            &tokens.iter().map(String::as_str).collect::<Vec<_>>(),
        );
        plan.set_f32s("tokenizer.ggml.scores", &scores);
        let gguf = Gguf::from_bytes(plan.to_bytes(&[]).unwrap()).unwrap();
        let vocab = Vocab::from_metadata(gguf.metadata()).unwrap();
        let (mut short, mut long) = (Scratch::default(), Scratch::default());
        let mut n_merged = 0;
        for round in 0..5000 {
            let text = word(round % 100);
            short.merge_short(&text, &vocab);
            long.merge_long(&text, &vocab);
            assert_eq!(short.starts, long.starts, "{text}");
            n_merged += text.chars().count() + 1 - short.starts.len();
        }
        assert!(n_merged > 100_000, "only {n_merged} merges took place");
    }
}
