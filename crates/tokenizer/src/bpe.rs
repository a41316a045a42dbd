//! Byte-pair encoding of one word: again and again the adjacent pair of lowest rank is merged, the leftmost of
//! equals first, until no pair has a rank (Sennrich et al., 2016).
//!
//! Ranks and results are keyed by token ids, since every part of every merge is a token. A word of n bytes takes
//! n log n time: symbols in a linked list, pairs in a priority queue.

use crate::bytes;
use crate::error::{MergeProblem, TokenizerError, excerpt};
use crate::pre::Pre;
use crate::queue::Queue;
use crate::vocab::{NONE, Vocab};
use gguf_parse::{ArrayView, Metadata};
use hashbrown::HashMap;

const MERGES: &str = "tokenizer.ggml.merges";

/// Words up to this many bytes are merged by plain search, which is faster there than a queue.
const SHORT_WORD_BYTES: usize = 24;

/// A byte-level BPE model.
#[derive(Debug)]
pub(crate) struct Bpe {
    pre: Pre,
    /// The token of each byte; `NONE` where the vocabulary lacks it, and then the byte vanishes as in llama.cpp.
    byte_ids: [u32; 256],
    /// (left, right) -> rank.
    ranks: HashMap<(u32, u32), u32>,
    /// rank -> token.
    results: Vec<u32>,
}

impl Bpe {
    /// Reads the merges.
    pub(crate) fn from_metadata(
        metadata: Metadata<'_>,
        vocab: &Vocab,
        pre: Pre,
    ) -> Result<Self, TokenizerError> {
        let array: ArrayView<'_> = metadata.get(MERGES)?;
        let max = vocab.n_splits();
        if array.len() > max {
            return Err(TokenizerError::TooManyMerges { found: array.len(), max });
        }
        let merges =
            array.strs().ok_or(TokenizerError::ElementType { key: MERGES, expected: "strings" })?;
        let mut bpe = Self {
            pre,
            byte_ids: bytes::BYTE_TO_CHAR
                .map(|c| vocab.find(c.encode_utf8(&mut [0; 4])).unwrap_or(NONE)),
            ranks: HashMap::with_capacity(array.len()),
            results: Vec::with_capacity(array.len()),
        };
        let mut joined = String::new();
        for (index, merge) in merges.enumerate() {
            let problem = |problem| TokenizerError::Merge { index, text: excerpt(merge), problem };
            let (left, right) = split_merge(merge).map_err(problem)?;
            joined.clear();
            joined.push_str(left);
            joined.push_str(right);
            // Most vocabularies have the results in the order of the merges.
            let next = bpe.results.last().map_or(NONE, |last| last + 1);
            let joined = vocab.find_near(next, &joined);
            let ids = (vocab.find(left), vocab.find(right), joined);
            let (Some(left), Some(right), Some(result)) = ids else {
                return Err(problem(MergeProblem::UnknownPart));
            };
            // There are fewer merges than bytes in the vocabulary, whose ids fit in 31 bits each.
            let rank = u32::try_from(index).unwrap_or(NONE);
            bpe.ranks.entry((left, right)).or_insert(rank);
            bpe.results.push(result);
        }
        Ok(bpe)
    }

    /// Appends the ids of `text`.
    pub(crate) fn encode(&self, text: &str, vocab: &Vocab, out: &mut Vec<u32>) {
        let mut scratch = Scratch::default();
        self.pre.splitter.split(text, &mut |word| self.encode_word(word, vocab, &mut scratch, out));
    }

    fn encode_word(&self, word: &str, vocab: &Vocab, scratch: &mut Scratch, out: &mut Vec<u32>) {
        if self.pre.ignore_merges {
            scratch.text.clear();
            bytes::encode_into(word.as_bytes(), &mut scratch.text);
            if let Some(id) = vocab.find(&scratch.text) {
                out.push(id);
                return;
            }
        }
        let ids = word.bytes().map(|byte| self.byte_ids[usize::from(byte)]);
        if word.len() <= SHORT_WORD_BYTES {
            scratch.ids.clear();
            scratch.ids.extend(ids);
            self.merge_short(scratch);
            out.extend(scratch.ids.iter().filter(|&&id| id != NONE));
        } else {
            self.merge_long(ids, &mut scratch.symbols);
            out.extend(remaining(&scratch.symbols).filter(|&id| id != NONE));
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
    use crate::split::Splitter;

    /// A model of 4 byte tokens `a` to `d` with pseudo-random merges, for comparing the two ways of merging.
    fn model() -> Bpe {
        let mut bpe = Bpe {
            pre: Pre {
                splitter: Splitter::Gpt2,
                ignore_merges: false,
                add_bos: false,
                clean_spaces: false,
                default_bos: true,
            },
            byte_ids: [NONE; 256],
            ranks: HashMap::new(),
            results: Vec::new(),
        };
        for (id, byte) in (0u32..).zip(b'a'..=b'd') {
            bpe.byte_ids[usize::from(byte)] = id;
        }
        let mut state = 1u32;
        let mut draw = |n: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
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
