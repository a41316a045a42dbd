//! SentencePiece's unigram model (Kudo, 2018), T5's tokenizer: the text is normalized by a map of characters, and
//! then cut so that the sum of the tokens' scores is highest.

use crate::charsmap::CharsMap;
use crate::error::TokenizerError;
use crate::spm::SPACE;
use crate::trie::Trie;
use crate::vocab::{Attr, NONE, Vocab};
use crate::words::{Seen, between};

/// What an unknown character costs more than the worst token.
const UNKNOWN_PENALTY: f32 = 10.0;

/// How white space is treated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spacing {
    /// A text begins with a space.
    pub(crate) add_prefix: bool,
    /// One space before each word, none at the end.
    pub(crate) remove_extra: bool,
}

/// A UGM model.
#[derive(Debug)]
pub(crate) struct Ugm {
    charsmap: CharsMap,
    spacing: Spacing,
    /// Tokens that text can become, with their scores: 0 for those that are user defined.
    tokens: Trie<f32>,
    /// Tokens that are not to be normalized.
    user_defined: Trie,
    /// ASCII that is left alone whatever ASCII follows.
    is_plain: [bool; 256],
    unk: u32,
    unknown_score: f32,
    apart: Option<Apart>,
}

/// How the words of a text are encoded each for itself.
#[derive(Debug)]
struct Apart {
    /// Bytes that become a space whatever is around them.
    is_separator: [bool; 256],
    /// Sums of scores up to this are exact.
    max_exact: f64,
}

/// The best way to a place in the text.
#[derive(Debug, Clone, Copy)]
struct Best {
    score: f64,
    /// Where its last token begins.
    start: u32,
    token: u32,
}

/// Buffers that live as long as one text is encoded.
#[derive(Debug, Default)]
struct Scratch {
    normalized: Vec<u8>,
    best: Vec<Best>,
}

impl Ugm {
    /// Prepares the search, from the types that the file gives tokens.
    pub(crate) fn new(
        vocab: &Vocab,
        charsmap: CharsMap,
        spacing: Spacing,
        unk: u32,
    ) -> Result<Self, TokenizerError> {
        let with = |attr: Attr| {
            vocab.first_texts().filter(move |&(_, id)| vocab.attr(id).intersects(attr))
        };
        let in_text = Attr::NORMAL.with(Attr::USER_DEFINED).with(Attr::UNUSED);
        let score =
            |id| if vocab.attr(id).intersects(Attr::USER_DEFINED) { 0.0 } else { vocab.score(id) };
        let normal = vocab.ids().filter(|&id| vocab.attr(id).intersects(Attr::NORMAL));
        let min_score = normal.map(|id| vocab.score(id)).fold(f32::MAX, f32::min);
        let user_defined = Trie::new(with(Attr::USER_DEFINED).map(|(text, id)| (text, id, ())))?;
        let byte = |byte| u8::try_from(byte).unwrap_or(0);
        let is_plain = std::array::from_fn(|at| {
            charsmap.is_plain(byte(at)) && user_defined.n_shared(&[byte(at)]) == 0
        });
        let mut ugm = Self {
            charsmap,
            spacing,
            tokens: Trie::new(with(in_text).map(|(text, id)| (text, id, score(id))))?,
            user_defined,
            is_plain,
            unk,
            unknown_score: min_score - UNKNOWN_PENALTY,
            apart: None,
        };
        let mut in_user_defined = [false; 256];
        for &byte in with(Attr::USER_DEFINED).flat_map(|(text, _)| text) {
            in_user_defined[usize::from(byte)] = true;
        }
        let is_separator = std::array::from_fn(|at| {
            ugm.charsmap.is_always_space(byte(at)) && !in_user_defined[at]
        });
        let scores = with(in_text).map(|(_, id)| score(id)).chain([ugm.unknown_score]);
        let max_exact = max_exact_sum(scores);
        ugm.apart = (max_exact > 0.0
            && ugm.words_are_apart(vocab, with(in_text).map(|(_, id)| id)))
        .then_some(Apart { is_separator, max_exact });
        Ok(ugm)
    }

