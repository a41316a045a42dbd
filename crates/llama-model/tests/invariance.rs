//! The same bits, whatever the threads, the micro-batch, the cache or the company.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "tests: a failed unwrap is a failed test, and sizes are small"
)]

mod common;

use common::load_with;
use gguf_parse::{GgmlType, Gguf};
use llama_model::synth::{Shape, SynthModel, SynthOptions, tiny_models};
use llama_model::{
    BatchToken, Context, ContextOptions, Isa, KvType, LoadOptions, Model, ModelError, NodeData,
    NodeName, Numerics, Trace,
};
use model_store::Store;
use std::ops::ControlFlow;
use std::sync::Arc;

const ALL: [Numerics; 3] = [Numerics::Fast, Numerics::Reference, Numerics::Oracle];

fn smollm2(numerics: Numerics, n_threads: usize) -> Arc<Model> {
    let path = Store::open().unwrap().resolve("smollm2", &mut |_, _| ()).unwrap();
    load_with(&path, &LoadOptions { numerics, n_threads, ..LoadOptions::default() })
}

/// A prompt without meaning but with many different tokens.
fn prompt(n: usize) -> Vec<u32> {
    (0..n as u32).map(|i| (i * i * 31 + i * 977 + 504) % 49_152).collect()
}

fn context(model: &Arc<Model>, n_seq: usize, n_ubatch: usize) -> Context {
    let options = ContextOptions { n_ctx: 512, n_seq, n_ubatch, ..ContextOptions::default() };
    Context::new(Arc::clone(model), &options).unwrap()
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|l| l.to_bits()).collect()
}

/// Logits of the prompt's last token and of four more tokens.
fn run(model: &Arc<Model>, n_ubatch: usize, prompt: &[u32]) -> Vec<u32> {
    let mut context = context(model, 1, n_ubatch);
    let mut all = bits(context.decode(&BatchToken::prompt(0, 0, prompt)).unwrap());
    for i in 0..4 {
        all.extend(bits(
            context.decode(&BatchToken::prompt(0, prompt.len() + i, &[100 + i as u32])).unwrap(),
        ));
    }
    all
}

#[test]
fn threads_and_micro_batches() {
    let prompt = prompt(300);
    let expected = run(&smollm2(Numerics::Fast, 1), 512, &prompt);
    for n_threads in [1, 2, 3, 4, 8] {
        let model = smollm2(Numerics::Fast, n_threads);
        for n_ubatch in [1, 7, 64, 512] {
            assert!(
                run(&model, n_ubatch, &prompt) == expected,
                "{n_threads} threads, micro-batch {n_ubatch}"
            );
        }
    }
}

#[test]
fn threads_and_micro_batches_of_the_exact_arithmetics() {
    let prompt = prompt(20);
    for numerics in [Numerics::Reference, Numerics::Oracle] {
        let expected = run(&smollm2(numerics, 1), 512, &prompt);
        for (n_threads, n_ubatch) in [(2, 7), (3, 1)] {
            let got = run(&smollm2(numerics, n_threads), n_ubatch, &prompt);
            assert!(got == expected, "{numerics:?}, {n_threads} threads, micro-batch {n_ubatch}");
        }
    }
}

/// Every weight type with grouped heads: the instruction set, and whether weights are packed at load or when they are read,
/// decide as little as threads and micro-batches.
#[test]
fn instruction_sets_and_packing() {
    let prompt: Vec<u32> = prompt(600).iter().map(|id| id % 320).collect();
    let folder = tempfile::tempdir().unwrap();
    for (name, options) in tiny_models().into_iter().filter(|(name, _)| name.ends_with("-gqa")) {
        let path = folder.path().join(format!("{name}.gguf"));
        SynthModel::new(options).unwrap().write(&path, |_| ControlFlow::Continue(())).unwrap();
        let run = |isa, n_threads, n_ubatch, repack| {
            let numerics = Numerics::Fast;
            let model = load_with(&path, &LoadOptions { numerics, n_threads, isa, repack });
            let options = ContextOptions { n_ctx: 1024, n_ubatch, ..ContextOptions::default() };
            let mut context = Context::new(model, &options).unwrap();
            let mut all = bits(context.decode(&BatchToken::prompt(0, 0, &prompt)).unwrap());
            let next = BatchToken::prompt(0, prompt.len(), &[7]);
            all.extend(bits(context.decode(&next).unwrap()));
            all
        };
        let expected = run(Isa::Scalar, 2, 512, true);
        assert!(run(Isa::Scalar, 3, 7, true) == expected, "{name}, scalar, in other portions");
        assert!(run(Isa::Scalar, 2, 64, false) == expected, "{name}, scalar, packed when read");
        for isa in Isa::available().filter(|isa| *isa != Isa::Scalar) {
            for (n_threads, n_ubatch) in [(1, 512), (2, 64), (3, 7), (8, 512), (2, 1)] {
                let place = format!("{name}, {isa}, {n_threads} threads, micro-batch {n_ubatch}");
                assert!(run(isa, n_threads, n_ubatch, true) == expected, "{place}");
            }
            for (n_threads, n_ubatch) in [(2, 512), (3, 7)] {
                let place = format!("{name}, {isa}, {n_threads} threads, micro-batch {n_ubatch}");
                let read = run(isa, n_threads, n_ubatch, false);
                assert!(read == expected, "{place}, packed when read");
            }
        }
    }
}

