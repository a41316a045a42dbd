//! The prompt and some steps in one arithmetic, every tensor of them written down and looked at.
use super::{
    certificate::Evaluated,
    ladder::{Cancel, Climbed, Step},
};
use crate::{
    args::numerics_name,
    errors::{At, CliError, Exit},
    interrupt::Stop,
    progress::Progress,
    trace::{self, Plan, Selection, Tracer},
};
use compare::{EvalInfo, Node, TraceError, TraceFile};
use gguf_parse::Gguf;
use llama_model::{Isa, LoadOptions, Model, Numerics};
use std::{path::Path, sync::Arc};

/// A model, and how it is to be loaded.
#[derive(Clone, Copy)]
pub(super) struct Engine<'a> {
    pub(super) path: &'a Path,
    pub(super) gguf: &'a Arc<Gguf>,
    pub(super) sha256: &'a str,
    pub(super) n_threads: usize,
    pub(super) isa: Isa,
    /// Whether `fast` packs all weights at load.
    pub(super) repack: bool,
    pub(super) cancel: &'a Cancel,
}

impl Engine<'_> {
    /// Loads it.
    pub(super) fn load(&self, numerics: Numerics) -> Result<Arc<Model>, Stop> {
        self.cancel.check()?;
        let &Self { n_threads, isa, repack, .. } = self;
        let options = LoadOptions { numerics, n_threads, isa, repack };
        let mut bar = Progress::fraction("loading");
        let gguf = Arc::clone(self.gguf);
        let model = Model::load(gguf, &options, &mut |done| bar.set_fraction(done))?;
        self.cancel.check()?;
        Ok(Arc::new(model))
    }
}

/// What to evaluate, and where the trace goes.
pub(super) struct Request<'a> {
    pub(super) evals: &'a [EvalInfo],
    pub(super) steps: usize,
    /// Logits behind every token.
    pub(super) all_outputs: bool,
    pub(super) output: &'a Path,
}

/// A trace, and what was seen in it.
pub(super) struct Traced {
    pub(super) file: TraceFile,
    pub(super) seen: Evaluated,
}

/// Evaluates with `model`, which is loaded already, and looks at every value.
pub(super) fn evaluate(
    engine: &Engine<'_>,
    model: &Arc<Model>,
    request: &Request<'_>,
) -> Climbed<Traced> {
    let numerics = numerics_name(model.numerics());
    let (file, failed) = write(engine, model, request)?;
    let (seen, at) = look(&file, numerics).at(request.output)?;
    let n_evals = file.info().evals.len();
    let detail = format!(
        "{} nodes of {n_evals} evaluations, all finite{}",
        seen.n_nodes,
        describe_layers(&seen.rms_by_layer)
    );
    let broken = |error: CliError| {
        let error = match &at {
            Some(at) => error.with_hint(&format!("; the first value that is none is in {at}")),
            None => error,
        };
        Step::broken(None, error)
    };
    Ok(match (failed, &at) {
        (Some(error), _) => broken(error),
        (None, Some(_)) => {
            let text = "the model produced values that are NaN or infinite";
            broken(CliError::new("E-NAN", Exit::Malformed, text))
        }
        (None, None) => Step::ok(Traced { file, seen }, detail),
    })
}

/// The trace. If the model produced NaN it ends there, and that is the second.
fn write(
    engine: &Engine<'_>,
    model: &Arc<Model>,
    request: &Request<'_>,
) -> Result<(TraceFile, Option<CliError>), Stop> {
    let plan = Plan {
        evals: request.evals,
        steps: u32::try_from(request.steps).unwrap_or(u32::MAX),
        selection: Selection::all(),
        all_outputs: request.all_outputs,
        output: request.output,
        label: numerics_name(model.numerics()),
    };
    let context = plan.context(model)?;
    engine.cancel.watch(&context)?;
    let mut tracer = Tracer::new(plan, context)?;
    let failed = match tracer.run() {
        Ok(()) => None,
        Err(Stop::Failed(error)) if error.code() == "E-NAN" => Some(error),
        Err(stop) => return Err(stop),
    };
    let sha256 = engine.sha256.to_owned();
    let isa = engine.isa.name();
    tracer.finish(trace::info(engine.path, sha256, engine.gguf, model, isa, String::new()))?;
    let file = TraceFile::open(request.output).at(request.output)?;
    Ok((file, failed))
}

/// Looks at every value; what was seen, and where the first is that is NaN or infinite.
fn look(
    file: &TraceFile,
    numerics: &'static str,
) -> Result<(Evaluated, Option<String>), TraceError> {
    let mut not_finite = None;
    let mut rms_by_layer = Vec::new();
    for node in file.nodes() {
        let values = file.values(node)?;
        let n_bad = values.iter().filter(|x| !x.is_finite()).count();
        if n_bad > 0 && not_finite.is_none() {
            not_finite = Some(place(node, n_bad));
        }
        if node.label() == "l_out" && node.eval == 0 {
            #[expect(clippy::cast_precision_loss, reason = "a mean")]
            let n = values.len().max(1) as f64;
            rms_by_layer.push((values.iter().map(|x| x * x).sum::<f64>() / n).sqrt());
        }
    }
    let at = not_finite.clone();
    Ok((Evaluated { numerics, n_nodes: file.nodes().len(), not_finite, rms_by_layer }, at))
}

fn place(node: &Node, n_bad: usize) -> String {
    let layer = node.layer().map(|il| format!(", layer {il}")).unwrap_or_default();
    let (name, n, eval) = (&node.name, node.n_elements(), node.eval);
    format!("{name}#{}{layer}, evaluation {eval}: {n_bad} of {n} values", node.occurrence)
}

/// How the stream grows.
fn describe_layers(rms: &[f64]) -> String {
    match rms {
        [] => String::new(),
        [one] => format!("; RMS {one:.3}"),
        [first, .., last] => {
            let (il, most) =
                rms.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap_or((0, last));
            format!(
                "; RMS {first:.3} behind layer 0, at most {most:.3} ({il}), {last:.3} behind the last"
            )
        }
    }
}
