//! Cutting a text at its special tokens, before anything else is done to it.
//!
//! llama.cpp goes through the special tokens from the longest to the shortest and cuts each one out of what is
//! left of the text, wherever it stands. That is quadratic; here all places are found first, in one pass, and then
//! granted in the same order: the longest token first, the leftmost place of each first.

use crate::bits::Bits;
use crate::matcher::{Match, Matcher};
use crate::queue::Queue;
use crate::vocab::{Attr, Vocab};
use std::{cmp::Reverse, ops::Range};

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

/// The bytes of a text that somebody else than its author wrote: there, only tokens that are looked for in any text
/// are taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Input<'a> {
    /// Where these bytes are, in order.
    pub(crate) ranges: &'a [Range<usize>],
    /// The tokens that are looked for there as well, a part of all.
    pub(crate) open: &'a Partition,
}

/// [`Input`], prepared for one text.
struct Closed<'a> {
    bytes: Bits,
    open: &'a Matcher,
    /// The longest open token at each place that has one, in order.
    longest: Vec<Match>,
}

/// A token's place in a text, with the white space that it swallows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    start: usize,
    end: usize,
    id: u32,
}

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
    pub(crate) fn split<'t>(
        &self,
        text: &'t str,
        input: Option<Input<'_>>,
        fragment: &mut dyn FnMut(Fragment<'t>),
    ) {
        let mut pos = 0;
        for Place { start, end, id } in self.places(text, input) {
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

    /// Where tokens are cut out, in order.
    fn places(&self, text: &str, input: Option<Input<'_>>) -> Vec<Place> {
        let mut matches = self.matcher.longest_matches(text.as_bytes());
        if matches.is_empty() {
            return Vec::new();
        }
        matches.reverse();
        let closed = input.map(|input| Closed::new(text, input));
        if let Some(closed) = &closed {
            let longest = |found: Match| closed.at_most(&self.matcher, found, found.len);
            matches = matches.into_iter().filter_map(longest).collect();
        }
        // Lowest rank of the token first, then leftmost.
        let mut queue = Queue::default();
        for (found, i) in matches.iter().zip(0..) {
            queue.push(found.value, i);
        }
        let mut taken = Bits::new(text.len());
        let mut places = Vec::new();
        while let Some((_, i)) = queue.pop() {
            let found = matches[i as usize];
            let end = found.start + found.len;
            match taken.first_in(found.start, end) {
                None => places.extend(self.take(text, found, &mut taken)),
                Some(other) if other == found.start => {}
                // A shorter token may fit in front of what is taken: its turn comes later.
                Some(other) => {
                    let room = other - found.start;
                    let fits = match &closed {
                        None => self.matcher.shorter(found, room),
                        Some(closed) => closed.at_most(&self.matcher, found, room),
                    };
                    if let Some(fits) = fits {
                        matches[i as usize] = fits;
                        queue.push(fits.value, i);
                    }
                }
            }
        }
        places.sort_unstable();
        places
    }

    /// Grants `found` its place, and the white space that it swallows.
    fn take(&self, text: &str, found: Match, taken: &mut Bits) -> Option<Place> {
        let token = self.tokens.get(found.value as usize)?;
        let (mut start, mut end) = (found.start, found.start + found.len);
        let swallows = |at: usize| {
            text.as_bytes().get(at).is_some_and(|b| is_c_space(*b)) && !taken.contains(at)
        };
        if token.attr.intersects(Attr::LSTRIP) {
            while start > 0 && swallows(start - 1) {
                start -= 1;
            }
        }
        if token.attr.intersects(Attr::RSTRIP) {
            while swallows(end) {
                end += 1;
            }
        }
        taken.insert_range(start, end);
        Some(Place { start, end, id: token.id })
    }
}

impl<'a> Closed<'a> {
    fn new(text: &str, input: Input<'a>) -> Self {
        let mut bytes = Bits::new(text.len());
        for range in input.ranges {
            bytes.insert_range(range.start, range.end.min(text.len()));
        }
        let open = &input.open.matcher;
        let mut longest = open.longest_matches(text.as_bytes());
        longest.reverse();
        Self { bytes, open, longest }
    }

    /// The longest token that begins where `found` of `all` does, has at most `max_len` bytes, no more than `found`,
    /// and may stand there.
    fn at_most(&self, all: &Matcher, found: Match, max_len: usize) -> Option<Match> {
        let start = found.start;
        let max_len = max_len.min(found.len);
        let first = self.bytes.first_in(start, start + max_len);
        let Some(first) = first else { return all.shorter(found, max_len) };
        let before = all.shorter(found, first - start);
        let open = self.longest.binary_search_by_key(&start, |open| open.start).ok();
        let open = open.and_then(|i| self.open.shorter(self.longest[i], max_len));
        let across = open.and_then(|open| all.shorter(found, open.len));
        before.into_iter().chain(across).max_by_key(|fits| fits.len)
    }
}

/// C's `isspace`.
fn is_c_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;
    use gguf_parse::{Gguf, GgufPlan};

    fn vocab(tokens: &[&str], types: &[i32]) -> Vocab {
        let mut plan = GgufPlan::new();
        plan.set_strs("tokenizer.ggml.tokens", tokens);
        plan.set_i32s("tokenizer.ggml.token_type", types);
        let gguf = Gguf::from_bytes(plan.to_bytes(&[]).unwrap()).unwrap();
        Vocab::from_metadata(gguf.metadata()).unwrap()
    }

    /// The definition: one token after the other, the longest first, is cut out of what is left.
    fn one_after_the_other<'t>(vocab: &Vocab, order: &[u32], text: &'t str) -> Vec<Fragment<'t>> {
        let mut fragments = vec![Fragment::Text(text)];
        for &id in order {
            let mut next = Vec::new();
            for fragment in fragments {
                let Fragment::Text(mut rest) = fragment else {
                    next.push(fragment);
                    continue;
                };
                while let Some(at) = rest.find(vocab.text(id)) {
                    let (mut left, mut right) = (&rest[..at], &rest[at + vocab.text(id).len()..]);
                    if vocab.attr(id).intersects(Attr::LSTRIP) {
                        left = left.trim_end_matches([' ', '\n']);
                    }
                    if vocab.attr(id).intersects(Attr::RSTRIP) {
                        right = right.trim_start_matches([' ', '\n']);
                    }
                    next.extend((!left.is_empty()).then_some(Fragment::Text(left)));
                    next.push(Fragment::Token(id));
                    rest = right;
                }
                next.extend((!rest.is_empty()).then_some(Fragment::Text(rest)));
            }
            fragments = next;
        }
        fragments
    }

    #[test]
    fn as_one_token_after_the_other() {
        let texts = ["<a>", "<", "a>b", " ", "  ", "ab", "ba", "aba", "\n ", "<a><", "é", "bab b"];
        let mut vocab = vocab(&texts, &[3, 4, 3, 4, 4, 4, 3, 4, 4, 3, 4, 1]);
        for (id, strip) in
            [(0, Attr::RSTRIP), (5, Attr::LSTRIP), (10, Attr::LSTRIP.with(Attr::RSTRIP))]
        {
            vocab.set_attr(id, vocab.attr(id).with(strip));
        }
        let special = Attr::CONTROL.with(Attr::USER_DEFINED);
        for wanted in [special, Attr::USER_DEFINED] {
            let partition = Partition::new(&vocab, |attr| attr.intersects(wanted));
            let order: Vec<u32> = partition.tokens.iter().map(|token| token.id).collect();
            assert_eq!(order.len(), if wanted == special { 11 } else { 7 }, "tokens looked for");
            let mut state = 5u32;
            let mut n_tokens = 0;
            for round in 0..20_000 {
                let text: String = (0..round % 40)
                    .map(|_| {
                        state = crate::testing::next(state);
                        ['<', 'a', 'b', '>', ' ', '\n', 'é', 'a'][(state >> 29) as usize]
                    })
                    .collect();
                let mut found = Vec::new();
                partition.split(&text, None, &mut |fragment| found.push(fragment));
                assert_eq!(found, one_after_the_other(&vocab, &order, &text), "{text:?}");
                n_tokens += found.iter().filter(|f| matches!(f, Fragment::Token(_))).count();
            }
            assert!(n_tokens > 50_000, "only {n_tokens} tokens were found");
        }
    }

    #[test]
    fn hidden_tokens_are_not_looked_for_in_input() {
        // 0 to 3 are control tokens, 4 and 5 user-defined ones.
        let vocab = vocab(&["<e>", "<e>x", "<", "a<e", "<e>xy", "e>"], &[3, 3, 3, 3, 4, 4]);
        let all =
            Partition::new(&vocab, |attr| attr.intersects(Attr::CONTROL.with(Attr::USER_DEFINED)));
        let open = Partition::new(&vocab, |attr| attr.intersects(Attr::USER_DEFINED));
        let ids = |text: &str, start: usize, end: usize| {
            let mut found = String::new();
            let ranges = [(start, end)].map(|(start, end)| start..end);
            let input = Input { ranges: &ranges, open: &open };
            all.split(text, Some(input), &mut |fragment| match fragment {
                Fragment::Text(text) => found += text,
                Fragment::Token(id) => found += &format!("[{id}]"),
            });
            found
        };
        assert_eq!(ids("<e>x", 0, 0), "[1]", "nothing is input");
        assert_eq!(ids("<e>x", 3, 4), "[0]x", "a shorter one ends before the input");
        assert_eq!(ids("<e>xy", 3, 5), "[4]", "a user-defined one reaches into it");
        assert_eq!(ids("<e>", 0, 3), "<[5]", "user-defined ones are taken anywhere");
        assert_eq!(ids("<e>", 1, 3), "[2][5]");
        assert_eq!(ids("a<e>", 1, 4), "a<[5]");
        assert_eq!(ids("<<e>", 0, 1), "<[0]", "what follows the input is the author's");
        assert_eq!(ids("<e>a<", 3, 4), "[0]a[2]");
    }
}
