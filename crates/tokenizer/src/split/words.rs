//! Expressions that cut text into words, as most byte-level BPE vocabularies were trained with.

use super::{char_at, class_at, cut, in_ranges, is_line_end, run_end, up_to};
use crate::unicode::Class;

/// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
pub(crate) fn gpt2<'t>(text: &'t str, word: &mut dyn FnMut(&'t str)) {
    let mut spaces = Spaces::default();
    let mut pos = 0;
    while let Some(c) = char_at(text, pos) {
        let body = if c == ' ' { pos + 1 } else { pos };
        let end = match (contraction(text, pos, false), class_at(text, body)) {
            (Some(end), _) => end,
            (None, None | Some(Class::Space)) => spaces.all_but_last(text, pos),
            (None, Some(class @ (Class::Letter | Class::Number))) => {
                run_end(text, body, |c| Class::of(c) == class)
            }
            (None, Some(_)) => run_end(text, body, is_sign),
        };
        word(&text[pos..end]);
        pos = end;
    }
}

/// `[^\s\p{L}\p{N}]`
fn is_sign(c: char) -> bool {
    !matches!(Class::of(c), Class::Space | Class::Letter | Class::Number)
}

/// The end of a contraction (`'s`, `'re`, ...) at byte `pos`, without regard to case on demand.
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
        (b's' | b't' | b'm' | b'd', _) => Some(pos + 2),
        (b'r' | b'v', Some(b'e')) | (b'l', Some(b'l')) => Some(pos + 3),
        _ => None,
    }
}

/// The run of white space that was looked at last, so that it is gone through once whatever is made of it.
#[derive(Debug, Default)]
struct Spaces {
    end: usize,
    /// Behind its last line end; 0 if it has none.
    line_end: usize,
}

impl Spaces {
    /// Finds the run that `pos` is in.
    fn find(&mut self, text: &str, pos: usize) {
        if pos >= self.end {
            self.end = run_end(text, pos, |c| Class::of(c) == Class::Space);
            self.line_end = text[pos..self.end].rfind(['\r', '\n']).map_or(0, |at| pos + at + 1);
        }
    }

    /// `\s+(?!\S)|\s+` at byte `pos`: the whole run at the end of the text or if it is one character, else all of it
    /// but the last character. `pos` itself if there is none.
    fn all_but_last(&mut self, text: &str, pos: usize) -> usize {
        self.find(text, pos);
        match text[pos..self.end].char_indices().next_back() {
            Some((last, _)) if last > 0 && self.end < text.len() => pos + last,
            _ => self.end,
        }
    }

    /// `\s*[\r\n]+|\s+(?!\S)|\s+`
    fn up_to_line_end(&mut self, text: &str, pos: usize) -> usize {
        self.find(text, pos);
        if self.line_end > pos { self.line_end } else { self.all_but_last(text, pos) }
    }

    /// `\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|...|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}`
    fn up_to_line_end_or_by_powers(&mut self, text: &str, pos: usize) -> usize {
        self.find(text, pos);
        if self.line_end > pos {
            return self.line_end;
        }
        let run = &text[pos..self.end];
        let n_chars = run.chars().take(513).count();
        let n_free = if self.end < text.len() { n_chars - 1 } else { n_chars };
        let n = if n_free >= 4 { 1 << n_free.ilog2().min(9) } else { n_free.clamp(1, 2) };
        run.char_indices().nth(n).map_or(self.end, |(end, _)| pos + end)
    }
}

/// What differs between expressions of this form, the family of Llama 3:
/// `CONTRACTION|[^\r\n\p{L}\p{N}]?LETTERS|\p{N}{1,max}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
#[derive(Debug, Clone, Copy)]
struct Words {
    contractions: Contractions,
    letters: Letters,
    max_numbers: usize,
    /// Whether signs are `[^\s\p{L}\p{N}]` or `[^\s\p{L}\p{M}\p{N}]`.
    marks_are_signs: bool,
    /// Which characters, and how many, belong to the signs before them.
    after_signs: (&'static str, usize),
    /// `\s{512}(?!\S)|...` instead of `\s+(?!\S)|\s+`.
    spaces_by_powers: bool,
}

/// Where `'s`, `'t`, `'re`, `'ve`, `'m`, `'ll`, `'d` stand, whatever their case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contractions {
    /// They are nothing special.
    Not,
    /// They are words.
    Words,
    /// They belong to the letters before them.
    AfterLetters,
}

