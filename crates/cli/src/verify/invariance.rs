//! The bits of `fast`, whatever is done about cache, batches, threads and instruction sets.
use super::{
    certificate::Invariant,
    ladder::{Climbed, Step},
    logits::Rows,
    traced::Engine,
};
use crate::{errors::CliError, interrupt::Stop, progress::Progress};
use compare::{EvalInfo, TraceFile};
use llama_model::{BatchToken, Context, ContextOptions, Isa, Model, Numerics};
use std::sync::Arc;

/// Logits as they are stored, a row a position.
type Bits = Vec<Vec<u32>>;

/// What everything has to be like: the traced evaluation.
pub(super) struct Baseline {
    ids: Vec<u32>,
    n_prompt: usize,
    rows: Bits,
}

impl Baseline {
    /// From the trace of `fast`: a prompt with all its logits, and steps.
    pub(super) fn new(trace: &TraceFile) -> Result<Self, CliError> {
        let evals = &trace.info().evals;
        let rows = Rows::of(trace)?.0.iter().flat_map(|row| bits(row, row.len())).collect();
        let ids = evals.iter().flat_map(|eval| eval.tokens.iter().copied()).collect();
        Ok(Self { ids, n_prompt: evals.first().map_or(0, |eval| eval.tokens.len()), rows })
    }

    fn evals(&self) -> Vec<EvalInfo> {
        let (prompt, steps) = self.ids.split_at(self.n_prompt);
        let mut evals = vec![EvalInfo { n_past: 0, tokens: prompt.to_vec() }];
        let steps = steps.iter().enumerate();
        evals
            .extend(steps.map(|(i, id)| EvalInfo { n_past: self.n_prompt + i, tokens: vec![*id] }));
        evals
    }
}

fn bits(logits: &[f32], n_vocab: usize) -> Bits {
    logits.chunks_exact(n_vocab).map(|row| row.iter().map(|x| x.to_bits()).collect()).collect()
}

/// Evaluates the same tokens in other ways.
pub(super) struct Runner<'a> {
    pub(super) engine: Engine<'a>,
    pub(super) model: Arc<Model>,
    pub(super) baseline: &'a Baseline,
}

