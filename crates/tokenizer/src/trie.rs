//! Finds the tokens that begin at a place of a text: a trie in a double array (Aoe, 1989), where a step is one look at
//! one entry.
//!
//! The children of a node lie at its base, each as far from it as its byte says (exclusive or), and know their parent,
//! so that the children of several nodes can lie between each other.

use crate::error::TokenizerError;
use crate::vocab::NONE;
use std::collections::VecDeque;

/// The longest key. A text takes at most this many steps for each of its bytes; the longest token of any vocabulary
/// seen has 1,024 bytes.
const MAX_KEY_BYTES: usize = 1024;

/// The node of the empty string.
const ROOT: u32 = 0;

/// Byte strings with values: an id, and what else `V` says of it.
#[derive(Debug)]
pub(crate) struct Trie<V = ()> {
    entries: Vec<Entry<V>>,
}

/// A node, or a free place.
#[derive(Debug, Clone, Copy)]
struct Entry<V> {
    /// 0 for nodes without children: no node of the first 256 has them as its parent.
    base: u32,
    /// `NONE` for the root and for free places.
    parent: u32,
    /// The id of the string that ends here, `NONE` if none does.
    id: u32,
    value: V,
}

impl<V: Copy + Default> Trie<V> {
    /// A trie of (key, id, value); of equal keys the last counts.
    ///
    /// # Errors
    /// A key of more than 1024 bytes, by its id: the token that it belongs to.
    pub(crate) fn new<'k>(
        keys: impl Iterator<Item = (&'k [u8], u32, V)>,
    ) -> Result<Self, TokenizerError> {
        let mut keys: Vec<(&[u8], u32, V)> = keys.collect();
        if let Some((key, id, _)) = keys.iter().find(|(key, ..)| key.len() > MAX_KEY_BYTES) {
            return Err(TokenizerError::TokenTooLong {
                id: *id as usize,
                n_bytes: key.len(),
                max_bytes: MAX_KEY_BYTES,
            });
        }
        keys.sort_by_key(|&(key, ..)| key);
        let mut builder = Builder::new();
        let mut labels = Vec::new();
        // Keys with a common beginning are neighbors: each node is a range of them and its depth. Depth first, so that
        // what is looked up one after the other lies together.
        let mut nodes = vec![(ROOT, 0, keys.len(), 0)];
        let mut children = Vec::new();
        while let Some((node, start, end, depth)) = nodes.pop() {
            // Keys that are equal are few.
            let n_ending =
                keys[start..end].iter().take_while(|(key, ..)| key.len() == depth).count();
            if let Some(&(_, id, value)) = keys[start..start + n_ending].last() {
                let entry = &mut builder.entries[node as usize];
                (entry.id, entry.value) = (id, value);
            }
            labels.clear();
            children.clear();
            let mut rest = start + n_ending;
            while let Some(&byte) = keys[rest..end].first().and_then(|(key, ..)| key.get(depth)) {
                let n = match end - rest {
                    1 => 1,
                    _ => keys[rest..end].partition_point(|(key, ..)| key.get(depth) == Some(&byte)),
                };
                labels.push(byte);
                children.push((rest, rest + n));
                rest += n;
            }
            if labels.is_empty() {
                continue;
            }
            let base = builder.place(node, &labels);
            let of_children = labels.iter().zip(&children).rev();
            nodes.extend(
                of_children
                    .map(|(&byte, &(from, to))| (base ^ u32::from(byte), from, to, depth + 1)),
            );
        }
        Ok(Self { entries: builder.entries })
    }

    /// The node after `byte`: its number and itself.
    #[inline(always)]
    fn step(&self, node: u32, base: u32, byte: u8) -> Option<(u32, &Entry<V>)> {
        let at = base ^ u32::from(byte);
        let entry = self.entries.get(at as usize)?;
        (entry.parent == node).then_some((at, entry))
    }

    fn root_base(&self) -> u32 {
        self.entries.first().map_or(0, |root| root.base)
    }

    /// Calls `found` with length, id and value of each key that `text` begins with, shortest first.
    #[inline(always)]
    pub(crate) fn prefixes(&self, text: &[u8], mut found: impl FnMut(usize, u32, V)) {
        let (mut node, mut base) = (ROOT, self.root_base());
        for (i, &byte) in text.iter().enumerate() {
            let Some((next, entry)) = self.step(node, base, byte) else { return };
            if entry.id != NONE {
                found(i + 1, entry.id, entry.value);
            }
            (node, base) = (next, entry.base);
        }
    }

    /// The longest key that `text` begins with: its length and id.
    #[inline]
    pub(crate) fn longest_prefix(&self, text: &[u8]) -> Option<(usize, u32)> {
        let mut longest = None;
        self.prefixes(text, |len, id, _| longest = Some((len, id)));
        longest
    }

    /// How much of `text` is the beginning of some key.
    pub(crate) fn n_shared(&self, text: &[u8]) -> usize {
        let (mut node, mut base) = (ROOT, self.root_base());
        for (i, &byte) in text.iter().enumerate() {
            let Some((next, entry)) = self.step(node, base, byte) else { return i };
            (node, base) = (next, entry.base);
        }
        text.len()
    }
}

/// The children that one byte can lead to.
const BLOCK: usize = 256;

/// Blocks in which places are looked for, so that building takes time in proportion to the number of nodes.
const MAX_OPEN: usize = 16;

/// After so many nodes that did not fit, a block is given up.
const MAX_FAILURES: u32 = 32;

/// Finds places for nodes.
struct Builder<V> {
    entries: Vec<Entry<V>>,
    /// Blocks that have free places.
    open: VecDeque<Block>,
}

