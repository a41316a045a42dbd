//! The ladder from its foot to its top.
use super::{
    args::VerifyArgs,
    certificate::{Certificate, Compared, Prompt as PromptReport},
    compared::{self, Side},
    file,
    invariance::{Baseline, Runner},
    ladder::{Cancel, Climbed, Ladder, Step},
    logits, tokens,
    traced::{self, Engine, Request, Traced},
    weights,
};
use crate::{
    args::numerics_name,
    errors::{CliError, Exit},
    interrupt::Stop,
    run::prompt::Prompt,
};
use compare::{EvalInfo, Others, TraceFile};
use llama_model::{Isa, Model, Numerics};
use std::{path::Path, sync::Arc};
use tempfile::TempDir;
use tokenizer::{Special, Tokenizer};

/// What is evaluated when nothing else is given.
const TEXT: &str = "The quick brown fox jumps over the lazy dog. In 1969 people first walked on the Moon; \
    \"one small step\", said one of them. fn main() { println!(\"{}\", 6 * 7); }";

/// Everything a ladder starts from.
pub(super) struct Setup<'a> {
    pub(super) args: &'a VerifyArgs,
    pub(super) path: &'a Path,
    pub(super) prompt: Option<Prompt>,
    pub(super) trace: Option<TraceFile>,
    pub(super) noise: Option<TraceFile>,
    pub(super) n_threads: usize,
    pub(super) isa: Isa,
    pub(super) cancel: &'a Cancel,
}

/// Rungs that need the header, and those that need a model.
const BEHIND_HEADER: [&str; 4] = ["tokens", "template", "weights", "model"];
const BEHIND_MODEL: [&str; 3] = ["fast", "reference", "oracle"];
const BEHIND_TRACES: [&str; 9] = [
    "fast/reference",
    "fast/oracle",
    "reference/oracle",
    "logits",
    "cache",
    "batches",
    "threads",
    "isa",
    "packing",
];

/// lockstep beside a trace.
const BEHIND_TRACE: [&str; 2] = ["trace/reference", "trace/fast"];
/// What traces call the arithmetic of llama.cpp's scalar build.
const SCALAR: &str = "ggml-scalar";

/// Climbs.
pub(super) fn climb(setup: &Setup<'_>, ladder: &mut Ladder<'_>, certificate: &mut Certificate) {
    let (path, cancel) = (setup.path, setup.cancel);
    certificate.file.sha256 = ladder.rung("file", || file::hash(path, cancel));
    let Some((gguf, header)) = ladder.rung("header", || file::header(path, cancel)) else {
        let all = BEHIND_HEADER.iter().chain(&BEHIND_MODEL).chain(&BEHIND_TRACES);
        all.for_each(|name| ladder.skip(name, "there is no header to go by"));
        return ladder.skip("trace", "there is no header to go by");
    };
    certificate.file.header = Some(header);
    let found = ladder.rung("tokens", || tokens::tokens(path, &gguf));
    let (tokenizer, report) = found.unzip();
    certificate.tokens = report;
    certificate.template = ladder.rung("template", || tokens::template(&gguf, tokenizer.as_ref()));
    let (n_threads, hashed) = (setup.n_threads, !setup.args.quick);
    certificate.weights =
        ladder.rung("weights", || weights::weights(&gguf, n_threads, hashed, cancel));
    let reason = if ladder.holds() { None } else { Some("the weights are damaged") };
    let sha256 = certificate.file.sha256.clone().unwrap_or_default();
    let engine = Engine {
        path,
        gguf: &gguf,
        sha256: &sha256,
        n_threads,
        isa: setup.isa,
        repack: true,
        cancel,
    };
    let model = ladder.rung("model", || load(&engine));
    let reason = reason.or(model.is_none().then_some("the model cannot be loaded"));
    let ids = model.as_ref().filter(|_| reason.is_none()).map(|model| Ids {
        setup,
        tokenizer: tokenizer.as_ref(),
        model,
    });
    compute(&engine, ids, reason.unwrap_or_default(), ladder, certificate);
}

