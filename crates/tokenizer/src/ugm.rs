//! SentencePiece's unigram model (Kudo, 2018), T5's tokenizer: the text is normalized by a map of characters, and
//! then cut so that the sum of the tokens' scores is highest.

use crate::charsmap::CharsMap;
use crate::error::TokenizerError;
use crate::spm::SPACE;
use crate::trie::Trie;
use crate::vocab::{Attr, NONE, Vocab};

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
    /// Tokens that text can become.
    tokens: Trie,
    /// Tokens that are not to be normalized.
    user_defined: Trie,
    /// By token; 0 for those that are user defined.
    scores: Vec<f32>,
    unk: u32,
    unknown_score: f32,
}

/// The best way to a place in the text.
#[derive(Debug, Clone, Copy)]
struct Best {
    score: f64,
    /// Where its last token begins.
    start: u32,
    token: u32,
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
        Ok(Self {
            charsmap,
            spacing,
            tokens: Trie::new(with(in_text))?,
            user_defined: Trie::new(with(Attr::USER_DEFINED))?,
            scores: vocab.ids().map(score).collect(),
            unk,
            unknown_score: min_score - UNKNOWN_PENALTY,
        })
    }

    /// Appends the ids of `text`.
    pub(crate) fn encode(&self, text: &str, out: &mut Vec<u32>) {
        let text = self.normalize(text.as_bytes());
        if text.is_empty() {
            return;
        }
        let best = self.best_ways(&text);
        let n_before = out.len();
        let mut end = text.len();
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
    }

    /// The best way to each place of `text` where a character or a token ends (Viterbi's algorithm).
    ///
    /// The order of comparisons is llama.cpp's: of equal sums, which are in f64, the one whose last token is longest.
    fn best_ways(&self, text: &[u8]) -> Vec<Best> {
        let none = Best { score: f64::MIN, start: 0, token: self.unk };
        let mut best = vec![none; text.len() + 1];
        best[0].score = 0.0;
        let mut start = 0;
        while let Some(&first_byte) = text.get(start) {
            let char_len = utf8_len(first_byte).min(text.len() - start);
            let here = best[start].score;
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
            for (len, token) in self.tokens.prefixes(&text[start..]) {
                is_token |= len == char_len;
                offer(len, token, self.scores.get(token as usize).copied().unwrap_or(0.0));
            }
            if !is_token {
                offer(char_len, self.unk, self.unknown_score);
            }
            start += char_len;
        }
        best
    }

    /// `text` with characters replaced and spaces as the vocabulary writes them.
    fn normalize(&self, text: &[u8]) -> Vec<u8> {
        let mut space = [0; 4];
        let space = SPACE.encode_utf8(&mut space).as_bytes();
        let Spacing { add_prefix, remove_extra } = self.spacing;
        let mut out = Vec::with_capacity(text.len() + text.len() / 2 + space.len());
        let mut has_prefix = false;
        let mut in_word = false;
        let mut rest = text;
        while !rest.is_empty() {
            let (n_consumed, replacement) = self.normalize_prefix(rest);
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
            rest = rest.get(n_consumed..).unwrap_or_default();
        }
        out
    }

    /// How many bytes of `text` are replaced next, and by what.
    fn normalize_prefix<'t>(&'t self, text: &'t [u8]) -> (usize, &'t [u8]) {
        // As in llama.cpp, the beginning of a user-defined token is enough to be left alone.
        let n_user_defined = self.user_defined.n_shared(text);
        if n_user_defined > 0 {
            return (n_user_defined, &text[..n_user_defined]);
        }
        if let Some(found) = self.charsmap.longest_prefix(text) {
            return found;
        }
        let len = utf8_len(text[0]);
        match text.get(..len) {
            Some(c) if std::str::from_utf8(c).is_ok() => (len, c),
            // A map may end amid a character.
            _ => (1, "\u{fffd}".as_bytes()),
        }
    }
}

/// The length of a character by its first byte; 1 for bytes that are none.
fn utf8_len(first: u8) -> usize {
    match first {
        0..0xc0 => 1,
        0xc0..0xe0 => 2,
        0xe0..0xf0 => 3,
        0xf0.. => 4,
    }
}