impl Runner<'_> {
    fn context(&self, model: &Arc<Model>, n_seq: usize, n_ubatch: usize) -> Result<Context, Stop> {
        let n_ctx = self.baseline.ids.len();
        let options = ContextOptions { n_ctx, n_seq, n_ubatch, ..ContextOptions::default() };
        let context = Context::new(Arc::clone(model), &options)?;
        self.engine.cancel.watch(&context)?;
        Ok(context)
    }

    /// Prompt and steps in sequence 0, from an empty cache.
    fn run(&self, context: &mut Context) -> Result<Bits, Stop> {
        context.clear(0);
        let mut rows = Vec::new();
        for eval in self.baseline.evals() {
            rows.extend(decode(context, &all_outputs(0, &eval))?);
        }
        Ok(rows)
    }

    /// Without a cache, with one that was used before, and with one that was copied.
    pub(super) fn cache(&self) -> Climbed<Vec<Invariant>> {
        let n = self.baseline.ids.len();
        let mut context = self.context(&self.model, 2, n)?;
        let mut found = Found::new(self.baseline);
        let mut bar = Progress::count("cache");
        let mut anew =
            self.baseline.rows.get(..self.baseline.n_prompt).unwrap_or_default().to_vec();
        for end in self.baseline.n_prompt + 1..=n {
            context.clear(0);
            let tokens = self.baseline.ids.get(..end).unwrap_or_default();
            anew.extend(decode(&mut context, &BatchToken::prompt(0, 0, tokens))?);
            bar.set(end as u64, Some(n as u64));
        }
        found.push("no cache", &anew);
        let half = self.baseline.n_prompt / 2;
        let reused = self.reused(&mut context, half)?;
        found.push("a prefix reused behind a truncation", &reused);
        let from = context.copy(0, 1, half)?;
        found.push("a prefix copied from another sequence", &self.go_on(&mut context, 1, from)?);
        Ok(found.step())
    }

    /// The first half of the prompt, something else, and the rest in the place of that.
    fn reused(&self, context: &mut Context, half: usize) -> Result<Bits, Stop> {
        let (first, rest) = self.baseline.ids.split_at(half);
        context.clear(0);
        decode(context, &BatchToken::prompt(0, 0, first))?;
        let others: Vec<u32> = rest.iter().rev().copied().collect();
        decode(context, &BatchToken::prompt(0, half, &others))?;
        // Sliding windows may not reach back that far: then it goes on from an earlier position.
        let from = context.truncate(0, half);
        self.go_on(context, 0, from)
    }

    /// Everything behind the first `from` positions, which a sequence has already.
    fn go_on(&self, context: &mut Context, seq: usize, from: usize) -> Result<Bits, Stop> {
        let tokens = self.baseline.ids.get(from..).unwrap_or_default().to_vec();
        let mut rows = self.baseline.rows.get(..from).unwrap_or_default().to_vec();
        rows.extend(decode(context, &all_outputs(seq, &EvalInfo { n_past: from, tokens }))?);
        Ok(rows)
    }

    /// Other micro-batches, and another sequence in the batch.
    pub(super) fn batches(&self) -> Climbed<Vec<Invariant>> {
        let mut found = Found::new(self.baseline);
        let n = self.baseline.ids.len();
        let mut sizes = vec![1, 3, 7, 64];
        sizes.retain(|size| *size == 1 || *size < n);
        for size in sizes {
            let mut context = self.context(&self.model, 1, size)?;
            found.push(&format!("micro-batch {size}"), &self.run(&mut context)?);
        }
        let mut context = self.context(&self.model, 2, n * 2)?;
        let mut batch = Vec::new();
        let ids = self.baseline.ids.iter();
        for (pos, (id, other)) in ids.clone().zip(ids.rev()).enumerate() {
            batch.push(BatchToken { seq: 1, pos, token: *other, output: false });
            batch.push(BatchToken { seq: 0, pos, token: *id, output: true });
        }
        found.push("a neighbor in the batch", &decode(&mut context, &batch)?);
        Ok(found.step())
    }

    /// Other numbers of threads.
    pub(super) fn threads(&self, quick: bool) -> Climbed<Vec<Invariant>> {
        let mut found = Found::new(self.baseline);
        let mut counts = if quick { vec![1, 2] } else { vec![1, 2, 3, 4] };
        counts.retain(|n| *n != self.engine.n_threads);
        for n_threads in counts {
            let engine = Engine { n_threads, ..self.engine };
            let model = engine.load(Numerics::Fast)?;
            let mut context = self.context(&model, 1, self.baseline.ids.len())?;
            let label =
                if n_threads == 1 { "1 thread".to_owned() } else { format!("{n_threads} threads") };
            found.push(&label, &self.run(&mut context)?);
        }
        Ok(found.step())
    }

    /// The other instruction sets of this machine.
    pub(super) fn instruction_sets(&self, quick: bool) -> Climbed<Vec<Invariant>> {
        let own = self.engine.isa.name();
        let mut others: Vec<Isa> = Isa::available().filter(|isa| isa.name() != own).collect();
        if quick {
            // The slowest is the furthest from the fastest.
            others.truncate(1);
        }
        if others.is_empty() {
            return Ok(Step::skipped(format!("this machine has no other than {own}")));
        }
        let mut found = Found::new(self.baseline);
        for isa in others {
            let engine = Engine { isa, ..self.engine };
            let model = engine.load(Numerics::Fast)?;
            let mut context = self.context(&model, 1, self.baseline.ids.len())?;
            found.push(isa.name(), &self.run(&mut context)?);
        }
        Ok(found.step())
    }

    /// Weights that stay in the file.
    pub(super) fn packing(&self) -> Climbed<Vec<Invariant>> {
        let mut found = Found::new(self.baseline);
        let model = Engine { repack: false, ..self.engine }.load(Numerics::Fast)?;
        let mut context = self.context(&model, 1, self.baseline.ids.len())?;
        found.push("weights packed when they are read", &self.run(&mut context)?);
        Ok(found.step())
    }
}

fn all_outputs(seq: usize, eval: &EvalInfo) -> Vec<BatchToken> {
    let mut batch = BatchToken::prompt(seq, eval.n_past, &eval.tokens);
    batch.iter_mut().for_each(|token| token.output = true);
    batch
}

fn decode(context: &mut Context, batch: &[BatchToken]) -> Result<Bits, Stop> {
    let n_vocab = context.model().hparams().n_vocab;
    Ok(bits(context.decode(batch)?, n_vocab))
}

/// What was the same and what was not.
struct Found<'a> {
    baseline: &'a Baseline,
    all: Vec<Invariant>,
    notes: Vec<String>,
}

impl<'a> Found<'a> {
    fn new(baseline: &'a Baseline) -> Self {
        Self { baseline, all: Vec::new(), notes: Vec::new() }
    }

    fn push(&mut self, what: &str, rows: &Bits) {
        let expected = &self.baseline.rows;
        if rows != expected {
            let same = expected.iter().zip(rows).take_while(|(a, b)| a == b).count();
            let text = format!("{what}: the logits at position {same} have other bits");
            self.notes.push(text);
        }
        self.all.push(Invariant { what: what.to_owned(), same_bits: rows == expected });
    }

    fn step(self) -> Step<Vec<Invariant>> {
        let names: Vec<_> = self.all.iter().map(|found| found.what.clone()).collect();
        let (n, n_bad) = (self.all.len(), self.notes.len());
        if n_bad > 0 {
            let detail = format!("{n_bad} of {n} have other bits than the evaluation above");
            Step::fail(self.all, detail).with_notes(self.notes)
        } else {
            Step::ok(self.all, format!("the same bits with {}", names.join(", ")))
        }
    }
}
