//! `lockstep compare` at the command line: exit statuses, JSON, and the report.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests: a failed unwrap is a failed test")]

mod common;

use common::{TempFile, arg, run, smollm2};
use std::path::{Path, PathBuf};

/// Sixteen tokens.
const IDS: &str = "504,3575,282,4649,314,7042,30,198,504,3575,282,2034,314,2034,28,284";

fn trace(folder: &Path, name: &str, args: &[&str]) -> PathBuf {
    let path = folder.join(format!("{name}.safetensors"));
    let model = smollm2();
    run(&[&["trace", arg(&model), "-o", arg(&path), "--all"], args].concat()).expect_success();
    path
}

#[test]
fn in_lockstep_is_0_and_diverged_is_1() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let fast = trace(folder, "fast", &["--ids", IDS, "--steps", "1"]);
    let like = ["--like", arg(&fast)];
    let reference = trace(folder, "reference", &[&like[..], &["--numerics", "reference"]].concat());
    let oracle = trace(folder, "oracle", &[&like[..], &["--numerics", "oracle"]].concat());

    let with = ["--noise", arg(&oracle), "--oracle", arg(&oracle)];
    for others in [&[][..], &with] {
        let args = [&["compare", arg(&fast), arg(&reference)], others].concat();
        let outcome = run(&args).expect_success();
        assert!(outcome.stdout.contains("in lockstep"), "{outcome:?}");
    }
    let json = run(&["compare", arg(&fast), arg(&reference), "--json"]).expect_success().json();
    assert_eq!((&json["in_lockstep"], &json["floor"]), (&true.into(), &"derived".into()));
    // All nodes of two evaluations that `fast` has, which computes no scores.
    assert_eq!(json["rows"].as_array().unwrap().len(), 2 * (606 + 60 - 151));
    assert_eq!(json["n_unmatched"][0], 0);

    let other = trace(folder, "other", &["--ids", "504,3575", "--numerics", "reference"]);
    let outcome = run(&["compare", arg(&other), arg(&reference)]);
    assert_eq!(outcome.status, Some(1), "{outcome:?}");
    assert!(outcome.stdout.contains("diverged in evaluation 0: tokenizer"), "{outcome:?}");

    let bad = TempFile::new("bad.safetensors", b"none");
    let outcome = run(&["compare", bad.str(), arg(&reference)]);
    assert_eq!(outcome.status, Some(65), "{outcome:?}");
    let outcome = run(&["compare", "/no/such/file", arg(&reference)]);
    assert_eq!(outcome.status, Some(66), "{outcome:?}");
    let outcome = run(&["compare", arg(&fast), arg(&reference), "--html", "/no/such/folder/x"]);
    assert_eq!(outcome.status, Some(74), "{outcome:?}");
}

/// The marks of each plot: what would be missing if a plot had no data.
fn plots(page: &str) -> Vec<(&str, usize)> {
    page.split("<svg")
        .skip(1)
        .map(|svg| {
            let svg = svg.split("</svg>").next().unwrap();
            let name = svg.split("data-plot=\"").nth(1).unwrap().split('"').next().unwrap();
            let n_marks = match name {
                "errors" => svg.matches("h0").count(),
                "rms" => svg.split("class=\"pa\"").nth(1).unwrap().matches('L').count() + 1,
                _ => svg.matches("<rect").count(),
            };
            (name, n_marks)
        })
        .collect()
}

#[test]
fn the_report_has_every_plot_and_is_small() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // Thirty layers and sixteen tokens.
    let a = trace(folder, "a", &["--ids", IDS, "--numerics", "reference"]);
    let b = trace(folder, "b", &["--like", arg(&a), "--numerics", "reference"]);
    let html = folder.join("report.html");
    run(&["compare", arg(&a), arg(&b), "--html", arg(&html)]).expect_success();
    let page = std::fs::read_to_string(&html).unwrap();
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
    for outside in ["http:", "https:", "src=", "@import", "url("] {
        assert!(!page.contains(outside), "the page wants {outside}");
    }
    let three = |name, n| [(name, n); 3];
    let mut wanted = vec![("errors", 606 + 60), ("rms", 31), ("logits", 20)];
    for _ in 0..3 {
        wanted.extend(three("attention", 16 * 16));
    }
    wanted.extend(three("rope", 16 * 32));
    assert_eq!(plots(&page), wanted);
    assert!(!html.with_extension("html.part").exists(), "nothing is left behind");
}
