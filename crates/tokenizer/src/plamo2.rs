//! PLaMo-2's tokenizer: the text is cut so that the sum of the tokens' scores is highest; what is no token is written
//! as bytes.
//!
//! The tokens that begin at each place are found by an automaton of Aho and Corasick (1975) over the reversed tokens,
//! which goes through the text from its end, as the search for the best way does. Scores are integers.

use crate::error::TokenizerError;
use crate::vocab::{Attr, NONE, Vocab, byte_of};
use crate::words::{BeforeSpaces, Seen};
use hashbrown::HashMap;

/// The node of the empty string.
const ROOT: u32 = 0;

/// The score of a character that is written as bytes. As in llama.cpp, a token of this score ends the list of
/// candidates at its place, and what comes before it in the text sees nothing of what follows.
const UNKNOWN_SCORE: i32 = -10_000_000;
/// Not above it are the scores of what is no token.
const NO_SCORE: i32 = -20_000_000;
/// How much larger scores are than in the file.
const SCALE: f64 = 1e4;

/// A PLaMo-2 model.
#[derive(Debug)]
pub(crate) struct Plamo2 {
    byte_ids: [u32; 256],
    nodes: Vec<Node>,
    /// By [`key`].
    children: HashMap<u64, u32>,
    /// Where a text can be cut; `None` if some token that begins with a space has [`UNKNOWN_SCORE`], after which what
    /// comes before it in the text depends on it.
    before_spaces: Option<BeforeSpaces>,
}

/// The end of some token: what is left of it when its first characters are taken away.
#[derive(Debug, Clone, Copy)]
struct Node {
    /// The node of the longest proper beginning that is the end of some token.
    fail: u32,
    /// Number of characters.
    len: u32,
    /// The token that is this string, `NONE` if there is none.
    token: u32,
    score: i32,
    /// The nearest node along `fail`, this one included, that is a token; `ROOT` if none.
    candidate: u32,
    /// The next such node, this one not included.
    shorter: u32,
    /// The last six bits of the characters that lead to its children, one bit each: most characters lead to none, and
    /// need not be looked up.
    leads: u64,
}

impl Node {
    /// A new one.
    fn new(len: u32) -> Self {
        Self {
            fail: ROOT,
            len,
            token: NONE,
            score: NO_SCORE,
            candidate: ROOT,
            shorter: ROOT,
            leads: 0,
        }
    }
}

/// The place of `c` in [`Node::leads`].
fn lead(c: char) -> u64 {
    1 << (u32::from(c) % 64)
}

/// A node and a character that leads on from it.
fn key(node: u32, c: char) -> u64 {
    u64::from(node) << 32 | u64::from(c)
}

/// The best way from a place to the end of the text.
#[derive(Debug, Clone, Copy)]
struct Best {
    cost: i64,
    /// Characters of its first token.
    len: u32,
    /// Or `NONE`: a character as bytes.
    token: u32,
}

impl Plamo2 {
    /// Prepares the automaton.
    pub(crate) fn new(vocab: &Vocab) -> Result<Self, TokenizerError> {
        let texts = || vocab.first_texts().map(|(text, _)| text);
        let is_odd = |(text, id): (&[u8], u32)| {
            text.first() == Some(&b' ') && scaled(vocab.score(id)) == UNKNOWN_SCORE
        };
        let can_be_cut = !vocab.first_texts().any(is_odd);
        let mut plamo2 = Self {
            byte_ids: [NONE; 256],
            nodes: vec![Node::new(0)],
            children: HashMap::new(),
            before_spaces: can_be_cut.then(|| BeforeSpaces::of(texts())),
        };
        let mut parents = vec![(ROOT, '\0')];
        for id in vocab.ids() {
            let text = vocab.text(id);
            if vocab.attr(id).intersects(Attr::BYTE) {
                if let Some(byte) = byte_of(text) {
                    plamo2.byte_ids[usize::from(byte)] = id;
                }
            } else if vocab.is_first(id) {
                plamo2.insert(text, id, vocab.score(id), &mut parents);
            }
        }
        // As in llama.cpp, token 0 is not taken for a byte's.
        let n_missing = plamo2.byte_ids.iter().filter(|&&id| id == NONE || id == 0).count();
        if n_missing > 0 {
            return Err(TokenizerError::MissingByteTokens { n_missing });
        }
        plamo2.link(&parents);
        Ok(plamo2)
    }

