//! The text of a header, as `golden/capture/header.py` writes it.
use gguf_parse::{Gguf, GgufPlan, Value};
use golden::trace::{hex_float, sci};
use sha2::{Digest, Sha256};

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A text in quotes, clipped to 60 characters.
fn quoted(text: &str) -> String {
    let plain = |c: char| match c {
        ' '..='~' if c != '"' && c != '\\' => c.to_string(),
        _ => format!("\\u{{{:x}}}", u32::from(c)),
    };
    let shown: String = text.chars().take(60).map(plain).collect();
    if text.chars().count() <= 60 {
        return format!("\"{shown}\"");
    }
    format!("\"{shown}\"... {} bytes sha256={}", text.len(), sha256(text.as_bytes()))
}

fn float(x: f64) -> String {
    format!("{} ({})", hex_float(x), sci(x))
}

fn shown(value: Value<'_>) -> String {
    match value {
        Value::U8(x) => x.to_string(),
        Value::I8(x) => x.to_string(),
        Value::U16(x) => x.to_string(),
        Value::I16(x) => x.to_string(),
        Value::U32(x) => x.to_string(),
        Value::I32(x) => x.to_string(),
        Value::U64(x) => x.to_string(),
        Value::I64(x) => x.to_string(),
        Value::Bool(x) => x.to_string(),
        Value::F32(x) => float(x.into()),
        Value::F64(x) => float(x),
        Value::Str(text) => quoted(text),
        Value::Array(array) => {
            let bytes: Vec<u8> = array.iter().flat_map(encoded).collect();
            let first: Vec<String> = array.iter().take(4).map(shown).collect();
            let dots = if array.len() > 4 { ", ..." } else { "" };
            let (ty, n) = (array.elem_type().name(), array.len());
            format!("{ty} n={n} sha256={} [{}{dots}]", sha256(&bytes), first.join(", "))
        }
    }
}

/// An element of an array as its hash sees it: decoded and encoded again.
fn encoded(value: Value<'_>) -> Vec<u8> {
    match value {
        Value::U8(x) => x.to_le_bytes().to_vec(),
        Value::I8(x) => x.to_le_bytes().to_vec(),
        Value::U16(x) => x.to_le_bytes().to_vec(),
        Value::I16(x) => x.to_le_bytes().to_vec(),
        Value::U32(x) => x.to_le_bytes().to_vec(),
        Value::I32(x) => x.to_le_bytes().to_vec(),
        Value::U64(x) => x.to_le_bytes().to_vec(),
        Value::I64(x) => x.to_le_bytes().to_vec(),
        Value::F32(x) => x.to_le_bytes().to_vec(),
        Value::F64(x) => x.to_le_bytes().to_vec(),
        Value::Bool(x) => vec![u8::from(x)],
        Value::Str(text) => [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat(),
        Value::Array(_) => Vec::new(),
    }
}

/// The header as this crate's writer makes it from what its reader found.
fn written_again(gguf: &Gguf) -> Vec<u8> {
    let mut plan = GgufPlan::new();
    for (key, value) in gguf.metadata().iter() {
        plan.set(key, value);
    }
    for info in gguf.tensors() {
        plan.tensor(&info.name, info.ty, info.dims.ne());
    }
    plan.header_bytes().unwrap_or_default()
}

pub(crate) fn text_of(gguf: &Gguf) -> String {
    let (version, alignment, offset) = (gguf.version(), gguf.alignment(), gguf.data_offset());
    let (n_kv, n_tensors) = (gguf.metadata().len(), gguf.tensors().len());
    let mut lines = vec![format!(
        "version={version} alignment={alignment} n_kv={n_kv} n_tensors={n_tensors} data_offset={offset}"
    )];
    let header = written_again(gguf);
    lines.push(format!("written again: {} bytes sha256={}", header.len(), sha256(&header)));
    for (key, value) in gguf.metadata().iter() {
        lines.push(format!("kv {} {} {}", quoted(key), value.value_type().name(), shown(value)));
    }
    for info in gguf.tensors() {
        let mut ne = info.dims.ne().to_vec();
        ne.resize(4, 1);
        let shape: Vec<String> = ne.iter().map(u64::to_string).collect();
        let data = gguf.find_tensor(&info.name).map(|view| view.data).unwrap_or_default();
        lines.push(format!(
            "tensor {} {} [{}] offset={} size={} sha256={}",
            quoted(&info.name),
            info.ty.name(),
            shape.join(","),
            info.offset,
            data.len(),
            sha256(data)
        ));
    }
    lines.join("\n")
}
