//! Byte-pair encoding of one word: again and again the adjacent pair of lowest rank is merged, the leftmost of
//! equals first, until no pair has a rank (Sennrich et al., 2016).
//!
//! Ranks and results are keyed by token ids, since every part of every merge is a token. A word of n bytes takes
//! n log n time: symbols in a linked list, pairs in a priority queue.
//!
//! Words are taken apart into bytes, each a token of GPT-2's alphabet, or into characters, as SentencePiece does; a
//! character that is no token stays one symbol that nothing merges with, and becomes byte tokens at the end.

use crate::bytes;
use crate::error::{MergeProblem, TokenizerError, excerpt};
use crate::pre::{Letters, Pre, WholeWords};
use crate::queue::Queue;
use crate::split::split;
use crate::spm::{BeforeSpace, escape_spaces};
use crate::vocab::{NONE, Vocab};
use crate::words::Seen;
use gguf_parse::{ArrayView, Metadata};
use hashbrown::HashMap;

const MERGES: &str = "tokenizer.ggml.merges";

/// Words up to this many bytes are merged by plain search, which is faster there than a queue.
const SHORT_WORD_BYTES: usize = 24;

/// With this bit a symbol is a character that is no token, without it a token: there are fewer than 2^31.
const CHARACTER: u32 = 1 << 31;

/// A BPE model.
#[derive(Debug)]
pub(crate) struct Bpe {
    pre: Pre,
    /// The token of each byte; `NONE` where the vocabulary lacks it, and then the byte vanishes as in llama.cpp.
    byte_ids: [u32; 256],
    /// (left, right) -> rank.
    ranks: HashMap<(u32, u32), u32>,
    /// rank -> token.
    results: Vec<u32>,
    /// Where words of characters can be cut before they are merged.
    before_space: BeforeSpace,
}

