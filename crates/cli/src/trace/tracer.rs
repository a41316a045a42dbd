//! Evaluations, every node of which goes to a file.
use super::select::Selection;
use crate::{
    errors::{At, CliError},
    interrupt::Stop,
    progress::Progress,
};
use compare::{EvalInfo, TraceError, TraceHparams, TraceInfo, Values, Writer};
use gguf_parse::Gguf;
use llama_model::{
    BatchToken, Context, ContextOptions, Model, ModelError, NodeData, NodeName, Numerics, Trace,
};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Nodes of a layer and besides, for the size of the header; a wrong guess costs a copy.
const NODES_PER_LAYER: usize = 32;
const NODES_BESIDES: usize = 16;

/// What to trace, and where to.
pub(crate) struct Plan<'a> {
    pub(crate) evals: &'a [EvalInfo],
    /// Greedy steps behind them.
    pub(crate) steps: u32,
    pub(crate) selection: Selection<'a>,
    /// Logits behind every token, not only behind the last of an evaluation.
    pub(crate) all_outputs: bool,
    pub(crate) output: &'a Path,
    /// What the progress bar says.
    pub(crate) label: &'static str,
}

impl Plan<'_> {
    fn n_evals(&self) -> usize {
        self.evals.len() + self.steps as usize
    }

    /// A context that holds all evaluations, and each of them in one micro-batch as llama.cpp's reference has it.
    pub(crate) fn context(&self, model: &Arc<Model>) -> Result<Context, ModelError> {
        let end = |e: &EvalInfo| e.n_past.saturating_add(e.tokens.len());
        let n_ctx = self.evals.iter().map(end).max().unwrap_or(1);
        let options = ContextOptions {
            n_ctx: n_ctx.saturating_add(self.steps as usize),
            n_ubatch: self.evals.iter().map(|e| e.tokens.len()).max().unwrap_or(1),
            swa_full: true,
            ..ContextOptions::default()
        };
        Context::new(Arc::clone(model), &options)
    }
}

/// A trace being made.
pub(crate) struct Tracer<'a> {
    context: Context,
    plan: Plan<'a>,
    sink: Sink<'a>,
}

impl<'a> Tracer<'a> {
    /// Begins the file.
    pub(crate) fn new(plan: Plan<'a>, context: Context) -> Result<Self, CliError> {
        let n_layer = context.model().hparams().n_layer;
        let n_nodes = plan.n_evals() * (n_layer * NODES_PER_LAYER + NODES_BESIDES);
        let writer = Writer::create(plan.output, n_nodes).at(plan.output)?;
        let sink =
            Sink { writer, selection: plan.selection, failed: None, cancel: context.cancel_flag() };
        Ok(Self { context, plan, sink })
    }

    /// The evaluations, and the greedy ones behind them.
    pub(crate) fn run(&mut self) -> Result<(), Stop> {
        let mut next = 0;
        let mut bar = Progress::count(self.plan.label);
        let all = self.plan.n_evals() as u64;
        for (i, eval) in self.plan.evals.iter().enumerate() {
            if eval.n_past < self.context.len(0) {
                // All positions are there: the context has full windows.
                let _ = self.context.truncate(0, eval.n_past);
            }
            next = self.eval(eval)?;
            bar.set(i as u64 + 1, Some(all));
        }
        for i in 0..u64::from(self.plan.steps) {
            let eval = EvalInfo { n_past: self.context.len(0), tokens: vec![next] };
            next = self.eval(&eval)?;
            bar.set(self.plan.evals.len() as u64 + i + 1, Some(all));
        }
        Ok(())
    }

    /// One evaluation; the most likely next token.
    fn eval(&mut self, eval: &EvalInfo) -> Result<u32, Stop> {
        self.sink.writer.begin_eval(eval.n_past, &eval.tokens);
        let mut batch = BatchToken::prompt(0, eval.n_past, &eval.tokens);
        if self.plan.all_outputs {
            batch.iter_mut().for_each(|token| token.output = true);
        }
        let n_vocab = self.context.model().hparams().n_vocab;
        let outcome = self.context.decode_traced(&batch, &mut self.sink);
        let outcome = outcome.map(|logits| greedy(logits, n_vocab));
        if let Some(error) = self.sink.failed.take() {
            // It was not Ctrl-C that set it.
            self.sink.cancel.store(false, Ordering::SeqCst);
            return Err(Stop::Failed(CliError::from(error).at(self.plan.output)));
        }
        let next = outcome?;
        if self.sink.selection.kv_cache {
            self.cache().at(self.plan.output)?;
        }
        Ok(next)
    }