/// Every other tiny model, mixtures of experts and fused tensors among them, and one whose bytes are no file.
#[test]
fn weights_packed_when_they_are_read() {
    let prompt: Vec<u32> = prompt(70).iter().map(|id| id % 320).collect();
    let others = tiny_models().into_iter().filter(|(name, _)| !name.ends_with("-gqa"));
    for (name, options) in others {
        let bytes = SynthModel::new(options).unwrap().to_bytes().unwrap();
        let gguf = Arc::new(Gguf::from_bytes(bytes).unwrap());
        let run = |n_threads, n_ubatch, repack| {
            let options = LoadOptions { n_threads, repack, ..LoadOptions::default() };
            let model = Model::load(Arc::clone(&gguf), &options, &mut |_| ()).unwrap();
            run(&Arc::new(model), n_ubatch, &prompt)
        };
        let expected = run(2, 512, true);
        for (n_threads, n_ubatch) in [(1, 512), (1, 7), (2, 512), (3, 1), (4, 33)] {
            let got = run(n_threads, n_ubatch, false);
            assert!(got == expected, "{name}, {n_threads} threads, micro-batch {n_ubatch}");
        }
    }
}

/// Types of keys and values: every type for both, and mixed.
const CACHES: [[KvType; 2]; 5] = [
    [KvType::F32, KvType::F32],
    [KvType::F16, KvType::F16],
    [KvType::Q8_0, KvType::Q8_0],
    [KvType::Q8_0, KvType::F16],
    [KvType::F32, KvType::Q8_0],
];

/// A cache of any type: neither instruction set, threads, micro-batch, a reused or copied prefix nor a neighbor decide.
#[test]
fn types_of_the_cache() {
    let prompt: Vec<u32> = prompt(320).iter().map(|id| id % 320).collect();
    let bytes = SynthModel::new(SynthOptions::named("tiny", GgmlType::Q8_0).unwrap()).unwrap();
    let gguf = Arc::new(Gguf::from_bytes(bytes.to_bytes().unwrap()).unwrap());
    let mut texts = Vec::new();
    for [type_k, type_v] in CACHES {
        let new = |isa, n_threads, n_ubatch| {
            let load = LoadOptions { isa, n_threads, ..LoadOptions::default() };
            let model = Model::load(Arc::clone(&gguf), &load, &mut |_| ()).unwrap();
            let options =
                ContextOptions { n_ctx: 384, n_seq: 2, n_ubatch, type_k, type_v, swa_full: false };
            Context::new(Arc::new(model), &options).unwrap()
        };
        let last = |c: &mut Context, seq, from: usize| {
            bits(c.decode(&BatchToken::prompt(seq, from, &prompt[from..])).unwrap())
        };
        let expected = last(&mut new(Isa::Scalar, 2, 512), 0, 0);
        for isa in Isa::available() {
            for (n_threads, n_ubatch) in [(1, 512), (2, 64), (3, 7), (8, 31)] {
                let place = format!("{type_k:?} {type_v:?}, {isa}, {n_threads} threads");
                let mut c = new(isa, n_threads, n_ubatch);
                assert!(last(&mut c, 0, 0) == expected, "{place}, micro-batch {n_ubatch}");
                assert_eq!(c.truncate(0, 201), 201);
                assert!(last(&mut c, 0, 201) == expected, "{place}: prefix kept");
                assert_eq!(c.copy(0, 1, 263).unwrap(), 263);
                assert_eq!(c.truncate(0, 263), 263);
                // Both go on side by side.
                let rest = |seq| BatchToken::prompt(seq, 263, &prompt[263..]);
                let batch: Vec<BatchToken> =
                    rest(0).into_iter().zip(rest(1)).flat_map(|(a, b)| [a, b]).collect();
                let both = bits(c.decode(&batch).unwrap());
                let (a, b) = both.split_at(expected.len());
                assert!(a == expected && b == expected, "{place}: prefix copied, with a neighbor");
            }
        }
        texts.push(expected);
    }
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), CACHES.len(), "each type rounds in its own way");
}

