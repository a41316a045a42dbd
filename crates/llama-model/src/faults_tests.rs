//! Mistakes that engines make, made on purpose, each named by `compare` from two files: the right stage, the right
//! layer, and what is wrong. The table in docs/faults.md is what this test finds; `LOCKSTEP_WRITE_DOCS=1` writes it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "tests: a failed unwrap is a failed test, and sizes are small"
)]

use crate::arith::{Arithmetic, Fast, Fault, Faulty, KvStore, Oracle, Reference};
use crate::forward::{Pass, Workspace};
use crate::hparams::Hparams;
use crate::synth::{Shape, SynthModel, SynthOptions};
use crate::trace::Tracer;
use crate::weights::Loader;
use crate::{BatchToken, ContextOptions, NodeData, NodeName, Trace};
use compare::{Comparison, Others, Stage, TraceFile, TraceHparams, TraceInfo, Values, Writer};
use gguf_parse::{GgmlType, Gguf};
use kernels::Isa;
use std::fmt::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Five layers, so that there is a first, a middle and a last one, with two query heads for a key head.
const SHAPE: Shape = Shape { n_layer: 5, ..Shape::TINY };
const LAYERS: [usize; 3] = [0, 2, 4];

/// Tokens of each evaluation with the positions before it.
type Evals = Vec<(usize, Vec<u32>)>;

/// A prompt and a step.
fn evals() -> Evals {
    vec![(0, vec![5, 17, 300, 42, 9, 111]), (6, vec![77])]
}

/// A prompt that is cut back to three tokens and goes on with others.
fn truncated() -> Evals {
    vec![(0, vec![5, 17, 300, 42, 9, 111]), (3, vec![200, 31]), (5, vec![77])]
}

struct Sink(Writer);

impl Trace for Sink {
    fn node(&mut self, name: NodeName, shape: &[usize], data: NodeData<'_>) {
        let values = match data {
            NodeData::F32(x) => Values::F32(x),
            NodeData::F64(x) => Values::F64(x),
        };
        self.0.node(&name.to_string(), name.op, shape, values).unwrap();
    }
}

/// Writes a trace of the model at `path` as `arith` computes it. `told` are the evaluations as the trace tells them,
/// `done` as they are computed.
fn trace<A: Arithmetic>(
    path: &Path,
    arith: A,
    arithmetic: &str,
    told: &Evals,
    done: &Evals,
    out: &Path,
) {
    let gguf = Arc::new(Gguf::open(path).unwrap());
    let (hp, arch) = Hparams::from_gguf(&gguf).unwrap();
    let info = info(&gguf, &hp, arithmetic);
    let (net, _) = Loader::new(&gguf, arith, hp, arch, &mut |_| ()).net().unwrap();
    let options = ContextOptions { n_ctx: 256, n_seq: 1, ..ContextOptions::default() };
    let (mut ws, mut cache) =
        (Workspace::new(&net, 16), net.arith.cache(&net.hp, &options).unwrap());
    let mut sink = Sink(Writer::create(out, 500).unwrap());
    for ((n_past, told), (_, done)) in told.iter().zip(done) {
        sink.0.begin_eval(*n_past, told);
        let batch = BatchToken::prompt(0, *n_past, done);
        let (cancel, trace) = (AtomicBool::new(false), Tracer::new(Some(&mut sink)));
        Pass { net: &net, cache: &mut cache, batch: &batch, n_ctx: 256, cancel: &cancel, trace }
            .forward(&mut ws, &mut Vec::new())
            .unwrap();
        let n = n_past + done.len();
        for il in 0..net.hp.n_layer {
            let Some((k, v)) = cache.rows(il, 0, n, n) else { continue };
            let shape = [n, k.len() / n];
            sink.0.node(&format!("cache_k_l{il}"), "", &shape, Values::F32(&k)).unwrap();
            sink.0.node(&format!("cache_v_l{il}"), "", &shape, Values::F32(&v)).unwrap();
        }
    }
    sink.0.finish(info).unwrap();
}