    /// Whether the ids of a word do not depend on its neighbors, as far as sums of scores are exact and no word breaks off
    /// amid a character.
    ///
    /// Each word begins with one [`SPACE`], and no token goes on across one, so that every way through the text passes
    /// there; nor is a word's first token unknown, which a row of unknown ones before it would swallow.
    fn words_are_apart(&self, vocab: &Vocab, mut tokens: impl Iterator<Item = u32>) -> bool {
        let mut space = [0; 4];
        let space = SPACE.encode_utf8(&mut space).as_bytes();
        let is_token = self.tokens.longest_prefix(space).is_some_and(|(len, _)| len == space.len());
        let goes_on_across = |id| vocab.text(id).rfind(SPACE).is_some_and(|at| at > 0);
        self.spacing.remove_extra
            && is_token
            && !vocab.text(self.unk).starts_with(SPACE)
            && !tokens.any(goes_on_across)
    }

    /// Appends the ids of `text`.
    pub(crate) fn encode(&self, text: &str, out: &mut Vec<u32>) {
        let mut scratch = Scratch::default();
        let n_before = out.len();
        if let Some(apart) = &self.apart {
            if self.encode_words(text, apart, &mut scratch, out) {
                return;
            }
            out.truncate(n_before);
        }
        self.encode_at_once(text, &mut scratch, out);
    }

    /// Appends the ids of the words of `text`; `false` if they might be others when encoded at once.
    ///
    /// llama.cpp sums from the beginning of the text and thus compares other sums than those within a word: all have
    /// the same number added, which changes no comparison as long as nothing is rounded.
    fn encode_words(
        &self,
        text: &str,
        apart: &Apart,
        scratch: &mut Scratch,
        out: &mut Vec<u32>,
    ) -> bool {
        let mut seen = Seen::new(text.len());
        let (mut sum, mut farthest) = (0.0, 0.0_f64);
        for word in between(text, &apart.is_separator) {
            sum += seen.encode(word, out, |out| {
                let way = self.encode_at_once(word, scratch, out);
                farthest = farthest.max(way.farthest);
                way.sum.abs()
            });
        }
        sum + farthest <= apart.max_exact
    }

    /// Appends the ids of `text`, which is one row of comparisons.
    fn encode_at_once(&self, text: &str, scratch: &mut Scratch, out: &mut Vec<u32>) -> Way {
        let Scratch { normalized, best } = scratch;
        self.normalize(text, normalized);
        if normalized.is_empty() {
            return Way { sum: 0.0, farthest: 0.0 };
        }
        let way = self.best_ways(normalized, best);
        let n_before = out.len();
        let mut end = normalized.len();
        let mut after = NONE;
        while let Some(&Best { start, token, .. }) = best.get(end) {
            // A row of unknown characters is one unknown token.
            if token != self.unk || after != self.unk {
                out.push(token);
            }
            after = token;
            end = start as usize;
            if end == 0 {
                break;
            }
        }
        out[n_before..].reverse();
        way
    }

    /// The best way to each place of `text` where a character or a token ends (Viterbi's algorithm).
    ///
    /// The order of comparisons is llama.cpp's: of equal sums, which are in f64, the one whose last token is longest.
    fn best_ways(&self, text: &[u8], best: &mut Vec<Best>) -> Way {
        let none = Best { score: f64::MIN, start: 0, token: self.unk };
        best.clear();
        best.resize(text.len() + 1, none);
        best[0].score = 0.0;
        let mut start = 0;
        let mut farthest = 0.0_f64;
        while let Some(&first_byte) = text.get(start) {
            let rest = text.len() - start;
            let char_len = utf8_len(first_byte).min(rest);
            let here = best[start].score;
            farthest = farthest.max(here.abs());
            if char_len < utf8_len(first_byte) {
                // What replaces a character may break off amid one, which then takes bytes of the next word.
                farthest = f64::INFINITY;
            }
            let mut is_token = false;
            let mut offer = |len: usize, token: u32, score: f32| {
                let score = here + f64::from(score);
                if let Some(champion) = best.get_mut(start + len)
                    && score > champion.score
                {
                    // Texts are encoded in parts whose normalized form has less than 4 GiB.
                    *champion = Best { score, start: u32::try_from(start).unwrap_or(NONE), token };
                }
            };
            self.tokens.prefixes(&text[start..], |len, token, score| {
                is_token |= len == char_len;
                offer(len, token, score);
            });
            if !is_token {
                offer(char_len, self.unk, self.unknown_score);
            }
            start += char_len;
        }
        Way { sum: best[text.len()].score, farthest }
    }

