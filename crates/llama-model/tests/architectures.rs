//! Every architecture: `Reference` against llama.cpp's scalar build, bit for bit, and `Fast` against itself.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "tests: a failed unwrap is a failed test, and sizes are small"
)]

mod common;

use common::{check_traces, load_with};
use llama_model::synth::{SynthModel, SynthOptions, tiny_models};
use llama_model::{BatchToken, Context, ContextOptions, Isa, LoadOptions, Numerics};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

fn options_of(model: &str) -> SynthOptions {
    let found = tiny_models().into_iter().find(|(name, _)| name == model);
    found.unwrap_or_else(|| panic!("no tiny model {model}")).1
}

fn write(folder: &Path, model: &str) -> PathBuf {
    let path = folder.join(format!("{model}.gguf"));
    let synth = SynthModel::new(options_of(model)).unwrap();
    synth.write(&path, |_| ControlFlow::Continue(())).unwrap();
    path
}

/// A test for each architecture, with the tiny models that have it.
macro_rules! architectures {
    ($($test:ident $name:literal: $($model:literal),+;)*) => {
        const ARCHITECTURES: &[(&str, &[&str])] = &[$(($name, &[$($model),+])),*];

        $(#[test]
        fn $test() {
            check($name, &[$($model),+]);
        })*
    };
}

architectures! {
    llama "llama": "mixtral";
    mistral3 "mistral3": "mistral3";
    qwen2 "qwen2": "qwen2", "qwen2-tied", "qwen2-yarn";
    qwen3 "qwen3": "qwen3";
    qwen2moe "qwen2moe": "qwen2moe";
    qwen3moe "qwen3moe": "qwen3moe";
    gemma "gemma": "gemma";
    gemma2 "gemma2": "gemma2";
    gemma3 "gemma3": "gemma3", "gemma3-full";
    phi2 "phi2": "phi2";
    phi3 "phi3": "phi3", "phi3-long";
    granite "granite": "granite", "granite-norope";
    granitemoe "granitemoe": "granitemoe";
    minicpm "minicpm": "minicpm";
    olmo2 "olmo2": "olmo2", "olmo2-window";
    smollm3 "smollm3": "smollm3";
    exaone "exaone": "exaone";
    exaone4 "exaone4": "exaone4";
    glm4 "glm4": "glm4";
    internlm2 "internlm2": "internlm2";
    starcoder2 "starcoder2": "starcoder2";
    stablelm "stablelm": "stablelm", "stablelm-parallel";
    command_r "command-r": "command-r";
    cohere2 "cohere2": "cohere2";
    gpt2 "gpt2": "gpt2";
    gptneox "gptneox": "gptneox", "gptneox-in-turn";
    falcon "falcon": "falcon", "falcon-40b";
    nemotron "nemotron": "nemotron";
}

fn check(arch: &str, models: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    for model in models {
        assert_eq!(options_of(model).arch, arch, "{model}");
        let path = write(folder.path(), model);
        let n = check_traces(&format!("tiny-{model}"), &path);
        assert!(n > 150, "{model}: {n} traced tensors are not all");
        fast_is_invariant(model, &path);
    }
}

/// The table for people has a row for each, and no other.
#[test]
fn the_documented_ones_are_these() {
    let text = include_str!("../../../docs/architectures.md");
    let documented: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name)
        .collect();
    let tested: BTreeSet<&str> = ARCHITECTURES.iter().map(|(name, _)| *name).collect();
    assert_eq!(documented, tested);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("unknown.gguf");
    let mut plan = gguf_parse::GgufPlan::new();
    plan.set("general.architecture", gguf_parse::Value::Str("qwen35"));
    std::fs::write(&path, plan.to_bytes(&[]).unwrap()).unwrap();
    let gguf = std::sync::Arc::new(gguf_parse::Gguf::open(&path).unwrap());
    let error = llama_model::Model::load(gguf, &LoadOptions::default(), &mut |_| ()).unwrap_err();
    let llama_model::ModelError::UnknownArch { found, nearest, known } = error else {
        panic!("{error}")
    };
    assert_eq!((found.as_str(), nearest[0]), ("qwen35", "qwen3"));
    assert_eq!(known.iter().copied().collect::<BTreeSet<_>>(), tested, "those that run");
}

/// Logits of a prompt longer than any window and of one more token: the same bits on every instruction set, with any
/// number of threads, in any portions, of weights packed at load or when they are read.
fn fast_is_invariant(model: &str, path: &Path) {
    let prompt: Vec<u32> = (0..300_u32).map(|i| (i * i * 31 + i * 97 + 5) % 320).collect();
    let run = |isa, n_threads, n_ubatch, repack| {
        let numerics = Numerics::Fast;
        let net = load_with(path, &LoadOptions { numerics, n_threads, isa, repack });
        let options = ContextOptions { n_ctx: 512, n_ubatch, ..ContextOptions::default() };
        let mut context = Context::new(net, &options).unwrap();
        let mut bits = Vec::new();
        for batch in [BatchToken::prompt(0, 0, &prompt), BatchToken::prompt(0, 300, &[7])] {
            bits.extend(context.decode(&batch).unwrap().iter().map(|l| l.to_bits()));
        }
        bits
    };
    let expected = run(Isa::Scalar, 2, 512, true);
    for isa in Isa::available() {
        for (n_threads, n_ubatch, repack) in
            [(1, 512, true), (3, 7, true), (2, 64, true), (2, 512, false), (3, 7, false)]
        {
            let place = format!("{model}, {isa}, {n_threads} threads, {n_ubatch}, {repack}");
            assert!(run(isa, n_threads, n_ubatch, repack) == expected, "{place}");
        }
    }
}
