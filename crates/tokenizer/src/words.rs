//! Words that come again in a text: their ids are worked out once.
//!
//! Prompts are made of few different words. Where the ids of a word depend on nothing but the word, those that it got
//! when it was seen before are copied.

/// Words seen in one text, and where in the output their ids are.
///
/// Each word has one place, which the next word of the same place takes from it: time and room are bounded whatever
/// the words are, and ids do not depend on what is remembered.
#[derive(Debug)]
pub(crate) struct Seen<'t, W = ()> {
    /// A power of two of them once there is a word.
    slots: Vec<Slot<'t, W>>,
    n_slots: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot<'t, W> {
    word: &'t str,
    /// Where its ids begin, and their number.
    start: u32,
    n: u32,
    /// What else is known of them.
    what: W,
}

/// The most places: 128 KiB, which fit in the second cache of a core beside a vocabulary's upper nodes.
const MAX_SLOTS: usize = 4096;

/// One place for so many bytes of text, and none for less: short texts repeat nothing.
const BYTES_PER_SLOT: usize = 32;

impl<'t, W: Copy + Default> Seen<'t, W> {
    /// For the words of one text of `n_bytes`, whose ids all go to one list that only grows.
    pub(crate) fn new(n_bytes: usize) -> Self {
        let n = n_bytes / BYTES_PER_SLOT;
        let n = if n < 8 { 0 } else { n.next_power_of_two().min(MAX_SLOTS) };
        Self { slots: Vec::new(), n_slots: n }
    }

    /// Appends the ids of `word`: those that it got before, else those that `encode` appends, which must depend on
    /// nothing but the word. Gives what `encode` says of them.
    #[inline]
    pub(crate) fn encode(
        &mut self,
        word: &'t str,
        out: &mut Vec<u32>,
        encode: impl FnOnce(&mut Vec<u32>) -> W,
    ) -> W {
        if self.n_slots == 0 {
            return encode(out);
        }
        if self.slots.is_empty() {
            self.slots.resize(self.n_slots, Slot::default());
        }
        let Some(slot) = self.slots.get_mut(place(word.as_bytes()) & (self.n_slots - 1)) else {
            return encode(out);
        };
        if slot.word == word && !word.is_empty() {
            let start = slot.start as usize;
            match slot.n {
                1 => out.push(out[start]),
                n => out.extend_from_within(start..start + n as usize),
            }
            return slot.what;
        }
        let start = out.len();
        let what = encode(out);
        // What lies further back than 32 bits count is not remembered.
        if let (Ok(start), Ok(n)) = (u32::try_from(start), u32::try_from(out.len() - start)) {
            *slot = Slot { word, start, n, what };
        }
        what
    }
}

/// A number made of the length and of the first and the last eight bytes. Words that agree in these are seldom met,
/// and cost no more than to be worked out again.
#[inline]
fn place(word: &[u8]) -> usize {
    let (first, last) = match (word.first_chunk(), word.last_chunk()) {
        (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
        _ => match (word.first_chunk(), word.last_chunk()) {
            (Some(first), Some(last)) => {
                (u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into())
            }
            _ => {
                let at = |i: usize| word.get(i).map_or(0, |&byte| u64::from(byte));
                (at(0) | at(1) << 8 | at(2) << 16, 0)
            }
        },
    };
    // Odd constants of Weyl sequences; the high bits of the product depend on all of both.
    let mixed =
        (first ^ last.rotate_left(29) ^ word.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    const { assert!(MAX_SLOTS <= 1 << 12, "places are 12 bits") };
    (mixed >> 52) as usize
}

/// The parts of `text` between separators, which are ASCII, but for empty ones.
pub(crate) fn between<'t>(
    text: &'t str,
    is_separator: &[bool; 256],
) -> impl Iterator<Item = &'t str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let is_separator = |&byte: &u8| is_separator[usize::from(byte)];
        let start = rest.bytes().position(|byte| !is_separator(&byte))?;
        let word = &rest[start..];
        let n = word.bytes().position(|byte| is_separator(&byte)).unwrap_or(word.len());
        let (word, after) = word.split_at(n);
        rest = after;
        Some(word)
    })
}