fn info(gguf: &Gguf, hp: &Hparams, arithmetic: &str) -> TraceInfo {
    let types = gguf.tensors().iter().map(|t| (t.name.clone(), t.ty.name().to_owned()));
    TraceInfo {
        engine: "test".to_owned(),
        arithmetic: arithmetic.to_owned(),
        tensor_types: types.collect(),
        hparams: TraceHparams {
            n_head: Some(hp.n_head),
            n_head_kv: Some(hp.n_head_kv),
            n_embd_head: Some(hp.n_embd_head),
            n_rot: Some(hp.rope.n_rot),
            norm_rms_eps: Some(f64::from(hp.norm_eps)),
            rope_freq_base: Some(f64::from(hp.rope.freq_base)),
        },
        ..TraceInfo::default()
    }
}

/// A wrong engine (or file) against the right one.
struct Case {
    name: &'static str,
    model: &'static str,
    /// The mistake, in each of [`LAYERS`] in turn if it is one of a layer.
    fault: Fault,
    per_layer: bool,
    /// The mistake of the right side: what the model has and A lacks.
    feature: Fault,
    /// What A reads instead of the model's file.
    damage: Option<fn(&Gguf, &mut [u8], usize)>,
    evals: Evals,
    /// The tokens that A evaluates.
    done: Evals,
    /// The tokens that A says it evaluates.
    told: Evals,
    /// What has to be named.
    stage: Stage,
    /// Words that what was found has.
    words: &'static str,
}

impl Case {
    fn new(name: &'static str, fault: Fault, stage: Stage, words: &'static str) -> Self {
        Self {
            name,
            model: "q4_K",
            fault,
            per_layer: true,
            feature: Fault::None,
            damage: None,
            evals: evals(),
            done: evals(),
            told: evals(),
            stage,
            words,
        }
    }

    fn damaged(
        name: &'static str,
        model: &'static str,
        damage: fn(&Gguf, &mut [u8], usize),
        stage: Stage,
        words: &'static str,
    ) -> Self {
        Self { model, damage: Some(damage), ..Self::new(name, Fault::None, stage, words) }
    }

    fn in_no_layer(self) -> Self {
        Self { per_layer: false, ..self }
    }
}

fn cases() -> Vec<Case> {
    [norms_and_rope(), attention(), weights(), rest()].into_iter().flatten().collect()
}

/// RMSNorm, RoPE, and what scores are multiplied by.
fn norms_and_rope() -> Vec<Case> {
    let new = Case::new;
    vec![
        new("RMSNorm: epsilon 1e-6 for 1e-5", Fault::Epsilon(0.1), Stage::RmsNorm, "epsilon is "),
        new(
            "RMSNorm: epsilon outside the root",
            Fault::EpsilonOutside,
            Stage::RmsNorm,
            "to the root",
        ),
        new("RoPE: NEOX for NORM", Fault::RopePairs, Stage::Rope, "A rotates pairs NEOX"),
        Case {
            model: "qwen2",
            ..new("RoPE: NORM for NEOX", Fault::RopePairs, Stage::Rope, "A rotates pairs NORM")
        },
        new("RoPE: positions off by one", Fault::RopePosition, Stage::Rope, "position were +1"),
        new(
            "RoPE: base 100000 for 10000",
            Fault::RopeBase(10.0),
            Stage::Rope,
            "base 100000 on A and 10000 on B",
        ),
        new("scale of another head size", Fault::Scale(0.0625), Stage::Softmax, "1/sqrt(n_embd)"),
        new(
            "1/sqrt(n_embd_head) missing",
            Fault::Scale(1.0),
            Stage::Softmax,
            "1/sqrt(n_embd_head) is missing",
        ),
    ]
}

/// What attention sees, and the cache.
fn attention() -> Vec<Case> {
    let new = Case::new;
    vec![
        new("causal mask off by one", Fault::Mask, Stage::Softmax, "causal mask is off by one"),
        new("KV cache written one position late", Fault::CacheLate, Stage::KvCache, "position j-1"),
        new("K and V swapped", Fault::CacheSwapped, Stage::KvCache, "K and V are swapped"),
        Case {
            evals: truncated(),
            done: truncated(),
            told: truncated(),
            ..new(
                "stale cache after truncation",
                Fault::CacheStale,
                Stage::KvCache,
                "before they were truncated",
            )
        },
        new("GQA: heads take turns", Fault::HeadTurns, Stage::Scores, "take turns"),
        new("one head lost", Fault::HeadLost(2), Stage::AttentionOutput, "only head 2"),
    ]
}

