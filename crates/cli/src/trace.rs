//! `lockstep trace`: every tensor of an evaluation, to a file.
pub(crate) mod args;
mod select;
mod tracer;

pub(crate) use select::Selection;
pub(crate) use tracer::{Plan, Tracer, info, likeliest};

use crate::{
    errors::{At, CliError, Exit},
    human,
    interrupt::{Interrupt, Stop},
    model, output,
    progress::Progress,
    run::prompt,
    session,
};
use args::TraceArgs;
use compare::{EvalInfo, TraceFile};
use gguf_parse::Gguf;
use llama_model::{LoadOptions, Model};
use std::{fs::File, path::Path, sync::Arc};

/// Runs the command.
pub(crate) fn trace(args: &TraceArgs, interrupt: &Interrupt) -> Result<Exit, CliError> {
    let isa = session::isa(&args.isa)?;
    let source = Source::new(args)?;
    let path = model::resolve(&args.model)?;
    let gguf = Arc::new(model::open(&path)?);
    let evals = source.evals(&path, &gguf)?;
    let options = LoadOptions {
        numerics: args.numerics.into(),
        n_threads: session::n_threads(args.threads),
        isa,
        repack: !args.load.no_repack,
    };
    let mut bar = Progress::fraction("loading");
    let model = Model::load(Arc::clone(&gguf), &options, &mut |done| bar.set_fraction(done));
    drop(bar);
    let model = Arc::new(model.at(&path)?);
    let sha256 = File::open(&path).and_then(model_store::sha256_of).map_err(|e| {
        CliError::new("E-OPEN", Exit::Unreadable, format!("cannot be read: {e}")).at(&path)
    })?;
    let info = info(&path, sha256, &gguf, &model, &args.isa, source.text());
    let plan = Plan {
        evals: &evals,
        steps: args.steps,
        selection: Selection::new(args),
        all_outputs: false,
        output: &args.output,
        label: "tracing",
    };
    let context = plan.context(&model).at(&path)?;
    interrupt.set_on_first(context.cancel_flag());

    let mut tracer = Tracer::new(plan, context)?;
    match tracer.run() {
        Ok(()) => {}
        Err(Stop::Cancelled) => return Ok(Exit::Interrupted),
        Err(Stop::Failed(error)) => return Err(error.at(&path)),
    }
    let (n_nodes, n_bytes) = tracer.finish(info)?;
    let n_evals = evals.len() + args.steps as usize;
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
                prompt::check_some(&tokens)?;
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
