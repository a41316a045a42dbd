//! `lockstep trace`: every tensor of an evaluation, to a file.
pub(crate) mod args;
mod select;

use crate::{
    errors::{At, CliError, Exit},
    human,
    interrupt::Interrupt,
    model, output,
    progress::Progress,
    run::prompt,
    session,
};
use args::TraceArgs;
use compare::{EvalInfo, TraceError, TraceFile, TraceHparams, TraceInfo, Values, Writer};
use gguf_parse::Gguf;
use llama_model::{
    BatchToken, Context, ContextOptions, LoadOptions, Model, ModelError, NodeData, NodeName,
    Numerics, Trace,
};
use select::Selection;
use std::{
    fs::File,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Nodes of a layer and besides, for the size of the header; a wrong guess costs a copy.
const NODES_PER_LAYER: usize = 32;
const NODES_BESIDES: usize = 16;

/// Runs the command.
pub(crate) fn trace(args: &TraceArgs, interrupt: &Interrupt) -> Result<Exit, CliError> {
    let isa = session::isa(&args.isa)?;
    let source = Source::new(args)?;
    let path = model::resolve(&args.model)?;
    let gguf = Arc::new(model::open(&path)?);
    let evals = source.evals(&path, &gguf)?;
    let options = LoadOptions {
        numerics: args.numerics.into(),
        n_threads: args.threads.map_or_else(Model::default_threads, usize::from),
        isa,
    };
    let mut bar = Progress::fraction("loading");
    let model = Model::load(Arc::clone(&gguf), &options, &mut |done| bar.set_fraction(done));
    drop(bar);
    let model = Arc::new(model.at(&path)?);
    let info = info(args, &path, &gguf, &model, &source)?;
    let context = context(&model, &evals, args).at(&path)?;
    interrupt.set_on_first(context.cancel_flag());

    let n_evals = evals.len() + args.steps as usize;
    let n_nodes = n_evals * (model.hparams().n_layer * NODES_PER_LAYER + NODES_BESIDES);
    let writer = Writer::create(&args.output, n_nodes).at(&args.output)?;
    let selection = Selection::new(args);
    let sink = Sink { writer, selection, failed: None, cancel: context.cancel_flag() };
    let mut tracer = Tracer { context, sink, output: &args.output };
    match tracer.run(&evals, args.steps) {
        Ok(()) => {}
        Err(Stop::Cancelled) => return Ok(Exit::Interrupted),
        Err(Stop::Failed(error)) => return Err(error.at(&path)),
    }
    let writer = tracer.sink.writer;
    let (n_nodes, n_bytes) = (writer.n_nodes(), writer.n_bytes());
    writer.finish(info).at(&args.output)?;
    let what = format!("{n_nodes} nodes of {n_evals} evaluations, {}", human::bytes(n_bytes));
    output::eprint_line(&what);
    Ok(Exit::Ok)
}

/// Which tokens to evaluate.
enum Source {
    Prompt(prompt::Prompt),
    Like(Vec<EvalInfo>, String),
}

impl Source {
    fn new(args: &TraceArgs) -> Result<Self, CliError> {
        if let Some(path) = &args.like {
            let trace = TraceFile::open(path).at(path)?;
            let info = trace.info();
            if info.evals.iter().all(|e| e.tokens.is_empty()) {
                return Err(CliError::usage("--like: that trace evaluates no tokens").at(path));
            }
            return Ok(Self::Like(info.evals.clone(), info.prompt.clone()));
        }
        let read = prompt::read(args.ids.as_deref(), args.prompt.as_deref(), args.file.as_deref());
        Ok(Self::Prompt(read?))
    }

    fn evals(&self, path: &Path, gguf: &Gguf) -> Result<Vec<EvalInfo>, CliError> {
        match self {
            Self::Like(evals, _) => Ok(evals.clone()),
            Self::Prompt(prompt) => {
                let tokens = prompt.ids(&model::tokenizer(path, gguf)?)?;
                Ok(vec![EvalInfo { n_past: 0, tokens }])
            }
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Prompt(prompt::Prompt::Text(text)) | Self::Like(_, text) => text.clone(),
            Self::Prompt(prompt::Prompt::Ids(_)) => String::new(),
        }
    }
}

/// A context that holds all evaluations, and each of them in one micro-batch as llama.cpp's reference has it.
fn context(
    model: &Arc<Model>,
    evals: &[EvalInfo],
    args: &TraceArgs,
) -> Result<Context, ModelError> {
    let end = |e: &EvalInfo| e.n_past.saturating_add(e.tokens.len());
    let n_ctx = evals.iter().map(end).max().unwrap_or(1).saturating_add(args.steps as usize);
    let n_ubatch = evals.iter().map(|e| e.tokens.len()).max().unwrap_or(1);
    Context::new(
        Arc::clone(model),
        &ContextOptions { n_ctx, n_ubatch, swa_full: true, ..ContextOptions::default() },
    )
}

/// Why a trace ended early.
enum Stop {
    Cancelled,
    Failed(CliError),
}

impl From<ModelError> for Stop {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Cancelled => Self::Cancelled,
            error => Self::Failed(error.into()),
        }
    }
}