/// Tensors read wrongly.
fn weights() -> Vec<Case> {
    vec![
        Case::damaged(
            "Q4_K: scales of the wrong sub-block",
            "q4_K",
            swap_scales,
            Stage::Weights,
            "q4_K",
        ),
        Case::damaged("Q6_K: high bits swapped", "q6_K", swap_high_bits, Stage::Weights, "q6_K"),
        Case::damaged(
            "output weight transposed",
            "f16",
            transpose_output,
            Stage::OutputProjection,
            "another matrix",
        )
        .in_no_layer(),
        Case::damaged(
            "output weight tied, though the file has one",
            "f16",
            tie_output,
            Stage::OutputProjection,
            "another matrix",
        )
        .in_no_layer(),
    ]
}

/// The rest of a block, the output, and tokens.
fn rest() -> Vec<Case> {
    let new = Case::new;
    let wrong_ids = |first: u32| vec![(0, vec![first, 17, 300, 42, 9, 111]), (6, vec![77])];
    vec![
        new(
            "residual skipped",
            Fault::ResidualSkipped,
            Stage::Residual,
            "residual stream is not added",
        ),
        Case {
            feature: Fault::Gelu,
            ..new("SiLU for GELU", Fault::None, Stage::Ffn, "SiLU on A and GELU (tanh) on B")
        },
        new("GELU for SiLU", Fault::Gelu, Stage::Ffn, "GELU (tanh) on A and SiLU on B"),
        Case {
            feature: Fault::Softcap(3.0),
            ..new("softcap missing", Fault::None, Stage::OutputProjection, "softcap of 3.0")
                .in_no_layer()
        },
        new("a NaN", Fault::NotANumber, Stage::RmsNorm, "NaN"),
        Case {
            done: wrong_ids(6),
            ..new("embedding of the wrong row", Fault::None, Stage::Embedding, "only row 0")
                .in_no_layer()
        },
        Case {
            done: vec![(0, vec![17, 300, 42, 9, 111])],
            told: vec![(0, vec![17, 300, 42, 9, 111])],
            ..new("no BOS", Fault::None, Stage::Tokenizer, "B's 6").in_no_layer()
        },
        Case {
            done: vec![evals()[0].clone(), (6, vec![78])],
            told: vec![evals()[0].clone(), (6, vec![78])],
            ..new("another token sampled", Fault::None, Stage::Sampler, "goes on with")
                .in_no_layer()
        },
    ]
}

/// The models that the cases want.
fn write_model(folder: &Path, name: &str) -> PathBuf {
    let options = match name {
        "q4_K" => SynthOptions::new(SHAPE, GgmlType::Q4_K),
        "q6_K" => SynthOptions::new(SHAPE, GgmlType::Q6_K),
        "f16" => SynthOptions::new(SHAPE, GgmlType::F16),
        "qwen2" => SynthOptions::qwen2(SHAPE, GgmlType::Q8_0),
        _ => panic!("no model {name}"),
    };
    let path = folder.join(format!("{name}.gguf"));
    if !path.exists() {
        SynthModel::new(options).unwrap().write(&path, |_| ControlFlow::Continue(())).unwrap();
    }
    path
}

/// The bytes of a tensor within those of its file.
fn bytes_of<'a>(gguf: &Gguf, file: &'a mut [u8], name: &str) -> &'a mut [u8] {
    let data = gguf.tensor(name).unwrap().data;
    let at = file.windows(data.len()).position(|bytes| bytes == data).unwrap();
    &mut file[at..at + data.len()]
}

/// Scales of the first two sub-blocks of Q4_K change places.
fn swap_scales(gguf: &Gguf, file: &mut [u8], il: usize) {
    for block in bytes_of(gguf, file, &format!("blk.{il}.ffn_up.weight")).chunks_exact_mut(144) {
        // Six bits each; the upper two of the byte belong to another sub-block.
        let (a, b) = (block[4], block[5]);
        (block[4], block[5]) = (a & 0xc0 | b & 0x3f, b & 0xc0 | a & 0x3f);
    }
}

