//! `lockstep perplexity`: llama.cpp's numbers, its files, and what goes wrong.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]
mod common;

use common::{TempFile, arg, run, run_with_input, smollm2};
use golden::hostile::T1;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;

/// With `Reference`, what is printed and the file that is written are the scalar build's to the last byte: on x86-64
/// with glibc, as everything of `Reference`.
#[test]
fn the_numbers_and_the_file_are_llama_cpps() {
    let folder = tempfile::tempdir().unwrap();
    let text = golden::root().join("text/rabbit-hole.txt");
    let base = folder.path().join("base.kld");
    let model = smollm2();
    let reference = ["--numerics", "reference", "--kl-base", arg(&base)];
    let args =
        ["perplexity", arg(&model), "-f", arg(&text), "-c", "128", "--chunks", "2", "--json"];
    let report = run(&[&args[..], &reference].concat()).expect_success().json();
    let mut found = String::new();
    for (i, ppl) in report["chunks"].as_array().unwrap().iter().enumerate() {
        found += &format!("[{}]{:.4}\n", i + 1, ppl.as_f64().unwrap());
    }
    let of = |key| report["perplexity"][key].as_f64().unwrap();
    found += &format!("Final estimate: PPL = {:.4} +/- {:.5}\n", of("mean"), of("uncertainty"));
    let bytes = fs::read(&base).unwrap();
    let hash: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
    found += &format!("base bytes={} sha256={hash}\n", bytes.len());
    golden::check("perplexity", "smollm2-q4_1", &found);

    let q4_0 = folder.path().join("q4_0.gguf");
    run(&["quantize", arg(&model), arg(&q4_0), "Q4_0", "--allow-requantize"]).expect_success();
    let compared = [&["perplexity", arg(&q4_0), "--kl-divergence"][..], &reference].concat();
    let compared = run(&compared).expect_success();
    golden::check("perplexity", "smollm2-q4_0", &compared.stdout);
}

/// The smallest model there is, and a text of forty tokens.
fn small() -> (TempFile, TempFile) {
    (
        TempFile::new("t1.gguf", &T1::new().build()),
        TempFile::new("text", "ab ".repeat(13).as_bytes()),
    )
}

fn parse(report: &str) -> Value {
    serde_json::from_str(report).unwrap_or_else(|e| panic!("{e}: {report}"))
}

#[test]
fn a_model_beside_itself() {
    let (model, text) = small();
    let folder = tempfile::tempdir().unwrap();
    let (base, logits) = (folder.path().join("base"), folder.path().join("logits.npy"));
    let args = ["perplexity", model.str(), "--json"];
    let files = ["--kl-base", arg(&base), "--logits", arg(&logits)];
    let text_args = ["-f", text.str(), "-c", "8"];
    let written = run(&[&args[..], &text_args, &files].concat()).expect_success().json();
    let n_chunk = written["n_chunk"].as_u64().unwrap();
    assert!(n_chunk > 2, "{written}");
    assert_eq!(written["n_tokens"], json!(n_chunk * 3));
    assert_eq!(written["chunks"].as_array().unwrap().last(), Some(&written["perplexity"]["mean"]));
    assert_eq!((&written["kl"], &written["interrupted"]), (&json!(null), &json!(false)));

    let npy = fs::read(&logits).unwrap();
    let shape = String::from_utf8_lossy(&npy[10..128]).into_owned();
    let n_vocab = T1::tokens().len() as u64;
    assert!(shape.contains(&format!("'shape': ({}, {n_vocab})", n_chunk * 7)), "{shape}");
    assert_eq!(npy.len() as u64, 128 + n_chunk * 7 * n_vocab * 4);

    let with_input = run_with_input(
        &[&args[..], &["-f", "-", "-c", "8", "-t", "3"]].concat(),
        &fs::read(text.str()).unwrap(),
    );
    assert_eq!(with_input.expect_success().json()["perplexity"], written["perplexity"]);

    let compare = [&args[..], &["--kl-base", arg(&base), "--kl-divergence"]].concat();
    let same = parse(&run(&compare).expect_success().stdout);
    assert_eq!(same["perplexity"], written["perplexity"]);
    assert_eq!(same["kl"]["same_top"]["mean"], json!(1.0));
    assert!(same["kl"]["kld"]["mean"].as_f64().unwrap().abs() < 1e-4, "{same}");
    let first = run(&[&compare[..], &["--chunks", "1"]].concat()).expect_success().json();
    assert_eq!((&first["n_chunk"], &first["chunks"][0]), (&json!(1), &written["chunks"][0]));
    let few = run(&["perplexity", model.str(), "--kl-base", arg(&base), "--kl-divergence"]);
    assert!(few.expect_success().stdout.contains("too few for statistics"));
}

#[test]
fn what_is_wrong_says_what_to_do() {
    let (model, text) = small();
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("base");
    let write = ["perplexity", model.str(), "-f", text.str(), "-c", "8", "--kl-base", arg(&base)];
    run(&write).expect_success();
    let good = fs::read(&base).unwrap();
    let cut = TempFile::new("cut", &good[..good.len() - 1]);
    let mut larger = good.clone();
    larger[12] += 1;
    let larger = TempFile::new("larger", &larger);
    let compare =
        |base: &str| run(&["perplexity", model.str(), "--kl-base", base, "--kl-divergence"]);
    let on = |more: &[&str]| run(&[&["perplexity", model.str()], more].concat());
    for (outcome, status, says) in [
        (on(&["-f", text.str()]), 2, "take a longer text, or a context of at most"),
        (on(&["-f", text.str(), "-c", "2"]), 2, "must be at least 3"),
        (on(&["-f", text.str(), "-c", "8", "--chunks", "0"]), 2, "must be at least 1"),
        (on(&["-f", "no-such-file"]), 66, "no-such-file"),
        (on(&[]), 2, "--file <FILE>"),
        (on(&["--kl-divergence"]), 2, "--kl-base"),
        (run(&write), 2, "add --kl-divergence to compare with it"),
        (compare(text.str()), 65, "does not begin with"),
        (compare(cut.str()), 65, "write it again"),
        (compare(arg(folder.path())), 66, "no regular file"),
        (compare(larger.str()), 2, "only models with one vocabulary compare"),
        (
            on(&["-f", text.str(), "-c", "8", "--logits", arg(folder.path())]),
            74,
            "cannot be written",
        ),
    ] {
        assert_eq!(outcome.status, Some(status), "{says}: {outcome:?}");
        assert!(outcome.stderr.contains(says), "{says}: {outcome:?}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
    }
    assert_eq!(fs::read(&base).unwrap(), good, "nothing was overwritten");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "and nothing is left");
}
