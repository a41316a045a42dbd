//! Layers with a sliding window keep what they need: the same bits as when they keep all positions.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "tests: a failed unwrap is a failed test, and sizes are small"
)]

mod common;

use gguf_parse::Gguf;
use llama_model::synth::{Shape, SynthModel, SynthOptions, SynthValue, tiny_models};
use llama_model::{
    BatchToken, Context, ContextOptions, Isa, KvType, LoadOptions, Model, ModelError, NodeData,
    NodeName, Trace,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const N_CTX: usize = 1536;

/// A tiny model whose windows are of `n_swa` positions.
fn options(name: &str, n_swa: u32) -> SynthOptions {
    let (_, mut options) = tiny_models().into_iter().find(|(other, _)| *other == name).unwrap();
    options.keys.retain(|(key, _)| *key != "attention.sliding_window");
    options.keys.push(("attention.sliding_window", SynthValue::U32(n_swa)));
    if name == "exaone4" {
        // Only the model of 64 layers has windows.
        let shape = Shape { n_layer: 64, n_embd: 64, n_ff: 96, ..options.shape };
        options.shape = Shape { n_head: 2, n_head_kv: 1, n_embd_head: 32, ..shape };
    }
    options
}

fn gguf(options: SynthOptions) -> Arc<Gguf> {
    Arc::new(Gguf::from_bytes(SynthModel::new(options).unwrap().to_bytes().unwrap()).unwrap())
}

fn load(gguf: &Arc<Gguf>, isa: Isa, n_threads: usize) -> Arc<Model> {
    let options = LoadOptions { isa, n_threads, ..LoadOptions::default() };
    Arc::new(Model::load(Arc::clone(gguf), &options, &mut |_| ()).unwrap())
}

fn context(model: &Arc<Model>, options: ContextOptions) -> Context {
    Context::new(Arc::clone(model), &ContextOptions { n_ctx: N_CTX, ..options }).unwrap()
}

fn windowed(n_ubatch: usize, n_seq: usize) -> ContextOptions {
    ContextOptions { n_ubatch, n_seq, ..ContextOptions::default() }
}

fn full() -> ContextOptions {
    ContextOptions { swa_full: true, ..ContextOptions::default() }
}

fn prompt(n: usize) -> Vec<u32> {
    (0..n as u32).map(|i| (i * i * 31 + i * 977 + 504) % 300).collect()
}

/// `tokens` at `pos..`, with logits at the last and at some others.
fn batch(seq: usize, pos: usize, tokens: &[u32]) -> Vec<BatchToken> {
    let mut batch = BatchToken::prompt(seq, pos, tokens);
    batch.iter_mut().filter(|t| t.pos % 61 == 0).for_each(|t| t.output = true);
    batch
}

fn decode(context: &mut Context, batch: &[BatchToken]) -> Vec<u32> {
    context.decode(batch).unwrap().iter().map(|l| l.to_bits()).collect()
}

/// A prompt of many windows, and four tokens one by one.
fn run(context: &mut Context, prompt: &[u32]) -> Vec<u32> {
    let mut all = decode(context, &batch(0, 0, prompt));
    for i in 0..4 {
        all.extend(decode(context, &BatchToken::prompt(0, prompt.len() + i, &[7 + i as u32])));
    }
    all
}

#[test]
fn every_architecture_with_windows() {
    let prompt = prompt(1300);
    for name in ["gemma2", "gemma3", "cohere2", "olmo2-window", "exaone4"] {
        let windows: &[u32] = if name == "exaone4" { &[100] } else { &[3, 100, 256] };
        for &n_swa in windows {
            let gguf = gguf(options(name, n_swa));
            let model = load(&gguf, Isa::detect(), 2);
            let n_layer = model.hparams().n_layer;
            let n_windows = (0..n_layer).filter(|il| model.hparams().n_swa(*il).is_some()).count();
            assert!((1..n_layer).contains(&n_windows), "{name}: layers of both kinds");
            let mut whole = context(&model, full());
            let expected = run(&mut whole, &prompt);
            assert!(whole.cache_f32(0, 0).is_some(), "{name}: all positions are there");
            for (isa, n_threads, n_ubatch) in [
                (Isa::detect(), 2, 512),
                (Isa::detect(), 1, 64),
                (Isa::detect(), 3, 7),
                (Isa::detect(), 2, 300),
                (Isa::Scalar, 2, 31),
            ] {
                if name == "exaone4" && n_ubatch < 64 {
                    continue;
                }
                let model = load(&gguf, isa, n_threads);
                let mut context = context(&model, windowed(n_ubatch, 1));
                let place = format!("{name}, window {n_swa}, {isa}, {n_threads}, {n_ubatch}");
                assert!(run(&mut context, &prompt) == expected, "{place}");
                let il = (0..n_layer).find(|il| model.hparams().n_swa(*il).is_some()).unwrap();
                assert!(context.cache_f32(il, 0).is_none(), "{place}: positions are gone");
            }
        }
    }
}

#[test]
fn types_of_the_cache() {
    let (prompt, gguf) = (prompt(900), gguf(options("gemma3", 100)));
    let model = load(&gguf, Isa::detect(), 2);
    for (type_k, type_v) in [(KvType::F32, KvType::Q8_0), (KvType::Q8_0, KvType::F16)] {
        let of = |options| context(&model, ContextOptions { type_k, type_v, ..options });
        let expected = run(&mut of(full()), &prompt);
        assert!(run(&mut of(windowed(64, 1)), &prompt) == expected, "{type_k:?} {type_v:?}");
    }
}

/// A sequence goes on from an earlier position, or says that it cannot.
#[test]
fn going_back() {
    let (prompt, gguf) = (prompt(1300), gguf(options("gemma2", 100)));
    let model = load(&gguf, Isa::detect(), 2);
    let mut whole = context(&model, full());
    let rest = |context: &mut Context, from: usize| {
        decode(context, &BatchToken::prompt(0, from, &prompt[from..]))
    };
    let expected = rest(&mut whole, 0);
    assert_eq!(whole.truncate(0, 5), 5, "all positions are kept");
    assert!(rest(&mut whole, 5) == expected, "a full cache goes back anywhere");

    // A ring of 256: positions from 1044 on, which a window that begins there needs.
    let mut c = context(&model, windowed(64, 1));
    assert!(rest(&mut c, 0) == expected, "from the start");
    for len in [1300, 1299, 1200, 1236, 1143] {
        let from = c.truncate(0, len);
        assert_eq!((from, c.len(0)), (len, len));
        if len < 1300 {
            assert!(rest(&mut c, from) == expected, "back to {len}");
        }
    }
    assert_eq!(c.truncate(0, 1142), 0, "too far back");
    assert!(c.is_empty(), "nothing is left");
    assert!(rest(&mut c, 0) == expected, "once more");

    // What was lost stays lost, also when the sequence was short since.
    assert_eq!(c.truncate(0, 1143), 1143);
    assert_eq!(c.truncate(0, 1142), 0);
    // A short sequence goes back anywhere.
    assert_eq!(decode(&mut c, &batch(0, 0, &prompt[..256])).len() % model.hparams().n_vocab, 0);
    for len in [200, 99, 1] {
        assert_eq!(c.truncate(0, len), len);
    }
    assert!(rest(&mut c, 1) == expected, "from the second position");
    c.clear(0);
    assert!(rest(&mut c, 0) == expected, "after all is forgotten");
}

#[test]
fn copies_and_neighbors() {
    let (prompt, gguf) = (prompt(1300), gguf(options("gemma3", 60)));
    let model = load(&gguf, Isa::detect(), 2);
    let other: Vec<u32> = prompt.iter().rev().copied().collect();
    let alone = |tokens: &[u32], from| {
        let mut c = context(&model, full());
        c.decode(&BatchToken::prompt(0, 0, &tokens[..from])).unwrap();
        decode(&mut c, &batch(0, from, &tokens[from..]))
    };
    let mut c = context(&model, windowed(50, 3));
    // Sequences of different lengths, token by token in turn, while a third one rests.
    c.decode(&BatchToken::prompt(0, 0, &prompt[..700])).unwrap();
    c.decode(&BatchToken::prompt(1, 0, &other[..100])).unwrap();
    let turns = batch(0, 700, &prompt[700..]).into_iter().zip(batch(1, 100, &other[100..700]));
    let turns: Vec<BatchToken> = turns.flat_map(|(a, b)| [a, b]).collect();
    let both = decode(&mut c, &turns);
    let n_vocab = model.hparams().n_vocab;
    let rows: Vec<&[u32]> = both.chunks_exact(n_vocab).collect();
    let outputs = turns.iter().filter(|t| t.output);
    let of = |seq| {
        let rows = outputs.clone().zip(&rows).filter(move |(t, _)| t.seq == seq);
        rows.flat_map(|(_, row)| row.to_vec()).collect::<Vec<u32>>()
    };
    assert!(of(0) == alone(&prompt, 700), "the longer one");
    assert!(of(1) == alone(&other[..700], 100), "the shorter one");

    // A copy is cut, and both go on.
    assert_eq!(c.copy(0, 2, 1250).unwrap(), 1250);
    assert_eq!(c.truncate(0, 1250), 1250);
    let expected = alone(&prompt, 1250);
    for seq in [2, 0] {
        assert!(decode(&mut c, &batch(seq, 1250, &prompt[1250..])) == expected, "{seq}");
    }
    assert_eq!(c.copy(0, 2, 600).unwrap(), 0, "too far back to go on");
    assert_eq!(c.len(2), 0);
    assert!(matches!(c.copy(0, 2, 1301), Err(ModelError::Argument { .. })));
    assert_eq!((c.copy(2, 1, 0).unwrap(), c.len(1)), (0, 0));
}

/// Cancels at the first node of a layer's n-th pass.
struct CancelAt {
    n_passes: usize,
    flag: Arc<AtomicBool>,
}

impl Trace for CancelAt {
    fn node(&mut self, name: NodeName, _: &[usize], _: NodeData<'_>) {
        if name.label == "l_out" && name.il == Some(1) {
            self.n_passes -= 1;
            self.flag.store(self.n_passes == 0, Ordering::SeqCst);
        }
    }
}

/// Wherever a long batch is stopped, what is said to be held is enough to go on.
#[test]
fn cancelled() {
    let (prompt, gguf) = (prompt(1300), gguf(options("gemma3", 100)));
    let model = load(&gguf, Isa::detect(), 2);
    let expected = decode(&mut context(&model, full()), &BatchToken::prompt(0, 0, &prompt));
    for (n_passes, len) in [(1, 400), (2, 400), (3, 0), (9, 0)] {
        let mut c = context(&model, windowed(64, 2));
        c.decode(&BatchToken::prompt(0, 0, &prompt[..400])).unwrap();
        c.decode(&BatchToken::prompt(1, 0, &prompt[..300])).unwrap();
        let flag = c.cancel_flag();
        let mut trace = CancelAt { n_passes, flag: Arc::clone(&flag) };
        let batch = BatchToken::prompt(0, 400, &prompt[400..]);
        let stopped = c.decode_traced(&batch, &mut trace);
        assert!(matches!(stopped, Err(ModelError::Cancelled)), "{n_passes}");
        flag.store(false, Ordering::SeqCst);
        assert_eq!((c.len(0), c.len(1)), (len, 300), "{n_passes} passes");
        for (seq, len) in [(0, len), (1, 300)] {
            let rest = BatchToken::prompt(seq, len, &prompt[len..]);
            assert!(decode(&mut c, &rest) == expected, "{n_passes} passes, sequence {seq}");
        }
    }
}

#[test]
fn memory_is_planned() {
    let model = load(&gguf(options("gemma3", 100)), Isa::detect(), 2);
    let bytes = |n_ctx, swa_full| {
        let options = ContextOptions { n_ctx, swa_full, n_ubatch: 64, ..Default::default() };
        model.context_bytes(&options)
    };
    let hp = model.hparams();
    let n_windows = (0..hp.n_layer).filter(|il| hp.n_swa(*il).is_some()).count() as u64;
    let cell = 2 * 2 * hp.n_embd_kv() as u64;
    // The rings have 256 cells.
    let saved = n_windows * (1 << 20) * cell - n_windows * 256 * cell;
    assert_eq!(bytes(1 << 20, true) - bytes(1 << 20, false), saved);
    assert_eq!(bytes(256, true), bytes(256, false), "a ring would not be smaller");
    let budget = bytes(1 << 16, true);
    let max = |swa_full| {
        let options = ContextOptions { swa_full, n_ubatch: 64, ..Default::default() };
        model.max_context(&options, budget)
    };
    assert_eq!(max(true), 1 << 16);
    assert!(max(false) > 4 * max(true), "{} positions fit", max(false));
}