/// What has no cache of a type says so.
#[test]
fn types_that_are_not_there() {
    let make = |numerics, n_embd_head, type_k, type_v| {
        let options = SynthOptions::named("tiny", GgmlType::F32).unwrap();
        let shape = Shape { n_embd_head, ..options.shape };
        let model = SynthModel::new(SynthOptions { shape, ..options }).unwrap();
        let gguf = Arc::new(Gguf::from_bytes(model.to_bytes().unwrap()).unwrap());
        let load = LoadOptions { numerics, ..LoadOptions::default() };
        let model = Arc::new(Model::load(gguf, &load, &mut |_| ()).unwrap());
        Context::new(model, &ContextOptions { n_ctx: 16, type_k, type_v, ..Default::default() })
    };
    for (numerics, n_embd_head, type_k, type_v, text) in [
        (Numerics::Fast, 48, KvType::F32, KvType::Q8_0, "the type of values is q8_0; must be f32"),
        (Numerics::Fast, 48, KvType::Q8_0, KvType::F32, "the type of keys is q8_0; must be f32"),
        (Numerics::Reference, 64, KvType::Q8_0, KvType::F16, "needs flash attention"),
    ] {
        let error = make(numerics, n_embd_head, type_k, type_v).unwrap_err();
        assert!(matches!(error, ModelError::Argument { .. }), "{error:?}");
        assert!(error.to_string().contains(text), "{error}");
    }
    assert!(make(Numerics::Fast, 48, KvType::F32, KvType::F16).is_ok());
    assert!(make(Numerics::Oracle, 48, KvType::Q8_0, KvType::Q8_0).is_ok(), "it rounds nothing");
}

/// A prefix that is kept, copied, or computed anew (as without a cache) gives the same logits.
#[test]
fn reused_prefixes() {
    let prompt = prompt(40);
    for numerics in ALL {
        let model = smollm2(numerics, 2);
        let mut c = context(&model, 2, 16);
        let expected = bits(c.decode(&BatchToken::prompt(0, 0, &prompt)).unwrap());

        assert_eq!((c.truncate(0, 25), c.len(0)), (25, 25));
        let kept = bits(c.decode(&BatchToken::prompt(0, 25, &prompt[25..])).unwrap());
        assert!(kept == expected, "{numerics:?}: prefix kept");

        c.copy(0, 1, 33).unwrap();
        let copied = bits(c.decode(&BatchToken::prompt(1, 33, &prompt[33..])).unwrap());
        assert!(copied == expected, "{numerics:?}: prefix copied");

        c.clear(0);
        let anew = bits(c.decode(&BatchToken::prompt(0, 0, &prompt)).unwrap());
        assert!(anew == expected, "{numerics:?}: computed anew over a used cache");
    }
}

/// Two sequences in one batch, their tokens interleaved, disturb each other by no bit.
#[test]
fn batch_neighbors() {
    let (a, b) = (prompt(30), prompt(60)[30..].to_vec());
    for numerics in ALL {
        let model = smollm2(numerics, 2);
        let mut alone = context(&model, 1, 64);
        let expected_a = bits(alone.decode(&BatchToken::prompt(0, 0, &a)).unwrap());
        alone.clear(0);
        let expected_b = bits(alone.decode(&BatchToken::prompt(0, 0, &b)).unwrap());

        let pairs = BatchToken::prompt(0, 0, &a).into_iter().zip(BatchToken::prompt(1, 0, &b));
        let batch: Vec<BatchToken> = pairs.flat_map(|(a, b)| [a, b]).collect();
        let both = bits(context(&model, 2, 64).decode(&batch).unwrap());
        let (got_a, got_b) = both.split_at(expected_a.len());
        assert!(got_a == expected_a && got_b == expected_b, "{numerics:?}");
    }
}

struct Count(usize);

impl Trace for Count {
    fn node(&mut self, _: NodeName, shape: &[usize], data: NodeData<'_>) {
        let n = match data {
            NodeData::F32(v) => v.len(),
            NodeData::F64(v) => v.len(),
        };
        assert_eq!(shape.iter().product::<usize>(), n, "a node's shape is that of its data");
        self.0 += 1;
    }
}

#[test]
fn tracing_changes_nothing() {
    let batch = BatchToken::prompt(0, 0, &prompt(9));
    for numerics in ALL {
        let model = smollm2(numerics, 2);
        let expected = bits(context(&model, 1, 512).decode(&batch).unwrap());
        let mut count = Count(0);
        let traced = bits(context(&model, 1, 512).decode_traced(&batch, &mut count).unwrap());
        assert!(traced == expected, "{numerics:?}");
        assert!(count.0 > 400, "{numerics:?}: {} nodes", count.0);
    }
}

/// All rows asked for are the rows asked for one by one.
#[test]
fn all_outputs_are_the_single_outputs() {
    let prompt = prompt(12);
    let model = smollm2(Numerics::Fast, 2);
    let mut batch = BatchToken::prompt(0, 0, &prompt);
    batch.iter_mut().for_each(|t| t.output = true);
    let all = bits(context(&model, 1, 5).decode(&batch).unwrap());
    let n_vocab = model.hparams().n_vocab;
    let mut one_by_one = context(&model, 1, 512);
    for (i, row) in all.chunks_exact(n_vocab).enumerate() {
        let got = bits(one_by_one.decode(&BatchToken::prompt(0, i, &prompt[i..=i])).unwrap());
        assert!(got == row, "row {i}");
    }
}
