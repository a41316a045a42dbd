//! The binary, the default model and llama.cpp's greedy text: the whole way, with `Reference`'s exact logits.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]
mod common;

use common::{Outcome, run};
use golden::text::{golden_text, prompts};
use serde::Deserialize;

#[derive(Deserialize)]
struct Report {
    prompt_ids: Vec<u32>,
    ids: Vec<u32>,
    text: String,
    steps: Vec<Vec<(u32, f32)>>,
}

fn report(args: &[&str]) -> Report {
    let args = [&["run", "--raw", "--json", "--temp", "0", "--logits", "2"], args].concat();
    let Outcome { stdout, .. } = run(&args).expect_success();
    serde_json::from_str(&stdout).unwrap()
}

#[test]
fn reference_writes_what_llama_cpp_writes() {
    for prompt in &prompts()[..2] {
        let golden = golden_text("smollm2-q4_1", &prompt.name);
        let ours = report(&[&prompt.text, "-n", "64", "--numerics", "reference"]);
        assert_eq!(ours.prompt_ids, golden.prompt_ids, "{}", prompt.name);
        assert_eq!(ours.ids, golden.ids, "{}", prompt.name);
        let text: String = serde_json::from_str(&golden.quoted_text).unwrap();
        assert_eq!(ours.text.trim_end_matches('\u{fffd}'), text, "{}", prompt.name);
        assert_eq!(ours.steps.len(), golden.gaps.len());
        for (step, (second, gap)) in ours.steps.iter().zip(&golden.gaps) {
            assert_eq!(step[1].0, *second);
            let ours = f64::from(step[0].1) - f64::from(step[1].1);
            assert_eq!(ours.to_bits(), gap.to_bits(), "{}: {ours} is not {gap}", prompt.name);
        }
    }
}

#[test]
fn fast_gives_the_same_bits_however_it_is_run() {
    let prompt = &prompts()[1].text;
    let bits = |args: &[&str]| {
        let report = report(&[&[prompt.as_str(), "-n", "16"], args].concat());
        (report.ids, report.steps)
    };
    let wanted = bits(&["-t", "2"]);
    for args in [&["-t", "1"][..], &["-t", "2", "--no-kv-cache"], &["-t", "5", "-c", "300"]] {
        assert_eq!(bits(args), wanted, "{args:?}");
    }
}
