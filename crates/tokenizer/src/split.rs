//! Cutting text into words before merging: the pre-tokenizers of byte-level BPE, written out by hand.
//!
//! Each is defined by a regular expression (given with it) that is applied again and again from the left; the
//! functions below do what llama.cpp makes of that expression. They look at each character a bounded number of
//! times: a regex engine with backtracking takes quadratic time, or all of the stack, on a megabyte of one character.

use crate::unicode::Class;

/// A way of cutting text into words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Splitter {
    /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
    Gpt2,
    /// Every `\p{N}` alone, then as `Gpt2` between them.
    DigitsThenGpt2,
    /// Runs of `[\p{P}$+<=>^~|]` alone, then as `Gpt2` within each part, then runs of `\p{N}` alone, then ASCII
    /// digits by threes.
    Default,
    /// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
    Llama3,
    /// As `Llama3`, with `\p{N}` instead of `\p{N}{1,3}`.
    Qwen2,
    /// As `Qwen2`, with `[\p{L}\p{M}]` instead of `\p{L}` (but for the first `[^\r\n\p{L}\p{N}]?`).
    Qwen35,
}

impl Splitter {
    /// Calls `word` with each word of `text`, in order; together they are `text`.
    pub(crate) fn split(self, text: &str, word: &mut dyn FnMut(&str)) {
        match self {
            Self::Gpt2 => gpt2(text, word),
            Self::DigitsThenGpt2 => {
                isolate(text, is_number, Isolate::Each, &mut |part| gpt2(part, word))
            }
            Self::Default => isolate(text, is_default_punctuation, Isolate::Runs, &mut |part| {
                gpt2(part, &mut |part| {
                    isolate(part, is_number, Isolate::Runs, &mut |part| {
                        digits_by_threes(part, word)
                    });
                });
            }),
            Self::Llama3 => llama3(text, Llama3 { max_digits: 3, marks_are_letters: false }, word),
            Self::Qwen2 => llama3(text, Llama3 { max_digits: 1, marks_are_letters: false }, word),
            Self::Qwen35 => llama3(text, Llama3 { max_digits: 1, marks_are_letters: true }, word),
        }
    }
}

/// The character at byte `pos`, `None` at the end.
fn char_at(text: &str, pos: usize) -> Option<char> {
    // Words of a prompt are mostly ASCII: skip decoding.
    match text.as_bytes().get(pos) {
        Some(&byte) if byte < 128 => Some(char::from(byte)),
        _ => text.get(pos..).and_then(|rest| rest.chars().next()),
    }
}

/// The class of the character at byte `pos`, `None` at the end.
fn class_at(text: &str, pos: usize) -> Option<Class> {
    char_at(text, pos).map(Class::of)
}

/// The end of the run of characters from byte `pos` on whose class `is` accepts.
fn run_end(text: &str, mut pos: usize, is: impl Fn(Class) -> bool) -> usize {
    while let Some(c) = char_at(text, pos)
        && is(Class::of(c))
    {
        pos += c.len_utf8();
    }
    pos
}

/// The length in bytes of a contraction (`'s`, `'re`, ...) at byte `pos`, without regard to case on demand.
fn contraction(text: &str, pos: usize, ignore_case: bool) -> Option<usize> {
    let bytes = text.as_bytes();
    if bytes.get(pos) != Some(&b'\'') {
        return None;
    }
    // No character beyond ASCII has one of these letters as its lower case.
    let at = |i: usize| {
        bytes.get(pos + i).map(|b| if ignore_case { b.to_ascii_lowercase() } else { *b })
    };
    match (at(1)?, at(2)) {
        (b's' | b't' | b'm' | b'd', _) => Some(2),
        (b'r' | b'v', Some(b'e')) | (b'l', Some(b'l')) => Some(3),
        _ => None,
    }
}

/// `\s+(?!\S)|\s+` at byte `pos`: the whole run of white space at the end of the text or if it is one character,
/// else all of it but the last character. `pos` itself if there is none.
fn white_space_end(text: &str, pos: usize) -> usize {
    let end = run_end(text, pos, |class| class == Class::Space);
    match text[pos..end].char_indices().next_back() {
        Some((last, _)) if last > 0 && end < text.len() => pos + last,
        _ => end,
    }
}

/// See [`Splitter::Gpt2`].
fn gpt2(text: &str, word: &mut dyn FnMut(&str)) {
    let mut pos = 0;
    while let Some(c) = char_at(text, pos) {
        let body = if c == ' ' { pos + 1 } else { pos };
        let end = match (contraction(text, pos, false), class_at(text, body)) {
            (Some(len), _) => pos + len,
            (None, None | Some(Class::Space)) => white_space_end(text, pos),
            (None, Some(Class::Letter)) => run_end(text, body, |class| class == Class::Letter),
            (None, Some(Class::Number)) => run_end(text, body, |class| class == Class::Number),
            (None, Some(_)) => run_end(text, body, |class| {
                !matches!(class, Class::Space | Class::Letter | Class::Number)
            }),
        };
        word(&text[pos..end]);
        pos = end;
    }
}

/// In what the members of the `Llama3` family differ.
#[derive(Debug, Clone, Copy)]
struct Llama3 {
    max_digits: usize,
    marks_are_letters: bool,
}

