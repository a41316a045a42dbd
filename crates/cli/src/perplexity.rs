//! `lockstep perplexity`: how well a model predicts a text, and how far its predictions are from another's.
pub(crate) mod args;
mod report;
pub(crate) mod score;

use crate::{
    errors::{At, CliError, Exit},
    human,
    interrupt::Interrupt,
    model,
    new_file::NewFile,
    output,
    run::prompt,
    session,
};
use args::PerplexityArgs;
use gguf_parse::Gguf;
use llama_model::{Context, ContextOptions, LoadOptions};
use perplexity::{BaseReader, BaseWriter, Chunks, Divergence, NpyWriter, PerplexityError};
use report::Report;
use score::{Base, Score, Scorer};
use std::{
    fs::File,
    io::BufReader,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokenizer::{Special, Tokenizer};

/// Runs the command.
pub(crate) fn perplexity(args: &PerplexityArgs, interrupt: &Interrupt) -> Result<Exit, CliError> {
    let isa = session::isa(&args.isa)?;
    let text = args.file.as_deref().map(prompt::read_path).transpose()?;
    if let Some(path) = args.kl_base.as_deref().filter(|p| !args.kl_divergence && p.exists()) {
        let text = "there is such a file; add --kl-divergence to compare with it, or remove it to write it anew";
        return Err(CliError::new("E-EXISTS", Exit::Usage, text).at(path));
    }
    let path = model::resolve(&args.model)?;
    let gguf = Arc::new(model::open(&path)?);
    let options = LoadOptions {
        numerics: args.numerics.into(),
        n_threads: session::n_threads(args.threads),
        isa,
        repack: !args.load.no_repack,
    };
    let mut scorer = scorer(args, text, &path, &gguf, options.n_threads)?;
    let n_chunk = args.chunks.0.unwrap_or(usize::MAX).min(scorer.text.n_chunk());
    if n_chunk == 0 {
        return Err(PerplexityError::NoChunks.into());
    }
    let room = ContextOptions { n_ctx: scorer.text.n_ctx(), ..args.cache.context() };
    let mut context = context(&path, &gguf, &options, &room)?;
    interrupt.set_on_first(context.cancel_flag());
    let started = Instant::now();
    let interrupted = scorer.run(&mut context, n_chunk).at(&path)?;
    report(args, &path, &scorer, n_chunk, interrupted, started.elapsed())?;
    finish_files(scorer, interrupted)?;
    Ok(if interrupted { Exit::Interrupted } else { Exit::Ok })
}

/// All that can be wrong with text and files is found here, before the model is loaded.
fn scorer(
    args: &PerplexityArgs,
    text: Option<String>,
    path: &Path,
    gguf: &Gguf,
    n_threads: usize,
) -> Result<Scorer, CliError> {
    let tokenizer = model::tokenizer(path, gguf)?;
    if tokenizer.add_eos() {
        let text = "its texts end with a token of their own, and chunks of a text have no end: perplexity is not defined";
        return Err(CliError::new("E-UNSUPPORTED", Exit::Unsupported, text).at(path));
    }
    let n_vocab = tokenizer.n_vocab();
    let compare = match &args.kl_base {
        Some(path) if args.kl_divergence => Some(open_base(path, n_vocab)?),
        _ => None,
    };
    let text = match &compare {
        Some(base) => base.reader.text().clone(),
        None => {
            let tokens = tokenizer.encode(&text.unwrap_or_default(), true, Special::AsText);
            Chunks::new(tokens, args.ctx_size, args.chunks.0, n_vocab)?
        }
    };
    let base = args.kl_base.as_deref().filter(|_| compare.is_none()).map(NewFile::create);
    let base = base.transpose()?.map(|file| BaseWriter::new(file, &text)).transpose()?;
    let n_rows = text.n_chunk().min(args.chunks.0.unwrap_or(usize::MAX)) * (text.n_ctx() - 1);
    let logits = args.logits.as_deref().map(NewFile::create).transpose()?;
    let logits = logits.map(|file| NpyWriter::new(file, n_rows, n_vocab)).transpose()?;
    let divergence = compare.is_some().then(Divergence::default);
    let score = Score { divergence, ..Score::default() };
    let bos = bos(&tokenizer);
    Ok(Scorer { text, bos, n_threads, compare, base, logits, score })
}

/// The token that begins every chunk, if the model's texts have one.
pub(crate) fn bos(tokenizer: &Tokenizer) -> Option<u32> {
    tokenizer.bos().filter(|_| tokenizer.add_bos())
}

fn open_base(path: &Path, n_vocab: usize) -> Result<Base, CliError> {
    let unreadable =
        |e| CliError::new("E-OPEN", Exit::Unreadable, format!("cannot be read: {e}")).at(path);
    // Only of a file is known how long it is, and a FIFO could hang.
    let metadata = path.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        let text = "is no regular file";
        return Err(CliError::new("E-FILE", Exit::Unreadable, text).at(path));
    }
    let file = BufReader::with_capacity(1 << 20, File::open(path).map_err(unreadable)?);
    let reader = BaseReader::new(file, metadata.len(), n_vocab).at(path)?;
    Ok(Base { reader, path: path.to_owned() })
}

/// The loaded model, with room for a chunk.
fn context(
    path: &Path,
    gguf: &Arc<Gguf>,
    options: &LoadOptions,
    room: &ContextOptions,
) -> Result<Context, CliError> {
    let model = Arc::new(model::load(path, gguf, options)?);
    let (n_ctx, n_ctx_train) = (room.n_ctx, model.hparams().n_ctx_train);
    if n_ctx > n_ctx_train {
        output::eprint_warning(
            path,
            &format!("trained for {n_ctx_train} tokens, measured with {n_ctx}"),
        );
    }
    Context::new(model, room).at(path)
}

fn report(
    args: &PerplexityArgs,
    path: &Path,
    scorer: &Scorer,
    n_chunk: usize,
    interrupted: bool,
    time: Duration,
) -> Result<(), CliError> {
    let Score { likelihood, divergence, chunks } = &scorer.score;
    let n_computed = chunks.len() * scorer.text.n_ctx();
    let report = Report {
        model: path.display().to_string(),
        numerics: args.numerics.name(),
        n_ctx: scorer.text.n_ctx(),
        n_chunk,
        interrupted,
        n_tokens: likelihood.n_tokens(),
        perplexity: likelihood.perplexity(),
        chunks,
        kl: divergence.as_ref().map(Divergence::summary),
        seconds: time.as_secs_f64(),
        tok_per_s: human::rate(n_computed, time.as_secs_f64()),
    };
    if args.json {
        return output::print_json(&report);
    }
    report.print()?;
    output::eprint_line(&format!(
        "{} tokens in {:.1} s, {:.1} tok/s; {} scored",
        n_computed, report.seconds, report.tok_per_s, report.n_tokens
    ));
    Ok(())
}

/// Names the files that were written; a part of one would be none.
fn finish_files(scorer: Scorer, interrupted: bool) -> Result<(), CliError> {
    let files = [scorer.base.map(BaseWriter::into_inner), scorer.logits.map(NpyWriter::into_inner)];
    for file in files.into_iter().flatten() {
        if interrupted {
            output::eprint_warning(file.target(), "not written: chunks are missing");
        } else {
            file.persist()?;
        }
    }
    Ok(())
}