/// 256 entries with a common beginning of their numbers.
#[derive(Debug)]
struct Block {
    first: u32,
    /// Its free places, one bit each.
    free: [u64; BLOCK / 64],
    n_failures: u32,
}

impl Block {
    fn is_free(&self, byte: u8) -> bool {
        self.free[usize::from(byte) / 64] >> (byte % 64) & 1 == 1
    }

    fn take(&mut self, byte: u8) {
        self.free[usize::from(byte) / 64] &= !(1 << (byte % 64));
    }

    fn is_full(&self) -> bool {
        self.free == [0; BLOCK / 64]
    }

    /// The last byte of a base for `labels`: the first of them goes to the first free place where the others fit.
    fn fit(&self, labels: &[u8]) -> Option<u8> {
        let (&first, rest) = labels.split_first()?;
        for (word, at) in self.free.iter().zip((0..=u8::MAX).step_by(64)) {
            let mut places = *word;
            while places != 0 {
                let place = at | u8::try_from(places.trailing_zeros()).unwrap_or(0);
                if rest.iter().all(|label| self.is_free(place ^ first ^ label)) {
                    return Some(place ^ first);
                }
                places &= places - 1;
            }
        }
        None
    }
}

impl<V: Copy + Default> Builder<V> {
    /// With the root.
    fn new() -> Self {
        let mut builder = Self { entries: Vec::new(), open: VecDeque::new() };
        builder.add_block();
        if let Some(block) = builder.open.back_mut() {
            block.take(0);
        }
        builder
    }

    fn add_block(&mut self) {
        // Entries are a few times as many as the bytes of all keys, which lie in one file in memory.
        let first = u32::try_from(self.entries.len()).unwrap_or(NONE - u32::from(u8::MAX));
        let free = Entry { base: 0, parent: NONE, id: NONE, value: V::default() };
        self.entries.resize(self.entries.len() + BLOCK, free);
        if self.open.len() == MAX_OPEN {
            self.open.pop_front();
        }
        self.open.push_back(Block { first, free: [u64::MAX; BLOCK / 64], n_failures: 0 });
    }

    /// Finds places for the children of `node`, `labels` in order; gives its base.
    fn place(&mut self, node: u32, labels: &[u8]) -> u32 {
        let found = self.open.iter_mut().enumerate().find_map(|(i, block)| {
            let fit = block.fit(labels);
            block.n_failures += u32::from(fit.is_none());
            fit.map(|byte| (i, byte))
        });
        let (i, byte) = found.unwrap_or_else(|| {
            self.add_block();
            (self.open.len() - 1, 0)
        });
        let block = &mut self.open[i];
        let base = block.first | u32::from(byte);
        for &label in labels {
            block.take(byte ^ label);
            self.entries[(base ^ u32::from(label)) as usize].parent = node;
        }
        self.entries[node as usize].base = base;
        if i > 0 || block.is_full() {
            self.open.retain(|block| !block.is_full() && block.n_failures < MAX_FAILURES);
        }
        base
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_against_a_list() {
        let mut state = 9u32;
        let mut word = |max: u32| -> Vec<u8> {
            let mut draw = |n: u32| {
                state = crate::testing::next(state);
                (state >> 16) % n
            };
            (0..=draw(max))
                .map(|_| b"abcdefghijklmnopqrstuvwxyz"[draw(26).min(draw(26)) as usize])
                .collect()
        };
        let keys: Vec<Vec<u8>> = (0..3000).map(|_| word(5)).collect();
        let trie =
            Trie::new(keys.iter().zip(0..).map(|(key, id)| (key.as_slice(), id, id + 1))).unwrap();
        let mut n_found = 0;
        for _ in 0..3000 {
            let text = word(9);
            let expected: Vec<(usize, u32, u32)> = (1..=text.len())
                .filter_map(|n| {
                    let last = keys.iter().rposition(|key| *key == text[..n])?;
                    let id = u32::try_from(last).unwrap();
                    Some((n, id, id + 1))
                })
                .collect();
            let mut found = Vec::new();
            trie.prefixes(&text, |len, id, value| found.push((len, id, value)));
            assert_eq!(found, expected, "{text:?}");
            let longest = expected.last().map(|&(len, id, _)| (len, id));
            assert_eq!(trie.longest_prefix(&text), longest);
            let shared =
                (0..=text.len()).rfind(|&n| keys.iter().any(|key| key.starts_with(&text[..n])));
            assert_eq!(Some(trie.n_shared(&text)), shared, "{text:?}");
            n_found += expected.len();
        }
        assert!(n_found > 5000, "only {n_found} were found");
    }

    /// Sets of children that do not fit between each other.
    #[test]
    fn room_and_keys_of_awkward_sets() {
        let mut keys = Vec::new();
        for parent in 0..=255u8 {
            let rows = (0..16u8).chain((1..16).map(|row| row * 16));
            keys.extend(rows.map(|byte| vec![parent, byte.wrapping_mul(parent | 1)]));
        }
        keys.sort();
        keys.dedup();
        keys.push(vec![0; MAX_KEY_BYTES]);
        let trie =
            Trie::new(keys.iter().zip(0..).map(|(key, id)| (key.as_slice(), id, ()))).unwrap();
        for (key, id) in keys.iter().zip(0..) {
            assert_eq!(trie.longest_prefix(key), Some((key.len(), id)), "{key:?}");
        }
        assert!(trie.entries.len() < 20 * keys.len(), "{} entries", trie.entries.len());
        let too_long = [(&[0; MAX_KEY_BYTES + 1][..], 7, ())];
        assert!(
            matches!(
                Trie::new(too_long.into_iter()),
                Err(TokenizerError::TokenTooLong { id: 7, n_bytes: 1025, max_bytes: 1024 })
            ),
            "longer keys are refused"
        );
    }
}