/// Bytes after which some token goes on with a space. After any other byte no token goes on across a space, so that
/// what depends on tokens alone can be cut there.
#[derive(Debug)]
pub(crate) struct BeforeSpaces([bool; 256]);

impl BeforeSpaces {
    /// Those of `tokens`.
    pub(crate) fn of<'k>(tokens: impl Iterator<Item = &'k [u8]>) -> Self {
        let mut before = [false; 256];
        for token in tokens {
            for pair in token.windows(2).filter(|pair| pair[1] == b' ') {
                before[usize::from(pair[0])] = true;
            }
        }
        Self(before)
    }

    /// The parts of `text` that no token goes on across.
    pub(crate) fn words<'t>(&self, text: &'t str) -> impl Iterator<Item = &'t str> {
        let mut rest = text;
        std::iter::from_fn(move || {
            let mut last = *rest.as_bytes().first()?;
            let mut bytes = rest.bytes().skip(1);
            let cut = bytes.position(|byte| {
                let before = std::mem::replace(&mut last, byte);
                byte == b' ' && !self.0[usize::from(before)]
            });
            let (word, after) = rest.split_at(cut.map_or(rest.len(), |cut| cut + 1));
            rest = after;
            Some(word)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_get_what_they_got_before() {
        let text = "one two one three two one one four  one";
        for n_bytes in [0, 256, 1 << 20] {
            let mut seen = Seen::new(n_bytes);
            let mut out = vec![9];
            let mut n_encoded = 0;
            let mut n_ids = 0;
            for word in text.split(' ') {
                n_ids += seen.encode(word, &mut out, |out| {
                    n_encoded += 1;
                    out.extend(word.bytes().map(u32::from));
                    word.len()
                });
            }
            let expected: Vec<u32> = text.bytes().filter(|&b| b != b' ').map(u32::from).collect();
            assert_eq!(out[1..], expected, "{n_bytes}");
            assert_eq!(n_ids, expected.len(), "what is known of each word");
            let n_words = text.split(' ').count();
            assert!(if n_bytes == 0 { n_encoded == n_words } else { n_encoded < n_words });
        }
    }

    /// Each bit of the first and of the last eight bytes, and the length.
    #[test]
    fn places_depend_on_both_ends() {
        let word = *b"incomprehensibilities";
        for byte in (0..8).chain(word.len() - 8..word.len()) {
            for bit in 0..8 {
                let mut other = word;
                other[byte] ^= 1 << bit;
                assert_ne!(place(&other), place(&word), "bit {bit} of byte {byte}");
            }
        }
        let long = [b"incompre".as_slice(), b"incompre"].concat();
        assert_ne!(place(&long), place(b"incompre"), "the length");
        assert!(place(&long) < MAX_SLOTS, "in range");
    }

    #[test]
    fn between_separators() {
        let is_separator = std::array::from_fn(|byte| byte == 10 || byte == 32);
        let words: Vec<&str> = between("  a\n bé  c", &is_separator).collect();
        assert_eq!(words, ["a", "bé", "c"]);
        assert_eq!(between(" \n", &is_separator).next(), None);
        let last: Vec<&str> = between("a ", &is_separator).collect();
        assert_eq!(last, ["a"]);
    }

    #[test]
    fn before_spaces() {
        let tokens = ["a", " b", ", ", "  ", "\n "];
        let before = BeforeSpaces::of(tokens.iter().map(|token| token.as_bytes()));
        let words: Vec<&str> = before.words("  a b, c\n  é d ").collect();
        assert_eq!(words, ["  a", " b, c\n  é", " d", " "]);
        assert_eq!(before.words("").next(), None);
    }
}