/// The high bits of Q6_K's first and second quarter change places.
fn swap_high_bits(gguf: &Gguf, file: &mut [u8], il: usize) {
    for block in bytes_of(gguf, file, &format!("blk.{il}.attn_k.weight")).chunks_exact_mut(210) {
        for byte in &mut block[128..192] {
            *byte = *byte & 0xf0 | (*byte & 0x03) << 2 | (*byte & 0x0c) >> 2;
        }
    }
}

fn transpose_output(gguf: &Gguf, file: &mut [u8], _: usize) {
    let bytes = bytes_of(gguf, file, "output.weight");
    let (n_cols, old) = (SHAPE.n_embd, bytes.to_vec());
    let n_rows = old.len() / 2 / n_cols;
    for (i, element) in bytes.chunks_exact_mut(2).enumerate() {
        let from = i % n_rows * n_cols + i / n_rows;
        element.copy_from_slice(&old[from * 2..from * 2 + 2]);
    }
}

fn tie_output(gguf: &Gguf, file: &mut [u8], _: usize) {
    let embedding = gguf.tensor("token_embd.weight").unwrap().data.to_vec();
    bytes_of(gguf, file, "output.weight").copy_from_slice(&embedding);
}

/// Runs a case in a layer, both sides to files; A calls its arithmetic so.
fn traces(case: &Case, il: usize, folder: &Path, arithmetic: &str) -> [TraceFile; 2] {
    let path = write_model(folder, case.model);
    let wrong = match case.damage {
        None => path.clone(),
        Some(damage) => {
            let (gguf, mut bytes) = (Gguf::open(&path).unwrap(), std::fs::read(&path).unwrap());
            damage(&gguf, &mut bytes, il);
            let wrong = folder.join("wrong.gguf");
            std::fs::write(&wrong, bytes).unwrap();
            wrong
        }
    };
    let layer = case.per_layer.then_some(il);
    let arith = |fault| Faulty::new(Reference::new(1).unwrap(), fault, layer, SHAPE.n_vocab);
    let [a, b] = ["a", "b"].map(|side| folder.join(format!("{side}.safetensors")));
    trace(&wrong, arith(case.fault), arithmetic, &case.told, &case.done, &a);
    trace(&path, arith(case.feature), "ggml-scalar", &case.evals, &case.evals, &b);
    [a, b].map(|path| TraceFile::open(&path).unwrap())
}

/// Compares the files of a case.
fn run(case: &Case, il: usize, folder: &Path) -> Comparison {
    let [a, b] = traces(case, il, folder, "ggml-scalar");
    compare::compare(&a, &b, Others::default()).unwrap()
}

/// Everything that was said about a divergence.
fn said(found: &Comparison) -> String {
    compare::verdict(found)
}

#[test]
fn every_fault_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = String::from(HEAD);
    let (mut n_runs, mut wrong) = (0, Vec::new());
    for case in cases() {
        let layers = if case.per_layer { &LAYERS[..] } else { &LAYERS[..1] };
        for il in layers {
            let found = run(&case, *il, folder.path());
            n_runs += 1;
            let Some(first) = &found.divergence else {
                wrong.push(format!("{} in layer {il}: not found", case.name));
                continue;
            };
            let layer = case.per_layer.then_some(*il);
            let says = said(&found);
            if first.stage != case.stage || first.layer != layer || !says.contains(case.words) {
                wrong.push(format!("{} in layer {il}: {says}", case.name));
            }
            let il = layer.map_or("".to_owned(), |il| il.to_string());
            let how = first.findings.first().cloned().unwrap_or_else(|| first.kind.describe());
            let node =
                if first.node.is_empty() { String::new() } else { format!("`{}`", first.node) };
            writeln!(
                table,
                "| {} | {} | {il} | {} | {node} | {how} |",
                case.name,
                case.model,
                first.stage.name()
            )
            .unwrap();
        }
    }
    assert!(wrong.is_empty(), "{} of {n_runs} not named:\n{}", wrong.len(), wrong.join("\n"));
    write!(table, "\n{n_runs} of {n_runs} named: stage, layer and reason.\n").unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/faults.md");
    if std::env::var_os("LOCKSTEP_WRITE_DOCS").is_some() {
        std::fs::write(&path, &table).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), table, "LOCKSTEP_WRITE_DOCS=1 writes it");
}

