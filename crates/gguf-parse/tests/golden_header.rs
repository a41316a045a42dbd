//! Headers and tensor tables against llama.cpp's reader and writer: `golden/capture/header.py` says what the lines are.
use gguf_parse::{GgmlType, Gguf, GgufPlan, Value};
use golden::hostile::{T1, every_type, mutants, t0};
use golden::trace::{hex_float, sci};
use sha2::{Digest, Sha256};

fn sha256(bytes: &[u8]) -> String {
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

fn text_of(gguf: &Gguf) -> String {
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

#[test]
fn small_files_are_read_and_written_as_by_the_reference() {
    let files = [
        ("t0", t0()),
        ("t1", T1::new().build()),
        ("t1-bpe", T1::bpe().build()),
        ("every-type", every_type()),
    ];
    for (name, file) in files {
        assert_eq!(
            golden::info("header", name)["model_sha256"],
            sha256(&file),
            "{name} is the file of the capture"
        );
        let gguf = Gguf::from_bytes(file).unwrap();
        assert!(gguf.check_strict().is_ok(), "{:?}", gguf.warnings());
        golden::check("header", name, &text_of(&gguf));
    }
}

#[test]
fn smollm2_is_read_and_written_as_by_the_reference() {
    let path = model_store::Store::open().unwrap().resolve("smollm2", &mut |_, _| ()).unwrap();
    let gguf = Gguf::open(&path).unwrap();
    assert!(gguf.check_strict().is_ok(), "{:?}", gguf.warnings());
    golden::check("header", "smollm2-q4_1", &text_of(&gguf));
}

#[test]
fn tensor_types_are_those_of_the_reference() {
    let line = |ty: &GgmlType| {
        format!(
            "{} {}: {} elements in {} bytes",
            ty.id(),
            ty.name(),
            ty.block_elems(),
            ty.block_bytes()
        )
    };
    golden::check(
        "header",
        "tensor-types",
        &GgmlType::ALL.iter().map(line).collect::<Vec<_>>().join("\n"),
    );
}

/// We may refuse more than llama.cpp, never less; and what we refuse more is refused for a reason listed here.
#[test]
fn nothing_is_accepted_that_the_reference_refuses() {
    let text = golden::load("header", "mutants");
    let (head, digits) = text.split_once(" accepted\n").unwrap();
    let digits: Vec<u32> = digits.chars().filter_map(|c| c.to_digit(16)).collect();
    let mut corpus = Sha256::new();
    let mut more = std::collections::BTreeMap::new();
    let (mut n, mut theirs, mut ours) = (0, 0, 0);
    for (i, file) in mutants(1).take(4 * digits.len()).enumerate() {
        n += 1;
        corpus.update(u32::try_from(file.len()).unwrap().to_le_bytes());
        corpus.update(&file);
        let accepted = digits[i / 4] >> (3 - i % 4) & 1 == 1;
        theirs += usize::from(accepted);
        match Gguf::from_bytes(file) {
            Ok(_) => {
                assert!(accepted, "file {i} is accepted, llama.cpp refuses it");
                ours += 1;
            }
            Err(error) if accepted => *more.entry(error.code()).or_insert(0) += 1,
            Err(_) => (),
        }
    }
    let sha256: String = corpus.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        head,
        format!("{n} files sha256={sha256}\n{theirs}"),
        "the files are those of the capture"
    );
    // Its parser leaves to others to find: data that is not there. Not at all: bad text, zero and absent
    // dimensions, names unfit to print, absurd sizes, and files without content.
    let reasons = [
        "E-ALIGN",
        "E-DIM",
        "E-EMPTY",
        "E-KEY",
        "E-NAME",
        "E-NDIMS",
        "E-OVERFLOW",
        "E-TRUNC",
        "E-UTF8",
    ];
    assert!(more.keys().all(|code| reasons.contains(code)), "refused only by us: {more:?}");
    println!("{n} files: {theirs} accepted by llama.cpp, {ours} here; refused only here: {more:?}");
    assert!(ours > 1_000, "{ours} accepted");
}
