//! A validated header: what the grammar found, kept as positions in the file.
use crate::fault::Parsed;
use crate::grammar::{self, Pair, Row};
use crate::index::{Duplicate, NameIndex};
use crate::limits::{self, to_u64};
use crate::value::{ArrayView, Value, ValueType};
use crate::{GgufError, Metadata, TensorInfo};
use std::ops::Range;

/// Alignment of a file that does not say.
pub(crate) const DEFAULT_ALIGNMENT: u32 = 32;
/// The key that says.
pub(crate) const ALIGNMENT_KEY: &str = "general.alignment";

/// Everything before the data section.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) version: u32,
    pub(crate) alignment: u64,
    pub(crate) pairs: PairTable,
    pub(crate) tensors: Vec<TensorInfo>,
    pub(crate) tensor_index: NameIndex,
    /// Where each row of the table stands.
    pub(crate) rows_at: Vec<u64>,
    /// Where the tensor table ends.
    pub(crate) end: usize,
}

impl Header {
    /// Moves the tensor table out.
    pub(crate) fn take_tensors(&mut self) -> (Vec<TensorInfo>, NameIndex) {
        (std::mem::take(&mut self.tensors), std::mem::take(&mut self.tensor_index))
    }
}

/// The metadata pairs in file order, and an index by key.
#[derive(Debug)]
pub(crate) struct PairTable {
    pub(crate) entries: Vec<Entry>,
    index: NameIndex,
}

/// A pair as positions in the file.
#[derive(Debug)]
pub(crate) struct Entry {
    key: Range<usize>,
    ty: ValueType,
    elem: Option<ValueType>,
    n: usize,
    value: Range<usize>,
}

impl Entry {
    /// `pair` stands in the file at `all`.
    fn new(pair: &Pair<'_>, all: Range<usize>) -> Self {
        // The key follows its own length, and nothing follows the value.
        let key = all.start.saturating_add(8);
        Self {
            key: key..key.saturating_add(pair.key.len()),
            ty: pair.ty,
            elem: pair.value.elem,
            n: pair.value.n,
            value: all.end.saturating_sub(pair.value.bytes.len())..all.end,
        }
    }

    pub(crate) fn key<'a>(&self, file: &'a [u8]) -> &'a str {
        // Proven by the grammar; empty only if the file was written to since.
        str::from_utf8(self.key_bytes(file)).unwrap_or_default()
    }

    fn key_bytes<'a>(&self, file: &'a [u8]) -> &'a [u8] {
        file.get(self.key.clone()).unwrap_or_default()
    }

    pub(crate) fn value<'a>(&self, file: &'a [u8]) -> Value<'a> {
        let bytes = file.get(self.value.clone()).unwrap_or_default();
        match self.elem {
            Some(elem) => Value::Array(ArrayView { elem, n: self.n, bytes }),
            None => Value::decode(self.ty, bytes).unwrap_or(Value::Str("")),
        }
    }

    /// Where the file says what type the value has.
    pub(crate) fn type_byte(&self) -> u64 {
        to_u64(self.key.end)
    }

    fn value_byte(&self) -> u64 {
        to_u64(self.value.start)
    }
}

impl PairTable {
    fn new(file: &[u8], entries: Vec<Entry>) -> Result<Self, GgufError> {
        let index = NameIndex::new(entries.len(), |row| entries[row].key_bytes(file)).map_err(
            |Duplicate(row)| GgufError::DuplicateKey {
                key: entries[row].key(file).to_string(),
                byte: to_u64(entries[row].key.start),
            },
        )?;
        Ok(Self { entries, index })
    }

    pub(crate) fn find<'a>(&self, file: &'a [u8], key: &str) -> Option<(&Entry, Value<'a>)> {
        let row = self.index.find(key.as_bytes(), |row| self.entries[row].key_bytes(file))?;
        self.entries.get(row).map(|entry| (entry, entry.value(file)))
    }
}

