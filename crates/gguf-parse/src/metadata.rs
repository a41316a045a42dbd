//! Metadata: typed values by key; strings and arrays stay views of the file.
use crate::GgufError;
use crate::header::PairTable;
use crate::value::{FromValue, Value};

/// The metadata of a file, in file order.
#[derive(Debug, Clone, Copy)]
pub struct Metadata<'a> {
    pub(crate) file: &'a [u8],
    pub(crate) table: &'a PairTable,
}

impl<'a> Metadata<'a> {
    /// The value of `key`.
    /// # Errors
    /// `MissingKey`, or `WrongType` with the type found.
    pub fn get<T: FromValue<'a>>(&self, key: &str) -> Result<T, GgufError> {
        self.get_opt(key)?.ok_or_else(|| GgufError::MissingKey { key: key.to_string() })
    }

    /// The value of `key`, `None` if absent.
    /// # Errors
    /// `WrongType` with the type found.
    pub fn get_opt<T: FromValue<'a>>(&self, key: &str) -> Result<Option<T>, GgufError> {
        let Some((entry, value)) = self.table.find(self.file, key) else { return Ok(None) };
        match T::from_value(value) {
            Some(value) => Ok(Some(value)),
            None => Err(GgufError::WrongType {
                key: key.to_string(),
                expected: T::NAME,
                found: value.type_name(),
                byte: entry.type_byte(),
            }),
        }
    }

    /// The raw value of `key`.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<Value<'a>> {
        self.table.find(self.file, key).map(|(_, value)| value)
    }

    /// All pairs in file order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Value<'a>)> + use<'a> {
        let Self { file, table } = *self;
        table.entries.iter().map(move |entry| (entry.key(file), entry.value(file)))
    }

    /// Number of pairs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.entries.is_empty()
    }
}
