//! The grammar of a GGUF header, one function a rule. All numbers are little-endian.
//!
//! ```text
//! file     := header padding data
//! header   := "GGUF" version:u32 n_tensors:u64 n_kv:u64 pair{n_kv} tensor{n_tensors}
//! pair     := key:string type:u32 value
//! value    := a number of 1, 2, 4 or 8 bytes | bool:u8 | string | array
//! array    := type:u32 n:u64 value{n}                       -- not of arrays
//! string   := length:u64 byte{length}                       -- UTF-8
//! tensor   := name:string n_dims:u32 ne:i64{n_dims} type:u32 offset:u64
//! padding  := zeros up to a multiple of general.alignment (32 if absent)
//! data     := (bytes of a tensor, padding){n_tensors}
//! ```
//! Versions 2 and 3 share this layout; 3 only adds big-endian files, which this crate refuses.
//! Source: the GGUF specification of the ggml project, and what llama.cpp accepts.
//!
//! A rule checks every length and count against the bytes that are left, before it loops or slices. No rule
//! calls itself, and none allocates but for an error.
use crate::fault::{Fault, Parsed, fail, fail_short, failure};
use crate::limits::{self, to_u64};
use crate::tensor::Dims;
use crate::{GgmlType, GgufError, ValueType, looks_like};
use nom::Err;
use nom::bytes::complete::{tag, take};
use nom::number::complete::{le_i64, le_u32, le_u64};

/// The fixed start of the header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Prelude {
    pub(crate) version: u32,
    pub(crate) n_tensors: usize,
    pub(crate) n_kv: usize,
}

/// `"GGUF" version:u32 n_tensors:u64 n_kv:u64`, 24 bytes.
pub(crate) fn prelude(i: &[u8]) -> Parsed<'_, Prelude> {
    let (i, ()) = magic(i)?;
    let (i, version) = version(i)?;
    let (at_n_kv, n_tensors) = le_u64(i)?;
    let (rest, n_kv) = le_u64(at_n_kv)?;
    let n_tensors = count(i, rest, n_tensors, &TENSORS)?;
    let n_kv = count(at_n_kv, rest, n_kv, &PAIRS)?;
    if n_tensors == 0 && n_kv == 0 {
        return fail(i, |byte| GgufError::NoContent { byte });
    }
    Ok((rest, Prelude { version, n_tensors, n_kv }))
}

fn magic(i: &[u8]) -> Parsed<'_, ()> {
    const MAGIC: &[u8] = b"GGUF";
    let matched: Parsed<'_, &[u8]> = tag(MAGIC)(i);
    match matched {
        Ok((rest, _)) => Ok((rest, ())),
        Err(fault) if MAGIC.starts_with(i) => Err(fault),
        Err(_) => fail(i, move |_| GgufError::BadMagic {
            found: i.iter().take(4).map(|&b| char::from(b)).collect(),
            looks_like: looks_like::looks_like(i),
        }),
    }
}

fn version(i: &[u8]) -> Parsed<'_, u32> {
    let (rest, found) = le_u32(i)?;
    match found {
        2 | 3 => Ok((rest, found)),
        0 => fail(i, move |_| GgufError::BadVersion { found }),
        1 => fail(i, move |_| {
            unsupported(found, "GGUF v1 is not supported, convert the model again")
        }),
        _ if found & 0xffff == 0 => {
            fail(i, move |_| unsupported(found, "this is a big-endian file"))
        }
        _ => fail(i, move |_| unsupported(found, "this file is newer than v3")),
    }
}

fn unsupported(found: u32, reason: &'static str) -> GgufError {
    GgufError::UnsupportedVersion { found, reason }
}

/// What is counted: how many there may be, and how long each is at least.
struct Counted {
    what: &'static str,
    limit: u64,
    min_bytes: u64,
}

/// A pair is a key, a type, and at least a byte of value.
const PAIRS: Counted =
    Counted { what: "the number of metadata pairs", limit: limits::PAIRS, min_bytes: 8 + 4 + 1 };
/// A tensor is a name, the number of its dimensions, a type and an offset.
const TENSORS: Counted =
    Counted { what: "the number of tensors", limit: limits::TENSORS, min_bytes: 8 + 4 + 4 + 8 };

/// The count at `at` of things in `rest`.
fn count<'a>(
    at: &[u8],
    rest: &[u8],
    found: u64,
    counted: &Counted,
) -> Result<usize, Err<Fault<'a>>> {
    let what = counted.what;
    let max = counted.limit.min(to_u64(rest.len()) / counted.min_bytes);
    match usize::try_from(found) {
        Ok(n) if found <= max => Ok(n),
        _ => Err(failure(at, false, move |byte| GgufError::Count { what, found, max, byte })),
    }
}

/// One metadata pair.
#[derive(Debug)]
pub(crate) struct Pair<'a> {
    pub(crate) key: &'a str,
    pub(crate) ty: ValueType,
    pub(crate) value: RawValue<'a>,
}

