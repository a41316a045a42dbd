//! Values of metadata, decoded on demand from the file's bytes.

macro_rules! value_types {
    ($($variant:ident = $id:literal, $name:literal, $bytes:expr;)*) => {
        /// The type of a metadata value, with the ids of the format.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[expect(missing_docs, reason = "the names say it")]
        pub enum ValueType { $($variant = $id,)* }

        impl ValueType {
            /// The type with this id of the file format.
            #[must_use]
            pub fn from_id(id: u32) -> Option<Self> {
                match id { $($id => Some(Self::$variant),)* _ => None }
            }
            /// Its name (`"u8"`), llama.cpp's.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
            /// Bytes of a value; `None` for strings and arrays, whose length varies.
            #[must_use]
            pub fn fixed_bytes(self) -> Option<usize> {
                match self { $(Self::$variant => $bytes,)* }
            }
        }
    };
}

value_types! {
    U8 = 0, "u8", Some(1);
    I8 = 1, "i8", Some(1);
    U16 = 2, "u16", Some(2);
    I16 = 3, "i16", Some(2);
    U32 = 4, "u32", Some(4);
    I32 = 5, "i32", Some(4);
    F32 = 6, "f32", Some(4);
    Bool = 7, "bool", Some(1);
    Str = 8, "str", None;
    Array = 9, "arr", None;
    U64 = 10, "u64", Some(8);
    I64 = 11, "i64", Some(8);
    F64 = 12, "f64", Some(8);
}

impl ValueType {
    /// The id in the file format.
    #[must_use]
    pub fn id(self) -> u32 {
        self as u32
    }
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

impl<'a> Value<'a> {
    /// Its type.
    #[must_use]
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::U8(_) => ValueType::U8,
            Self::I8(_) => ValueType::I8,
            Self::U16(_) => ValueType::U16,
            Self::I16(_) => ValueType::I16,
            Self::U32(_) => ValueType::U32,
            Self::I32(_) => ValueType::I32,
            Self::F32(_) => ValueType::F32,
            Self::Bool(_) => ValueType::Bool,
            Self::Str(_) => ValueType::Str,
            Self::Array(_) => ValueType::Array,
            Self::U64(_) => ValueType::U64,
            Self::I64(_) => ValueType::I64,
            Self::F64(_) => ValueType::F64,
        }
    }

    /// What its type is called in a message, arrays with their element type.
    pub(crate) fn type_name(&self) -> String {
        match self {
            Self::Array(array) => format!("array of {}", array.elem_type().name()),
            other => other.value_type().name().to_string(),
        }
    }

    /// Decodes the bytes of a value that is no array. The grammar has proven their length and that text is UTF-8;
    /// a file that is written to while it is mapped may break that, and then this is `None`, not undefined.
    pub(crate) fn decode(ty: ValueType, bytes: &'a [u8]) -> Option<Self> {
        Some(match ty {
            ValueType::U8 => Self::U8(u8::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::I8 => Self::I8(i8::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::U16 => Self::U16(u16::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::I16 => Self::I16(i16::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::U32 => Self::U32(u32::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::I32 => Self::I32(i32::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::F32 => Self::F32(f32::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::Bool => Self::Bool(u8::from_le_bytes(bytes.try_into().ok()?) != 0),
            ValueType::Str => Self::Str(str::from_utf8(bytes).ok()?),
            ValueType::U64 => Self::U64(u64::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::I64 => Self::I64(i64::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::F64 => Self::F64(f64::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::Array => return None,
        })
    }
}

/// An array of one element type, not yet decoded. Its bytes have been checked against the file.
#[derive(Clone, Copy, PartialEq)]
pub struct ArrayView<'a> {
    pub(crate) elem: ValueType,
    pub(crate) n: usize,
    pub(crate) bytes: &'a [u8],
}

impl<'a> ArrayView<'a> {
    /// Element type.
    #[must_use]
    pub fn elem_type(&self) -> ValueType {
        self.elem
    }

    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.n
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// The elements in order.
    pub fn iter(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        Elements { elem: self.elem, left: self.n, bytes: self.bytes }
    }

    /// The strings, or `None` if the elements are not strings.
    #[must_use]
    pub fn strs(&self) -> Option<impl Iterator<Item = &'a str> + use<'a>> {
        let strings = self.iter().filter_map(<&str as FromValue>::from_value);
        (self.elem == ValueType::Str).then_some(strings)
    }

    /// Copies `f32` elements out (`None` for another type).
    #[must_use]
    pub fn to_f32s(&self) -> Option<Vec<f32>> {
        (self.elem == ValueType::F32).then(|| self.numbers(f32::from_le_bytes))
    }

    /// Copies `i32` elements out (`None` for another type).
    #[must_use]
    pub fn to_i32s(&self) -> Option<Vec<i32>> {
        (self.elem == ValueType::I32).then(|| self.numbers(i32::from_le_bytes))
    }

    /// Copies `u32` elements out (`None` for another type).
    #[must_use]
    pub fn to_u32s(&self) -> Option<Vec<u32>> {
        (self.elem == ValueType::U32).then(|| self.numbers(u32::from_le_bytes))
    }

    /// The elements as `u8`, without a copy (`None` for another type).
    #[must_use]
    pub fn as_u8s(&self) -> Option<&'a [u8]> {
        (self.elem == ValueType::U8).then_some(self.bytes)
    }

    fn numbers<T, const N: usize>(&self, decode: impl Fn([u8; N]) -> T) -> Vec<T> {
        self.bytes.as_chunks::<N>().0.iter().map(|&bytes| decode(bytes)).collect()
    }
}

impl std::fmt::Debug for ArrayView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{}; {}]", self.elem.name(), self.n)
    }
}

/// Walks over an array.
struct Elements<'a> {
    elem: ValueType,
    left: usize,
    bytes: &'a [u8],
}

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let len = match self.elem.fixed_bytes() {
            Some(len) => len,
            None => {
                let (len, rest) = self.bytes.split_first_chunk()?;
                self.bytes = rest;
                usize::try_from(u64::from_le_bytes(*len)).ok()?
            }
        };
        let (value, rest) = self.bytes.split_at_checked(len)?;
        self.bytes = rest;
        Value::decode(self.elem, value)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

/// Types a metadata value can be read as; the stored type must match exactly.
pub trait FromValue<'a>: Sized {
    /// How the type is called in an error message.
    const NAME: &'static str;
    /// The value, if it is of this type.
    fn from_value(value: Value<'a>) -> Option<Self>;
}

macro_rules! from_value {
    ($($t:ty, $v:ident, $name:literal;)*) => { $(
        impl<'a> FromValue<'a> for $t {
            const NAME: &'static str = $name;
            fn from_value(value: Value<'a>) -> Option<Self> {
                if let Value::$v(x) = value { Some(x) } else { None }
            }
        }
    )* };
}

from_value! {
    u8, U8, "u8";
    i8, I8, "i8";
    u16, U16, "u16";
    i16, I16, "i16";
    u32, U32, "u32";
    i32, I32, "i32";
    u64, U64, "u64";
    i64, I64, "i64";
    f32, F32, "f32";
    f64, F64, "f64";
    bool, Bool, "bool";
    &'a str, Str, "str";
    ArrayView<'a>, Array, "array";
}
