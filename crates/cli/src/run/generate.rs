//! The loop from a prompt to its continuation.
use super::report::Timings;
use crate::{
    errors::{CliError, Exit},
    progress::Progress,
};
use llama_model::{BatchToken, Context, ModelError};
use sampler::Sampler;
use serde::Serialize;
use std::time::Instant;
use tokenizer::Tokenizer;

/// Prompt tokens given to the model at once: its micro-batch, so that the bar moves and nothing is slower.
const N_BATCH: usize = 512;

/// What to generate.
pub(super) struct Request {
    /// The most tokens; `None` is as many as the context holds.
    pub(super) n_predict: Option<usize>,
    /// Whether a step keeps what the steps before computed.
    pub(super) kv_cache: bool,
    /// How many of the highest logits are kept for each token.
    pub(super) n_logits: usize,
}

/// Why the text ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum End {
    /// The model ended it.
    Eog,
    /// As many tokens as were asked for.
    Length,
    /// The context is full.
    Context,
    /// Ctrl-C.
    Interrupted,
}

/// What came out.
#[derive(Debug)]
pub(super) struct Generation {
    /// Every token picked, the one that ends the text included.
    pub(super) ids: Vec<u32>,
    /// For each of them the highest `(id, logit)`, before any sampler.
    pub(super) steps: Vec<Vec<(u32, f32)>>,
    pub(super) text: String,
    pub(super) end: End,
}

/// The parts that work together.
pub(super) struct Engine<'a> {
    pub(super) context: &'a mut Context,
    pub(super) sampler: &'a mut Sampler,
    pub(super) tokenizer: &'a Tokenizer,
}

impl Engine<'_> {
    /// Continues `prompt`; `emit` gets every id that is part of the text.
    pub(super) fn run(
        &mut self,
        request: &Request,
        prompt: &[u32],
        timings: &mut Timings,
        emit: &mut dyn FnMut(u32) -> Result<(), CliError>,
    ) -> Result<Generation, CliError> {
        let n_ctx = self.context.n_ctx();
        if prompt.len() > n_ctx {
            let text = format!("the prompt has {} tokens, the context {n_ctx}", prompt.len());
            return Err(CliError::new("E-CONTEXT", Exit::Usage, text));
        }
        prompt.iter().for_each(|id| self.sampler.accept(*id));
        let mut generation = Generation {
            ids: Vec::new(),
            steps: Vec::new(),
            text: String::new(),
            end: End::Length,
        };
        let mut sequence = prompt.to_vec();
        loop {
            let first = sequence.len() == prompt.len();
            let new = if first || !request.kv_cache { 0 } else { sequence.len() - 1 };
            let started = Instant::now();
            let logits = decode(self.context, &sequence, new);
            let Some(logits) = unless_cancelled(logits)? else {
                generation.end = End::Interrupted;
                return Ok(generation);
            };
            if first {
                timings.n_prompt = prompt.len();
                timings.prefill = started.elapsed();
            }
            if request.n_predict.is_some_and(|n| generation.ids.len() >= n) {
                return Ok(generation);
            }
            let id = self.sampler.sample(logits)?;
            generation.steps.push(highest(logits, request.n_logits));
            generation.ids.push(id);
            if !first {
                timings.n_decoded += 1;
                timings.decode += started.elapsed();
            }
            if self.tokenizer.is_eog(id) {
                generation.end = End::Eog;
                return Ok(generation);
            }
            emit(id)?;
            sequence.push(id);
            if request.n_predict.is_some_and(|n| generation.ids.len() >= n) {
                return Ok(generation);
            }
            if sequence.len() > n_ctx {
                generation.end = End::Context;
                return Ok(generation);
            }
        }
    }
}

/// The logits behind the last token of `sequence`, of which the context is to keep the first `n_kept`.
fn decode<'c>(
    context: &'c mut Context,
    sequence: &[u32],
    n_kept: usize,
) -> Result<&'c [f32], ModelError> {
    let n_kept = context.truncate(0, n_kept);
    let new = sequence.get(n_kept..).unwrap_or_default();
    // All but the last batch, which gives the logits.
    let n_before = new.len().saturating_sub(1) / N_BATCH * N_BATCH;
    let (before, last) = new.split_at(n_before);
    let mut bar = Progress::count("reading the prompt");
    let mut pos = n_kept;
    for tokens in before.chunks(N_BATCH) {
        let mut batch = BatchToken::prompt(0, pos, tokens);
        batch.iter_mut().for_each(|token| token.output = false);
        context.decode(&batch)?;
        pos += tokens.len();
        bar.set(pos as u64, Some(sequence.len() as u64));
    }
    drop(bar);
    context.decode(&BatchToken::prompt(0, pos, last))
}

/// Ctrl-C is no error.
fn unless_cancelled(logits: Result<&[f32], ModelError>) -> Result<Option<&[f32]>, CliError> {
    match logits {
        Ok(logits) => Ok(Some(logits)),
        Err(ModelError::Cancelled) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The `k` highest logits with their ids, highest first, of equal ones the lower id first.
fn highest(logits: &[f32], k: usize) -> Vec<(u32, f32)> {
    let k = k.min(logits.len());
    if k == 0 {
        return Vec::new();
    }
    let mut all: Vec<(u32, f32)> = (0..).zip(logits.iter().copied()).collect();
    let by_logit = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    all.select_nth_unstable_by(k - 1, by_logit);
    all.truncate(k);
    all.sort_unstable_by(by_logit);
    all
}

#[cfg(test)]
mod tests {
    use super::highest;

    #[test]
    fn the_highest_logits() {
        let logits = [1.0, 3.0, -2.0, 3.0, 2.5];
        assert_eq!(highest(&logits, 3), [(1, 3.0), (3, 3.0), (4, 2.5)]);
        assert_eq!(highest(&logits, 0), []);
        assert_eq!(highest(&logits, 9).len(), 5);
    }
}
