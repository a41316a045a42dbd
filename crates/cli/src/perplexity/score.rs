//! The loop over a text: logits in, sums and files out.
use crate::{
    errors::{At, CliError},
    new_file::NewFile,
    progress::Progress,
};
use llama_model::{BatchToken, Context, ModelError};
use perplexity::{
    BaseReader, BaseWriter, Chunks, Divergence, Likelihood, NpyWriter, RowDivergence, encode_row,
    map_rows, neg_log_likelihood,
};
use std::{fs::File, io::BufReader, path::PathBuf};

/// Logits held at once: 64 MiB of them.
const MAX_LOGITS: usize = 16 << 20;
/// Tokens computed at once, if their logits fit.
const N_BATCH: usize = 512;

/// Why a chunk was not finished.
pub(crate) enum Stop {
    /// Ctrl-C.
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

impl From<CliError> for Stop {
    fn from(error: CliError) -> Self {
        Self::Failed(error)
    }
}

/// Takes the position of the first of some rows of logits, and the rows.
pub(crate) type Take<'a> = dyn FnMut(usize, &[f32]) -> Result<(), CliError> + 'a;

/// Computes `inputs` with an empty cache and hands the logits behind positions `first..` to `take`, some rows at a
/// time.
pub(crate) fn logits_from(
    context: &mut Context,
    inputs: &[u32],
    first: usize,
    take: &mut Take<'_>,
) -> Result<(), Stop> {
    context.clear(0);
    let n_vocab = context.model().hparams().n_vocab;
    let mut pos = 0;
    while pos < inputs.len() {
        let scored = pos >= first;
        let end = if scored { inputs.len() } else { first.min(inputs.len()) };
        let n_rows =
            if scored { (MAX_LOGITS / n_vocab.max(1)).clamp(16, N_BATCH) } else { N_BATCH };
        let end = end.min(pos + n_rows);
        let tokens = inputs.get(pos..end).unwrap_or_default().iter().enumerate();
        let batch: Vec<_> = tokens
            .map(|(i, id)| BatchToken { seq: 0, pos: pos + i, token: *id, output: scored })
            .collect();
        let logits = context.decode(&batch)?;
        if scored {
            take(pos, logits)?;
        }
        pos = end;
    }
    Ok(())
}

/// The file to compare with.
pub(super) struct Base {
    pub(super) reader: BaseReader<BufReader<File>>,
    pub(super) path: PathBuf,
}

/// What is computed of a text, and what is written of it.
pub(super) struct Scorer {
    pub(super) text: Chunks,
    /// The token that begins every chunk.
    pub(super) bos: Option<u32>,
    pub(super) n_threads: usize,
    pub(super) compare: Option<Base>,
    pub(super) base: Option<BaseWriter<NewFile>>,
    pub(super) logits: Option<NpyWriter<NewFile>>,
    pub(super) score: Score,
}

/// The sums.
#[derive(Debug, Default)]
pub(super) struct Score {
    pub(super) likelihood: Likelihood,
    pub(super) divergence: Option<Divergence>,
    /// The perplexity after each chunk.
    pub(super) chunks: Vec<f64>,
}

impl Scorer {
    /// Computes chunk by chunk; whether Ctrl-C ended it.
    pub(super) fn run(&mut self, context: &mut Context, n_chunk: usize) -> Result<bool, CliError> {
        let mut bar = Progress::count("perplexity");
        let n_ctx = self.text.n_ctx() as u64;
        for chunk in 0..n_chunk {
            match self.chunk(context, chunk) {
                Ok(()) => {}
                Err(Stop::Cancelled) => return Ok(true),
                Err(Stop::Failed(error)) => return Err(error),
            }
            let ppl = self.score.likelihood.perplexity();
            self.score.chunks.push(ppl.mean);
            let kl = self.score.divergence.as_ref().map(|d| format!(", KL {:.5}", d.mean().mean));
            bar.relabel(format!("PPL {:.4}{}", ppl.mean, kl.unwrap_or_default()));
            bar.set((chunk as u64 + 1) * n_ctx, Some(n_chunk as u64 * n_ctx));
        }
        Ok(false)
    }

    /// One chunk; if it is not finished nothing of it counts.
    fn chunk(&mut self, context: &mut Context, chunk: usize) -> Result<(), Stop> {
        let Self { text, bos, n_threads, compare, base, logits, score } = self;
        let targets = text.targets(chunk);
        let base_rows = match compare {
            Some(base) => Some(base.reader.next_chunk().at(&base.path)?),
            None => None,
        };
        // Who wants all logits gets those that are not scored, too.
        let (n_vocab, first) = (text.n_vocab(), text.first());
        let from = if logits.is_some() { 0 } else { first };
        let mut nlls = Vec::with_capacity(targets.len());
        let mut rows = Vec::new();
        let mut take = |pos: usize, all: &[f32]| {
            if let Some(logits) = logits {
                logits.write(all)?;
            }
            let some = all.get(first.saturating_sub(pos) * n_vocab..).unwrap_or_default();
            let here = pos.saturating_sub(first)..(pos + all.len() / n_vocab).saturating_sub(first);
            let targets = targets.get(here.clone()).unwrap_or_default();
            if let Some(base_rows) = &base_rows {
                let base_rows = base_rows.get(here).unwrap_or_default().iter();
                let pairs: Vec<_> = base_rows.zip(targets.iter().copied()).collect();
                rows.extend(map_rows(*n_threads, some, n_vocab, &pairs, |row, (base, id)| {
                    RowDivergence::new(row, base, *id)
                }));
            }
            if let Some(base) = base {
                for row in map_rows(*n_threads, some, n_vocab, targets, |row, _| encode_row(row)) {
                    base.write_row(&row)?;
                }
            }
            nlls.extend(map_rows(*n_threads, some, n_vocab, targets, |row, id| {
                neg_log_likelihood(row, *id)
            }));
            Ok(())
        };
        logits_from(context, &text.inputs(chunk, *bos), from, &mut take)?;
        nlls.into_iter().for_each(|nll| score.likelihood.push(nll));
        if let Some(divergence) = &mut score.divergence {
            rows.iter().for_each(|row| divergence.push(row));
        }
        Ok(())
    }
}
