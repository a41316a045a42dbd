//! From a prompt to its continuation: for `run` once, for `chat` turn by turn.
mod stop;
mod text;
mod timings;

pub(crate) use text::{Emit, Text};
pub(crate) use timings::{Timings, peak_bytes};

use crate::{
    errors::{CliError, Exit},
    progress::Progress,
    run::prompt::check_some,
};
use llama_model::{BatchToken, Context, ModelError};
use sampler::Sampler;
use serde::Serialize;
use std::{sync::Arc, time::Instant};
use tokenizer::Tokenizer;

/// Prompt tokens given to the model at once: its micro-batch, so that the bar moves and nothing is slower.
const N_BATCH: usize = 512;

/// What to generate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    /// The most tokens; `None` is as many as the context holds.
    pub(crate) n_predict: Option<usize>,
    /// Whether a step keeps what the steps before computed.
    pub(crate) kv_cache: bool,
    /// How many of the highest logits are kept for each token.
    pub(crate) n_logits: usize,
}

/// Why the text ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum End {
    /// The model ended it.
    Eog,
    /// A stop string.
    Stop,
    /// As many tokens as were asked for.
    Length,
    /// The context is full.
    Context,
    /// Ctrl-C.
    Interrupted,
}

/// What came out.
#[derive(Debug)]
pub(crate) struct Generation {
    /// Every token picked, the one that ends the text included.
    pub(crate) ids: Vec<u32>,
    /// For each of them the highest `(id, logit)`, before any sampler.
    pub(crate) steps: Vec<Vec<(u32, f32)>>,
    pub(crate) end: End,
}

/// A model ready to continue texts.
pub(crate) struct Engine {
    pub(crate) tokenizer: Arc<Tokenizer>,
    pub(crate) context: Context,
    pub(crate) sampler: Sampler,
    /// The tokens whose positions the context holds.
    held: Vec<u32>,
}

impl Engine {
    pub(crate) fn new(tokenizer: Tokenizer, context: Context, sampler: Sampler) -> Self {
        Self { tokenizer: Arc::new(tokenizer), context, sampler, held: Vec::new() }
    }

    /// Continues `prompt` by tokens that become part of `text`; `emit` gets it piece by piece. What `prompt` has in
    /// common with the tokens of the call before is not computed again. The sampler knows the prompt already.
    pub(crate) fn run(
        &mut self,
        request: &Request,
        prompt: &[u32],
        timings: &mut Timings,
        text: &mut Text<'_>,
        emit: Emit<'_>,
    ) -> Result<Generation, CliError> {
        let n_ctx = self.context.n_ctx();
        check_some(prompt)?;
        if prompt.len() > n_ctx {
            let text = format!("the prompt has {} tokens, the context {n_ctx}", prompt.len());
            return Err(CliError::new("E-CONTEXT", Exit::Usage, text));
        }
        let n_held = self.held.iter().zip(prompt).take_while(|(a, b)| a == b).count();
        let Self { tokenizer, context, sampler, .. } = self;
        let mut steps = Steps { context, sampler, tokenizer, request, timings };
        let mut sequence = prompt.to_vec();
        let generation = steps.run(n_held, &mut sequence, text, emit);
        sequence.truncate(self.context.len(0));
        self.held = sequence;
        generation
    }
}

/// The parts that work together on one continuation.
struct Steps<'a> {
    context: &'a mut Context,
    sampler: &'a mut Sampler,
    tokenizer: &'a Tokenizer,
    request: &'a Request,
    timings: &'a mut Timings,
}

impl Steps<'_> {
    /// Extends `sequence`, of which the context holds the first `n_held`.
    fn run(
        &mut self,
        n_held: usize,
        sequence: &mut Vec<u32>,
        text: &mut Text<'_>,
        emit: Emit<'_>,
    ) -> Result<Generation, CliError> {
        let mut generation = Generation { ids: Vec::new(), steps: Vec::new(), end: End::Length };
        while let Some(id) = self.next(n_held, sequence, &mut generation)? {
            if self.tokenizer.is_eog(id) {
                generation.end = End::Eog;
                break;
            }
            sequence.push(id);
            if !text.push(id, emit)? {
                generation.end = End::Stop;
                break;
            }
            if self.is_enough(&generation) {
                break;
            }
            if sequence.len() > self.context.n_ctx() {
                generation.end = End::Context;
                break;
            }
        }
        Ok(generation)
    }

    fn is_enough(&self, generation: &Generation) -> bool {
        self.request.n_predict.is_some_and(|n| generation.ids.len() >= n)
    }

    /// Evaluates what is new of `sequence` and picks a token; `None` if there is to be none.
    fn next(
        &mut self,
        n_held: usize,
        sequence: &[u32],
        generation: &mut Generation,
    ) -> Result<Option<u32>, CliError> {
        let first = generation.ids.is_empty();
        let n_held = match (self.request.kv_cache, first) {
            (false, _) => 0,
            (true, true) => n_held.min(sequence.len() - 1),
            (true, false) => sequence.len() - 1,
        };
        // Layers with a sliding window may have lost what is needed to go on from there.
        let n_held = self.context.truncate(0, n_held);
        let enough = self.is_enough(generation);
        let started = Instant::now();
        let logits = match decode(self.context, sequence, n_held) {
            Err(ModelError::Cancelled) => {
                generation.end = End::Interrupted;
                return Ok(None);
            }
            logits => logits?,
        };
        if first {
            self.timings.n_prompt += sequence.len() - n_held;
            self.timings.n_reused += n_held;
            self.timings.prefill += started.elapsed();
        }
        if enough {
            return Ok(None);
        }
        let id = self.sampler.sample(logits)?;
        generation.steps.push(highest(logits, self.request.n_logits));
        generation.ids.push(id);
        if !first {
            self.timings.n_decoded += 1;
            self.timings.decode += started.elapsed();
        }
        Ok(Some(id))
    }
}

/// The logits behind the last token of `sequence`, of which the context holds the first `n_kept`.
fn decode<'c>(
    context: &'c mut Context,
    sequence: &[u32],
    n_kept: usize,
) -> Result<&'c [f32], ModelError> {
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
