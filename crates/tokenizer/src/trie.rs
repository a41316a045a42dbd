//! Finds the tokens that begin at a place of a text: a trie whose nodes lie in the order of their depth, so that the
//! children of a node are neighbors, found by their bytes.

use crate::error::TokenizerError;
use crate::vocab::NONE;

/// The longest key. A text takes at most this many steps for each of its bytes; the longest token of any vocabulary
/// seen has 1,024 bytes.
const MAX_KEY_BYTES: usize = 1024;

/// Byte strings with values.
#[derive(Debug)]
pub(crate) struct Trie {
    /// The first child of each node; those of the next node begin where its own end.
    first_child: Vec<u32>,
    /// The byte that leads to each node.
    byte: Vec<u8>,
    /// The value of the string that ends at each node, `NONE` if none does.
    value: Vec<u32>,
    /// The children of the root by byte, `NONE` where there is none.
    from_root: Box<[u32; 256]>,
}

impl Trie {
    /// A trie of (key, value); of equal keys the last counts.
    ///
    /// # Errors
    /// A key of more than 1024 bytes, by its value: the token that it belongs to.
    pub(crate) fn new<'k>(
        keys: impl Iterator<Item = (&'k [u8], u32)>,
    ) -> Result<Self, TokenizerError> {
        let mut keys: Vec<(&[u8], u32)> = keys.collect();
        if let Some((key, id)) = keys.iter().find(|(key, _)| key.len() > MAX_KEY_BYTES) {
            return Err(TokenizerError::TokenTooLong {
                id: *id as usize,
                n_bytes: key.len(),
                max_bytes: MAX_KEY_BYTES,
            });
        }
        keys.sort_by_key(|&(key, _)| key);
        let mut trie = Self {
            first_child: Vec::new(),
            byte: vec![0],
            value: Vec::new(),
            from_root: Box::new([NONE; 256]),
        };
        // Keys with a common beginning are neighbors: each node is a range of them and its depth.
        let mut nodes = vec![(0, keys.len(), 0)];
        let mut node = 0;
        while let Some(&(start, end, depth)) = nodes.get(node) {
            trie.first_child.push(number(nodes.len()));
            let n_ending = keys[start..end].partition_point(|(key, _)| key.len() == depth);
            trie.value.push(keys[start..start + n_ending].last().map_or(NONE, |&(_, value)| value));
            let mut rest = start + n_ending;
            while let Some(&byte) = keys[rest..end].first().and_then(|(key, _)| key.get(depth)) {
                let n = keys[rest..end].partition_point(|(key, _)| key.get(depth) == Some(&byte));
                if node == 0 {
                    trie.from_root[usize::from(byte)] = number(nodes.len());
                }
                nodes.push((rest, rest + n, depth + 1));
                trie.byte.push(byte);
                rest += n;
            }
            node += 1;
        }
        trie.first_child.push(number(nodes.len()));
        Ok(trie)
    }

    /// The node after `byte`.
    fn step(&self, node: u32, byte: u8) -> Option<u32> {
        if node == 0 {
            let child = self.from_root[usize::from(byte)];
            return (child != NONE).then_some(child);
        }
        let first = *self.first_child.get(node as usize)?;
        let last = *self.first_child.get(node as usize + 1)?;
        let children = self.byte.get(first as usize..last as usize)?;
        let nth = if children.len() <= 16 {
            children.iter().position(|&b| b == byte)
        } else {
            children.binary_search(&byte).ok()
        };
        nth.map(|nth| first + number(nth))
    }

    /// The keys that `text` begins with, shortest first: their lengths and values.
    pub(crate) fn prefixes<'t>(
        &'t self,
        text: &'t [u8],
    ) -> impl Iterator<Item = (usize, u32)> + 't {
        let mut node = 0;
        let nodes = text.iter().map_while(move |&byte| {
            node = self.step(node, byte)?;
            Some(node)
        });
        nodes.zip(1..).filter_map(|(node, len)| {
            let value = *self.value.get(node as usize)?;
            (value != NONE).then_some((len, value))
        })
    }

    /// The longest key that `text` begins with: its length and value.
    pub(crate) fn longest_prefix(&self, text: &[u8]) -> Option<(usize, u32)> {
        self.prefixes(text).last()
    }

    /// How much of `text` is the beginning of some key.
    pub(crate) fn n_shared(&self, text: &[u8]) -> usize {
        let mut node = 0;
        text.iter()
            .take_while(|&&byte| {
                let next = self.step(node, byte);
                node = next.unwrap_or(node);
                next.is_some()
            })
            .count()
    }
}

/// Numbers of nodes: they are fewer than the bytes of all keys, which lie in one file in memory.
fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(NONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_against_a_list() {
        let mut state = 9u32;
        let mut word = |max: u32| -> Vec<u8> {
            let mut draw = |n: u32| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 16) % n
            };
            (0..=draw(max))
                .map(|_| b"abcdefghijklmnopqrstuvwxyz"[draw(26).min(draw(26)) as usize])
                .collect()
        };
        let keys: Vec<Vec<u8>> = (0..3000).map(|_| word(5)).collect();
        let trie = Trie::new(keys.iter().map(Vec::as_slice).zip(0..)).unwrap();
        let mut n_found = 0;
        for _ in 0..3000 {
            let text = word(9);
            let expected: Vec<(usize, u32)> = (1..=text.len())
                .filter_map(|n| {
                    Some((
                        n,
                        u32::try_from(keys.iter().rposition(|key| *key == text[..n])?).unwrap(),
                    ))
                })
                .collect();
            assert_eq!(trie.prefixes(&text).collect::<Vec<_>>(), expected, "{text:?}");
            assert_eq!(trie.longest_prefix(&text), expected.last().copied());
            let shared =
                (0..=text.len()).rfind(|&n| keys.iter().any(|key| key.starts_with(&text[..n])));
            assert_eq!(Some(trie.n_shared(&text)), shared, "{text:?}");
            n_found += expected.len();
        }
        assert!(n_found > 5000, "only {n_found} were found");
    }

    #[test]
    fn no_key_and_long_keys() {
        let empty = Trie::new(std::iter::empty()).unwrap();
        assert_eq!(empty.longest_prefix(b"a"), None);
        assert_eq!(empty.n_shared(b"a"), 0);
        let long = vec![b'a'; MAX_KEY_BYTES + 1];
        assert!(Trie::new([(&long[1..], 0)].into_iter()).is_ok(), "the longest");
        let error = Trie::new([(long.as_slice(), 7)].into_iter()).unwrap_err();
        assert!(error.to_string().contains("token 7 has 1025 bytes"), "{error}");
    }
}
