//! `lockstep bench`: tokens per second, and how much of the machine they use.
mod measure;
mod report;
mod split;
mod test;

use crate::{
    args::BenchArgs,
    errors::{At, CliError, Exit},
    interrupt::Interrupt,
    model, output, session,
};
use llama_model::{
    Context, ContextOptions, Isa, LoadOptions, Model, ModelError,
    bench::{Peaks, Work},
};
use measure::Runner;
use report::{Description, Printer, Row};
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use test::Test;

/// Runs the command.
pub(crate) fn bench(args: &BenchArgs, interrupt: &Interrupt) -> Result<Exit, CliError> {
    let isa = session::isa(&args.isa)?;
    let tests = test::all(args);
    if tests.is_empty() {
        return Err(CliError::usage("nothing to measure: neither -p, -n nor -pg ask for tokens"));
    }
    let paths = args.models.iter().map(|name| model::resolve(name));
    let paths = paths.collect::<Result<Vec<PathBuf>, _>>()?;
    let threads = match args.threads.as_slice() {
        [] => vec![Model::default_threads()],
        given => given.iter().copied().map(usize::from).collect(),
    };
    let peaks = threads.iter().map(|n| Peaks::measure(*n)).collect::<Result<Vec<_>, _>>()?;

    let mut printer = Printer::new(args.output, args.split);
    printer.begin()?;
    for path in paths {
        for peaks in &peaks {
            let session = Session { args, isa, peaks, path: &path, interrupt };
            if session.run(&tests, &mut printer)? == Exit::Interrupted {
                return Ok(Exit::Interrupted);
            }
        }
    }
    printer.finish(&peaks)?;
    Ok(Exit::Ok)
}

/// The tests of one model on one number of threads.
struct Session<'a> {
    args: &'a BenchArgs,
    isa: Isa,
    peaks: &'a Peaks,
    path: &'a PathBuf,
    interrupt: &'a Interrupt,
}

impl Session<'_> {
    fn run(&self, tests: &[Test], printer: &mut Printer) -> Result<Exit, CliError> {
        let gguf = Arc::new(model::open(self.path)?);
        let description = Description::of(self.path, &gguf);
        let options = LoadOptions {
            n_threads: self.peaks.n_threads,
            isa: self.isa,
            repack: !self.args.load.no_repack,
            ..LoadOptions::default()
        };
        // Until there is something to cancel, Ctrl-C ends the process.
        self.interrupt.release();
        let model = Arc::new(model::load(self.path, &gguf, &options)?);
        let cache = self.args.cache.context();
        let work = Work::new(&gguf, model.hparams(), cache.type_k, cache.type_v);

        let mut cancelled = Arc::<AtomicBool>::default();
        // Tests that begin at the same depth share the tokens there.
        for group in tests.chunk_by(|a, b| a.depth == b.depth) {
            if cancelled.load(Ordering::SeqCst) {
                return Ok(Exit::Interrupted);
            }
            let mut context = self.context(&model, group)?;
            cancelled = context.cancel_flag();
            self.interrupt.set_on_first(Arc::clone(&cancelled));
            let mut runner = Runner::new(&mut context, usize::from(self.args.repetitions));
            for test in group {
                let measured = match runner.measure(test, self.args.split) {
                    Err(ModelError::Cancelled) => return Ok(Exit::Interrupted),
                    measured => measured.at(self.path)?,
                };
                let row = Row::new(&description, self.peaks, self.isa, test, &measured, &work);
                printer.row(row.with_cache(&cache).with_repack(options.repack))?;
            }
        }
        Ok(Exit::Ok)
    }

    /// Room for the largest of `tests`.
    fn context(&self, model: &Arc<Model>, tests: &[Test]) -> Result<Context, CliError> {
        let max = |of: fn(&Test) -> usize| tests.iter().map(of).max().unwrap_or(1);
        let options = ContextOptions {
            n_ctx: max(|test| test.depth + test.n_prompt + test.n_gen),
            n_seq: max(|test| test.n_seq),
            ..self.args.cache.context()
        };
        let n_ctx_train = model.hparams().n_ctx_train;
        if options.n_ctx > n_ctx_train {
            let text = format!("trained for {n_ctx_train} tokens, measured with more");
            output::eprint_warning(self.path, &text);
        }
        Context::new(Arc::clone(model), &options).at(self.path)
    }
}