    /// Writes `text` with characters replaced and spaces as the vocabulary writes them.
    fn normalize(&self, text: &str, out: &mut Vec<u8>) {
        let mut space = [0; 4];
        let space = SPACE.encode_utf8(&mut space).as_bytes();
        let Spacing { add_prefix, remove_extra } = self.spacing;
        out.clear();
        out.reserve(text.len() + text.len() / 2 + space.len());
        let bytes = text.as_bytes();
        let mut has_prefix = false;
        let mut in_word = false;
        let mut pos = 0;
        while let Some(byte) = bytes.get(pos) {
            let is_plain =
                self.is_plain[usize::from(*byte)] && bytes.get(pos + 1).is_none_or(u8::is_ascii);
            let (n_consumed, replacement) = if is_plain {
                (1, std::slice::from_ref(byte))
            } else {
                self.normalize_prefix(text, pos)
            };
            for &byte in replacement {
                if byte == b' ' {
                    in_word = false;
                    if !remove_extra {
                        out.extend_from_slice(space);
                    }
                    continue;
                }
                if !in_word && (remove_extra || (add_prefix && !has_prefix)) {
                    out.extend_from_slice(space);
                    has_prefix = true;
                }
                in_word = true;
                out.push(byte);
            }
            pos += n_consumed;
        }
    }

    /// How many bytes of `text` are replaced at `pos`, and by what.
    fn normalize_prefix<'t>(&'t self, text: &'t str, pos: usize) -> (usize, &'t [u8]) {
        let rest = &text.as_bytes()[pos..];
        // As in llama.cpp, the beginning of a user-defined token is enough to be left alone.
        let n_user_defined = self.user_defined.n_shared(rest);
        if n_user_defined > 0 {
            return (n_user_defined, &rest[..n_user_defined]);
        }
        if let Some(found) = self.charsmap.longest_prefix(rest) {
            return found;
        }
        let len = utf8_len(rest[0]);
        match rest.get(..len) {
            Some(c) if text.is_char_boundary(pos) => (len, c),
            // What was replaced may have ended amid a character.
            _ => (1, "\u{fffd}".as_bytes()),
        }
    }
}

/// What became of a row of comparisons.
#[derive(Debug, Clone, Copy)]
struct Way {
    /// The score of the best way to the end.
    sum: f64,
    /// The largest of a best way to a place where a further token may begin, without its sign; infinite if the text
    /// breaks off amid a character.
    farthest: f64,
}

/// Up to where sums of `scores` are exact, whatever their order: f64 holds all multiples of a power of two up to 2^53
/// times it, and each score is a multiple of the lowest bit of any.
///
/// The largest score is taken off, so that a sum that is not above the result can have one more score added.
fn max_exact_sum(scores: impl Iterator<Item = f32>) -> f64 {
    let (mut lowest_bit, mut largest) = (f64::MAX, 0.0_f64);
    for score in scores.filter(|&score| score != 0.0).map(f64::from) {
        if !score.is_finite() {
            return f64::NEG_INFINITY;
        }
        let bits = score.to_bits();
        // What of the fraction, with the bit before it, is zero at its end.
        let n_zeros = bits.trailing_zeros().min(f64::MANTISSA_DIGITS - 1);
        let ulp = f64::from_bits(bits & EXPONENT) * f64::EPSILON;
        lowest_bit = lowest_bit.min(ulp * (1_u64 << n_zeros) as f64);
        largest = largest.max(score.abs());
    }
    lowest_bit / f64::EPSILON * 2.0 - largest
}

/// The bits of an f64 that hold its exponent.
const EXPONENT: u64 = 0x7ff << (f64::MANTISSA_DIGITS - 1);