/// The model in the arithmetic that users run.
fn load(engine: &Engine<'_>) -> Climbed<Arc<Model>> {
    let model = engine.load(Numerics::Fast)?;
    let hp = model.hparams();
    let detail = format!(
        "{}, {} layers of {}, {} heads ({} of keys), context {}, vocabulary {}",
        hp.arch, hp.n_layer, hp.n_embd, hp.n_head, hp.n_head_kv, hp.n_ctx_train, hp.n_vocab
    );
    let notes = model.warnings().to_vec();
    Ok(Step::ok(model, detail).with_notes(notes))
}

/// What decides which tokens are evaluated.
struct Ids<'a> {
    setup: &'a Setup<'a>,
    tokenizer: Option<&'a Tokenizer>,
    model: &'a Arc<Model>,
}

impl Ids<'_> {
    /// The prompt's ids, and where they come from.
    fn choose(&self) -> Result<(Vec<u32>, &'static str), CliError> {
        let hp = self.model.hparams();
        let args = self.setup.args;
        // A tiny context has room for a token at least, and for steps only behind it.
        let n = args.n_tokens().min(hp.n_ctx_train.saturating_sub(args.n_steps())).max(1);
        let (mut ids, source) = match (&self.setup.prompt, self.tokenizer) {
            (Some(Prompt::Ids(ids)), _) => (ids.clone(), "ids"),
            (Some(text @ Prompt::Text(_)), Some(tokenizer)) => (text.ids(tokenizer)?, "text"),
            (Some(Prompt::Text(_)), None) => {
                return Err(CliError::usage("without a tokenizer there is no text: take --ids"));
            }
            (None, Some(tokenizer)) => (tokenizer.encode(TEXT, true, Special::AsText), "built in"),
            (None, None) => (Vec::new(), "made up"),
        };
        if ids.is_empty() {
            ids = made_up(n, hp.n_vocab);
        }
        if let Some(id) = ids.iter().find(|id| **id as usize >= hp.n_vocab) {
            let text = format!("the prompt has the id {id}; must be below {}", hp.n_vocab);
            return Err(CliError::usage(text));
        }
        ids.truncate(n);
        Ok((ids, source))
    }

    /// Steps for which there is room.
    fn n_steps(&self, n_prompt: usize) -> usize {
        let room = self.model.hparams().n_ctx_train.saturating_sub(n_prompt);
        self.setup.args.n_steps().min(room)
    }
}

/// Ids all over a vocabulary.
fn made_up(n: usize, n_vocab: usize) -> Vec<u32> {
    let id =
        |i: usize| i.wrapping_mul(i).wrapping_mul(31).wrapping_add(i * 977 + 5) % n_vocab.max(1);
    (0..n).filter_map(|i| u32::try_from(id(i)).ok()).collect()
}

/// The rungs on which something is computed. Without `ids` all are skipped, for `reason`.
fn compute(
    engine: &Engine<'_>,
    ids: Option<Ids<'_>>,
    reason: &str,
    ladder: &mut Ladder<'_>,
    certificate: &mut Certificate,
) {
    let Some(ids) = ids else {
        let all = BEHIND_MODEL.iter().chain(&BEHIND_TRACES);
        all.for_each(|name| ladder.skip(name, reason));
        return ladder.skip("trace", reason);
    };
    let mut folder = None;
    let fast = ladder.rung("fast", || {
        let (tokens, source) = ids.choose()?;
        let place = new_folder()?;
        let request = Request {
            evals: &[EvalInfo { n_past: 0, tokens: tokens.clone() }],
            steps: ids.n_steps(tokens.len()),
            all_outputs: true,
            output: &place.path().join("fast"),
        };
        certificate.prompt = Some(PromptReport { source, ids: tokens, steps: Vec::new() });
        let traced = traced::evaluate(engine, ids.model, &request);
        folder = Some(place);
        traced
    });
    let (Some(fast), Some(folder)) = (fast, folder) else {
        for name in BEHIND_MODEL[1..].iter().chain(&BEHIND_TRACES) {
            ladder.skip(name, "there is nothing to hold against it");
        }
        return ladder.skip("trace", "there is nothing to hold against it");
    };
    let evals = &fast.file.info().evals;
    if let Some(prompt) = &mut certificate.prompt {
        prompt.steps = evals[1..].iter().flat_map(|eval| eval.tokens.iter().copied()).collect();
    }
    let others = [("reference", Numerics::Reference), ("oracle", Numerics::Oracle)];
    let [reference, oracle] = others.map(|(name, numerics)| {
        ladder.rung(name, || {
            let output = &folder.path().join(name);
            let request = Request { evals, steps: 0, all_outputs: true, output };
            traced::evaluate(engine, &engine.load(numerics)?, &request)
        })
    });
    for traced in [Some(&fast), reference.as_ref(), oracle.as_ref()].into_iter().flatten() {
        certificate.arithmetics.push(traced.seen.clone());
    }
    pairs(&fast, reference.as_ref(), oracle.as_ref(), ladder, certificate);
    invariance(engine, &ids, &fast, ladder, certificate);
    theirs(engine, &ids, &folder, ladder, certificate);
}

