//! `synth` and `bench`: random models are written as promised, and tests measure what they say.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]
mod common;

use common::{TempFile, arg, run};
use serde_json::{Value, json};
use std::path::PathBuf;

/// A random model in a folder of its own.
fn synth(shape: &str, ty: &str) -> (TempFile, PathBuf) {
    let folder = TempFile::new("placeholder", b"");
    let path = folder.path.with_file_name("model.gguf");
    let outcome = run(&["synth", "--shape", shape, "--type", ty, "-o", arg(&path)]);
    let outcome = outcome.expect_success();
    assert!(outcome.stderr.contains("tensors"), "{outcome:?}");
    (folder, path)
}

/// `lockstep bench -o json` on a tiny model, without warnings.
fn bench(model: &str, more: &[&str]) -> Value {
    let args = ["bench", "-m", model, "-r", "2", "-t", "2", "-o", "json"];
    let outcome = run(&[&args, more].concat()).expect_success();
    assert_eq!(outcome.stderr, "", "{outcome:?}");
    outcome.json()
}

fn names(report: &Value) -> Vec<&str> {
    report["results"].as_array().unwrap().iter().map(|row| row["test"].as_str().unwrap()).collect()
}

#[test]
fn the_same_seed_gives_the_same_file() {
    let (_folder, first) = synth("tiny", "Q4_K_M");
    let (_other_folder, second) = synth("tiny", "q4_k_m");
    let bytes = std::fs::read(&first).unwrap();
    assert!(bytes == std::fs::read(&second).unwrap(), "two files from one seed differ");
    let args = ["synth", "--shape", "tiny", "--type", "Q4_K_M", "--seed", "2", "-o", arg(&second)];
    run(&args).expect_success();
    assert!(bytes != std::fs::read(&second).unwrap(), "an existing file is replaced");
    let left = std::fs::read_dir(first.parent().unwrap()).unwrap().count();
    assert_eq!(left, 2, "no temporary file is left beside the model and the placeholder");
}

#[test]
fn every_type_runs() {
    for ty in [
        "F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0", "Q4_1", "Q5_0", "IQ4_NL",
        "IQ4_XS",
    ] {
        let (_folder, path) = synth("tiny", ty);
        let args = ["run", "-m", arg(&path), "--ids", "1,300", "-n", "2", "--temp", "0", "--json"];
        let report = run(&args).expect_success().json();
        assert_eq!(report["prompt_ids"], json!([1, 300]), "{ty}");
        let inspected = run(&["inspect", "--json", arg(&path)]).expect_success().json();
        assert!(inspected["metadata"]["general.file_type"]["value"].is_u64(), "{ty}");
    }
}

#[test]
fn what_synth_refuses() {
    let refused = |shape: &str, ty: &str, to: &str, status: i32, says: &str| {
        let outcome = run(&["synth", "--shape", shape, "--type", ty, "-o", to]);
        assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(status), ""), "{outcome:?}");
        assert!(outcome.stderr.contains(says), "{says}: {outcome:?}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
    };
    refused("huge", "Q4_0", "x.gguf", 2, "tinyllama-1.1b");
    refused("tiny", "Q3_K_M", "x.gguf", 2, "Q5_1");
    refused("tiny", "Q4_0", "/nowhere/x.gguf", 74, "/nowhere/x.gguf");
    assert_eq!(run(&["synth", "--shape", "tiny", "--type", "Q4_0"]).status, Some(2));
    let seed = ["synth", "--shape", "tiny", "--type", "Q4_0", "-o", "x.gguf", "--seed", "-1"];
    assert_eq!(run(&seed).status, Some(2));
}

#[test]
fn a_report_of_every_kind_of_test() {
    let (_folder, path) = synth("tiny", "Q4_0");
    let more = ["-p", "0,16", "-n", "4", "-np", "1,3", "-pg", "8,2", "-d", "0,5", "--split"];
    let report = bench(arg(&path), &more);
    let wanted = [
        "pp16",
        "tg4",
        "tg4 x3",
        "pp8+tg2",
        "pp16 @ d5",
        "tg4 @ d5",
        "tg4 x3 @ d5",
        "pp8+tg2 @ d5",
    ];
    assert_eq!(names(&report), wanted);
    for row in report["results"].as_array().unwrap() {
        assert_eq!(row["model"], "llama 1M Q4_0", "{row}");
        assert_eq!((&row["threads"], &row["file"]), (&json!(2), &json!(arg(&path))), "{row}");
        let samples = row["samples_tok_per_s"].as_array().unwrap();
        assert_eq!(samples.len(), 2, "{row}");
        assert!(samples.iter().all(|x| x.as_f64().unwrap() > 0.0), "{row}");
        assert!(row["tok_per_s"].as_f64().unwrap() > 0.0, "{row}");
        assert_eq!(row["of_read"].is_number(), row["n_prompt"] == 0, "{row}");
        let shares = ["linears", "attention", "other"].map(|k| row["split"][k].as_f64().unwrap());
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-6, "{row}");
    }
    let machine = &report["machine"][0];
    assert_eq!(machine["threads"], 2);
    assert!(machine["read_bytes_per_s"].as_f64().unwrap() > 1e8, "{machine}");
}