impl Bpe {
    /// Reads the merges.
    pub(crate) fn from_metadata(
        metadata: Metadata<'_>,
        vocab: &Vocab,
        pre: Pre,
    ) -> Result<Self, TokenizerError> {
        let array: Option<ArrayView<'_>> = match metadata.get_opt(MERGES)? {
            None if !pre.merges_optional => Some(metadata.get(MERGES)?),
            array => array,
        };
        let n_merges = array.map_or(0, |array| array.len());
        let max = vocab.n_splits();
        if n_merges > max {
            return Err(TokenizerError::TooManyMerges { found: n_merges, max });
        }
        let by_byte = |byte: u8| match pre.letters {
            Letters::Bytes => {
                vocab.find(bytes::BYTE_TO_CHAR[usize::from(byte)].encode_utf8(&mut [0; 4]))
            }
            _ => vocab.find(&format!("<0x{byte:02X}>")),
        };
        let before_space = match pre.letters {
            Letters::Bytes => BeforeSpace::default(),
            _ => BeforeSpace::of(vocab),
        };
        let mut bpe = Self {
            pre,
            byte_ids: std::array::from_fn(|byte| {
                u8::try_from(byte).ok().and_then(by_byte).unwrap_or(NONE)
            }),
            ranks: HashMap::with_capacity(n_merges),
            results: Vec::with_capacity(n_merges),
            before_space,
        };
        if let Some(array) = array {
            bpe.read_merges(array, vocab)?;
        }
        Ok(bpe)
    }

    fn read_merges(&mut self, array: ArrayView<'_>, vocab: &Vocab) -> Result<(), TokenizerError> {
        let merges =
            array.strs().ok_or(TokenizerError::ElementType { key: MERGES, expected: "strings" })?;
        let mut joined = String::new();
        for (index, merge) in merges.enumerate() {
            let problem = |problem| TokenizerError::Merge { index, text: excerpt(merge), problem };
            let (left, right) = split_merge(merge).map_err(problem)?;
            joined.clear();
            joined.push_str(left);
            joined.push_str(right);
            // Most vocabularies have the results in the order of the merges.
            let next = self.results.last().map_or(NONE, |last| last + 1);
            let joined = vocab.find_near(next, &joined);
            let ids = (vocab.find(left), vocab.find(right), joined);
            let (Some(left), Some(right), Some(result)) = ids else {
                return Err(problem(MergeProblem::UnknownPart));
            };
            // There are fewer merges than bytes in the vocabulary, whose ids fit in 31 bits each.
            let rank = u32::try_from(index).unwrap_or(NONE);
            self.ranks.entry((left, right)).or_insert(rank);
            self.results.push(result);
        }
        Ok(())
    }

    /// Appends the ids of `text`. `seen`: words of the text that it is a part of.
    pub(crate) fn encode<'t>(
        &self,
        text: &'t str,
        vocab: &Vocab,
        seen: &mut Seen<'t>,
        out: &mut Vec<u32>,
    ) {
        let mut scratch = Scratch::default();
        match self.pre.letters {
            Letters::Bytes => split(self.pre.stages, text, &mut |word| {
                seen.encode(word, out, |out| self.encode_word(word, vocab, &mut scratch, out));
            }),
            Letters::Characters => self.encode_lines(text, vocab, &mut scratch, out),
            Letters::CharactersAndEscapedSpaces => {
                self.encode_lines(&escape_spaces(text, false), vocab, &mut scratch, out);
            }
        }
    }

    /// Appends the ids of `text`, whose words are of characters and may be as long as lines.
    fn encode_lines(&self, text: &str, vocab: &Vocab, scratch: &mut Scratch, out: &mut Vec<u32>) {
        let mut seen = Seen::new(text.len());
        split(self.pre.stages, text, &mut |word| {
            if let Some(id) = self.whole(word, vocab, scratch) {
                out.push(id);
                return;
            }
            self.before_space.cut(word, &mut |part| {
                seen.encode(part, out, |out| self.encode_characters(part, vocab, scratch, out));
            });
        });
    }

    /// The token that `word` is, if it is to be taken whole.
    fn whole(&self, word: &str, vocab: &Vocab, scratch: &mut Scratch) -> Option<u32> {
        let take_whole = match self.pre.whole_words {
            WholeWords::None => false,
            WholeWords::LineFeeds => word.bytes().all(|byte| byte == b'\n'),
            WholeWords::All => true,
        };
        if !take_whole {
            return None;
        }
        if self.pre.letters != Letters::Bytes {
            return vocab.find(word);
        }
        scratch.text.clear();
        bytes::encode_into(word.as_bytes(), &mut scratch.text);
        vocab.find(&scratch.text)
    }

    /// Appends the ids of a word of bytes.
    fn encode_word(&self, word: &str, vocab: &Vocab, scratch: &mut Scratch, out: &mut Vec<u32>) {
        if let Some(id) = self.whole(word, vocab, scratch) {
            out.push(id);
            return;
        }
        let ids = word.bytes().map(|byte| self.byte_ids[usize::from(byte)]);
        self.merge(word.len(), ids, scratch, out);
    }

    /// Appends the ids of a part of a word of characters.
    fn encode_characters(
        &self,
        part: &str,
        vocab: &Vocab,
        scratch: &mut Scratch,
        out: &mut Vec<u32>,
    ) {
        let ids = part
            .chars()
            .map(|c| vocab.find(c.encode_utf8(&mut [0; 4])).unwrap_or(CHARACTER | u32::from(c)));
        self.merge(part.len(), ids, scratch, out);
    }

    /// Merges `ids`, at most `max_len` of them, and appends what is left.
    fn merge(
        &self,
        max_len: usize,
        ids: impl Iterator<Item = u32>,
        scratch: &mut Scratch,
        out: &mut Vec<u32>,
    ) {
        if max_len <= SHORT_WORD_BYTES {
            scratch.ids.clear();
            scratch.ids.extend(ids);
            self.merge_short(scratch);
            scratch.ids.iter().for_each(|&id| self.push(id, out));
        } else {
            self.merge_long(ids, &mut scratch.symbols);
            remaining(&scratch.symbols).for_each(|id| self.push(id, out));
        }
    }

    /// Appends the id of a symbol, or those of its bytes.
    fn push(&self, symbol: u32, out: &mut Vec<u32>) {
        if symbol & CHARACTER == 0 {
            out.push(symbol);
        } else if let Some(c) = char::from_u32(symbol & !CHARACTER) {
            // Of a byte that is in no token, `NONE`, nothing is left: it is no character.
            let mut utf8 = [0; 4];
            let bytes = c.encode_utf8(&mut utf8).bytes();
            let ids = bytes.map(|byte| self.byte_ids[usize::from(byte)]);
            out.extend(ids.filter(|&id| id != NONE));
        }
    }

    /// The rank of the pair, `NONE` if it does not merge.
    fn rank(&self, left: u32, right: u32) -> u32 {
        self.ranks.get(&(left, right)).copied().unwrap_or(NONE)
    }

    /// Merges `scratch.ids` by searching for the lowest rank each time.
    fn merge_short(&self, scratch: &mut Scratch) {
        let Scratch { ids, ranks, .. } = scratch;
        ranks.clear();
        ranks.extend(ids.windows(2).map(|pair| self.rank(pair[0], pair[1])));
        // `min_by_key` gives the first, that is the leftmost, of equals.
        while let Some((i, &rank)) = ranks.iter().enumerate().min_by_key(|&(_, rank)| rank)
            && rank != NONE
        {
            ids[i] = self.results[rank as usize];
            ids.remove(i + 1);
            ranks.remove(i);
            if i > 0 {
                ranks[i - 1] = self.rank(ids[i - 1], ids[i]);
            }
            if i + 1 < ids.len() {
                ranks[i] = self.rank(ids[i], ids[i + 1]);
            }
        }
    }

    /// Merges `ids` in a linked list by means of a priority queue.
    fn merge_long(&self, ids: impl Iterator<Item = u32>, symbols: &mut Vec<Symbol>) {
        symbols.clear();
        symbols.extend(ids.zip(0..).map(|(id, i): (u32, u32)| Symbol {
            id,
            rank: NONE,
            prev: i.wrapping_sub(1),
            next: i + 1,
        }));
        let mut queue = Queue::default();
        for right in (1..).take(symbols.len().saturating_sub(1)) {
            self.update_pair(symbols, right - 1, right, &mut queue);
        }
        while let Some((rank, left)) = queue.pop() {
            let Symbol { rank: current, prev, next: right, .. } = symbols[left as usize];
            // Outdated entries: the symbol is gone, or has another neighbor by now.
            if current != rank {
                continue;
            }
            let next = symbols[right as usize].next;
            symbols[right as usize].rank = NONE;
            symbols[left as usize] =
                Symbol { id: self.results[rank as usize], rank: NONE, prev, next };
            if let Some(symbol) = symbols.get_mut(next as usize) {
                symbol.prev = left;
                self.update_pair(symbols, left, next, &mut queue);
            }
            if prev != NONE {
                self.update_pair(symbols, prev, left, &mut queue);
            }
        }
    }

    /// Looks up the pair of two neighbors, of which one has changed.
    fn update_pair(&self, symbols: &mut [Symbol], left: u32, right: u32, queue: &mut Queue) {
        let rank = self.rank(symbols[left as usize].id, symbols[right as usize].id);
        symbols[left as usize].rank = rank;
        if rank != NONE {
            queue.push(rank, left);
        }
    }
}