/// See [`Splitter::Llama3`].
fn llama3(text: &str, family: Llama3, word: &mut dyn FnMut(&str)) {
    let mut pos = 0;
    while let Some(c) = char_at(text, pos) {
        let end = llama3_end(text, pos, c, family);
        word(&text[pos..end]);
        pos = end;
    }
}

/// The end of the word that begins with `c` at byte `pos`.
fn llama3_end(text: &str, pos: usize, c: char, family: Llama3) -> usize {
    let is_letter =
        |class| class == Class::Letter || (family.marks_are_letters && class == Class::Mark);
    if let Some(len) = contraction(text, pos, true) {
        return pos + len;
    }
    let class = Class::of(c);
    let next = pos + c.len_utf8();
    if class == Class::Number {
        return text[pos..]
            .char_indices()
            .take_while(|&(_, c)| is_number(c))
            .nth(family.max_digits)
            .map_or_else(
                || run_end(text, pos, |class| class == Class::Number),
                |(n_bytes, _)| pos + n_bytes,
            );
    }
    if c != '\r' && c != '\n' && (is_letter(class) || class_at(text, next).is_some_and(is_letter)) {
        return run_end(text, next, is_letter);
    }

    let is_mark_or_sign =
        |class| !is_letter(class) && !matches!(class, Class::Space | Class::Number);
    let body = if c == ' ' { next } else { pos };
    if class_at(text, body).is_some_and(is_mark_or_sign) {
        let end = run_end(text, body, is_mark_or_sign);
        let line_ends = text[end..].bytes().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        return end + line_ends;
    }

    let space_end = run_end(text, pos, |class| class == Class::Space);
    match text[pos..space_end].rfind(['\r', '\n']) {
        Some(last_line_end) => pos + last_line_end + 1,
        None => white_space_end(text, pos),
    }
}

fn is_number(c: char) -> bool {
    Class::of(c) == Class::Number
}

/// What `Default` isolates first: `[\p{P}$+<=>^~|]`.
fn is_default_punctuation(c: char) -> bool {
    matches!(c, '$' | '+' | '<' | '=' | '>' | '^' | '~' | '|') || Class::of(c) == Class::Punctuation
}

/// What is isolated: each character, or runs of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Isolate {
    Each,
    Runs,
}

/// Cuts out the characters (or runs of characters) that `is` accepts; what lies between them stays whole.
fn isolate(text: &str, is: impl Fn(char) -> bool, how: Isolate, part: &mut dyn FnMut(&str)) {
    let mut start = 0;
    let mut inside = false;
    for (pos, c) in text.char_indices() {
        let now = is(c);
        if pos > start && (now != inside || (now && how == Isolate::Each)) {
            part(&text[start..pos]);
            start = pos;
        }
        inside = now;
    }
    if start < text.len() {
        part(&text[start..]);
    }
}

/// Cuts out every `[0-9][0-9][0-9]`, from the left.
fn digits_by_threes(text: &str, part: &mut dyn FnMut(&str)) {
    let mut start = 0;
    let mut run = 0;
    for (pos, byte) in text.bytes().enumerate() {
        run = if byte.is_ascii_digit() { run + 1 } else { 0 };
        if run == 3 {
            let first = pos - 2;
            if first > start {
                part(&text[start..first]);
            }
            part(&text[first..=pos]);
            start = pos + 1;
            run = 0;
        }
    }
    if start < text.len() {
        part(&text[start..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(splitter: Splitter, text: &str) -> Vec<String> {
        let mut out = Vec::new();
        splitter.split(text, &mut |word| out.push(word.to_owned()));
        assert_eq!(out.concat(), text, "the words are the text");
        out
    }

    #[test]
    fn words_by_hand() {
        // Read off the regular expressions, not off the code.
        assert_eq!(
            words(Splitter::Gpt2, "I'll  go, 123x\n\n a "),
            ["I", "'ll", " ", " go", ",", " 123", "x", "\n\n", " a", " "]
        );
        assert_eq!(words(Splitter::DigitsThenGpt2, "a 12b"), ["a", " ", "1", "2", "b"]);
        assert_eq!(words(Splitter::Default, "x+1234½5?!"), ["x", "+", "123", "4½5", "?!"]);
        assert_eq!(
            words(Splitter::Llama3, "I'LL 12345\r\n  \n  x"),
            ["I", "'LL", " ", "123", "45", "\r\n  \n", " ", " x"]
        );
        assert_eq!(
            words(Splitter::Qwen2, "\tif(x)\n\n#12"),
            ["\tif", "(x", ")\n\n", "#", "1", "2"]
        );
        assert_eq!(words(Splitter::Qwen2, "e\u{301}a"), ["e", "\u{301}a"]);
        assert_eq!(words(Splitter::Qwen35, "e\u{301}a"), ["e\u{301}a"]);
    }

    #[test]
    fn nothing_gives_nothing() {
        for splitter in [
            Splitter::Gpt2,
            Splitter::DigitsThenGpt2,
            Splitter::Default,
            Splitter::Llama3,
            Splitter::Qwen2,
        ] {
            assert_eq!(words(splitter, ""), Vec::<String>::new(), "{splitter:?}");
        }
    }
}
