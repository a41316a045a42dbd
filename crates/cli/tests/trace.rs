//! `lockstep trace` at the command line.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests: a failed unwrap is a failed test")]

mod common;

use common::{TempFile, arg, run, smollm2};
use compare::TraceFile;

#[test]
fn traces_prompt_and_steps_and_what_is_asked_for() {
    let model = smollm2();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (all, few) = (path("all.safetensors"), path("few.safetensors"));
    let ids = [
        "--ids",
        "504,3575,282,4649,314",
        "-o",
        &all,
        "--all",
        "--rope",
        "--numerics",
        "reference",
    ];
    run(&[&["trace", arg(&model), "--steps", "2"], &ids[..]].concat()).expect_success();
    let trace = TraceFile::open(all.as_ref()).unwrap();
    // As many as llama.cpp's callback delivers, a K and a V of each layer, and the rotations.
    assert_eq!(trace.nodes().len(), 3 * (606 + 60 + 1));
    let evals: Vec<_> = trace.info().evals.iter().map(|e| (e.n_past, e.tokens.len())).collect();
    assert_eq!(evals, [(0, 5), (5, 1), (6, 1)]);
    assert_eq!(trace.node(2, "cache_v_l29", 0).unwrap().shape, [7, 192]);
    assert_eq!(trace.info().model_sha256.len(), 64);
    // Pairs are neighbors in this model: cosine, sine, cosine, sine, ...
    for (eval, first) in [(0, 0.0), (2, 6.0_f64)] {
        let table = trace.node(eval, "rope_table", 0).unwrap();
        let values = trace.values(table).unwrap();
        for (i, row) in values.chunks_exact(64).enumerate() {
            let angle = first + i as f64;
            assert!((row[0] - angle.cos()).abs() < 1e-6, "{eval}, {i}: {}", row[0]);
            assert!((row[1] - angle.sin()).abs() < 1e-6, "{eval}, {i}: {}", row[1]);
            assert!(row[62] > 0.99 && row[63].abs() < 0.01, "the slowest pair");
        }
    }

    // The same tokens in f64, only the layers' outputs.
    let like = ["--like", &all, "--numerics", "oracle", "--nodes", "l_out-*", "-o", &few];
    run(&[&["trace", arg(&model)], &like[..]].concat()).expect_success();
    let few = TraceFile::open(few.as_ref()).unwrap();
    assert_eq!(few.info().evals, trace.info().evals);
    assert_eq!(few.nodes().len(), 3 * 30);
    assert_eq!(few.info().arithmetic, "f64");
}

#[test]
fn a_trace_that_cannot_be_written_leaves_nothing() {
    let model = smollm2();
    let outcome = run(&["trace", arg(&model), "--ids", "1", "-o", "/no/such/folder/x"]);
    assert_eq!(outcome.status, Some(74), "{outcome:?}");
    assert!(outcome.stderr.starts_with("error[E-IO]: /no/such/folder/x: cannot be written"));
    let bad = TempFile::new("bad.safetensors", b"no trace");
    let outcome = run(&["trace", arg(&model), "--like", bad.str(), "-o", "x"]);
    assert_eq!(outcome.status, Some(65), "{outcome:?}");
}