/// The length of a character by its first byte; 1 for bytes that are none.
fn utf8_len(first: u8) -> usize {
    match first {
        0..0xc0 => 1,
        0xc0..0xe0 => 2,
        0xe0..0xf0 => 3,
        0xf0.. => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gguf_parse::{Gguf, GgufPlan};

    fn ugm(tokens: &[(&str, i32, f32)]) -> Ugm {
        with_map(tokens, CharsMap::default())
    }

    fn with_map(tokens: &[(&str, i32, f32)], charsmap: CharsMap) -> Ugm {
        let mut plan = GgufPlan::new();
        plan.set_strs(
            "tokenizer.ggml.tokens",
            &tokens.iter().map(|(text, ..)| *text).collect::<Vec<_>>(),
        );
        plan.set_i32s(
            "tokenizer.ggml.token_type",
            &tokens.iter().map(|(_, kind, _)| *kind).collect::<Vec<_>>(),
        );
        plan.set_f32s(
            "tokenizer.ggml.scores",
            &tokens.iter().map(|(.., score)| *score).collect::<Vec<_>>(),
        );
        let gguf = Gguf::from_bytes(plan.to_bytes(&[]).unwrap()).unwrap();
        let vocab = Vocab::from_metadata(gguf.metadata()).unwrap();
        let spacing = Spacing { add_prefix: true, remove_extra: true };
        Ugm::new(&vocab, charsmap, spacing, 0).unwrap()
    }

    const TOKENS: &[(&str, i32, f32)] = &[
        ("<unk>", 2, 0.0),
        ("▁", 1, -2.5),
        ("a", 1, -3.3),
        ("b", 1, -3.1),
        ("ab", 1, -6.4),
        ("ba", 1, -6.3),
        ("▁a", 1, -5.8),
        ("▁ab", 1, -8.9),
        ("bab", 5, -9.7),
        ("é", 1, -4.0),
        ("bé", 4, -7.0),
    ];

    #[test]
    fn words_apart_and_all_at_once_agree() {
        let apart = ugm(TOKENS);
        assert!(apart.apart.is_some(), "no token goes on across a space");
        let at_once = Ugm { apart: None, ..ugm(TOKENS) };
        let mut state = 5u32;
        let mut n_unknown = 0;
        for round in 0..3000 {
            let text: String = (0..round % 500)
                .map(|_| {
                    state = crate::testing::next(state);
                    ['a', 'b', ' ', 'é', 'x', '▁', 'a', 'b'][(state >> 29) as usize]
                })
                .collect();
            let (mut ids, mut expected) = (Vec::new(), Vec::new());
            apart.encode(&text, &mut ids);
            at_once.encode(&text, &mut expected);
            assert_eq!(ids, expected, "{text:?}");
            n_unknown += ids.iter().filter(|&&id| id == 0).count();
        }
        assert!(n_unknown > 10_000, "only {n_unknown} unknown tokens");
    }

    /// A map whose replacement is the first byte of a character: it takes the first one of the next word's space.
    #[test]
    fn words_that_break_off_amid_a_character() {
        let mut entries = [0_u32; 256];
        entries[usize::from(b'x')] = u32::from(b'x' ^ 2) << 10 | 1 << 8 | u32::from(b'x');
        entries[2] = 1 << 31;
        let mut map = 1024_u32.to_le_bytes().to_vec();
        map.extend(entries.iter().flat_map(|entry| entry.to_le_bytes()));
        map.extend([0xc3, 0]);
        let map = || CharsMap::from_bytes(&map).unwrap();
        let apart = with_map(TOKENS, map());
        assert!(apart.apart.is_some(), "the map has no spaces");
        let at_once = Ugm { apart: None, ..with_map(TOKENS, map()) };
        for text in ["ax b", "ax ax ab x", "b a x"] {
            let (mut ids, mut expected) = (vec![7], vec![7]);
            apart.encode(text, &mut ids);
            at_once.encode(text, &mut expected);
            assert_eq!(ids, expected, "{text:?}");
        }
    }

    #[test]
    fn words_that_are_not_apart() {
        for token in [("a▁b", 1, -1.0), ("▁▁", 5, -1.0), ("c", 1, f32::NEG_INFINITY)] {
            assert!(ugm(&[TOKENS, &[token]].concat()).apart.is_none(), "{token:?}");
        }
        let without_space: Vec<_> =
            TOKENS.iter().copied().filter(|(text, ..)| *text != "▁").collect();
        assert!(ugm(&without_space).apart.is_none(), "unknown spaces depend on what is before");
        let mut user_defined = TOKENS.to_vec();
        user_defined.push(("b a", 4, 0.0));
        let apart = ugm(&user_defined).apart.unwrap();
        assert!(!apart.is_separator[usize::from(b' ')], "a user-defined token has one");
    }

    #[test]
    fn sums_are_exact_up_to_a_multiple_of_the_lowest_bit() {
        let two_53 = 2_f64.powi(53);
        assert_eq!(max_exact_sum([-3.0, 8.0, 0.0].into_iter()), two_53 - 8.0);
        assert_eq!(max_exact_sum([-0.375, 2.0].into_iter()), two_53 / 8.0 - 2.0);
        let nearly_4 = 4.0 - 2.0 * f32::EPSILON;
        assert_eq!(
            max_exact_sum([nearly_4].into_iter()),
            2_f64.powi(53 - 22) - f64::from(nearly_4)
        );
        let smallest = f32::from_bits(1);
        assert_eq!(max_exact_sum([smallest, 1.0].into_iter()), 2_f64.powi(53 - 149) - 1.0);
        assert_eq!(max_exact_sum([1.0, f32::INFINITY].into_iter()), f64::NEG_INFINITY);
    }
}
