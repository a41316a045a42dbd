//! What a program that embeds the engine relies on: thread safety, errors instead of panics, cancellation.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "tests: a failed unwrap is a failed test, and sizes are small"
)]

mod common;

use common::load;
use llama_model::{BatchToken, Context, ContextOptions, Model, ModelError, Numerics};
use model_store::Store;
use std::sync::Arc;
use std::sync::atomic::Ordering;

fn smollm2() -> Arc<Model> {
    let path = Store::open().unwrap().resolve("smollm2", &mut |_, _| ()).unwrap();
    load(&path, Numerics::Fast)
}

fn context(n_ctx: usize) -> Context {
    Context::new(smollm2(), &ContextOptions { n_ctx, n_ubatch: 8, ..ContextOptions::default() })
        .unwrap()
}

#[test]
fn send_and_sync() {
    fn send_sync<T: Send + Sync>() {}
    fn send<T: Send>() {}
    send_sync::<Model>();
    send::<Context>();
    send_sync::<ModelError>();
    send_sync::<gguf_parse::Gguf>();
    send_sync::<tokenizer::Tokenizer>();
    send::<sampler::Sampler>();
}

#[test]
fn two_contexts_of_one_model_in_two_threads() {
    let model = smollm2();
    let batch = BatchToken::prompt(0, 0, &[504, 3575, 282, 4649, 314]);
    let logits: Vec<Vec<f32>> = std::thread::scope(|s| {
        let run = || {
            let options = ContextOptions { n_ctx: 64, n_ubatch: 8, ..ContextOptions::default() };
            Context::new(Arc::clone(&model), &options).unwrap().decode(&batch).unwrap().to_vec()
        };
        let threads: Vec<_> = (0..3).map(|_| s.spawn(run)).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(logits[0] == logits[1] && logits[1] == logits[2], "threads disturb each other");
}

#[test]
fn cancelled_between_layers_and_usable_again() {
    let mut c = context(64);
    let batch = BatchToken::prompt(0, 0, &[1, 2, 3]);
    let expected = c.decode(&batch).unwrap().to_vec();
    c.clear(0);
    let flag = c.cancel_flag();
    flag.store(true, Ordering::Relaxed);
    assert!(matches!(c.decode(&batch), Err(ModelError::Cancelled)), "must be cancelled");
    assert_eq!(c.len(0), 0, "a cancelled batch leaves nothing");
    flag.store(false, Ordering::Relaxed);
    assert_eq!(c.decode(&batch).unwrap(), expected);
}

#[test]
fn wrong_batches_are_errors() {
    let mut c = context(16);
    let token = BatchToken { seq: 0, pos: 0, token: 1, output: true };
    for wrong in [
        BatchToken { seq: 1, ..token },
        BatchToken { pos: 1, ..token },
        BatchToken { token: 49_152, ..token },
    ] {
        assert!(matches!(c.decode(&[wrong]), Err(ModelError::Argument { .. })), "{wrong:?}");
    }
    let long = BatchToken::prompt(0, 0, &[1; 17]);
    assert!(
        matches!(c.decode(&long), Err(ModelError::ContextFull { needed: 17, n_ctx: 16 })),
        "17 do not fit"
    );
    assert!(
        c.copy(0, 3, 0).is_err() && c.copy(0, 0, 1).is_err(),
        "no such sequence, no such length"
    );
    assert_eq!(c.decode(&[]).unwrap().len(), 0, "an empty batch is nothing");
    assert_eq!(c.len(0), 0);
}

#[test]
fn a_context_beyond_memory_names_one_that_fits() {
    let options = ContextOptions { n_ctx: 2_000_000_000, ..ContextOptions::default() };
    let error = Context::new(smollm2(), &options).unwrap_err();
    assert!(matches!(error, ModelError::OverBudget { .. }), "{error}");
    assert!(error.to_string().contains("try a context of"), "{error}");
}
