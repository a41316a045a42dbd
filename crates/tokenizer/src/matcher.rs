//! Finds for every position of a text the longest pattern that begins there: an automaton of Aho and Corasick
//! (1975) over the reversed patterns, run from the end of the text to its beginning. Linear in the text,
//! whatever the patterns.

use hashbrown::HashMap;

/// The root of the trie, and "no node".
const ROOT: u32 = 0;

/// A set of patterns.
#[derive(Debug)]
pub(crate) struct Matcher {
    /// Children of the root by byte; `ROOT` if there is none.
    first: [u32; 256],
    /// Children of all other nodes.
    children: HashMap<(u32, u8), u32>,
    nodes: Vec<Node>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Node {
    parent: u32,
    byte: u8,
    depth: u32,
    /// The node of the longest proper suffix of this node's string.
    fail: u32,
    /// The value of the pattern that ends here.
    value: Option<u32>,
    /// The nearest node on the way along `fail`, this one included, that has a value; `ROOT` if none.
    found: u32,
    /// The next such node, this one not included: the longest pattern that is a proper suffix.
    shorter: u32,
    /// How many times one can go to `shorter` before the root.
    level: u32,
    /// A node further along `shorter`, placed so that any level is reached in a logarithmic number of steps (the
    /// jump pointers of Myers, 1983).
    jump: u32,
}

/// A pattern that begins at some position of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Match {
    /// Where it begins.
    pub(crate) start: usize,
    /// Its length in bytes.
    pub(crate) len: usize,
    /// The value given with the pattern.
    pub(crate) value: u32,
    node: u32,
}

