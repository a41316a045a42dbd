//! Ids back to text.

use crate::tokenizer::Tokenizer;

/// Turns a stream of ids into text, never splitting a character.
///
/// The texts that [`Self::push`] and [`Self::finish`] return, one after the other, are what llama.cpp's
/// `detokenize` gives for all ids at once (special tokens kept in the list, hidden unless
/// [`Self::render_special`]), with bytes that are no UTF-8 replaced by U+FFFD, but for one thing: the removal of
/// spaces before punctuation, which vocabularies with `clean_up_tokenization_spaces` get in [`Tokenizer::decode`], is
/// left out as it is in llama.cpp's own streaming programs.
#[derive(Debug)]
pub struct Decoder<'t> {
    tokenizer: &'t Tokenizer,
    render_special: bool,
    /// Whether one leading space of the next piece is dropped.
    drop_space: bool,
    /// The beginning of a character whose other bytes have not come yet: at most 3 bytes between calls.
    held: Vec<u8>,
    text: String,
}

impl<'t> Decoder<'t> {
    pub(crate) fn new(tokenizer: &'t Tokenizer, drop_space: bool) -> Self {
        Self { tokenizer, render_special: false, drop_space, held: Vec::new(), text: String::new() }
    }

    /// Whether control tokens are written out (`<|im_end|>`); they are hidden otherwise.
    #[must_use]
    pub fn render_special(self, render_special: bool) -> Self {
        Self { render_special, ..self }
    }

    /// Takes the next id; returns the text that is now complete (maybe empty).
    pub fn push(&mut self, id: u32) -> &str {
        let piece = self.tokenizer.piece(id, self.render_special);
        let piece = if self.drop_space { piece.strip_prefix(b" ").unwrap_or(piece) } else { piece };
        self.drop_space = false;
        self.held.extend_from_slice(piece);
        self.text.clear();
        let mut done = 0;
        loop {
            match std::str::from_utf8(&self.held[done..]) {
                Ok(text) => {
                    self.text.push_str(text);
                    done = self.held.len();
                    break;
                }
                Err(e) => {
                    let valid = done + e.valid_up_to();
                    self.text
                        .push_str(std::str::from_utf8(&self.held[done..valid]).unwrap_or_default());
                    done = valid;
                    // No length: the character is not complete yet.
                    let Some(n_bytes) = e.error_len() else { break };
                    self.text.push(char::REPLACEMENT_CHARACTER);
                    done += n_bytes;
                }
            }
        }
        self.held.drain(..done);
        &self.text
    }

    /// What is left at the end: an incomplete character becomes U+FFFD.
    pub fn finish(&mut self) -> &str {
        self.text.clear();
        if !self.held.is_empty() {
            self.held.clear();
            self.text.push(char::REPLACEMENT_CHARACTER);
        }
        &self.text
    }
}

/// Removes spaces as llama.cpp's detokenizer does for vocabularies that ask for it, in three passes: before
/// `? ! . ,`, on both sides of a lone apostrophe, and before `'s 'm 're 've`.
pub(crate) fn clean_spaces(bytes: &[u8]) -> Vec<u8> {
    let bytes = drop_space_before(bytes, |rest| matches!(rest, [b'?' | b'!' | b'.' | b',', ..]));
    let bytes = free_apostrophes(&bytes);
    drop_space_before(&bytes, |rest| {
        matches!(rest, [b'\'', b's' | b'm', ..] | [b'\'', b'r' | b'v', b'e', ..])
    })
}

/// Drops the space before each place whose rest of the text `is` accepts.
fn drop_space_before(bytes: &[u8], is: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for (i, &byte) in bytes.iter().enumerate() {
        if i > 0 && bytes[i - 1] == b' ' && is(&bytes[i..]) {
            out.pop();
        }
        out.push(byte);
    }
    out
}

/// `x ' y` becomes `x'y`. A space counts for one apostrophe only: `' ' '` keeps its last.
fn free_apostrophes(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    let mut after_space = false;
    while let Some(&byte) = bytes.get(i) {
        let free = after_space && byte == b'\'' && bytes.get(i + 1) == Some(&b' ');
        if free {
            out.pop();
        }
        out.push(byte);
        i += if free { 2 } else { 1 };
        after_space = byte == b' ';
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_are_cleaned_as_by_hand() {
        let clean = |text: &str| String::from_utf8(clean_spaces(text.as_bytes())).unwrap();
        assert_eq!(clean("Hi , you  ! Really ?"), "Hi, you ! Really?");
        assert_eq!(
            clean("a ' b ' ' c"),
            "a'b'' c",
            "the second apostrophe has no space of its own left"
        );
        assert_eq!(
            clean("it 's I 'm we 're they 've he 'd she 'll can 't"),
            "it's I'm we're they've he 'd she 'll can 't"
        );
        assert_eq!(clean(" '"), " '", "an apostrophe at the end stays");
        assert_eq!(clean(""), "");
    }
}
