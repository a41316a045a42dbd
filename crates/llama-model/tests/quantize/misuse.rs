//! What must be refused, and what is left then: nothing. And the header's details.
use crate::{folder, go_on};
use gguf_parse::{ErrorClass, GgmlType, Gguf, GgufPlan, Value};
use llama_model::quantize::{
    FileType, QuantizeError, QuantizeOptions, QuantizeProgress, quantize_file, quantize_path,
};
use std::ops::ControlFlow;
use std::path::PathBuf;

/// A model of one layer with these tensors, f32 matrices of 256 columns unless said otherwise.
fn small(tensors: &[(&str, GgmlType, &[u64], Vec<u8>)]) -> (GgufPlan, Vec<u8>) {
    let mut plan = GgufPlan::new();
    plan.set("general.architecture", Value::Str("llama"));
    plan.set("general.file_type", Value::U32(0));
    plan.set("llama.block_count", Value::U32(1));
    for (name, ty, ne, _) in tensors {
        plan.tensor(name, *ty, ne);
    }
    let data: Vec<&[u8]> = tensors.iter().map(|(_, _, _, data)| data.as_slice()).collect();
    let bytes = plan.to_bytes(&data).unwrap();
    (plan, bytes)
}

fn f32s(n: usize, value: f32) -> Vec<u8> {
    value.to_le_bytes().repeat(n)
}

fn quantize(source: Vec<u8>, file_type: FileType) -> (Result<Gguf, QuantizeError>, Vec<PathBuf>) {
    let folder = folder().unwrap();
    let target = folder.path().join("target.gguf");
    let source = Gguf::from_bytes(source).unwrap();
    let result = quantize_file(&source, &target, file_type, &QuantizeOptions::new(), &mut go_on);
    let result = result.map(|_| Gguf::from_bytes(std::fs::read(&target).unwrap()).unwrap());
    let left = folder.path().read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    (result, left)
}

/// The error, after a look at what is left: nothing.
fn refused(source: Vec<u8>, file_type: FileType) -> QuantizeError {
    let (result, left) = quantize(source, file_type);
    assert_eq!(left, Vec::<PathBuf>::new(), "nothing is left");
    result.unwrap_err()
}

#[test]
fn header_is_in_order() {
    let (mut plan, _) = small(&[]);
    plan.set("general.alignment", Value::U32(128));
    plan.set("split.no", Value::U16(0));
    plan.set("split.tensors.count", Value::I32(4));
    plan.set("general.name", Value::Str("after all"));
    plan.tensor("blk.1.ffn_up.weight", GgmlType::F32, &[256, 1]);
    plan.tensor("output.weight", GgmlType::F32, &[256, 2, 1]);
    plan.tensor("blk.0.ffn_up.weight", GgmlType::F32, &[256, 1, 2]);
    plan.tensor("blk.0.attn_q.bias", GgmlType::F32, &[256, 2]);
    let data = [1, 2, 2, 2].map(|rows| f32s(256 * rows, 0.5));
    let data: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
    let (result, _) = quantize(plan.to_bytes(&data).unwrap(), FileType::Q4_K_M);
    let target = result.unwrap();
    let keys: Vec<&str> = target.metadata().iter().map(|(key, _)| key).collect();
    let want = [
        "general.architecture",
        "llama.block_count",
        "general.name",
        "general.quantization_version",
        "general.file_type",
    ];
    assert_eq!(keys, want);
    assert_eq!(target.metadata().get::<u32>("general.file_type").unwrap(), 15);
    assert_eq!(target.alignment(), 32);
    let table: Vec<_> =
        target.tensors().iter().map(|t| (t.name.as_str(), t.ty, t.dims.ne())).collect();
    let want: [(&str, GgmlType, &[u64]); 4] = [
        ("output.weight", GgmlType::Q6_K, &[256, 2]),
        ("blk.0.attn_q.bias", GgmlType::F32, &[256, 2]),
        ("blk.0.ffn_up.weight", GgmlType::Q4_K, &[256, 1, 2]),
        ("blk.1.ffn_up.weight", GgmlType::F32, &[256]),
    ];
    assert_eq!(table, want);
}

#[test]
fn requantizing_must_be_allowed() {
    let tensor = ("blk.0.ffn_up.weight", GgmlType::Q8_0, &[256, 2][..], vec![0; 16 * 34]);
    let (_, source) = small(&[tensor]);
    let error = refused(source.clone(), FileType::Q4_0);
    let QuantizeError::Requantize { tensor, ty: GgmlType::Q8_0 } = &error else {
        panic!("{error}")
    };
    assert_eq!(tensor, "blk.0.ffn_up.weight");
    assert_eq!((error.class(), error.code()), (ErrorClass::Usage, "E-REQUANTIZE"));
    // A tensor that keeps its type is no second quantization.
    quantize(source, FileType::Q8_0).0.unwrap();
}

#[test]
fn types_without_a_conversion_are_refused() {
    let tq2_0 = ("blk.0.ffn_up.weight", GgmlType::TQ2_0, &[256, 2][..], vec![0; 2 * 66]);
    let i32s = ("blk.0.ffn_up.weight", GgmlType::I32, &[32, 2][..], vec![0; 64 * 4]);
    let (_, source) = small(&[i32s]);
    let error = refused(source, FileType::F16);
    let QuantizeError::Unsupported { from, to, .. } = &error else { panic!("{error}") };
    assert_eq!(
        (*from, *to, error.class()),
        (GgmlType::I32, GgmlType::F16, ErrorClass::Unsupported)
    );
    let (_, source) = small(&[tq2_0]);
    let folder = folder().unwrap();
    let options = QuantizeOptions::new().allow_requantize(true);
    let source = Gguf::from_bytes(source).unwrap();
    let target = folder.path().join("target.gguf");
    let error = quantize_file(&source, &target, FileType::F16, &options, &mut go_on).unwrap_err();
    assert!(matches!(error, QuantizeError::Unsupported { from: GgmlType::TQ2_0, .. }), "{error}");
}

