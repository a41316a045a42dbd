//! `lockstep run`: a prompt in, text out.
mod generate;
pub(crate) mod prompt;
mod report;

use crate::{
    args::RunArgs,
    errors::{At, CliError, Exit},
    interrupt::Interrupt,
    model, output,
    progress::Progress,
    sampling,
};
use generate::{End, Generation};
use llama_model::{Context, ContextOptions, Isa, LoadOptions, Model};
use report::Timings;
use sampler::Sampler;
use std::{path::Path, sync::Arc, time::Instant};
use tokenizer::Tokenizer;

/// Runs the command.
pub(crate) fn run(args: &RunArgs, interrupt: &Interrupt) -> Result<Exit, CliError> {
    // What is wrong with the command line is told before a model is fetched or loaded.
    sampling::check(&args.sampling)?;
    let isa = isa(&args.isa)?;
    let prompt = prompt::read(args.ids.as_deref(), args.prompt.as_deref(), args.file.as_deref())?;

    let path = model::resolve(&args.model)?;
    let mut timings = Timings::default();
    let mut session = Session::load(args, isa, &path, &mut timings)?;
    let prompt_ids = prompt.ids(&session.tokenizer)?;
    interrupt.set_on_first(session.context.cancel_flag());
    let generation = session.generate(args, &prompt_ids, &mut timings).at(&path)?;

    if args.json {
        output::print_json(&report::Report::new(
            &prompt_ids,
            &generation,
            session.sampler.seed(),
            &timings,
        ))?;
    } else {
        output::print("\n")?;
        output::eprint_line(&timings.line());
    }
    Ok(if generation.end == End::Interrupted { Exit::Interrupted } else { Exit::Ok })
}

/// A model ready to continue a text.
struct Session {
    tokenizer: Tokenizer,
    context: Context,
    sampler: Sampler,
}

impl Session {
    fn load(
        args: &RunArgs,
        isa: Isa,
        path: &Path,
        timings: &mut Timings,
    ) -> Result<Self, CliError> {
        let started = Instant::now();
        let gguf = Arc::new(model::open(path)?);
        let tokenizer = model::tokenizer(path, &gguf)?;
        let sampler = sampling::sampler(&args.sampling, args.ignore_eos, path, &gguf, &tokenizer)?;
        let options = LoadOptions {
            numerics: args.numerics.into(),
            n_threads: args.threads.map_or_else(Model::default_threads, usize::from),
            isa,
        };
        let mut bar = Progress::fraction("loading");
        let model = Model::load(gguf, &options, &mut |done| bar.set_fraction(done)).at(path)?;
        drop(bar);
        model::warn_all(path, model.warnings());
        let n_ctx = if args.ctx_size == 0 { model.default_context() } else { args.ctx_size };
        let n_ctx_train = model.hparams().n_ctx_train;
        if n_ctx > n_ctx_train {
            let text = format!("trained for {n_ctx_train} tokens; text beyond them gets worse");
            output::eprint_warning(path, &text);
        }
        let model = Arc::new(model);
        let context = Context::new(model, &ContextOptions { n_ctx, ..ContextOptions::default() });
        let context = context.at(path)?;
        timings.load = started.elapsed();
        Ok(Self { tokenizer, context, sampler })
    }

    fn generate(
        &mut self,
        args: &RunArgs,
        prompt_ids: &[u32],
        timings: &mut Timings,
    ) -> Result<Generation, CliError> {
        let request = generate::Request {
            n_predict: args.n_predict.0,
            kv_cache: !args.no_kv_cache,
            n_logits: if args.json { args.logits } else { 0 },
        };
        let Self { tokenizer, context, sampler } = self;
        let mut decoder = tokenizer.continuing_decoder();
        let mut engine = generate::Engine { context, sampler, tokenizer };
        let mut text = String::new();
        let mut emit = |piece: &str| {
            text.push_str(piece);
            if args.json || piece.is_empty() { Ok(()) } else { output::print(piece) }
        };
        let mut generation =
            engine.run(&request, prompt_ids, timings, &mut |id| emit(decoder.push(id)))?;
        emit(decoder.finish())?;
        generation.text = text;
        Ok(generation)
    }
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
