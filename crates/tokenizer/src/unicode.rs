//! What tokenizers know of characters: classes of Unicode's general categories, lower case, and the first character
//! of decompositions, version 15.1.
//!
//! The version is part of the contract: ids must be llama.cpp's, whose tables are of 15.1, and a library that
//! follows Unicode would give other ids for newly assigned letters.

use crate::fold_table::{BASE, LOWER};
use crate::unicode_table::RUNS;

/// What a pre-tokenizer wants to know of a character. The discriminants are those of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Unassigned.
    Other = 0,
    /// `\p{L}`.
    Letter = 1,
    /// `\p{N}`.
    Number = 2,
    /// `\p{M}`.
    Mark = 3,
    /// `\p{P}`.
    Punctuation = 4,
    /// `\p{S}`.
    Symbol = 5,
    /// `\s`: the property `White_Space`.
    Space = 6,
    /// `\p{C}` but for unassigned code points and white space: controls, format characters, private use.
    Control = 7,
}

impl Class {
    const fn from_bits(bits: u32) -> Self {
        match bits & 7 {
            1 => Self::Letter,
            2 => Self::Number,
            3 => Self::Mark,
            4 => Self::Punctuation,
            5 => Self::Symbol,
            6 => Self::Space,
            7 => Self::Control,
            _ => Self::Other,
        }
    }

    /// The class of `c`.
    pub(crate) fn of(c: char) -> Self {
        let cp = c as u32;
        if let Some(&class) = ASCII.get(cp as usize) {
            return class;
        }
        let page = (cp >> PAGE_BITS) as usize;
        let (first, last) = (usize::from(PAGES[page]), usize::from(PAGES[page + 1]));
        let after = first + RUNS[first..=last].partition_point(|&run| run >> 3 <= cp);
        // The run `first` begins before the page or at its start, so there is always one before `after`.
        Self::from_bits(RUNS[after.saturating_sub(1)])
    }
}

/// The first 128 entries, looked up without a search.
const ASCII: [Class; 128] = {
    let mut table = [Class::Other; 128];
    let mut run = 0;
    let mut cp: u32 = 0;
    while cp < 128 {
        while RUNS[run + 1] >> 3 <= cp {
            run += 1;
        }
        table[cp as usize] = Class::from_bits(RUNS[run]);
        cp += 1;
    }
    table
};

const PAGE_BITS: u32 = 8;

/// Of each page of 256 code points, and past the last one, the number of the run in which it begins.
#[expect(clippy::cast_possible_truncation, reason = "asserted")]
const PAGES: [u16; (0x11_0000 >> PAGE_BITS) + 1] = {
    assert!(RUNS.len() <= u16::MAX as usize, "runs are counted in 16 bits");
    let mut table = [0; (0x11_0000 >> PAGE_BITS) + 1];
    let mut run = 0;
    let mut page = 0;
    while page < table.len() {
        while run + 1 < RUNS.len() && RUNS[run + 1] >> 3 <= (page as u32) << PAGE_BITS {
            run += 1;
        }
        table[page] = run as u16;
        page += 1;
    }
    table
};

/// The lower case of `c` that is one character (`UnicodeData.txt`'s simple mapping).
pub(crate) fn lower(c: char) -> char {
    if c.is_ascii() { c.to_ascii_lowercase() } else { look_up(LOWER, c, 1) }
}

/// The first character of the canonical decomposition of `c`: of a letter with accents mostly the letter.
pub(crate) fn base(c: char) -> char {
    if c.is_ascii() { c } else { look_up(BASE, c, 0) }
}

/// What `c` becomes by a table of fold_table.rs; the others of a row become what the first does, plus their distance
/// from it times `slope`.
fn look_up(table: &[u32], c: char, slope: u32) -> char {
    let rows = table.as_chunks::<2>().0;
    let cp = c as u32;
    let after = rows.partition_point(|&[head, _]| head >> 11 <= cp);
    let Some(&[head, to]) = after.checked_sub(1).and_then(|row| rows.get(row)) else { return c };
    let (distance, n_others, every_second) = (cp - (head >> 11), head >> 1 & 0x3ff, head & 1);
    if distance >> every_second > n_others || distance & every_second != 0 {
        return c;
    }
    char::from_u32(to + distance * slope).unwrap_or(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The letter under which the golden table shows a class. llama.cpp's answers were read off its
    /// tokenizations, which tell marks, symbols and the rest apart no further than the splitters do.
    fn letter(class: Class) -> char {
        match class {
            Class::Letter => 'L',
            Class::Number => 'N',
            Class::Punctuation => 'P',
            Class::Space => 'W',
            Class::Mark | Class::Symbol | Class::Control | Class::Other => 'o',
        }
    }

    /// Every Unicode scalar value against llama.cpp, as runs of equal class.
    #[test]
    fn classes_of_all_characters() {
        let mut text = String::new();
        let mut last = None;
        for c in '\0'..=char::MAX {
            // llama.cpp adds these symbols to the punctuation of `default`: the probe cannot tell them apart.
            let class = match c {
                '$' | '+' | '<' | '=' | '>' | '^' | '~' | '|' => 'P',
                _ => letter(Class::of(c)),
            };
            if last != Some(class) {
                use std::fmt::Write as _;
                let sep = if text.is_empty() { "" } else { " " };
                write!(text, "{sep}{:x}{class}", c as u32).unwrap();
                last = Some(class);
            }
        }
        golden::check("tokens", "unicode_classes", &wrap(&text));
    }

    /// Breaks at spaces so that lines stay under 110 columns, as the capture script does.
    fn wrap(text: &str) -> String {
        let mut out = String::new();
        let mut width = 0;
        for word in text.split(' ') {
            if width > 0 && width + 1 + word.len() > 110 {
                out.push('\n');
                width = 0;
            }
            if width > 0 {
                out.push(' ');
                width += 1;
            }
            out.push_str(word);
            width += word.len();
        }
        out
    }

    /// The table against std where both know the answer.
    #[test]
    fn white_space_is_that_of_unicode() {
        for c in '\0'..=char::MAX {
            assert_eq!(Class::of(c) == Class::Space, c.is_whitespace(), "U+{:04X}", c as u32);
        }
    }
}