#[test]
fn numbers_that_are_not_finite_are_refused() {
    for (name, ne) in [("blk.0.ffn_up.weight", &[256, 300][..]), ("output_norm.weight", &[76_800])]
    {
        let mut data = f32s(256 * 300, 1.0);
        data[4 * 70_000..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
        data[4 * 70_001..][..4].copy_from_slice(&f32::INFINITY.to_le_bytes());
        let (_, source) = small(&[(name, GgmlType::F32, ne, data)]);
        let error = refused(source, FileType::Q8_0);
        let QuantizeError::NotFinite { tensor, source } = &error else { panic!("{error}") };
        assert_eq!(tensor, name);
        assert_eq!(source.to_string(), "f32 block 70000 holds a number that is infinite or NaN");
        assert_eq!((error.class(), error.code()), (ErrorClass::Malformed, "E-NAN"));
    }
}

#[test]
fn weights_beyond_the_scale_are_refused() {
    let data = [f32s(256 * 299, 1.0), f32s(256, 1e9)].concat();
    let (_, source) = small(&[("blk.0.ffn_up.weight", GgmlType::F32, &[256, 300], data)]);
    let error = refused(source.clone(), FileType::Q8_0);
    let QuantizeError::OutOfRange { to: GgmlType::Q8_0, source: at, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(at.to_string(), "q8_0 block 2392 holds a number that is infinite or NaN");
    assert!(matches!(refused(source.clone(), FileType::F16), QuantizeError::OutOfRange { .. }));
    quantize(source, FileType::BF16).0.unwrap();
}

#[test]
fn metadata_is_needed() {
    let (mut plan, _) = small(&[]);
    let source = |plan: &GgufPlan| plan.to_bytes(&[]).unwrap();
    assert_eq!(refused(source(plan.remove("llama.block_count")), FileType::F16).code(), "E-KEY");
    plan.set("general.architecture", Value::Str("glm5-next"));
    let error = refused(source(&plan), FileType::F16);
    assert_eq!((error.class(), error.code()), (ErrorClass::Unsupported, "E-ARCH"));
}

#[test]
fn a_file_is_not_quantized_onto_itself() {
    let folder = folder().unwrap();
    let path = folder.path().join("model.gguf");
    let (_, bytes) = small(&[("output.weight", GgmlType::F32, &[256, 2], f32s(512, 1.0))]);
    std::fs::write(&path, &bytes).unwrap();
    let detour =
        folder.path().join("..").join(folder.path().file_name().unwrap()).join("model.gguf");
    let options = QuantizeOptions::new();
    let error = quantize_path(&path, &detour, FileType::F16, &options, &mut go_on).unwrap_err();
    assert!(matches!(&error, QuantizeError::SameFile { path } if *path == detour), "{error}");
    assert_eq!((error.class(), error.code()), (ErrorClass::Usage, "E-SAMEFILE"));
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "the file is as it was");

    let other = folder.path().join("other.gguf");
    std::fs::write(&other, "to be replaced").unwrap();
    let report = quantize_path(&path, &other, FileType::F16, &options, &mut go_on).unwrap();
    assert_eq!((report.n_tensors, report.n_converted, report.n_fallback), (1, 1, 0));
    assert_eq!((report.bytes_from, report.bytes_to), (2048, 1024));
    assert_eq!(Gguf::open(&other).unwrap().tensors()[0].ty, GgmlType::F16);
}

#[test]
fn a_missing_folder_and_a_missing_source_are_errors() {
    let folder = folder().unwrap();
    let (_, bytes) = small(&[]);
    let path = folder.path().join("model.gguf");
    let options = QuantizeOptions::new();
    let error = quantize_path(&path, &path, FileType::F16, &options, &mut go_on).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Unreadable, "{error}");
    std::fs::write(&path, bytes).unwrap();
    let target = folder.path().join("nowhere").join("target.gguf");
    let error = quantize_path(&path, &target, FileType::F16, &options, &mut go_on).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Io, "{error}");
}

#[test]
fn progress_tells_and_can_cancel() {
    let tensor = |name| (name, GgmlType::F32, &[256, 4][..], f32s(1024, 1.0));
    let (_, source) = small(&[
        tensor("blk.0.attn_q.weight"),
        tensor("blk.0.attn_k.weight"),
        tensor("output.weight"),
    ]);
    let source = Gguf::from_bytes(source).unwrap();
    let folder = folder().unwrap();
    let target = folder.path().join("target.gguf");
    let mut seen = Vec::new();
    let mut progress = |p: QuantizeProgress<'_>| {
        seen.push((p.index, p.name.to_owned(), p.from, p.to, p.bytes_done));
        assert_eq!((p.n_tensors, p.bytes_total), (3, 3 * 4096));
        if p.index == 1 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let options = QuantizeOptions::new();
    let error =
        quantize_file(&source, &target, FileType::Q4_K_M, &options, &mut progress).unwrap_err();
    assert!(matches!(error, QuantizeError::Cancelled), "{error}");
    let want =
        [("output.weight", GgmlType::Q6_K, 0), ("blk.0.attn_k.weight", GgmlType::Q4_K, 4096)];
    for (i, ((name, to, done), seen)) in want.into_iter().zip(&seen).enumerate() {
        assert_eq!(*seen, (i, name.to_owned(), GgmlType::F32, to, done));
    }
    assert_eq!(seen.len(), 2, "no call after the break");
    assert_eq!(folder.path().read_dir().unwrap().count(), 0, "nothing is left");
}
