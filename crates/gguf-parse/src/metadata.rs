//! Metadata: typed values by key; strings and arrays stay views of the file.
use crate::GgufError;

/// The type of a metadata value, with the ids of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum ValueType {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    Str = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

/// A metadata value; strings and arrays are views of the file.
#[derive(Debug, Clone, Copy, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Value<'a> {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    Str(&'a str),
    Array(ArrayView<'a>),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// An array of one element type, not yet decoded. Its bytes have been checked against the file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ArrayView<'a> {
    _bytes: &'a [u8],
}

impl<'a> ArrayView<'a> {
    /// Element type.
    #[must_use]
    pub fn elem_type(&self) -> ValueType {
        unimplemented!()
    }
    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        unimplemented!()
    }
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        unimplemented!()
    }
    /// The elements in order.
    pub fn iter(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        std::iter::empty()
    }
    /// The strings, or `None` if the elements are not strings.
    #[must_use]
    pub fn strs(&self) -> Option<impl Iterator<Item = &'a str> + use<'a>> {
        Some(std::iter::empty())
    }
    /// Wraps a string array in memory as a view, for [`crate::GgufPlan`]: see `array_of_strs` in the writer.
    /// Copies numbers out, or `None` if the elements are not `f32`; likewise for the other types.
    #[must_use]
    pub fn to_f32s(&self) -> Option<Vec<f32>> {
        unimplemented!()
    }
    /// Copies `i32` elements out (`None` for another type).
    #[must_use]
    pub fn to_i32s(&self) -> Option<Vec<i32>> {
        unimplemented!()
    }
    /// Copies `u32` elements out (`None` for another type).
    #[must_use]
    pub fn to_u32s(&self) -> Option<Vec<u32>> {
        unimplemented!()
    }
}

/// Types a metadata value can be read as; the stored type must match exactly.
pub trait FromValue<'a>: Sized {
    /// How the type is called in an error message.
    const NAME: &'static str;
    /// The value, if it is of this type.
    fn from_value(value: Value<'a>) -> Option<Self>;
}
macro_rules! from_value { ($($t:ty, $v:ident, $n:literal);* $(;)?) => { $(impl<'a> FromValue<'a> for $t {
    const NAME: &'static str = $n;
    fn from_value(value: Value<'a>) -> Option<Self> { if let Value::$v(x) = value { Some(x) } else { None } }
})* } }
from_value!(u32, U32, "u32"; i32, I32, "i32"; u64, U64, "u64"; f32, F32, "f32"; bool, Bool, "bool"; &'a str, Str, "string"; ArrayView<'a>, Array, "array"; u16, U16, "u16");

/// The metadata of a file, in file order.
#[derive(Debug, Clone, Copy)]
pub struct Metadata<'a> {
    _bytes: &'a [u8],
}

impl<'a> Metadata<'a> {
    /// The value of `key`.
    /// # Errors
    /// `MissingKey`, or `WrongType` with the type found.
    pub fn get<T: FromValue<'a>>(&self, key: &str) -> Result<T, GgufError> {
        let _ = key;
        unimplemented!()
    }
    /// The value of `key`, `None` if absent.
    /// # Errors
    /// `WrongType` with the type found.
    pub fn get_opt<T: FromValue<'a>>(&self, key: &str) -> Result<Option<T>, GgufError> {
        let _ = key;
        unimplemented!()
    }
    /// The raw value of `key`.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<Value<'a>> {
        let _ = key;
        unimplemented!()
    }
    /// All pairs in file order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Value<'a>)> + use<'a> {
        std::iter::empty()
    }
    /// Number of pairs.
    #[must_use]
    pub fn len(&self) -> usize {
        unimplemented!()
    }
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        unimplemented!()
    }
}