fn new_folder() -> Result<TempDir, CliError> {
    tempfile::tempdir().map_err(|e| {
        CliError::new("E-IO", Exit::Io, format!("no temporary folder can be made: {e}"))
            .at(&std::env::temp_dir())
    })
}

/// Each arithmetic against each other; the third says what is noise.
fn pairs(
    fast: &Traced,
    reference: Option<&Traced>,
    oracle: Option<&Traced>,
    ladder: &mut Ladder<'_>,
    certificate: &mut Certificate,
) {
    let (Some(reference), Some(oracle)) = (reference, oracle) else {
        let names = &BEHIND_TRACES[..4];
        return names.iter().for_each(|name| ladder.skip(name, "an arithmetic is missing"));
    };
    let all = [("fast", fast), ("reference", reference), ("oracle", oracle)];
    for (name, a, b, third) in
        [(BEHIND_TRACES[0], 0, 1, 2), (BEHIND_TRACES[1], 0, 2, 1), (BEHIND_TRACES[2], 1, 2, 0)]
    {
        let side = |i: usize| Side { name: all[i].0, file: &all[i].1.file };
        let others = Others { noise: Some(&all[third].1.file), oracle: Some(&oracle.file) };
        let found = ladder.rung(name, || compared::compare(&side(a), &side(b), others));
        certificate.comparisons.extend(found);
    }
    certificate.logits =
        ladder.rung("logits", || logits::logits(&fast.file, &reference.file, &oracle.file));
}

/// The bits of `fast`.
fn invariance(
    engine: &Engine<'_>,
    ids: &Ids<'_>,
    fast: &Traced,
    ladder: &mut Ladder<'_>,
    certificate: &mut Certificate,
) {
    let baseline = match Baseline::new(&fast.file) {
        Ok(baseline) => baseline,
        Err(error) => {
            ladder.rung("cache", || Climbed::<()>::Err(Stop::Failed(error)));
            return;
        }
    };
    let runner = Runner { engine: *engine, model: Arc::clone(ids.model), baseline: &baseline };
    let quick = ids.setup.args.quick;
    let mut found = Vec::new();
    found.extend(ladder.rung("cache", || runner.cache()));
    found.extend(ladder.rung("batches", || runner.batches()));
    found.extend(ladder.rung("threads", || runner.threads(quick)));
    found.extend(ladder.rung("isa", || runner.instruction_sets(quick)));
    found.extend(ladder.rung("packing", || runner.packing()));
    certificate.invariance = found.into_iter().flatten().collect();
}

