//! From arguments to a model ready to run.
use crate::{
    args::EngineArgs,
    errors::{At, CliError},
    generate::Engine,
    model, output,
    sampling::{self, SamplingArgs},
    template::{ChatTemplate, TemplateOptions},
};
use gguf_parse::Gguf;
use llama_model::{Context, ContextOptions, Isa, LoadOptions, Model};
use std::{path::Path, sync::Arc};

/// A model ready to run.
pub(crate) struct Session {
    pub(crate) engine: Engine,
    pub(crate) template: Option<ChatTemplate>,
    /// The file: its metadata may say how to sample.
    pub(crate) gguf: Arc<Gguf>,
}

/// Opens a model; `template` is none for those who do not want one.
pub(crate) fn open(
    path: &Path,
    args: &EngineArgs,
    sampling: &SamplingArgs,
    template: Option<&TemplateOptions>,
) -> Result<Session, CliError> {
    let isa = isa(&args.isa)?;
    let gguf = Arc::new(model::open(path)?);
    let tokenizer = model::tokenizer(path, &gguf)?;
    let template = match template {
        None => None,
        Some(options) => ChatTemplate::of(options, path, &gguf, &tokenizer)
            .map_err(|e| e.with_hint("; `lockstep run --raw` runs the model without it"))?,
    };
    let sampler = sampling::sampler(sampling, args.ignore_eos, path, &gguf, &tokenizer)?;
    let options = LoadOptions {
        numerics: args.numerics.into(),
        n_threads: n_threads(args.threads),
        isa,
        repack: !args.load.no_repack,
    };
    let model = model::load(path, &gguf, &options)?;
    let options = args.cache.context();
    let n_ctx = match args.ctx_size {
        0 => model.default_context(&options),
        given => given,
    };
    let n_ctx_train = model.hparams().n_ctx_train;
    if n_ctx > n_ctx_train {
        let text = format!("trained for {n_ctx_train} tokens; text beyond them gets worse");
        output::eprint_warning(path, &text);
    }
    let context = Context::new(Arc::new(model), &ContextOptions { n_ctx, ..options }).at(path)?;
    Ok(Session { engine: Engine::new(tokenizer, context, sampler), template, gguf })
}

/// As many threads as asked for, else the model's default.
pub(crate) fn n_threads(asked: Option<u16>) -> usize {
    asked.map_or_else(Model::default_threads, usize::from)
}

/// The instruction set of that name, if this CPU has it.
pub(crate) fn isa(name: &str) -> Result<Isa, CliError> {
    // An empty variable is as good as none.
    if name == "auto" || name.is_empty() {
        return Ok(Isa::detect());
    }
    Isa::from_name(name).ok_or_else(|| {
        let names: Vec<_> = Isa::available().map(Isa::name).collect();
        CliError::usage(format!(
            "--isa (or LOCKSTEP_ISA) is {name}; must be auto or one that this CPU has: {}",
            names.join(", ")
        ))
    })
}
