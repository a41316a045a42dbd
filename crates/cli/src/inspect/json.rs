//! The view for programs: everything, arrays in full.
use super::plan::{self, Plan, Sum};
use gguf_parse::{Gguf, Metadata, Value};
use serde::{Serialize, Serializer, ser::SerializeMap};
use std::{collections::BTreeMap, path::Path};

/// A file.
#[derive(Serialize)]
pub(super) struct File<'a> {
    path: String,
    file_bytes: u64,
    version: u32,
    alignment: usize,
    metadata: Pairs<'a>,
    tensors: Vec<Tensor<'a>>,
    types: BTreeMap<&'static str, Sum>,
    memory: Plan,
    warnings: &'a [String],
}

#[derive(Serialize)]
struct Tensor<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    ty: &'static str,
    /// Outermost first.
    shape: Vec<u64>,
    offset: u64,
    n_bytes: usize,
    shard: usize,
}

impl<'a> File<'a> {
    pub(super) fn new(path: &Path, gguf: &'a Gguf) -> Self {
        let tensor = |t: &'a gguf_parse::TensorInfo| Tensor {
            name: &t.name,
            ty: t.ty.name(),
            shape: t.dims.ne().iter().rev().copied().collect(),
            offset: t.offset,
            n_bytes: t.n_bytes,
            shard: t.shard,
        };
        Self {
            path: path.display().to_string(),
            file_bytes: gguf.file_bytes(),
            version: gguf.version(),
            alignment: gguf.alignment(),
            metadata: Pairs(gguf.metadata()),
            tensors: gguf.tensors().iter().map(tensor).collect(),
            types: plan::by_type(gguf).into_iter().map(|(ty, sum)| (ty.name(), sum)).collect(),
            memory: Plan::new(gguf),
            warnings: gguf.warnings(),
        }
    }
}

/// Metadata as an object, in file order: `"key": {"type": "u32", "value": 7}`.
struct Pairs<'a>(Metadata<'a>);

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in self.0.iter() {
            map.serialize_entry(key, &Typed::new(value))?;
        }
        map.end()
    }
}

#[derive(Serialize)]
struct Typed<'a> {
    #[serde(rename = "type")]
    ty: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    elem_type: Option<&'static str>,
    value: Plain<'a>,
}

impl<'a> Typed<'a> {
    fn new(value: Value<'a>) -> Self {
        let elem_type = if let Value::Array(a) = value { Some(a.elem_type().name()) } else { None };
        Self { ty: value.value_type().name(), elem_type, value: Plain(value) }
    }
}

/// A value without its type. Numbers that JSON does not have (NaN, infinity) become strings.
struct Plain<'a>(Value<'a>);

impl Serialize for Plain<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::U8(x) => s.serialize_u8(x),
            Value::I8(x) => s.serialize_i8(x),
            Value::U16(x) => s.serialize_u16(x),
            Value::I16(x) => s.serialize_i16(x),
            Value::U32(x) => s.serialize_u32(x),
            Value::I32(x) => s.serialize_i32(x),
            Value::U64(x) => s.serialize_u64(x),
            Value::I64(x) => s.serialize_i64(x),
            Value::F32(x) if x.is_finite() => s.serialize_f32(x),
            Value::F32(x) => s.collect_str(&x),
            Value::F64(x) if x.is_finite() => s.serialize_f64(x),
            Value::F64(x) => s.collect_str(&x),
            Value::Bool(x) => s.serialize_bool(x),
            Value::Str(x) => s.serialize_str(x),
            Value::Array(array) => s.collect_seq(array.iter().map(Plain)),
        }
    }
}