#[derive(Debug, Clone, Copy)]
enum Letters {
    /// `\p{L}+`
    Plain,
    /// `[\p{L}\p{M}]+`
    OrMarks,
    /// `(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+`
    AcrossSpaces,
    /// `\p{L}+` but for ideographs, whose runs are words of their own before anything else.
    NotHan,
    /// Capitals first: `UPPER*LOWER+|UPPER+LOWER*` where `UPPER` is `(?=\p{L})[^a-z]` and `LOWER` `(?=\p{L})[^A-Z]`.
    Cased,
    /// The same with `[\p{L}\p{M}]` instead of `\p{L}`.
    CasedOrMarks,
}

const QWEN2: Words = Words {
    contractions: Contractions::Words,
    letters: Letters::Plain,
    max_numbers: 1,
    marks_are_signs: true,
    after_signs: ("\r\n", usize::MAX),
    spaces_by_powers: false,
};
const LLAMA3: Words = Words { max_numbers: 3, ..QWEN2 };
const TEKKEN: Words = Words {
    contractions: Contractions::Not,
    letters: Letters::Cased,
    after_signs: ("\r\n/", usize::MAX),
    ..QWEN2
};
const GPT4O: Words = Words { contractions: Contractions::AfterLetters, max_numbers: 3, ..TEKKEN };