/// The bytes of a value, without the prefix that tells their number.
#[derive(Debug)]
pub(crate) struct RawValue<'a> {
    /// Element type, of an array.
    pub(crate) elem: Option<ValueType>,
    /// Number of elements; 1 if this is no array.
    pub(crate) n: usize,
    pub(crate) bytes: &'a [u8],
}

/// `pair := key:string type:u32 value`
pub(crate) fn pair(i: &[u8]) -> Parsed<'_, Pair<'_>> {
    let (i, key) = key(i)?;
    let (i, ty) = value_type(i, key)?;
    let (i, value) = if ty == ValueType::Array { array(i, key)? } else { scalar(i, key, ty)? };
    Ok((i, Pair { key, ty, value }))
}

fn key(i: &[u8]) -> Parsed<'_, &str> {
    let (rest, key) = string(i, What::Key)?;
    let found = match key.len() {
        0 => "empty".to_string(),
        n if to_u64(n) > limits::KEY_BYTES => format!("{n} bytes long"),
        _ if has_control(key) => "text with control characters".to_string(),
        _ => return Ok((rest, key)),
    };
    fail(i, move |byte| GgufError::BadKey { key: key.to_string(), found, byte })
}

/// Whether there are control characters in `text`.
fn has_control(text: &str) -> bool {
    // Looking for the bytes that can begin one is 50 times faster, and keys may fill 256 MiB.
    let suspicious =
        text.bytes().fold(false, |any, b| any | (b < 0x20) | (b == 0x7f) | (b == 0xc2));
    suspicious && text.contains(char::is_control)
}

fn value_type<'a>(i: &'a [u8], key: &'a str) -> Parsed<'a, ValueType> {
    let (rest, found) = le_u32(i)?;
    match ValueType::from_id(found) {
        Some(ty) => Ok((rest, ty)),
        None => {
            fail(i, move |byte| GgufError::UnknownValueType { key: key.to_string(), found, byte })
        }
    }
}

fn scalar<'a>(i: &'a [u8], key: &'a str, ty: ValueType) -> Parsed<'a, RawValue<'a>> {
    let (i, bytes) = match ty.fixed_bytes() {
        None => string(i, What::Value(key)).map(|(i, text)| (i, text.as_bytes()))?,
        Some(_) if ty == ValueType::Bool => bools(i, key, 1)?,
        Some(n) => take(n)(i)?,
    };
    Ok((i, RawValue { elem: None, n: 1, bytes }))
}

/// `array := type:u32 n:u64 value{n}`
fn array<'a>(i: &'a [u8], key: &'a str) -> Parsed<'a, RawValue<'a>> {
    let (at_n, elem) = value_type(i, key)?;
    if elem == ValueType::Array {
        return fail(i, move |byte| GgufError::NestedArray { key: key.to_string(), byte });
    }
    let (i, found) = le_u64(at_n)?;
    // A string takes at least the 8 bytes of its length.
    let max = limits::ARRAY_ELEMS.min(to_u64(i.len() / elem.fixed_bytes().unwrap_or(8)));
    let too_long = move |byte| GgufError::ArrayLength { key: key.to_string(), found, max, byte };
    let n = match usize::try_from(found) {
        Ok(n) if found <= max => n,
        _ if found > limits::ARRAY_ELEMS => return fail(at_n, too_long),
        _ => return fail_short(at_n, too_long),
    };
    let (i, bytes) = match elem.fixed_bytes() {
        None => strings(i, key, n)?,
        Some(_) if elem == ValueType::Bool => bools(i, key, n)?,
        Some(size) => take(n.saturating_mul(size))(i)?,
    };
    Ok((i, RawValue { elem: Some(elem), n, bytes }))
}

/// `n` strings, one after the other.
fn strings<'a>(i: &'a [u8], key: &'a str, n: usize) -> Parsed<'a, &'a [u8]> {
    let mut rest = i;
    for _ in 0..n {
        (rest, _) = string(rest, What::Item(key))?;
    }
    take(i.len() - rest.len())(i)
}

/// `n` bytes, each 0 or 1.
fn bools<'a>(i: &'a [u8], key: &'a str, n: usize) -> Parsed<'a, &'a [u8]> {
    let (rest, bytes) = take(n)(i)?;
    match bytes.iter().copied().enumerate().find(|&(_, b)| b > 1) {
        None => Ok((rest, bytes)),
        Some((at, found)) => {
            fail(&i[at..], move |byte| GgufError::BadBool { key: key.to_string(), found, byte })
        }
    }
}

/// What a string is, for messages.
#[derive(Clone, Copy)]
enum What<'a> {
    Key,
    Value(&'a str),
    Item(&'a str),
    TensorName,
}

impl What<'_> {
    fn describe(self) -> String {
        match self {
            Self::Key => "a metadata key".to_string(),
            Self::Value(key) => format!("the string {}", crate::Escaped(key)),
            Self::Item(key) => format!("a string of {}", crate::Escaped(key)),
            Self::TensorName => "a tensor name".to_string(),
        }
    }
}

