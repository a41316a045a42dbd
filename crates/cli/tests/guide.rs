//! The worked examples of docs/porting-guide.md are run: an engine with one bug at a time writes a trace, and what the
//! guide shows is what `lockstep compare` says of it. `LOCKSTEP_WRITE_DOCS=1` writes the guide's blocks anew.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_precision_loss,
    reason = "tests: a failed unwrap is a failed test, and sizes are small"
)]

mod common;
#[path = "guide/engine.rs"]
mod engine;

use common::{arg, run, smollm2};
use compare::{Node, TraceFile, Values, Writer};
use engine::{Bug, Engine, Tracer, trace_like};
use gguf_parse::Gguf;
use std::path::{Path, PathBuf};
use tokenizer::{Special, Tokenizer};

const PROMPT: &str = "The capital of France is";
const BUGS: [(&str, Bug); 6] = [
    ("none", Bug::None),
    ("rmsnorm", Bug::RmsNorm),
    ("rope", Bug::Rope),
    ("attention", Bug::Attention),
    ("kv-cache", Bug::KvCache),
    ("output", Bug::Output),
];

/// Evaluation and layer to which the ends of the layers alone lead. An epsilon is smaller than what 8 bits do to them.
const THIN: [Option<(u64, Option<u64>)>; 6] =
    [None, None, Some((0, Some(0))), Some((0, Some(0))), Some((1, Some(0))), Some((0, None))];

/// What the engine writes behind the prompt, greedily.
fn text(engine: &mut Engine, tokenizer: &Tokenizer) -> String {
    let mut tokens = tokenizer.encode(PROMPT, true, Special::Parse);
    let (mut n_past, mut written) = (0, Vec::new());
    engine.reset();
    for _ in 0..12 {
        let logits = engine.eval(n_past, &tokens, &mut Tracer::off());
        n_past += tokens.len();
        let best = (0..).zip(&logits).reduce(|a, b| if b.1 > a.1 { b } else { a }).unwrap();
        written.push(best.0);
        tokens = vec![best.0];
    }
    tokenizer.decode(&written, false, false)
}

/// The block of the guide behind `<!-- NAME -->`: where it is, without its fences.
fn block(guide: &str, name: &str) -> std::ops::Range<usize> {
    let mark = format!("<!-- {name} -->\n```text\n");
    let start = guide.find(&mark).unwrap_or_else(|| panic!("no block {name}")) + mark.len();
    start..start + guide[start..].find("```").unwrap()
}

/// A trace with the ends of the layers alone.
fn thinned(trace: &Path, path: &Path) {
    let trace = TraceFile::open(trace).unwrap();
    let mut writer = Writer::create(path, 200).unwrap();
    for (i, eval) in trace.info().evals.iter().enumerate() {
        writer.begin_eval(eval.n_past, &eval.tokens);
        let wanted = |node: &&Node| {
            node.eval == i && matches!(node.label(), "embd" | "l_out" | "result_output")
        };
        for node in trace.nodes().iter().filter(wanted) {
            let values = trace.values(node).unwrap();
            writer.node(&node.name, "", &node.shape, Values::F64(&values)).unwrap();
        }
    }
    writer.finish(trace.info().clone()).unwrap();
}

/// Whether two traces are in lockstep; else the evaluation and layer of the divergence.
fn diverges(a: &Path, b: &Path) -> Option<(u64, Option<u64>)> {
    let found = run(&["compare", arg(a), arg(b), "--json"]).json();
    let first = &found["divergence"];
    (!first.is_null()).then(|| (first["eval"].as_u64().unwrap(), first["layer"].as_u64()))
}

/// What the guide shows of a comparison: all of it, or the verdict.
fn shown(name: &str, output: &str) -> String {
    if name == "rope" || name == "none" {
        return output.to_owned();
    }
    let lines = output.lines().skip_while(|line| !line.starts_with("diverged"));
    lines.take_while(|line| !line.is_empty()).fold(String::new(), |all, line| all + line + "\n")
}

#[test]
fn the_guides_examples_are_what_happens() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/porting-guide.md");
    let guide = std::fs::read_to_string(&path).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| -> PathBuf { folder.path().join(format!("{name}.safetensors")) };
    let (model, right) = (smollm2(), file("right"));
    let wanted = ["--numerics", "reference", "--all", "--steps", "2"];
    let args = [&["trace", arg(&model), "-p", PROMPT, "-o", arg(&right)][..], &wanted].concat();
    run(&args).expect_success();
    let evals = TraceFile::open(&right).unwrap().info().evals.clone();

    let tokenizer = Tokenizer::from_metadata(Gguf::open(&model).unwrap().metadata()).unwrap();
    let mut engine = Engine::load(&model);
    let mut written = guide.clone();
    let mut put = |name: &str, text: &str| {
        let at = block(&written, name);
        written.replace_range(at, text);
    };
    let mut texts = String::new();
    for (i, (name, bug)) in BUGS.into_iter().enumerate() {
        engine.bug = bug;
        texts += &format!("{name:<10} {:?}\n", text(&mut engine, &tokenizer));
        let mine = file("mine");
        trace_like(&mut engine, &evals, &mine);
        let outcome = run(&["compare", arg(&mine), arg(&right)]);
        assert_eq!(outcome.status, Some(i32::from(bug != Bug::None)), "{name}: {outcome:?}");
        put(name, &shown(name, &outcome.stdout));

        let thin = file("thin");
        thinned(&mine, &thin);
        assert_eq!(diverges(&thin, &right), THIN[i], "{name}: from the ends of the layers alone");
    }
    put("texts", &texts);
    if std::env::var_os("LOCKSTEP_WRITE_DOCS").is_some() {
        std::fs::write(&path, &written).unwrap();
    }
    let now = std::fs::read_to_string(&path).unwrap();
    assert!(now == written, "docs/porting-guide.md; LOCKSTEP_WRITE_DOCS=1 writes it:\n{written}");
}
