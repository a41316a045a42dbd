//! Headers and tensor tables against llama.cpp's reader and writer: `golden/capture/header.py` says what the lines are.
#![expect(clippy::expect_used, reason = "helpers of tests fail by panicking")]

mod text;

use gguf_parse::{GgmlType, Gguf};
use golden::hostile::{T1, every_type, mutants, t0};
use sha2::{Digest, Sha256};
use text::{sha256, text_of};

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

/// Checks a model of the registry, fetched if need be.
fn check_registry_model(name: &str, snapshot: &str) {
    let path = model_store::Store::open()
        .and_then(|store| store.resolve(name, &mut |_, _| ()))
        .expect("the model");
    let gguf = Gguf::open(&path).expect("a valid file");
    assert!(gguf.check_strict().is_ok(), "{:?}", gguf.warnings());
    golden::check("header", snapshot, &text_of(&gguf));
}

#[test]
fn smollm2_is_read_and_written_as_by_the_reference() {
    check_registry_model("smollm2", "smollm2-q4_1");
}

#[cfg(feature = "large-models")]
#[test]
fn qwen_is_read_and_written_as_by_the_reference() {
    check_registry_model("qwen2.5-coder-0.5b", "qwen2.5-coder-0.5b");
}

#[cfg(feature = "large-models")]
#[test]
fn gemma_is_read_and_written_as_by_the_reference() {
    check_registry_model("gemma3-270m", "gemma3-270m");
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