/// `string := length:u64 byte{length}`
fn string<'a>(i: &'a [u8], what: What<'a>) -> Parsed<'a, &'a str> {
    let (rest, found) = le_u64(i)?;
    let max = limits::STRING_BYTES.min(to_u64(rest.len()));
    let too_long = move |byte| GgufError::StringLength { what: what.describe(), found, max, byte };
    let len = match usize::try_from(found) {
        Ok(len) if found <= max => len,
        _ if found > limits::STRING_BYTES => return fail(i, too_long),
        _ => return fail_short(i, too_long),
    };
    let (after, bytes) = take(len)(rest)?;
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok((after, text)),
        Err(e) => fail(&rest[e.valid_up_to()..], move |byte| GgufError::Utf8 {
            what: what.describe(),
            byte,
        }),
    }
}

/// One row of the tensor table.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    pub(crate) name: &'a str,
    pub(crate) ty: GgmlType,
    pub(crate) dims: Dims,
    pub(crate) n_bytes: usize,
    pub(crate) offset: u64,
}

/// `tensor := name:string n_dims:u32 ne:i64{n_dims} type:u32 offset:u64`; the offset must be `expected`.
pub(crate) fn tensor(i: &[u8], expected: u64) -> Parsed<'_, Row<'_>> {
    let (at_dims, name) = tensor_name(i)?;
    let (at_type, dims) = dims(at_dims, name)?;
    let (at_offset, ty) = tensor_type(at_type, name)?;
    let n_cols = dims.ne()[0];
    if n_cols % to_u64(ty.block_elems()) != 0 {
        return fail(at_dims, move |byte| GgufError::PartialBlock {
            name: name.to_string(),
            ty,
            found: n_cols,
            byte,
        });
    }
    let n_bytes = match dims.n_bytes(ty) {
        Some(n) if to_u64(n) <= limits::TENSOR_BYTES => n,
        _ => return fail(at_dims, move |byte| too_large(name, dims.ne(), byte)),
    };
    let (rest, offset) = le_u64(at_offset)?;
    if offset != expected {
        return fail(at_offset, move |byte| GgufError::BadOffset {
            name: name.to_string(),
            found: offset,
            expected,
            byte,
        });
    }
    Ok((rest, Row { name, ty, dims, n_bytes, offset }))
}

fn tensor_name(i: &[u8]) -> Parsed<'_, &str> {
    let (after_len, len) = le_u64(i)?;
    let (name, found) = if len == 0 || len > limits::TENSOR_NAME_BYTES {
        let shown = after_len.len().min(usize::try_from(len).unwrap_or(usize::MAX)).min(64);
        (String::from_utf8_lossy(&after_len[..shown]).into_owned(), format!("{len} bytes long"))
    } else {
        let (rest, name) = string(i, What::TensorName)?;
        // Names end up on terminals, and in the file names of dumps.
        let found = if has_control(name) {
            "text with control characters"
        } else if name.split(['/', '\\']).any(|part| part == "..") {
            "a path"
        } else {
            return Ok((rest, name));
        };
        (name.to_string(), found.to_string())
    };
    fail(i, move |byte| GgufError::BadTensorName { name, found, byte })
}

/// `n_dims:u32 ne:i64{n_dims}`
fn dims<'a>(i: &'a [u8], name: &'a str) -> Parsed<'a, Dims> {
    let (mut rest, n_dims) = le_u32(i)?;
    if !(1..=4).contains(&n_dims) {
        return fail(i, move |byte| GgufError::DimCount {
            name: name.to_string(),
            found: n_dims,
            byte,
        });
    }
    let mut ne = [1; 4];
    for (dim, slot) in ne.iter_mut().enumerate().take(n_dims as usize) {
        let (after, found) = le_i64(rest)?;
        *slot = match u64::try_from(found) {
            Ok(n) if n > 0 => n,
            _ => {
                return fail(rest, move |byte| GgufError::BadDim {
                    name: name.to_string(),
                    dim,
                    found,
                    byte,
                });
            }
        };
        rest = after;
    }
    match Dims::new(&ne[..n_dims as usize]) {
        Some(dims) => Ok((rest, dims)),
        None => fail(i, move |byte| too_large(name, &ne, byte)),
    }
}

fn too_large(name: &str, ne: &[u64], byte: u64) -> GgufError {
    GgufError::TensorSize { name: name.to_string(), ne: ne.to_vec(), byte }
}

fn tensor_type<'a>(i: &'a [u8], name: &'a str) -> Parsed<'a, GgmlType> {
    let (rest, found) = le_u32(i)?;
    match GgmlType::from_id(found) {
        Some(ty) => Ok((rest, ty)),
        None => fail(i, move |byte| GgufError::UnknownTensorType {
            name: name.to_string(),
            found,
            what: GgmlType::why_unknown(found),
            byte,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::has_control;

    #[test]
    fn every_control_character_is_found() {
        for c in (0..0x3000).filter_map(char::from_u32) {
            assert_eq!(has_control(&format!("a{c}b")), c.is_control(), "{c:?}");
        }
    }
}