const HEAD: &str = "\
# Faults, and what `lockstep compare` calls them

Written by `crates/llama-model/src/faults_tests.rs`: each fault is made on purpose in one layer of a model of five, both
engines write a trace, and `compare` sees nothing but the two files. Where a model has a feature that A lacks (GELU, a
softcap), B is the engine that has it.

| fault | model | layer | stage | node | found |
|---|---|---|---|---|---|
";

/// No alarm where there is no fault: `Fast` and `Oracle` against `Reference`, and `Reference` against itself.
#[test]
fn no_fault_is_no_alarm() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(format!("{name}.safetensors"));
    for model in ["q4_K", "q6_K", "f16", "qwen2"] {
        let file = write_model(folder.path(), model);
        let e = truncated();
        let [reference, same, fast, oracle] = ["reference", "same", "fast", "oracle"].map(path);
        trace(&file, Reference::new(2).unwrap(), "ggml-scalar", &e, &e, &reference);
        let none = Faulty::new(Reference::new(1).unwrap(), Fault::None, None, SHAPE.n_vocab);
        trace(&file, none, "ggml-scalar", &e, &e, &same);
        trace(&file, Fast::new(2, Isa::detect(), true).unwrap(), "fast", &e, &e, &fast);
        trace(&file, Oracle::new(2).unwrap(), "f64", &e, &e, &oracle);
        let [reference, same, fast, oracle] =
            [reference, same, fast, oracle].map(|path| TraceFile::open(&path).unwrap());
        for (a, b, noise) in [
            (&same, &reference, None),
            (&fast, &reference, None),
            (&reference, &fast, None),
            (&oracle, &reference, None),
            (&fast, &reference, Some(&oracle)),
            (&oracle, &reference, Some(&fast)),
            (&fast, &oracle, Some(&reference)),
        ] {
            let found = compare::compare(a, b, Others { noise, oracle: Some(&oracle) }).unwrap();
            let who = [a, b].map(|file| file.info().arithmetic.as_str());
            assert!(found.in_lockstep, "{model}: {who:?}: {}", said(&found));
            assert!(found.rows.len() > 200, "{} nodes", found.rows.len());
        }
    }
}

/// What a wrong epsilon does to a stream of ordinary size is less than what rounding does.
const BELOW_NOISE: [&str; 2] =
    ["RMSNorm: epsilon 1e-6 for 1e-5", "RMSNorm: epsilon outside the root"];

/// `lockstep verify` holds `fast`, which promises no bits of `Reference`, against it with the noise that f64 shows. A
/// fault must not pass for noise: it is named with stage and layer.
#[test]
fn no_fault_passes_for_noise() {
    let folder = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    // A model that has what `Reference` lacks has it in f64 no more.
    for case in cases().iter().filter(|case| case.feature == Fault::None) {
        let out = folder.path().join("oracle.safetensors");
        let file = write_model(folder.path(), case.model);
        trace(&file, Oracle::new(1).unwrap(), "f64", &case.evals, &case.evals, &out);
        let oracle = TraceFile::open(&out).unwrap();
        let layers = if case.per_layer { &LAYERS[..] } else { &LAYERS[..1] };
        for il in layers {
            let [a, b] = traces(case, *il, folder.path(), "fast");
            let others = Others { noise: Some(&oracle), oracle: Some(&oracle) };
            let found = compare::compare(&a, &b, others).unwrap();
            let layer = case.per_layer.then_some(*il);
            let is_named = found
                .divergence
                .as_ref()
                .is_some_and(|first| first.stage == case.stage && first.layer == layer);
            let is_below = BELOW_NOISE.contains(&case.name);
            if is_named == is_below || is_below != found.in_lockstep {
                wrong.push(format!("{} in layer {il}: {}", case.name, said(&found)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
