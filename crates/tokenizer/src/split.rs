//! Cutting text into words before merging: the pre-tokenizers of byte-level BPE, written out by hand.
//!
//! Each is a row of regular expressions; the first is applied again and again from the left, the next to each of the
//! parts that come of it, be they matches or what lies between. The functions here do what llama.cpp makes of those
//! expressions (given with each) and look at each character a bounded number of times: a regex engine with
//! backtracking takes quadratic time, or all of the stack, on a megabyte of one character.
//!
//! llama.cpp knows no cases of letters beyond ASCII: its `\p{Lu}`, `\p{Ll}` and so on all mean `\p{L}`. The
//! expressions are given as it understands them.

pub(crate) mod isolate;
pub(crate) mod words;

use crate::unicode::Class;

/// One regular expression: calls its second argument with each part of the text, in order; together they are the text.
pub(crate) type Stage = for<'t> fn(&'t str, &mut dyn FnMut(&'t str));

/// Calls `word` with each word of `text`: the parts of the last of `stages`.
pub(crate) fn split<'t>(stages: &[Stage], text: &'t str, word: &mut dyn FnMut(&'t str)) {
    match stages {
        [] => word(text),
        [last] => last(text, word),
        [first, rest @ ..] => first(text, &mut |part| split(rest, part, word)),
    }
}

/// Cuts `text` where `find` says: it gives the end of the match that begins at a byte position, if there is one. What
/// lies between matches stays whole.
fn cut<'t>(
    text: &'t str,
    mut find: impl FnMut(&str, usize) -> Option<usize>,
    part: &mut dyn FnMut(&'t str),
) {
    let (mut start, mut pos) = (0, 0);
    while let Some(c) = char_at(text, pos) {
        let Some(end) = find(text, pos) else {
            pos += c.len_utf8();
            continue;
        };
        if pos > start {
            part(&text[start..pos]);
        }
        part(&text[pos..end]);
        (start, pos) = (end, end);
    }
    if start < text.len() {
        part(&text[start..]);
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

/// The end of the run of characters from byte `pos` on that `is` accepts.
fn run_end(text: &str, mut pos: usize, is: impl Fn(char) -> bool) -> usize {
    while let Some(c) = char_at(text, pos)
        && is(c)
    {
        pos += c.len_utf8();
    }
    pos
}

/// The same for at most `max` characters; `None` if there is none.
fn up_to(text: &str, pos: usize, max: usize, is: impl Fn(char) -> bool) -> Option<usize> {
    let mut end = pos;
    for _ in 0..max {
        match char_at(text, end) {
            Some(c) if is(c) => end += c.len_utf8(),
            _ => break,
        }
    }
    (end > pos).then_some(end)
}

fn is_letter(c: char) -> bool {
    Class::of(c) == Class::Letter
}

fn is_number(c: char) -> bool {
    Class::of(c) == Class::Number
}

/// `\s`
fn is_space(c: char) -> bool {
    Class::of(c) == Class::Space
}

fn is_line_end(c: char) -> bool {
    matches!(c, '\r' | '\n')
}

/// Whether `c` is in one of `ranges`, which are in order.
fn in_ranges(c: char, ranges: &[(char, char)]) -> bool {
    let after = ranges.partition_point(|&(first, _)| first <= c);
    after > 0 && c <= ranges[after - 1].1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pre::Pre;

    fn words(pre: &str, text: &str) -> Vec<String> {
        let mut out = Vec::new();
        split(Pre::by_name(pre).unwrap().stages, text, &mut |word| out.push(word.to_owned()));
        assert_eq!(out.concat(), text, "the words are the text");
        assert!(out.iter().all(|word| !word.is_empty()), "{out:?}");
        out
    }

    #[test]
    fn words_by_hand() {
        // Read off the regular expressions, not off the code.
        assert_eq!(
            words("gpt-2", "I'll  go, 123x\n\n a "),
            ["I", "'ll", " ", " go", ",", " 123", "x", "\n\n", " a", " "]
        );
        assert_eq!(words("starcoder", "a 12b"), ["a", " ", "1", "2", "b"]);
        assert_eq!(words("default", "x+1234½5?!"), ["x", "+", "123", "4½5", "?!"]);
        assert_eq!(
            words("llama3", "I'LL 12345\r\n  \n  x"),
            ["I", "'LL", " ", "123", "45", "\r\n  \n", " ", " x"]
        );
        assert_eq!(words("qwen2", "\tif(x)\n\n#12"), ["\tif", "(x", ")\n\n", "#", "1", "2"]);
        assert_eq!(words("qwen2", "e\u{301}a"), ["e", "\u{301}a"]);
        assert_eq!(words("qwen35", "e\u{301}a"), ["e\u{301}a"]);
        assert_eq!(words("gpt-4o", "HTTPServer's ÄBC/\n"), ["HTTPServer's", " Ä", "BC", "/\n"]);
        assert_eq!(words("exaone-moe", "a b  c./"), ["a b", " ", " c", "./"]);
        assert_eq!(
            words("deepseek-v3", "1234.ab \u{1}\u{2}"),
            ["123", "4", ".ab", " ", "\u{1}\u{2}"]
        );
        assert_eq!(words("superbpe", "a 1234567 b12"), ["a ", "1", "234", "567", " b", "12"]);
        assert_eq!(words("kimi-k2", "ab中文's"), ["ab", "中文", "'s"]);
        assert_eq!(words("jais-2", "       x"), ["    ", "  ", " x"]);
    }

    #[test]
    fn every_stage_returns_its_text() {
        let alphabet = [
            ' ', '\n', '\t', 'a', 'B', 'é', 'É', '\u{301}', '1', '½', '中', '\'', '!', '<',
            '\u{3000}', '\0', 's', 'ㅏ',
        ];
        let mut state = 3u32;
        for name in Pre::NAMES.iter().flat_map(|(names, _)| *names) {
            let stages = Pre::by_name(name).unwrap().stages;
            for n in 0..300 {
                let text: String = (0..n % 30)
                    .map(|_| {
                        state = crate::testing::next(state);
                        alphabet[(state >> 16) as usize % alphabet.len()]
                    })
                    .collect();
                let mut out = String::new();
                split(stages, &text, &mut |word| {
                    assert!(!word.is_empty(), "{name}: {text:?}");
                    out.push_str(word);
                });
                assert_eq!(out, text, "{name}");
            }
        }
    }
}