/// lockstep against the trace that was given.
fn theirs(
    engine: &Engine<'_>,
    ids: &Ids<'_>,
    folder: &TempDir,
    ladder: &mut Ladder<'_>,
    certificate: &mut Certificate,
) {
    let Some(theirs) = &ids.setup.trace else {
        return ladder.skip("trace", "none was given (--trace)");
    };
    let (path, noise) = (ids.setup.args.trace.as_deref(), ids.setup.noise.as_ref());
    let like = Like { engine, theirs, noise, path, folder };
    let Some(oracle) = ladder.rung("trace", || like.oracle()) else {
        BEHIND_TRACE
            .iter()
            .for_each(|name| ladder.skip(name, "there is nothing to hold against it"));
        return;
    };
    for (rung, numerics) in BEHIND_TRACE.into_iter().zip([Numerics::Reference, Numerics::Fast]) {
        let found = ladder.rung(rung, || -> Climbed<Compared> {
            let model = match numerics {
                Numerics::Fast => Arc::clone(ids.model),
                other => engine.load(other)?,
            };
            match like.evaluate(&model)?.into_result() {
                Ok(ours) => like.compare(numerics, &ours.file, &oracle.file),
                Err(step) => Ok(step),
            }
        });
        certificate.comparisons.extend(found);
    }
}

/// Evaluations like those of a trace.
struct Like<'a> {
    engine: &'a Engine<'a>,
    theirs: &'a TraceFile,
    noise: Option<&'a TraceFile>,
    path: Option<&'a Path>,
    folder: &'a TempDir,
}

impl Like<'_> {
    fn evaluate(&self, model: &Arc<Model>) -> Climbed<Traced> {
        let output = &self.folder.path().join(format!("like-{}", numerics_name(model.numerics())));
        let evals = &self.theirs.info().evals;
        let request = Request { evals, steps: 0, all_outputs: false, output };
        // Tokens that the model does not have are the trace's fault.
        traced::evaluate(self.engine, model, &request).map_err(|stop| match (stop, self.path) {
            (Stop::Failed(error), Some(path)) => Stop::Failed(error.at(path)),
            (stop, _) => stop,
        })
    }

    /// The trace beside an evaluation of ours. If no other trace says what is noise, f64 beside ours does: beside the
    /// trace it would take a fault of the trace for noise.
    fn compare(
        &self,
        numerics: Numerics,
        ours: &TraceFile,
        oracle: &TraceFile,
    ) -> Climbed<Compared> {
        let ours = Side { name: numerics_name(numerics), file: ours };
        let theirs = Side { name: "trace", file: self.theirs };
        let is_exact = numerics == Numerics::Reference && self.theirs.info().arithmetic == SCALAR;
        let others = |noise| Others { noise, oracle: Some(oracle) };
        match self.noise {
            _ if is_exact => compared::compare(&theirs, &ours, others(None)),
            None => compared::compare(&theirs, &ours, others(Some(oracle))),
            noise => compared::compare(&ours, &theirs, others(noise)),
        }
    }

    /// What the trace says of itself, and its tokens in f64.
    fn oracle(&self) -> Climbed<Traced> {
        let info = self.theirs.info();
        if info.evals.iter().all(|eval| eval.tokens.is_empty()) {
            let path = self.path.unwrap_or(self.engine.path);
            return Err(CliError::usage("--trace: that trace evaluates no tokens").at(path).into());
        }
        let oracle = match self.evaluate(&self.engine.load(Numerics::Oracle)?)?.into_result() {
            Ok(oracle) => oracle,
            Err(step) => return Ok(step),
        };
        let n_tokens: usize = info.evals.iter().map(|eval| eval.tokens.len()).sum();
        let what = format!(
            "{} {} ({}), {} nodes of {} evaluations, {n_tokens} tokens",
            info.engine,
            info.engine_version,
            if info.arithmetic.is_empty() { "arithmetic not told" } else { &info.arithmetic },
            self.theirs.nodes().len(),
            info.evals.len(),
        );
        let (hash, own) = (&info.model_sha256, self.engine.sha256);
        Ok(if hash.is_empty() || own.is_empty() {
            let note = "it does not say which file it is of".to_owned();
            Step::ok(oracle, what).with_notes([note])
        } else if hash.eq_ignore_ascii_case(own) {
            Step::ok(oracle, what)
        } else {
            // It says nothing about this file, whatever agrees.
            Step::fail(oracle, format!("it is of another file: {what}"))
                .with_notes([format!("its file has SHA-256 {hash}")])
        })
    }
}