#[test]
fn tables_and_csv() {
    let (_folder, path) = synth("tiny", "Q8_0");
    let args = ["bench", "-m", arg(&path), "-p", "4", "-n", "2", "-r", "1", "-t", "1,2"];
    let table = run(&[&args[..], &["--isa", "scalar"]].concat()).expect_success().stdout;
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with('|')).collect();
    assert_eq!(rows.len(), 2 + 4, "{table}");
    let n_columns = rows[0].matches('|').count();
    assert!(rows.iter().all(|row| row.matches('|').count() == n_columns), "{table}");
    for part in ["llama 1M Q8_0", "scalar", "pp4", "tg2", "t/s", "of peak", "of read"] {
        assert!(table.contains(part), "{part}: {table}");
    }
    assert_eq!(table.lines().filter(|line| line.starts_with("peak of ")).count(), 2, "{table}");
    let csv = run(&[&args[..], &["-o", "csv"]].concat()).expect_success().stdout;
    let n_fields = csv.lines().next().unwrap().split(',').count();
    assert_eq!(csv.lines().count(), 5, "{csv}");
    assert!(csv.lines().all(|line| line.split(',').count() == n_fields), "{csv}");
}

/// A smaller cache is read faster, and the figures know it.
#[test]
fn types_of_the_cache() {
    let (_folder, path) = synth("tiny", "Q8_0");
    let args = ["bench", "-m", arg(&path), "-p", "0", "-n", "2", "-d", "40", "-r", "1", "-t", "1"];
    for (more, title) in [
        (&[][..], "| tg2 @ d40 "),
        (&["-ctk", "q8_0", "-ctv", "q8_0"], "| tg2 @ d40 q8_0 "),
        (&["-ctk", "f32", "--cache-type-v", "q8_0"], "| tg2 @ d40 f32/q8_0 "),
    ] {
        let table = run(&[&args[..], more].concat()).expect_success().stdout;
        assert!(table.contains(title), "{title}: {table}");
    }
    let report = bench(arg(&path), &["-p", "0", "-n", "2", "-ctk", "q8_0"]);
    let row = &report["results"][0];
    assert_eq!((&row["type_k"], &row["type_v"]), (&json!("q8_0"), &json!("f16")), "{row}");
}

/// Weights that stay in the file are named where they are not the usual.
#[test]
fn weights_without_a_copy() {
    let (_folder, path) = synth("tiny", "Q4_K_M");
    let args = ["bench", "-m", arg(&path), "-p", "4", "-n", "2", "-r", "1", "-t", "1"];
    for flag in ["--no-repack", "-nr"] {
        let table = run(&[&args[..], &[flag]].concat()).expect_success().stdout;
        assert!(
            table.contains("| pp4 no-repack ") && table.contains("| tg2 no-repack "),
            "{table}"
        );
    }
    for (more, repack) in [(&[][..], true), (&["--no-repack"], false)] {
        let report = bench(arg(&path), &[&["-p", "4", "-n", "0"], more].concat());
        assert_eq!(report["results"][0]["repack"], json!(repack), "{report}");
    }
}

#[test]
fn what_bench_refuses() {
    let (_folder, path) = synth("tiny", "Q4_0");
    let model = ["bench", "-m", arg(&path)];
    for (more, says) in [
        (&["-p", "0", "-n", "0"][..], "nothing to measure"),
        (&["-p", "x"], "number of tokens"),
        (&["-p", "1048577"], "number of tokens"),
        (&["-p", ""], "number of tokens"),
        (&["-pg", "512"], "two numbers"),
        (&["-pg", "0,1"], "above 0"),
        (&["-np", "0"], "1..=256"),
        (&["-np", "257"], "1..=256"),
        (&["-t", "0"], "1..=1024"),
        (&["-r", "0"], "1..=1000"),
        (&["-o", "xml"], "possible values: md, json, csv"),
        (&["--isa", "mmx"], "scalar"),
        (&["-ctk", "q4_0"], "possible values: f32, f16, q8_0"),
        (&["text"], "unexpected argument"),
    ] {
        let outcome = run(&[&model, more].concat());
        assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(2), ""), "{outcome:?}");
        assert!(outcome.stderr.contains(says), "{says}: {outcome:?}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
    }
    let missing = run(&["bench", "-m", "./missing.gguf"]);
    assert_eq!((missing.status, missing.stdout.as_str()), (Some(66), ""), "{missing:?}");
}