/// Parses and validates everything up to the data section; whether the data is all there is for the caller to check.
pub(crate) fn parse(file: &[u8]) -> Result<Header, GgufError> {
    let mut at = Cursor { file, end: file.len(), pos: 0 };
    let start = at.next(grammar::prelude)?.0;
    at.end = file.len().min(at.pos.saturating_add(limits::METADATA_BYTES));
    let mut entries = Vec::with_capacity(start.n_kv);
    for _ in 0..start.n_kv {
        let (pair, range) = at.next(grammar::pair)?;
        entries.push(Entry::new(&pair, range));
    }
    at.end = file.len();
    let pairs = PairTable::new(file, entries)?;
    let alignment = alignment(&Metadata { file, table: &pairs })?;
    let (tensors, rows_at) = tensor_table(&mut at, start.n_tensors, alignment)?;
    let tensor_index = NameIndex::new(tensors.len(), |row| tensors[row].name.as_bytes()).map_err(
        |Duplicate(row)| GgufError::DuplicateTensor {
            name: tensors[row].name.clone(),
            byte: rows_at[row],
        },
    )?;
    Ok(Header {
        version: start.version,
        alignment,
        pairs,
        tensors,
        tensor_index,
        rows_at,
        end: at.pos,
    })
}

/// Applies one rule after the other.
struct Cursor<'a> {
    file: &'a [u8],
    /// Rules see nothing from here on.
    end: usize,
    pos: usize,
}

impl<'a> Cursor<'a> {
    /// What `rule` finds here, and where it stands.
    fn next<T>(
        &mut self,
        rule: impl FnOnce(&'a [u8]) -> Parsed<'a, T>,
    ) -> Result<(T, Range<usize>), GgufError> {
        let input = self.file.get(self.pos..self.end).unwrap_or_default();
        match rule(input) {
            Ok((rest, found)) => {
                let range = self.pos..self.end.saturating_sub(rest.len());
                self.pos = range.end;
                Ok((found, range))
            }
            Err(nom::Err::Error(fault) | nom::Err::Failure(fault)) => {
                Err(fault.locate(self.end, self.end < self.file.len()))
            }
            // Only nom's streaming parsers say this, and none is used.
            Err(nom::Err::Incomplete(_)) => {
                Err(GgufError::Truncated { found: to_u64(self.file.len()), byte: to_u64(self.pos) })
            }
        }
    }
}

fn alignment(metadata: &Metadata<'_>) -> Result<u64, GgufError> {
    let found = metadata.get_opt::<u32>(ALIGNMENT_KEY)?.unwrap_or(DEFAULT_ALIGNMENT);
    if found.is_power_of_two() && found <= limits::ALIGNMENT {
        return Ok(u64::from(found));
    }
    let byte = metadata
        .table
        .find(metadata.file, ALIGNMENT_KEY)
        .map_or(0, |(entry, _)| entry.value_byte());
    Err(GgufError::BadAlignment { found, byte })
}

/// The rows of the table. Each tensor must begin where the one before it ends, rounded up to the alignment, as
/// llama.cpp demands: so none overlap, none is misaligned, and nothing hides between them.
fn tensor_table(
    at: &mut Cursor<'_>,
    n: usize,
    alignment: u64,
) -> Result<(Vec<TensorInfo>, Vec<u64>), GgufError> {
    let mut tensors = Vec::with_capacity(n);
    let mut rows_at = Vec::with_capacity(n);
    let mut expected = 0_u64;
    for _ in 0..n {
        let (row, range) = at.next(|i| grammar::tensor(i, expected))?;
        let Row { name, ty, dims, n_bytes, offset } = row;
        // At most 2^16 tensors of 2^44 bytes: far from wrapping.
        expected = expected.saturating_add(to_u64(n_bytes)).next_multiple_of(alignment);
        rows_at.push(to_u64(range.start));
        tensors.push(TensorInfo { name: name.to_string(), ty, dims, offset, n_bytes, shard: 0 });
    }
    Ok((tensors, rows_at))
}
