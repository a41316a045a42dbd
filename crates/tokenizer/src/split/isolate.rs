//! Expressions that cut out characters of some kind and leave the rest to those that follow.

use super::{
    Stage, char_at, cut, in_ranges, is_letter, is_line_end, is_number, is_space, run_end, up_to,
};
use crate::unicode::Class;

/// Declares stages that cut out runs of at most so many characters of a kind.
macro_rules! runs {
    ($($(#[$doc:meta])* $name:ident = $max:expr, $is:expr;)*) => { $(
        $(#[$doc])*
        pub(crate) const $name: Stage = |text, part| {
            cut(text, |text, pos| up_to(text, pos, $max, $is), part);
        };
    )* };
}

runs! {
    /// `\p{N}`
    EACH_NUMBER = 1, is_number;
    /// `\p{N}{1,3}`
    NUMBERS_BY_THREES = 3, is_number;
    /// `\p{N}+`
    NUMBERS = usize::MAX, is_number;
    /// `[\r\n]`
    EACH_LINE_END = 1, is_line_end;
    /// `\S+`
    NO_SPACES = usize::MAX, |c| !is_space(c);
    /// `[\p{P}$+<=>^~|]+`
    DEFAULT_SIGNS = usize::MAX, is_default_sign;
    /// ``[\p{P}$+<=>^~|`]+``
    FALCON_SIGNS = usize::MAX, |c| is_default_sign(c) || c == '`';
    /// ``[\p{P}!-/:-@\[-`{-~]``
    EACH_SIGN = 1, |c| c.is_ascii_punctuation() || Class::of(c) == Class::Punctuation;
    /// `[一-龥぀-ゟ゠-ヿ]+`
    IDEOGRAPHS_AND_KANA = usize::MAX, is_ideograph_or_kana;
    /// `[一-龥ࠀ-一가-퟿]+`, white space excepted
    IDEOGRAPHS_AND_MORE = usize::MAX, |c| in_ranges(c, &[('\u{800}', '\u{9fa5}'), ('\u{ac00}', '\u{d7ff}')]) && !is_space(c);
    /// `[一-鿿㐀-䶿豈-﫿぀-ゟ゠-ヿ･-ﾟ⼀-⿟เ-๿຀-໿ក-៿က-႟ꩠ-ꩿꧠ-꧿가-힯ᄀ-ᇿ]+`, where `豈` is U+8C48
    AFMOE_SCRIPTS = usize::MAX, |c| in_ranges(c, AFMOE_RANGES);
}

const AFMOE_RANGES: &[(char, char)] = &[
    ('\u{e40}', '\u{eff}'),
    ('\u{1000}', '\u{109f}'),
    ('\u{1100}', '\u{11ff}'),
    ('\u{1780}', '\u{17ff}'),
    ('\u{2f00}', '\u{2fdf}'),
    ('\u{3040}', '\u{30ff}'),
    ('\u{3400}', '\u{4dbf}'),
    // Up to U+9FFF, and from U+8C48 on.
    ('\u{4e00}', '\u{faff}'),
    ('\u{ff65}', '\u{ff9f}'),
];

/// `[\p{P}$+<=>^~|]`
fn is_default_sign(c: char) -> bool {
    matches!(c, '$' | '+' | '<' | '=' | '>' | '^' | '~' | '|') || Class::of(c) == Class::Punctuation
}

fn is_ideograph_or_kana(c: char) -> bool {
    in_ranges(c, &[('\u{3040}', '\u{30ff}'), ('\u{4e00}', '\u{9fa5}')])
}

/// `[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+`
pub(crate) fn youtu_scripts<'t>(text: &'t str, part: &mut dyn FnMut(&'t str)) {
    let is_hangul = |c| in_ranges(c, &[('\u{3131}', '\u{318e}'), ('\u{ac00}', '\u{d7a3}')]);
    let is_sign = |c| {
        "！…“”‘’—：；，".contains(c)
            || in_ranges(c, &[('\u{3001}', '\u{303f}'), ('\u{fe30}', '\u{fe4f}')])
    };
    let is_bopomofo = |c| in_ranges(c, &[('\u{3105}', '\u{312f}')]);
    let find = |text: &str, pos| {
        up_to(text, pos, usize::MAX, is_hangul)
            .or_else(|| up_to(text, pos, usize::MAX, is_sign))
            .or_else(|| up_to(text, pos, usize::MAX, is_bopomofo))
            .or_else(|| up_to(text, pos, usize::MAX, is_ideograph_or_kana))
    };
    cut(text, find, part);
}

/// `[^\n]+|[\n]+`
pub(crate) fn lines<'t>(text: &'t str, part: &mut dyn FnMut(&'t str)) {
    let find = |text: &str, pos| {
        let is_end = char_at(text, pos)? == '\n';
        up_to(text, pos, usize::MAX, |c| (c == '\n') == is_end)
    };
    cut(text, find, part);
}

/// Runs of numbers by threes, counted from their end. As in llama.cpp, what lies before a run stays with the run's
/// first part.
pub(crate) fn numbers_by_threes_from_the_end<'t>(text: &'t str, part: &mut dyn FnMut(&'t str)) {
    let (mut start, mut pos) = (0, 0);
    while pos < text.len() {
        let Some(run_end) = up_to(text, pos, usize::MAX, is_number) else {
            pos += char_at(text, pos).map_or(1, char::len_utf8);
            continue;
        };
        let mut n_first = text[pos..run_end].chars().count() % 3;
        while pos < run_end {
            let n = if n_first == 0 { 3 } else { n_first };
            pos = up_to(text, pos, n, is_number).unwrap_or(run_end);
            part(&text[start..pos]);
            (start, n_first) = (pos, 0);
        }
    }
    if start < text.len() {
        part(&text[start..]);
    }
}

/// `(?=(\d{3})+(?!\d))` with ASCII digits: cuts before each three of them, counted from the end of their run.
pub(crate) fn before_threes_of_digits<'t>(text: &'t str, part: &mut dyn FnMut(&'t str)) {
    let mut start = 0;
    let mut cut_at = |end: usize| {
        if end > start {
            part(&text[start..end]);
            start = end;
        }
    };
    let mut pos = 0;
    while pos < text.len() {
        let end = run_end(text, pos, |c| c.is_ascii_digit());
        (pos..end).filter(|at| (end - at) % 3 == 0).for_each(&mut cut_at);
        pos = end + char_at(text, end).map_or(1, char::len_utf8);
    }
    cut_at(text.len());
}

/// `[0-9][0-9][0-9]`
pub(crate) fn threes_of_digits<'t>(text: &'t str, part: &mut dyn FnMut(&'t str)) {
    let find =
        |text: &str, pos| up_to(text, pos, 3, |c| c.is_ascii_digit()).filter(|end| end - pos == 3);
    cut(text, find, part);
}

/// `\s?` and a run of what `is` accepts.
fn spaced(text: &str, pos: usize, is: impl Fn(char) -> bool) -> Option<usize> {
    let body = char_at(text, pos).filter(|&c| is_space(c)).map_or(pos, |c| pos + c.len_utf8());
    up_to(text, body, usize::MAX, is)
}

/// `\s?\p{L}+`
pub(crate) fn spaced_letters<'t>(text: &'t str, part: &mut dyn FnMut(&'t str)) {
    cut(text, |text, pos| spaced(text, pos, is_letter), part);
}

/// `\s?\p{P}+`
pub(crate) fn spaced_punctuation<'t>(text: &'t str, part: &mut dyn FnMut(&'t str)) {
    cut(text, |text, pos| spaced(text, pos, |c| Class::of(c) == Class::Punctuation), part);
}

/// `\s?[A-Za-zµÀ-ÖØ-öø-ƺ...]+`: letters that have cases, as far as [`CASED`] lists them.
pub(crate) fn spaced_cased_letters<'t>(text: &'t str, part: &mut dyn FnMut(&'t str)) {
    cut(text, |text, pos| spaced(text, pos, |c| in_ranges(c, CASED)), part);
}

/// `\s?[!-/:-~！-／：-～‘-‟　-。]+`, the ideographic space excepted
pub(crate) fn spaced_signs<'t>(text: &'t str, part: &mut dyn FnMut(&'t str)) {
    const SIGNS: &[(char, char)] = &[
        ('!', '/'),
        (':', '~'),
        ('\u{2018}', '\u{201f}'),
        ('\u{3001}', '\u{3002}'),
        ('\u{ff01}', '\u{ff0f}'),
        ('\u{ff1a}', '\u{ff5e}'),
    ];
    cut(text, |text, pos| spaced(text, pos, |c| in_ranges(c, SIGNS)), part);
}

/// `\s+$`
pub(crate) fn trailing_spaces<'t>(text: &'t str, part: &mut dyn FnMut(&'t str)) {
    let (head, tail) = text.split_at(text.trim_end_matches(is_space).len());
    [head, tail].into_iter().filter(|piece| !piece.is_empty()).for_each(part);
}

/// ` ?[^\s(|.,!?…。，、।۔،)]+`
pub(crate) fn bloom_words<'t>(text: &'t str, part: &mut dyn FnMut(&'t str)) {
    let is_word = |c| !is_space(c) && !"(|.,!?…。，、।۔،)".contains(c);
    let find = |text: &str, pos| {
        let body = if char_at(text, pos) == Some(' ') { pos + 1 } else { pos };
        up_to(text, body, usize::MAX, is_word)
    };
    cut(text, find, part);
}

/// `<sentinel:[0-9]+>`
pub(crate) fn sentinels<'t>(text: &'t str, part: &mut dyn FnMut(&'t str)) {
    let find = |text: &str, pos| {
        let digits = pos
            + text[pos..].strip_prefix("<sentinel:").map(|rest| text.len() - pos - rest.len())?;
        let end = up_to(text, digits, usize::MAX, |c| c.is_ascii_digit())?;
        (char_at(text, end) == Some('>')).then_some(end + 1)
    };
    cut(text, find, part);
}

/// `IMGIMG[A-I]{1,4}Z`
pub(crate) fn images<'t>(text: &'t str, part: &mut dyn FnMut(&'t str)) {
    let find = |text: &str, pos| {
        text[pos..].strip_prefix("IMGIMG")?;
        let end = up_to(text, pos + "IMGIMG".len(), 4, |c| matches!(c, 'A'..='I'))?;
        (char_at(text, end) == Some('Z')).then_some(end + 1)
    };
    cut(text, find, part);
}

/// `[\t\n]|    |  `
pub(crate) fn blanks<'t>(text: &'t str, part: &mut dyn FnMut(&'t str)) {
    let find = |text: &str, pos| {
        let rest = &text[pos..];
        let blank = ["\t", "\n", "    ", "  "].into_iter().find(|blank| rest.starts_with(blank))?;
        Some(pos + blank.len())
    };
    cut(text, find, part);
}

/// The letters of DeepSeek LLM.
#[rustfmt::skip]
const CASED: &[(char, char)] = &[
    ('\u{41}', '\u{5a}'), ('\u{61}', '\u{7a}'), ('\u{b5}', '\u{b5}'), ('\u{c0}', '\u{d6}'), ('\u{d8}', '\u{f6}'),
    ('\u{f8}', '\u{1ba}'), ('\u{1bc}', '\u{1bf}'), ('\u{1c4}', '\u{293}'), ('\u{295}', '\u{2af}'),
    ('\u{370}', '\u{373}'), ('\u{376}', '\u{376}'), ('\u{377}', '\u{377}'), ('\u{37b}', '\u{37d}'),
    ('\u{37f}', '\u{37f}'), ('\u{386}', '\u{386}'), ('\u{388}', '\u{38a}'), ('\u{38c}', '\u{38c}'),
    ('\u{38e}', '\u{3a1}'), ('\u{3a3}', '\u{3f5}'), ('\u{3f7}', '\u{481}'), ('\u{48a}', '\u{52f}'),
    ('\u{531}', '\u{556}'), ('\u{10a0}', '\u{10c5}'), ('\u{13a0}', '\u{13f5}'), ('\u{13f8}', '\u{13fd}'),
    ('\u{1c90}', '\u{1cba}'), ('\u{1cbd}', '\u{1cbf}'), ('\u{1d00}', '\u{1d2b}'), ('\u{1d6b}', '\u{1d77}'),
    ('\u{1d79}', '\u{1d9a}'), ('\u{1e00}', '\u{1f15}'), ('\u{1f18}', '\u{1f1d}'), ('\u{1f20}', '\u{1f45}'),
    ('\u{1f48}', '\u{1f4d}'), ('\u{1f50}', '\u{1f57}'), ('\u{1f59}', '\u{1f59}'), ('\u{1f5b}', '\u{1f5b}'),
    ('\u{1f5d}', '\u{1f5d}'), ('\u{1f5f}', '\u{1f7d}'), ('\u{1f80}', '\u{1fb4}'), ('\u{1fb6}', '\u{1fbc}'),
    ('\u{1fbe}', '\u{1fbe}'), ('\u{1fc2}', '\u{1fc4}'), ('\u{1fc6}', '\u{1fcc}'), ('\u{1fd0}', '\u{1fd3}'),
    ('\u{1fd6}', '\u{1fdb}'), ('\u{1fe0}', '\u{1fec}'), ('\u{1ff2}', '\u{1ff4}'), ('\u{1ff6}', '\u{1ffc}'),
    ('\u{2102}', '\u{2102}'), ('\u{2107}', '\u{2107}'), ('\u{210a}', '\u{2113}'), ('\u{2115}', '\u{2115}'),
    ('\u{2119}', '\u{211d}'), ('\u{2124}', '\u{2124}'), ('\u{2126}', '\u{2126}'), ('\u{2128}', '\u{2128}'),
    ('\u{212a}', '\u{212d}'), ('\u{212f}', '\u{2134}'), ('\u{2139}', '\u{2139}'), ('\u{213c}', '\u{213f}'),
    ('\u{2145}', '\u{2149}'), ('\u{214e}', '\u{214e}'), ('\u{2183}', '\u{2183}'), ('\u{2184}', '\u{2184}'),
    ('\u{2c00}', '\u{2c7b}'), ('\u{2c7e}', '\u{2ce4}'), ('\u{2ceb}', '\u{2cee}'), ('\u{2cf2}', '\u{2cf2}'),
    ('\u{2cf3}', '\u{2cf3}'), ('\u{a640}', '\u{a66d}'), ('\u{a680}', '\u{a69b}'), ('\u{a722}', '\u{a76f}'),
    ('\u{a771}', '\u{a787}'), ('\u{a78b}', '\u{a78e}'), ('\u{ab70}', '\u{abbf}'), ('\u{fb00}', '\u{fb06}'),
    ('\u{fb13}', '\u{fb17}'), ('\u{ff21}', '\u{ff3a}'), ('\u{ff41}', '\u{ff5a}'), ('\u{10400}', '\u{1044f}'),
    ('\u{104b0}', '\u{104d3}'), ('\u{104d8}', '\u{104fb}'), ('\u{10c80}', '\u{10cb2}'), ('\u{10cc0}', '\u{10cf2}'),
    ('\u{118a0}', '\u{118df}'), ('\u{1e900}', '\u{1e943}'),
];