    /// What the cache holds.
    fn cache(&mut self) -> Result<(), TraceError> {
        let n = self.context.len(0);
        for il in 0..self.context.model().hparams().n_layer {
            let Some((k, v)) = self.context.cache_f16(il, 0) else { continue };
            for (kind, rows) in [("k", k), ("v", v)] {
                let name = format!("cache_{kind}_l{il}");
                if self.sink.selection.wants(&name) {
                    let shape = [n, rows.len() / n.max(1)];
                    self.sink.writer.node(&name, "", &shape, Values::F16(&rows))?;
                }
            }
        }
        Ok(())
    }

    /// Names the file; how many nodes and bytes it holds.
    pub(crate) fn finish(self, info: TraceInfo) -> Result<(usize, u64), CliError> {
        let Self { plan, sink: Sink { writer, .. }, .. } = self;
        let size = (writer.n_nodes(), writer.n_bytes());
        writer.finish(info).at(plan.output)?;
        Ok(size)
    }
}

/// The most likely token behind the last row of logits; the lowest of equals.
fn greedy(logits: &[f32], n_vocab: usize) -> u32 {
    let row = logits.get(logits.len().saturating_sub(n_vocab)..).unwrap_or_default();
    u32::try_from(likeliest(row)).unwrap_or(0)
}

/// The id of the highest logit; the lowest of equals.
pub(crate) fn likeliest(row: &[f32]) -> usize {
    let best = row
        .iter()
        .enumerate()
        .fold((0, f32::NEG_INFINITY), |best, (id, l)| if *l > best.1 { (id, *l) } else { best });
    best.0
}

/// Writes nodes as they pass.
struct Sink<'a> {
    writer: Writer,
    selection: Selection<'a>,
    failed: Option<TraceError>,
    cancel: Arc<AtomicBool>,
}

impl Trace for Sink<'_> {
    fn rope_tables(&self) -> bool {
        self.selection.rope
    }

    fn node(&mut self, name: NodeName, shape: &[usize], data: NodeData<'_>) {
        let text = name.to_string();
        if self.failed.is_some() || !self.selection.wants_node(name.label, &text) {
            return;
        }
        let values = match data {
            NodeData::F32(x) => Values::F32(x),
            NodeData::F64(x) => Values::F64(x),
        };
        if let Err(error) = self.writer.node(&text, name.op, shape, values) {
            self.failed = Some(error);
            // Nothing after this can be written: the pass may as well end.
            self.cancel.store(true, Ordering::SeqCst);
        }
    }
}

/// What the trace says of itself: `sha256` of the model's file, the instruction set by name, the prompt as text.
pub(crate) fn info(
    path: &Path,
    sha256: String,
    gguf: &Gguf,
    model: &Model,
    isa: &str,
    prompt: String,
) -> TraceInfo {
    let arithmetic = match model.numerics() {
        Numerics::Fast => "lockstep-fast",
        Numerics::Reference => "ggml-scalar",
        Numerics::Oracle => "f64",
    };
    let exact = model.numerics() == Numerics::Oracle;
    let hp = model.hparams();
    let file_name = path.file_name().unwrap_or(path.as_os_str());
    let types = gguf.tensors().iter().map(|t| (t.name.clone(), t.ty.name().to_owned()));
    TraceInfo {
        engine: "lockstep".to_owned(),
        engine_version: env!("CARGO_PKG_VERSION").to_owned(),
        arithmetic: arithmetic.to_owned(),
        activations: if exact { "exact" } else { "" }.to_owned(),
        flags: format!("isa={isa}"),
        model: file_name.to_string_lossy().into_owned(),
        model_sha256: sha256,
        prompt,
        hparams: TraceHparams {
            n_head: Some(hp.n_head),
            n_head_kv: Some(hp.n_head_kv),
            n_embd_head: Some(hp.n_embd_head),
            n_rot: Some(hp.rope.n_rot),
            norm_rms_eps: Some(f64::from(hp.norm_eps)),
            rope_freq_base: Some(f64::from(hp.rope.freq_base)),
        },
        tensor_types: types.collect(),
        ..TraceInfo::default()
    }
}
