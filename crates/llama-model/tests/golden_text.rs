//! Ten prompts in four types: the text that llama.cpp writes.
//!
//! llama.cpp's ids are fed in, all at once: results do not depend on batches (`invariance.rs`), so an engine whose
//! highest logit is llama.cpp's next id at every step writes its text, token by token.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "tests: a failed unwrap is a failed test, and sizes are small"
)]

mod common;

use common::{context_of, load, smollm2_in};
use golden::text::{GoldenText, Step, golden_text, native_change, prompts};
use llama_model::{BatchToken, Model, Numerics};
use std::sync::Arc;
use tokenizer::Tokenizer;

const TYPES: [&str; 4] = ["Q4_1", "Q4_0", "Q4_K_M", "Q6_K"];

/// The two highest logits behind the prompt and behind each id but the last.
fn steps(model: &Arc<Model>, golden: &GoldenText) -> Vec<Step> {
    let ids: Vec<u32> = golden.prompt_ids.iter().chain(&golden.ids).copied().collect();
    let mut batch = BatchToken::prompt(0, 0, &ids[..ids.len() - 1]);
    batch[golden.prompt_ids.len() - 1..].iter_mut().for_each(|t| t.output = true);
    let mut context = context_of(model, 512);
    let logits = context.decode(&batch).unwrap();
    logits.chunks_exact(model.hparams().n_vocab).map(|row| Step::of(row).unwrap()).collect()
}

#[test]
fn reference_writes_the_text_of_llama_cpp() {
    for ty in TYPES {
        let model = load(&smollm2_in(ty), Numerics::Reference);
        for prompt in prompts() {
            let golden = golden_text(&format!("smollm2-{}", ty.to_lowercase()), &prompt.name);
            let steps = steps(&model, &golden);
            let ids: Vec<u32> = steps.iter().map(|s| s.id).collect();
            assert_eq!(ids, golden.ids, "{ty}, {}", prompt.name);
            for (i, (step, (second, gap))) in steps.iter().zip(&golden.gaps).enumerate() {
                assert_eq!(
                    (step.second, step.gap()),
                    (*second, *gap),
                    "{ty}, {}, step {i}",
                    prompt.name
                );
            }
        }
    }
}

/// `Fast` computes in another order, so where two tokens are nearly equal it may choose the other: only where
/// llama.cpp's own two builds disagree about the gap by more than that gap, and rarely.
#[test]
fn fast_writes_the_text_of_llama_cpp() {
    for ty in TYPES {
        let model = load(&smollm2_in(ty), Numerics::Fast);
        let (mut n_steps, mut n_ties) = (0, 0);
        for prompt in prompts() {
            let name = format!("smollm2-{}", ty.to_lowercase());
            let golden = golden_text(&name, &prompt.name);
            let noise = native_change(&name, &prompt.name);
            let steps = steps(&model, &golden);
            assert_eq!(steps.len(), golden.ids.len());
            for (i, (step, id)) in steps.iter().zip(&golden.ids).enumerate() {
                n_steps += 1;
                if step.id != *id {
                    let gap = golden.gaps[i].1;
                    let place = format!("{ty}, {}, step {i}: {} for {id}", prompt.name, step.id);
                    assert!(
                        gap < noise,
                        "{place}; llama.cpp's gap is {gap}, its builds differ by {noise}"
                    );
                    n_ties += 1;
                }
            }
        }
        println!("Fast, {ty}: {n_ties} of {n_steps} steps are near ties that went the other way");
        assert!(
            n_ties * 100 <= n_steps * 3,
            "{ty}: {n_ties} of {n_steps} steps used the exception"
        );
    }
}

/// The prompts' ids, and the text of the generated ids.
#[test]
fn ids_are_the_text() {
    let path = smollm2_in("Q4_1");
    let gguf = gguf_parse::Gguf::open(&path).unwrap();
    let tokenizer = Tokenizer::from_metadata(gguf.metadata()).unwrap();
    for prompt in prompts() {
        let golden = golden_text("smollm2-q4_1", &prompt.name);
        assert_eq!(
            tokenizer.encode(&prompt.text, true, tokenizer::Special::Parse),
            golden.prompt_ids
        );
        let mut decoder = tokenizer.decoder();
        let ids = golden.ids.iter().filter(|id| !tokenizer.is_eog(**id));
        let text: String = ids.map(|id| decoder.push(*id).to_owned()).collect();
        assert_eq!(
            serde_json::Value::from(text).to_string(),
            golden.quoted_text,
            "{}",
            prompt.name
        );
    }
}