    fn insert(&mut self, text: &str, id: u32, score: f32, parents: &mut Vec<(u32, char)>) {
        let mut node = ROOT;
        for (c, len) in text.chars().rev().zip(1..) {
            let nodes = &mut self.nodes;
            node = *self.children.entry(key(node, c)).or_insert_with(|| {
                // Nodes are fewer than the characters of all tokens, which lie in one file in memory.
                let new = u32::try_from(nodes.len()).unwrap_or(ROOT);
                nodes.push(Node::new(len));
                nodes[node as usize].leads |= lead(c);
                parents.push((node, c));
                new
            });
        }
        if let Some(node) = self.nodes.get_mut(node as usize) {
            (node.token, node.score) = (id, scaled(score));
        }
    }

    /// Sets `fail` and `candidate`, parents before children.
    fn link(&mut self, parents: &[(u32, char)]) {
        let mut by_len: Vec<usize> = (1..self.nodes.len()).collect();
        by_len.sort_by_key(|&node| self.nodes[node].len);
        for node in by_len {
            let (parent, c) = parents[node];
            let mut fail = ROOT;
            let mut at = parent;
            while at != ROOT && fail == ROOT {
                at = self.nodes[at as usize].fail;
                fail = self.child(at, c);
            }
            let next = self.nodes[fail as usize].candidate;
            let own = u32::try_from(node).unwrap_or(ROOT);
            let node = &mut self.nodes[node];
            node.fail = fail;
            node.shorter = next;
            node.candidate = if node.score > NO_SCORE { own } else { next };
        }
    }

    fn child(&self, node: u32, c: char) -> u32 {
        if self.nodes[node as usize].leads & lead(c) == 0 {
            return ROOT;
        }
        self.children.get(&key(node, c)).copied().unwrap_or(ROOT)
    }

    /// The state before `c`, when `node` is the one after it.
    fn step(&self, mut node: u32, c: char) -> u32 {
        loop {
            let child = self.child(node, c);
            let Node { fail, score, .. } = self.nodes[node as usize];
            if child != ROOT || node == ROOT || score == UNKNOWN_SCORE {
                return child;
            }
            node = fail;
        }
    }

    /// Appends the ids of `text`, without a byte order mark at its beginning.
    pub(crate) fn encode(&self, text: &str, out: &mut Vec<u32>) {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut best = Vec::new();
        let Some(before_spaces) = &self.before_spaces else {
            return self.encode_part(text, &mut best, out);
        };
        let mut seen = Seen::new(text.len());
        for word in before_spaces.words(text) {
            seen.encode(word, out, |out| self.encode_part(word, &mut best, out));
        }
    }

    /// Appends the ids of a part of a text that no token goes on across.
    fn encode_part(&self, text: &str, best: &mut Vec<Best>, out: &mut Vec<u32>) {
        self.best_ways(text, best);
        let mut chars = text.chars();
        let mut rest = best.len() - 1;
        while rest > 0 {
            let Best { len, token, .. } = best[rest];
            // `len` is at least 1 and at most the number of characters that are left.
            let Some(first) = chars.next() else { return };
            (1..len).for_each(|_| _ = chars.next());
            if token == NONE {
                out.extend(
                    first
                        .encode_utf8(&mut [0; 4])
                        .bytes()
                        .map(|byte| self.byte_ids[usize::from(byte)]),
                );
            } else {
                out.push(token);
            }
            rest = rest.saturating_sub(len as usize);
        }
    }

    /// The best way from each place of `text`, by the number of characters that are left there.
    fn best_ways(&self, text: &str, best: &mut Vec<Best>) {
        best.clear();
        best.push(Best { cost: 0, len: 0, token: NONE });
        let mut state = ROOT;
        for c in text.chars().rev() {
            state = self.step(state, c);
            let cost_after = |len: u32| best[best.len() - len as usize].cost;
            let mut here = Best { cost: i64::MAX, len: 1, token: NONE };
            let mut candidate = self.nodes[state as usize].candidate;
            // The longest first, and of equals it stays.
            loop {
                let Node { shorter, len, token, score, .. } = self.nodes[candidate as usize];
                let (len, token, score) =
                    if candidate == ROOT { (1, NONE, UNKNOWN_SCORE) } else { (len, token, score) };
                let cost = cost_after(len) - i64::from(score);
                if cost < here.cost {
                    here = Best { cost, len, token };
                }
                if score == UNKNOWN_SCORE {
                    break;
                }
                candidate = shorter;
            }
            best.push(here);
        }
    }
}

/// A score as llama.cpp keeps it. One that is out of range belongs to no token.
fn scaled(score: f32) -> i32 {
    let scaled = (f64::from(score) * SCALE).round();
    if scaled > f64::from(i32::MIN) && scaled <= f64::from(i32::MAX) {
        #[expect(clippy::cast_possible_truncation, reason = "in range")]
        return scaled as i32;
    }
    NO_SCORE
}