/// A piece of a word in the linked list of [`Bpe::merge_long`]. Positions are 32-bit: texts are encoded in parts of
/// at most [`crate::tokenizer::MAX_PART_BYTES`].
#[derive(Debug, Clone, Copy)]
struct Symbol {
    id: u32,
    /// Rank of the pair with the next symbol; `NONE` too once this one is merged into the one before.
    rank: u32,
    /// `NONE` for the first.
    prev: u32,
    /// The number of symbols for the last.
    next: u32,
}

/// The ids of the symbols that are left.
fn remaining(symbols: &[Symbol]) -> impl Iterator<Item = u32> + '_ {
    let mut next = 0;
    std::iter::from_fn(move || {
        let symbol = symbols.get(next as usize)?;
        next = symbol.next;
        Some(symbol.id)
    })
}

/// Buffers that live as long as one text is encoded.
#[derive(Debug, Default)]
struct Scratch {
    text: String,
    ids: Vec<u32>,
    ranks: Vec<u32>,
    symbols: Vec<Symbol>,
}

/// The parts of an entry of the merge list: they are separated by the first space that is not its first character.
fn split_merge(merge: &str) -> Result<(&str, &str), MergeProblem> {
    // Of a first character of several bytes none is a space.
    let mut bytes = merge.bytes().enumerate().skip(1);
    let (space, _) = bytes.find(|(_, byte)| *byte == b' ').ok_or(MergeProblem::NoSpace)?;
    match &merge[space + 1..] {
        "" => Err(MergeProblem::EmptyPart),
        right => Ok((&merge[..space], right)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A model of 4 byte tokens `a` to `d` with pseudo-random merges, for comparing the two ways of merging.
    fn model() -> Bpe {
        let mut bpe = Bpe {
            pre: Pre::by_name("gpt-2").unwrap(),
            byte_ids: [NONE; 256],
            ranks: HashMap::new(),
            results: Vec::new(),
            before_space: BeforeSpace::default(),
        };
        for (id, byte) in (0u32..).zip(b'a'..=b'd') {
            bpe.byte_ids[usize::from(byte)] = id;
        }
        let mut state = 1u32;
        let mut draw = |n: u32| {
            state = crate::testing::next(state);
            (state >> 16) % n
        };
        for id in 4..60 {
            let pair = (draw(id), draw(id));
            if !bpe.ranks.contains_key(&pair) {
                bpe.ranks.insert(pair, u32::try_from(bpe.results.len()).unwrap());
                bpe.results.push(id);
            }
        }
        bpe
    }

    #[test]
    fn both_ways_of_merging_agree() {
        let bpe = model();
        let mut scratch = Scratch::default();
        let mut state = 7u64;
        let mut n_merged = 0;
        for n in 0..200usize {
            for _ in 0..50 {
                let ids: Vec<u32> = (0..n)
                    .map(|_| {
                        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        u32::try_from(state >> 62).unwrap()
                    })
                    .collect();
                scratch.ids.clone_from(&ids);
                bpe.merge_short(&mut scratch);
                bpe.merge_long(ids.iter().copied(), &mut scratch.symbols);
                let long: Vec<u32> = remaining(&scratch.symbols).collect();
                assert_eq!(scratch.ids, long, "{ids:?}");
                n_merged += n - long.len();
            }
        }
        assert!(n_merged > 100_000, "only {n_merged} merges took place");
    }

    #[test]
    fn merges_split_at_the_first_space_after_the_first_character() {
        assert_eq!(split_merge("a b"), Ok(("a", "b")));
        assert_eq!(split_merge("  b"), Ok((" ", "b")), "a space as the first part");
        assert_eq!(split_merge("é b c"), Ok(("é", "b c")), "no space in the first part");
        for (bad, problem) in [
            ("ab", MergeProblem::NoSpace),
            (" b", MergeProblem::NoSpace),
            ("", MergeProblem::NoSpace),
            ("a ", MergeProblem::EmptyPart),
        ] {
            assert_eq!(split_merge(bad), Err(problem), "{bad:?}");
        }
    }
}