struct Tracer<'a> {
    context: Context,
    sink: Sink<'a>,
    output: &'a Path,
}

impl Tracer<'_> {
    /// The evaluations, and `steps` greedy ones behind them.
    fn run(&mut self, evals: &[EvalInfo], steps: u32) -> Result<(), Stop> {
        let mut next = 0;
        let mut bar = Progress::count("tracing");
        let all = evals.len() as u64 + u64::from(steps);
        for (i, eval) in evals.iter().enumerate() {
            if eval.n_past < self.context.len(0) {
                // All positions are there: the context has full windows.
                let _ = self.context.truncate(0, eval.n_past);
            }
            next = self.eval(eval)?;
            bar.set(i as u64 + 1, Some(all));
        }
        for i in 0..u64::from(steps) {
            let eval = EvalInfo { n_past: self.context.len(0), tokens: vec![next] };
            next = self.eval(&eval)?;
            bar.set(evals.len() as u64 + i + 1, Some(all));
        }
        Ok(())
    }

    /// One evaluation; the most likely next token.
    fn eval(&mut self, eval: &EvalInfo) -> Result<u32, Stop> {
        self.sink.writer.begin_eval(eval.n_past, &eval.tokens);
        let batch = BatchToken::prompt(0, eval.n_past, &eval.tokens);
        let outcome = self.context.decode_traced(&batch, &mut self.sink).map(greedy);
        if let Some(error) = self.sink.failed.take() {
            return Err(Stop::Failed(CliError::from(error).at(self.output)));
        }
        let next = outcome?;
        if self.sink.selection.kv_cache {
            self.cache().map_err(|e| Stop::Failed(CliError::from(e).at(self.output)))?;
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
}

/// The most likely token; the lowest of equals.
fn greedy(logits: &[f32]) -> u32 {
    let best = logits
        .iter()
        .enumerate()
        .fold((0, f32::NEG_INFINITY), |best, (id, l)| if *l > best.1 { (id, *l) } else { best });
    u32::try_from(best.0).unwrap_or(0)
}

/// Writes nodes as they pass.
struct Sink<'a> {
    writer: Writer,
    selection: Selection<'a>,
    failed: Option<TraceError>,
    cancel: Arc<AtomicBool>,
}

impl Trace for Sink<'_> {
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

/// What the trace says of itself.
fn info(
    args: &TraceArgs,
    path: &Path,
    gguf: &Gguf,
    model: &Model,
    source: &Source,
) -> Result<TraceInfo, CliError> {
    let arithmetic = match model.numerics() {
        Numerics::Fast => "lockstep-fast",
        Numerics::Reference => "ggml-scalar",
        Numerics::Oracle => "f64",
    };
    let exact = model.numerics() == Numerics::Oracle;
    let hp = model.hparams();
    let file_name = path.file_name().unwrap_or(path.as_os_str());
    let types = gguf.tensors().iter().map(|t| (t.name.clone(), t.ty.name().to_owned()));
    Ok(TraceInfo {
        engine: "lockstep".to_owned(),
        engine_version: env!("CARGO_PKG_VERSION").to_owned(),
        arithmetic: arithmetic.to_owned(),
        activations: if exact { "exact" } else { "" }.to_owned(),
        flags: format!("isa={}", args.isa),
        model: file_name.to_string_lossy().into_owned(),
        model_sha256: File::open(path).and_then(model_store::sha256_of).map_err(|e| {
            CliError::new("E-OPEN", Exit::Unreadable, format!("cannot be read: {e}")).at(path)
        })?,
        prompt: source.text(),
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
    })
}
