//! The trace format: what is written is read back, the schema knows it, and bad files are refused.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests: a failed unwrap is a failed test")]

use compare::{EvalInfo, TraceError, TraceFile, TraceInfo, Values, Writer};
use serde_json::Value;
use std::path::Path;

fn info() -> TraceInfo {
    TraceInfo {
        engine: "test".to_owned(),
        arithmetic: "none".to_owned(),
        tensor_types: [("output.weight".to_owned(), "q8_0".to_owned())].into(),
        ..TraceInfo::default()
    }
}

/// A trace of three evaluations, with `n_planned` nodes planned for.
fn write(path: &Path, n_planned: usize) {
    let mut writer = Writer::create(path, n_planned).unwrap();
    for eval in 0..3_u32 {
        writer.begin_eval(eval as usize * 2, &[eval, 7]);
        let x = f64::from(eval);
        writer
            .node("Qcur-0", "MUL_MAT", &[2, 2], Values::F32(&[1.0, 2.0, 3.0, eval as f32]))
            .unwrap();
        writer.node("Qcur-0", "ROPE", &[1, 2], Values::F64(&[x, -0.5])).unwrap();
        writer.node("cache_k_l12", "", &[3], Values::F16(&[0x3c00, 0xbc00, 0x0001])).unwrap();
        for i in 0..400 {
            writer.node(&format!("ffn_out-{i}"), "MUL_MAT", &[1], Values::F32(&[0.5])).unwrap();
        }
    }
    writer.finish(info()).unwrap();
}

#[test]
fn what_is_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    // With room for the header, and without: then the data moves.
    let paths = [4000, 0].map(|n| folder.path().join(format!("{n}.safetensors")));
    write(&paths[0], 4000);
    write(&paths[1], 0);
    let lens = paths.clone().map(|path| path.metadata().unwrap().len());
    assert!(lens[0] > lens[1] + 100_000, "{lens:?}: the second header was not made to fit");
    for path in &paths {
        let trace = TraceFile::open(path).unwrap();
        let wanted: Vec<_> =
            (0..3).map(|i| EvalInfo { n_past: i as usize * 2, tokens: vec![i, 7] }).collect();
        assert_eq!(trace.info().evals, wanted);
        assert_eq!(trace.info().tensor_types, info().tensor_types);
        assert_eq!(trace.nodes().len(), 3 * 403);
        let rope = trace.node(2, "Qcur-0", 1).unwrap();
        assert_eq!(
            (rope.label(), rope.layer(), rope.op.as_deref()),
            ("Qcur", Some(0), Some("ROPE"))
        );
        assert_eq!(trace.values(rope).unwrap(), [2.0, -0.5]);
        let product = trace.node(1, "Qcur-0", 0).unwrap();
        assert_eq!((&product.shape[..], trace.values(product).unwrap()[3]), (&[2, 2][..], 1.0));
        let cache = trace.node(0, "cache_k_l12", 0).unwrap();
        assert_eq!((cache.label(), cache.layer(), &cache.op), ("cache_k", Some(12), &None));
        assert_eq!(trace.values(cache).unwrap(), [1.0, -1.0, 2.0_f64.powi(-24)]);
        let names: Vec<_> = trace.nodes()[..3].iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["Qcur-0", "Qcur-0", "cache_k_l12"], "the order of the graph");
    }
}

/// The header's JSON.
fn header(path: &Path) -> Value {
    let bytes = std::fs::read(path).unwrap();
    let n = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    serde_json::from_slice(&bytes[8..8 + n]).unwrap()
}

#[test]
fn the_schema_knows_every_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.safetensors");
    write(&path, 4000);
    let schema =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/trace-metadata.schema.json");
    let schema: Value = serde_json::from_slice(&std::fs::read(schema).unwrap()).unwrap();
    let header = header(&path);
    let metadata = header["__metadata__"].as_object().unwrap();
    assert!(metadata.values().all(Value::is_string), "safetensors allows only strings");
    let known = schema["properties"].as_object().unwrap();
    let (mut written, mut described): (Vec<_>, Vec<_>) =
        (metadata.keys().collect(), known.keys().collect());
    written.sort();
    described.sort();
    assert_eq!(written, described);
    for key in schema["required"].as_array().unwrap() {
        assert!(metadata.contains_key(key.as_str().unwrap()), "{key}");
    }
}

#[test]
fn bad_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.safetensors");
    let meta = r#""__metadata__":{"format":"lockstep-trace","version":"1","engine":"x","evals":"[{\"n_past\":0,\"tokens\":[1]}]"}"#;
    let entry = |name: &str, dtype: &str, shape: &str, offsets: &str| {
        format!(
            r#"{{{meta},"{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#
        )
    };
    let says = |json: &str, n: Option<u64>| {
        let mut bytes = n.unwrap_or(json.len() as u64).to_le_bytes().to_vec();
        bytes.extend(json.as_bytes());
        bytes.extend([0; 16]);
        std::fs::write(&path, bytes).unwrap();
        TraceFile::open(&path).map(|_| ()).map_err(|e| e.to_string())
    };
    assert_eq!(says(&entry("0/a#0", "F32", "[4]", "[0,16]"), None), Ok(()));
    let cases = [
        (says("{", None), "the header is malformed"),
        (says("{}", Some(u64::MAX)), "must have at most"),
        (says("{}", Some(1000)), "ends within the header"),
        (says("{}", None), "the header is malformed"),
        (says(r#"{"__metadata__":{"format":"pt"}}"#, None), "must be \"lockstep-trace\""),
        (says(&meta.replace("0,", "-1,").replacen('"', "{\"", 1), None), "is malformed"),
        (says(&entry("a#0", "F32", "[4]", "[0,16]"), None), "EVALUATION/NAME#OCCURRENCE"),
        (says(&entry("7/a#0", "F32", "[4]", "[0,16]"), None), "not listed"),
        (says(&entry("0/a#0", "I8", "[4]", "[0,16]"), None), "dtype"),
        (says(&entry("0/a#0", "F32", "[5]", "[0,20]"), None), "do not fit"),
        (says(&entry("0/a#0", "F32", "[4]", "[16,0]"), None), "do not fit"),
        (says(&entry("0/a#0", "F64", "[18446744073709551615,4]", "[0,16]"), None), "do not fit"),
    ];
    for (found, wanted) in cases {
        let found = found.unwrap_err();
        assert!(found.contains(wanted), "{found:?}; wanted {wanted:?}");
    }
    assert!(matches!(
        TraceFile::open(folder.path()),
        Err(TraceError::NotSafetensors { .. } | TraceError::Open(_))
    ));
    let missing = TraceFile::open(&folder.path().join("none")).unwrap_err();
    assert_eq!((missing.code(), missing.kind()), ("E-OPEN", compare::TraceErrorKind::Unreadable));
}
