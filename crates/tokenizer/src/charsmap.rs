//! SentencePiece's precompiled map of characters: which strings are replaced by which.
//!
//! The strings are in a double array (Kanda, 2018, and `darts-clone`): an entry of 32 bits holds in bits 10 to 30 a
//! base (with bit 9 set, 256 times as large), in bits 0 to 7 the byte that leads to it, and in bit 8 whether a string
//! ends there; then the entry at its base, with bit 31 set, says where in the list of replacements its own begins.
//!
//! ```text
//! u32 bytes of the array | array | replacements, each with a NUL at its end
//! ```

use crate::error::TokenizerError;
use gguf_parse::{ArrayView, Metadata, Value};

const KEY: &str = "tokenizer.ggml.precompiled_charsmap";

/// How far a string is followed. The longest of SentencePiece's own maps has 18 bytes.
const MAX_KEY_BYTES: usize = 1024;

/// The longest replacement, which a file could otherwise blow texts up with. The longest of NFKC has 33 bytes.
const MAX_REPLACEMENT_BYTES: usize = 256;

const LEADS_OUT: &str = "a string of it leads past its end";

/// The map; empty if the file has none.
#[derive(Debug, Default)]
pub(crate) struct CharsMap {
    entries: Vec<Entry>,
    replacements: Vec<u8>,
    ascii: Ascii,
}

/// What the map does with ASCII.
#[derive(Debug)]
struct Ascii {
    /// Bytes of strings that have two or more.
    in_longer: [bool; 256],
    /// ASCII that is left alone whatever ASCII follows: it is no string, and begins none with a second such byte.
    is_plain: [bool; 256],
}

impl Default for Ascii {
    fn default() -> Self {
        let is_ascii = |byte| byte < 128;
        Self { in_longer: [false; 256], is_plain: std::array::from_fn(is_ascii) }
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry(u32);

impl Entry {
    fn base(self) -> usize {
        ((self.0 >> 10) << ((self.0 & 1 << 9) >> 6)) as usize
    }

    /// The byte that leads here; no byte if a value is here.
    fn is_after(self, byte: u8) -> bool {
        self.0 & (1 << 31 | 0xff) == u32::from(byte)
    }

    fn is_end(self) -> bool {
        self.0 >> 8 & 1 == 1
    }

    fn value(self) -> usize {
        (self.0 & !(1 << 31)) as usize
    }
}

impl CharsMap {
    /// Reads the map and checks every string of it.
    pub(crate) fn from_metadata(metadata: Metadata<'_>) -> Result<Self, TokenizerError> {
        let Some(array) = metadata.get_opt::<ArrayView<'_>>(KEY)? else {
            return Ok(Self::default());
        };
        let n = array.len();
        let bytes: Vec<u8> = array
            .iter()
            .map_while(|value| match value {
                Value::U8(byte) => Some(byte),
                Value::I8(byte) => Some(byte.cast_unsigned()),
                _ => None,
            })
            .collect();
        if bytes.len() < n {
            return Err(TokenizerError::ElementType { key: KEY, expected: "u8 or i8" });
        }
        Self::from_bytes(&bytes)
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, TokenizerError> {
        let problem = |problem| TokenizerError::CharsMap { problem };
        let (n_bytes, rest) =
            bytes.split_first_chunk().ok_or(problem("it has less than four bytes"))?;
        let n_bytes = usize::try_from(u32::from_le_bytes(*n_bytes)).unwrap_or(usize::MAX);
        let (array, replacements) =
            rest.split_at_checked(n_bytes).ok_or(problem("it ends before its array does"))?;
        if replacements.last() != Some(&0) {
            return Err(problem("its last replacement has no end"));
        }
        let entries = array.as_chunks().0.iter().map(|&entry| Entry(u32::from_le_bytes(entry)));
        let mut map = Self {
            entries: entries.collect(),
            replacements: replacements.to_vec(),
            ascii: Ascii::default(),
        };
        map.ascii = map.check().map_err(problem)?;
        Ok(map)
    }

    /// Goes everywhere once; fails if a way leads out of the array, to no replacement or to one that is too long.
    fn check(&self) -> Result<Ascii, &'static str> {
        let mut ascii = Ascii::default();
        let Some(root) = self.entries.first() else { return Ok(ascii) };
        let mut seen = vec![false; self.entries.len()];
        // The byte that leads to each from the root, if it is one step away.
        let mut states = vec![(root.base(), None)];
        let mut is_root = true;
        while let Some((state, only)) = states.pop() {
            for byte in 1..=255u8 {
                let at = state ^ usize::from(byte);
                let entry = *self.entries.get(at).ok_or(LEADS_OUT)?;
                if !entry.is_after(byte) {
                    continue;
                }
                if !is_root {
                    ascii.in_longer[usize::from(byte)] = true;
                }
                if let Some(first) = only {
                    ascii.in_longer[usize::from(first)] = true;
                    ascii.is_plain[usize::from(first)] &= !byte.is_ascii();
                }
                if std::mem::replace(&mut seen[at], true) {
                    continue;
                }
                let next = at ^ entry.base();
                if entry.is_end() {
                    self.check_replacement(next)?;
                    ascii.is_plain[usize::from(byte)] &= !is_root;
                }
                states.push((next, is_root.then_some(byte)));
            }
            is_root = false;
        }
        Ok(ascii)
    }

    /// That to which the entry `at` leads.
    fn check_replacement(&self, at: usize) -> Result<(), &'static str> {
        let value = self.entries.get(at).ok_or(LEADS_OUT)?.value();
        let replacement = self.replacements.get(value..).filter(|rest| !rest.is_empty());
        let has_end = replacement
            .ok_or(LEADS_OUT)?
            .iter()
            .take(MAX_REPLACEMENT_BYTES + 1)
            .any(|&byte| byte == 0);
        if has_end { Ok(()) } else { Err("a replacement of it has more than 256 bytes") }
    }

    /// Whether `byte` is ASCII that is left alone whatever ASCII follows.
    #[inline]
    pub(crate) fn is_plain(&self, byte: u8) -> bool {
        self.ascii.is_plain[usize::from(byte)]
    }

    /// Whether `byte` is ASCII that becomes a space, or is one that is left alone, whatever is around it.
    pub(crate) fn is_always_space(&self, byte: u8) -> bool {
        let becomes = self.longest_prefix(&[byte]).map_or(&[byte][..], |(_, to)| to) == b" ";
        byte.is_ascii() && becomes && !self.ascii.in_longer[usize::from(byte)]
    }

    /// The longest string of the map that `text` begins with: its length and replacement.
    pub(crate) fn longest_prefix(&self, text: &[u8]) -> Option<(usize, &[u8])> {
        let mut state = self.entries.first()?.base();
        let mut longest = None;
        for (&byte, len) in text.iter().zip(1..=MAX_KEY_BYTES) {
            let at = state ^ usize::from(byte);
            let Some(entry) =
                self.entries.get(at).filter(|entry| byte != 0 && entry.is_after(byte))
            else {
                break;
            };
            state = at ^ entry.base();
            if entry.is_end() {
                longest = Some((len, self.entries.get(state)?.value()));
            }
        }
        let (len, value) = longest?;
        let replacement = self.replacements.get(value..)?;
        Some((len, replacement.split(|&byte| byte == 0).next()?))
    }
}
