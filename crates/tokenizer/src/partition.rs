//! Cutting a text at its special tokens, before anything else is done to it.
//!
//! llama.cpp goes through the special tokens from the longest to the shortest and cuts each one out of what is
//! left of the text, wherever it stands. That is quadratic; here all places are found first, in one pass, and then
//! granted in the same order: the longest token first, the leftmost place of each first.

use crate::matcher::{Match, Matcher};
use crate::queue::Queue;
use crate::vocab::{Attr, Vocab};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// A piece of a text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fragment<'t> {
    /// Text to tokenize.
    Text(&'t str),
    /// A token that was written out.
    Token(u32),
}

/// The special tokens that are looked for in a text.
#[derive(Debug)]
pub(crate) struct Partition {
    /// In the order in which places are granted.
    tokens: Vec<Token>,
    matcher: Matcher,
}

#[derive(Debug, Clone, Copy)]
struct Token {
    id: u32,
    attr: Attr,
}

/// Places granted so far: first byte -> (end, token). The end lies behind white space that the token swallows.
type Taken = BTreeMap<usize, (usize, u32)>;

impl Partition {
    /// A partition by all tokens of `vocab` that `wanted` accepts.
    pub(crate) fn new(vocab: &Vocab, wanted: impl Fn(Attr) -> bool) -> Self {
        let mut tokens: Vec<Token> = vocab
            .ids()
            .map(|id| Token { id, attr: vocab.attr(id) })
            .filter(|token| wanted(token.attr))
            .collect();
        // Tokens of equal length keep the order of their ids. (llama.cpp's sort is not stable; it would matter only
        // for two tokens of one length that overlap in a text.)
        tokens.sort_by_key(|token| Reverse(vocab.text(token.id).len()));
        let matcher =
            Matcher::new(tokens.iter().map(|token| vocab.text(token.id).as_bytes()).zip(0..));
        Self { tokens, matcher }
    }

    /// Calls `fragment` with the pieces of `text`, in order.
    pub(crate) fn split<'t>(&self, text: &'t str, fragment: &mut dyn FnMut(Fragment<'t>)) {
        let mut pos = 0;
        for (start, (end, id)) in self.places(text) {
            if start > pos {
                fragment(Fragment::Text(&text[pos..start]));
            }
            fragment(Fragment::Token(id));
            pos = end;
        }
        if pos < text.len() {
            fragment(Fragment::Text(&text[pos..]));
        }
    }

    /// Where tokens are cut out.
    fn places(&self, text: &str) -> Taken {
        let mut matches: Vec<Match> = self.matcher.longest_matches(text.as_bytes()).collect();
        matches.reverse();
        // Lowest rank of the token first, then leftmost.
        let mut queue = Queue::default();
        for (found, i) in matches.iter().zip(0..) {
            queue.push(found.value, i);
        }
        let mut taken = Taken::new();
        while let Some((_, i)) = queue.pop() {
            let found = matches[i as usize];
            let before = taken.range(..=found.start).next_back().map_or(0, |(_, &(end, _))| end);
            if before > found.start {
                continue;
            }
            let after = taken.range(found.start..).next().map_or(text.len(), |(&start, _)| start);
            match self.matcher.shorter(found, after - found.start) {
                Some(fits) if fits == found => self.take(text, fits, (before, after), &mut taken),
                Some(fits) => {
                    // A shorter token fits: its turn comes later.
                    matches[i as usize] = fits;
                    queue.push(fits.value, i);
                }
                None => {}
            }
        }
        taken
    }

    /// Grants `found` its place between `before` and `after`, and the white space that it swallows.
    fn take(&self, text: &str, found: Match, (before, after): (usize, usize), taken: &mut Taken) {
        let Some(token) = self.tokens.get(found.value as usize) else { return };
        let (mut start, mut end) = (found.start, found.start + found.len);
        if token.attr.intersects(Attr::LSTRIP) {
            start -=
                text.as_bytes()[before..start].iter().rev().take_while(|b| is_c_space(**b)).count();
        }
        if token.attr.intersects(Attr::RSTRIP) {
            end += text.as_bytes()[end..after].iter().take_while(|b| is_c_space(**b)).count();
        }
        taken.insert(start, (end, token.id));
    }
}

/// C's `isspace`.
fn is_c_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}