impl Matcher {
    /// An automaton of (pattern, value); of equal patterns the first counts, empty ones never match.
    pub(crate) fn new<'p>(patterns: impl Iterator<Item = (&'p [u8], u32)>) -> Self {
        let mut matcher =
            Self { first: [ROOT; 256], children: HashMap::new(), nodes: vec![Node::default()] };
        for (pattern, value) in patterns {
            let end =
                pattern.iter().rev().fold(ROOT, |node, &byte| matcher.child_or_new(node, byte));
            if end != ROOT {
                matcher.nodes[end as usize].value.get_or_insert(value);
            }
        }
        matcher.link();
        matcher
    }

    fn child(&self, node: u32, byte: u8) -> u32 {
        if node == ROOT {
            self.first[usize::from(byte)]
        } else {
            self.children.get(&(node, byte)).copied().unwrap_or(ROOT)
        }
    }

    fn child_or_new(&mut self, parent: u32, byte: u8) -> u32 {
        let child = self.child(parent, byte);
        if child != ROOT {
            return child;
        }
        // Nodes are fewer than the bytes of the patterns, which lie in one file in memory.
        let Ok(child) = u32::try_from(self.nodes.len()) else { return ROOT };
        let depth = self.nodes[parent as usize].depth + 1;
        self.nodes.push(Node { parent, byte, depth, ..Node::default() });
        if parent == ROOT {
            self.first[usize::from(byte)] = child;
        } else {
            self.children.insert((parent, byte), child);
        }
        child
    }

    /// Sets `fail` and `found`, parents before children.
    fn link(&mut self) {
        let mut by_depth: Vec<usize> = (1..self.nodes.len()).collect();
        by_depth.sort_by_key(|&node| self.nodes[node].depth);
        for node in by_depth {
            let Node { parent, byte, value, .. } = self.nodes[node];
            let fail = if parent == ROOT {
                ROOT
            } else {
                self.step(self.nodes[parent as usize].fail, byte)
            };
            let own = u32::try_from(node).unwrap_or(ROOT);
            let shorter = self.nodes[fail as usize].found;
            let next = self.nodes[shorter as usize];
            let after = self.nodes[next.jump as usize];
            let even =
                next.level - after.level == after.level - self.nodes[after.jump as usize].level;
            let node = &mut self.nodes[node];
            node.fail = fail;
            node.found = if value.is_some() { own } else { shorter };
            node.shorter = shorter;
            node.level = next.level + 1;
            node.jump = if even { after.jump } else { shorter };
        }
    }

    /// The state after `byte` in state `node`.
    fn step(&self, mut node: u32, byte: u8) -> u32 {
        loop {
            let child = self.child(node, byte);
            if child != ROOT || node == ROOT {
                return child;
            }
            node = self.nodes[node as usize].fail;
        }
    }

    /// For each position where patterns begin the longest of them, from the end of the text to its beginning.
    pub(crate) fn longest_matches(&self, text: &[u8]) -> Vec<Match> {
        let mut matches = Vec::new();
        let mut rest = text;
        loop {
            // Most of a text is not the end of any pattern.
            let skipped = rest.iter().rposition(|&byte| self.first[usize::from(byte)] != ROOT);
            let Some(last) = skipped else { return matches };
            let mut state = ROOT;
            rest = &rest[..=last];
            while let Some((&byte, before)) = rest.split_last() {
                state = self.step(state, byte);
                if state == ROOT {
                    break;
                }
                rest = before;
                matches.extend(self.at(rest.len(), self.nodes[state as usize].found));
            }
        }
    }

    /// The longest pattern that begins where `longer` does and has at most `max_len` bytes.
    pub(crate) fn shorter(&self, longer: Match, max_len: usize) -> Option<Match> {
        let too_long = |node: u32| self.nodes[node as usize].depth as usize > max_len;
        let mut node = longer.node;
        while too_long(node) {
            let Node { jump, shorter, .. } = self.nodes[node as usize];
            node = if too_long(jump) { jump } else { shorter };
        }
        self.at(longer.start, node)
    }

    fn at(&self, start: usize, node: u32) -> Option<Match> {
        let Node { depth, value, .. } = self.nodes[node as usize];
        value.map(|value| Match { start, len: depth as usize, value, node })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_at_each_position() {
        let patterns = ["he", "hers", "she", "s", "rs", "e", "he"];
        let matcher = Matcher::new(patterns.iter().map(|p| p.as_bytes()).zip(0..));
        let text = "ushers shehe";
        let mut seen = 0;
        let found = matcher.longest_matches(text.as_bytes());
        for start in 0..text.len() {
            let best =
                patterns.iter().filter(|p| text[start..].starts_with(**p)).max_by_key(|p| p.len());
            let got = found.iter().find(|m| m.start == start);
            assert_eq!(got.map(|m| m.len), best.map(|p| p.len()), "at {start}");
            if let (Some(got), Some(best)) = (got, best) {
                let first = patterns.iter().position(|p| p == best).unwrap();
                assert_eq!(got.value as usize, first, "at {start}: the first of equal patterns");
                seen += 1;
            }
        }
        assert_eq!(seen, found.len(), "and nothing else");
        let hers = found.iter().find(|m| m.len == 4).unwrap();
        assert_eq!(matcher.shorter(*hers, 3).map(|m| m.len), Some(2), "he");
        assert_eq!(matcher.shorter(*hers, 1), None, "nothing shorter begins with h");
    }

    #[test]
    fn shorter_ones_of_a_long_row() {
        let patterns: Vec<Vec<u8>> =
            (1..=300).filter(|n| n % 7 != 0).map(|n| vec![b'a'; n]).collect();
        let matcher = Matcher::new(patterns.iter().map(Vec::as_slice).zip(0..));
        let longest = matcher.longest_matches(&[b'a'; 400]);
        let longest = *longest.iter().find(|m| m.start == 0).unwrap();
        assert_eq!(longest.len, 300);
        for max_len in 0..=300usize {
            let expected = if max_len % 7 == 0 { max_len.saturating_sub(1) } else { max_len };
            let found = matcher.shorter(longest, max_len).map_or(0, |m| m.len);
            assert_eq!(found, expected, "at most {max_len}");
        }
    }
}