/// Declares stages by what differs from others.
macro_rules! words {
    ($($(#[$doc:meta])* $name:ident = $words:expr;)*) => { $(
        $(#[$doc])*
        pub(crate) fn $name<'t>(text: &'t str, word: &mut dyn FnMut(&'t str)) {
            const WORDS: Words = $words;
            WORDS.split(text, word);
        }
    )* };
}

words! {
    /// `CONTRACTION|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
    llama3 = LLAMA3;
    /// As `llama3`, with `\p{N}`.
    qwen2 = QWEN2;
    /// As `qwen2`, with `[\p{L}\p{M}]+`, and `[^\s\p{L}\p{M}\p{N}]+`.
    qwen35 = Words { letters: Letters::OrMarks, marks_are_signs: false, ..QWEN2 };
    /// As `qwen2`, with `\p{N}+`.
    minicpm5 = Words { max_numbers: usize::MAX, ..QWEN2 };
    /// As `qwen2`, with ` ?[^\s\p{L}\p{N}\r\n]+` and no line ends after it.
    seed_coder = Words { after_signs: ("", 0), ..QWEN2 };
    /// As `qwen2`, without contractions.
    ufakzeka = Words { contractions: Contractions::Not, ..QWEN2 };
    /// As `qwen2`, with `(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+` and ` ?[^\s\p{L}\p{N}]+[\r\n/]?`.
    exaone_moe = Words { letters: Letters::AcrossSpaces, after_signs: ("\r\n/", 1), ..QWEN2 };
    /// As `llama3`, with white space by powers of two.
    jais2 = Words { spaces_by_powers: true, ..LLAMA3 };
    /// As `gpt4o` without contractions, with `\p{N}`.
    tekken = TEKKEN;
    /// `[^\r\n\p{L}\p{N}]?UPPER*LOWER+CONTRACTION?|[^\r\n\p{L}\p{N}]?UPPER+LOWER*CONTRACTION?|\p{N}{1,3}|
    /// ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
    gpt4o = GPT4O;
    /// As `gpt4o`, with marks as letters of both cases.
    granite_embedding = Words { letters: Letters::CasedOrMarks, ..GPT4O };
    /// As `gpt4o`, with `[\p{L}\p{M}]+`.
    tiny_aya = Words { letters: Letters::OrMarks, ..GPT4O };
    /// As `tiny_aya`, with `\p{N}`.
    youtu = Words { letters: Letters::OrMarks, max_numbers: 1, ..GPT4O };
    /// As `llama3`, with ideographs for themselves and contractions after letters.
    kimi_k2 = Words { letters: Letters::NotHan, contractions: Contractions::AfterLetters, ..LLAMA3 };
}

impl Words {
    #[inline(always)]
    fn split<'t>(self, text: &'t str, word: &mut dyn FnMut(&'t str)) {
        let mut spaces = Spaces::default();
        let mut pos = 0;
        while let Some(c) = char_at(text, pos) {
            let end = self.end(text, pos, c, &mut spaces);
            word(&text[pos..end]);
            pos = end;
        }
    }

    /// The end of the word that begins with `c` at byte `pos`.
    #[inline(always)]
    fn end(self, text: &str, pos: usize, c: char, spaces: &mut Spaces) -> usize {
        if self.contractions == Contractions::Words
            && let Some(end) = contraction(text, pos, true)
        {
            return end;
        }
        let class = Class::of(c);
        if class == Class::Number {
            let is_number = |c| Class::of(c) == Class::Number;
            return up_to(text, pos, self.max_numbers, is_number).unwrap_or(pos + c.len_utf8());
        }
        if matches!(self.letters, Letters::NotHan) && is_han(c) {
            return run_end(text, pos, is_han);
        }
        if let Some(end) = self.letters.end(text, pos, c, class) {
            return match self.contractions {
                Contractions::AfterLetters => contraction(text, end, true).unwrap_or(end),
                _ => end,
            };
        }
        let body = if c == ' ' { pos + 1 } else { pos };
        if char_at(text, body).is_some_and(is_sign) {
            let is_sign = |c| is_sign(c) && (self.marks_are_signs || Class::of(c) != Class::Mark);
            let end = run_end(text, body, is_sign);
            let (set, max) = self.after_signs;
            return up_to(text, end, max, |c| c.is_ascii() && set.contains(c)).unwrap_or(end);
        }
        if self.spaces_by_powers {
            spaces.up_to_line_end_or_by_powers(text, pos)
        } else {
            spaces.up_to_line_end(text, pos)
        }
    }
}

impl Letters {
    /// The end of `[^\r\n\p{L}\p{N}]?` and letters at byte `pos`, where `c` is, a character of another class than
    /// numbers.
    #[inline(always)]
    fn end(self, text: &str, pos: usize, c: char, class: Class) -> Option<usize> {
        let next = pos + c.len_utf8();
        let is_letter = |c| self.is_letter(c);
        // Letters after one character that is neither letter nor line end.
        let after = (class != Class::Letter
            && !is_line_end(c)
            && char_at(text, next).is_some_and(is_letter))
        .then_some(next);
        let here = is_letter(c).then_some(pos);
        match self {
            Self::Plain | Self::OrMarks | Self::NotHan => {
                after.or(here).map(|start| run_end(text, start, is_letter))
            }
            Self::AcrossSpaces => after.or(here).map(|start| across_spaces(text, start)),
            Self::Cased | Self::CasedOrMarks => {
                let starts = || after.into_iter().chain(here);
                starts().find_map(|start| self.upper_then_lower(text, start)).or_else(|| {
                    starts().next().map(|start| run_end(text, start, |c| self.is_upper(c)))
                })
            }
        }
    }

    #[inline(always)]
    fn is_letter(self, c: char) -> bool {
        match Class::of(c) {
            Class::Letter => !(matches!(self, Self::NotHan) && is_han(c)),
            Class::Mark => matches!(self, Self::OrMarks | Self::CasedOrMarks),
            _ => false,
        }
    }

    fn is_upper(self, c: char) -> bool {
        self.is_letter(c) && !c.is_ascii_lowercase()
    }

    fn is_lower(self, c: char) -> bool {
        self.is_letter(c) && !c.is_ascii_uppercase()
    }

    /// `UPPER*LOWER+`. If nothing but capitals comes first, and no small letter then, it ends with the last of them
    /// that counts for both, a letter beyond ASCII.
    fn upper_then_lower(self, text: &str, start: usize) -> Option<usize> {
        let mut pos = start;
        let mut last_lower = None;
        while let Some(c) = char_at(text, pos).filter(|&c| self.is_upper(c)) {
            pos += c.len_utf8();
            if self.is_lower(c) {
                last_lower = Some(pos);
            }
        }
        up_to(text, pos, usize::MAX, |c| self.is_lower(c)).or(last_lower)
    }
}

/// The end of `(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+` at byte `pos`, where a letter is.
fn across_spaces(text: &str, mut pos: usize) -> usize {
    let is = |pos, class| class_at(text, pos) == Some(class);
    loop {
        pos = run_end(text, pos, |c| Class::of(c) == Class::Letter);
        pos = run_end(text, pos, |c| Class::of(c) == Class::Mark);
        let after_space = char_at(text, pos) == Some(' ') && is(pos + 1, Class::Letter);
        if after_space {
            pos += 1;
        } else if !is(pos, Class::Letter) {
            return pos;
        }
    }
}

/// What llama.cpp takes for ideographs: blocks, whether their code points are assigned or not.
fn is_han(c: char) -> bool {
    const HAN: &[(char, char)] = &[
        ('\u{3400}', '\u{4dbf}'),
        ('\u{4e00}', '\u{9fff}'),
        ('\u{f900}', '\u{faff}'),
        ('\u{20000}', '\u{2a6df}'),
        ('\u{2a700}', '\u{2ebef}'),
        ('\u{2f800}', '\u{2fa1f}'),
    ];
    c >= '\u{3400}' && in_ranges(c, HAN)
}

/// ``[!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+``
pub(crate) fn deepseek3<'t>(text: &'t str, word: &mut dyn FnMut(&'t str)) {
    let mut spaces = Spaces::default();
    let find = |text: &str, pos| {
        letters_or_signs(text, pos)
            .map(|(end, are_signs)| if are_signs { run_end(text, end, is_line_end) } else { end })
            .or_else(|| Some(spaces.up_to_line_end(text, pos)).filter(|&end| end > pos))
    };
    cut(text, find, word);
}

/// As `deepseek3`, with ` ?[\p{P}\p{S}]+` and `[\r\n]` instead of `\s*[\r\n]+`.
pub(crate) fn spark<'t>(text: &'t str, word: &mut dyn FnMut(&'t str)) {
    let mut spaces = Spaces::default();
    let find = |text: &str, pos| {
        letters_or_signs(text, pos)
            .map(|(end, _)| end)
            .or_else(|| up_to(text, pos, 1, is_line_end))
            .or_else(|| Some(spaces.all_but_last(text, pos)).filter(|&end| end > pos))
    };
    cut(text, find, word);
}

/// The end of ``[!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+``, and whether it is the
/// last of the three.
fn letters_or_signs(text: &str, pos: usize) -> Option<(usize, bool)> {
    let c = char_at(text, pos)?;
    let next = pos + c.len_utf8();
    if c.is_ascii_punctuation()
        && let Some(end) = up_to(text, next, usize::MAX, |c| c.is_ascii_alphabetic())
    {
        return Some((end, false));
    }
    let is_letter = |c| matches!(Class::of(c), Class::Letter | Class::Mark);
    let is_sign = |c| matches!(Class::of(c), Class::Punctuation | Class::Symbol);
    let may_precede = Class::of(c) != Class::Letter && !is_sign(c) && !is_line_end(c);
    if is_letter(c) || (may_precede && char_at(text, next).is_some_and(is_letter)) {
        return Some((run_end(text, next, is_letter), false));
    }
    let body = if c == ' ' { next } else { pos };
    up_to(text, body, usize::MAX, is_sign).map(|end| (end, true))
}
