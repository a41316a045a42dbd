//! `Reference` against llama.cpp's scalar build: every traced tensor, the cache and the logits, bit for bit.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "tests: a failed unwrap is a failed test, and sizes are small"
)]

mod common;

use common::{check_traces, check_traces_with, smollm2_in};
use llama_model::KvType;
use llama_model::synth::{SynthModel, SynthOptions, tiny_models};
use std::ops::ControlFlow;

/// SmolLM2 in four types: the tensors of a prompt of five tokens and of three greedy steps.
#[test]
fn smollm2() {
    let mut n_tensors = 0;
    for ty in ["Q4_1", "Q4_0", "Q4_K_M", "Q6_K"] {
        n_tensors += check_traces(&format!("smollm2-{}", ty.to_lowercase()), &smollm2_in(ty));
    }
    // 606 nodes and 60 cache tensors an evaluation, four evaluations, four types.
    assert_eq!(n_tensors, (606 + 60) * 4 * 4, "every tensor of the goldens is compared");
    println!("SmolLM2: {n_tensors} of {n_tensors} traced tensors bit-identical to llama.cpp");
}

/// Small random models: every weight type with grouped and plain heads, head sizes 32 to 128, RoPE scaled in
/// every way, biases.
#[test]
fn tiny_random_models() {
    let folder = tempfile::tempdir().unwrap();
    let (mut n_tensors, mut n_models) = (0, 0);
    // The other architectures are in `architectures.rs`.
    let here = |options: &SynthOptions| options.arch == "llama" && options.experts.is_none();
    for (name, options) in tiny_models().into_iter().filter(|(_, options)| here(options)) {
        let path = folder.path().join(format!("{name}.gguf"));
        SynthModel::new(options).unwrap().write(&path, |_| ControlFlow::Continue(())).unwrap();
        n_tensors += check_traces(&format!("tiny-{name}"), &path);
        n_models += 1;
    }
    assert!(n_models >= 39, "only {n_models} models");
    println!(
        "{n_models} random models: {n_tensors} of {n_tensors} traced tensors bit-identical to llama.cpp"
    );
}

/// Caches of other types than F16.
#[test]
fn caches_of_f32() {
    let folder = tempfile::tempdir().unwrap();
    let mut n_tensors = 0;
    for (name, caches) in [
        (
            "q8_0-gqa",
            &[[KvType::F32, KvType::F32], [KvType::F32, KvType::F16], [KvType::F16, KvType::F32]]
                as &[_],
        ),
        ("qwen2", &[[KvType::F32, KvType::F32]]),
    ] {
        let (_, options) = tiny_models().into_iter().find(|(model, _)| *model == name).unwrap();
        let path = folder.path().join(format!("{name}.gguf"));
        SynthModel::new(options).unwrap().write(&path, |_| ControlFlow::Continue(())).unwrap();
        for types in caches {
            let golden = format!("tiny-{name}-k-{}-v-{}", types[0].name(), types[1].name());
            n_tensors += check_traces_with(&golden, &path, *types);
        }
    }
    assert_eq!(n_tensors, 4 * (3 * 50 + 56), "every tensor of the other caches is compared");
}
