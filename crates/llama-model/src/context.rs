//! A context: the KV cache of one or several sequences, and the workspace to extend them.

use crate::ModelError;
use crate::arith::{Arithmetic, Fast, KvStore, Oracle, Reference};
use crate::forward::{Pass, Workspace};
use crate::memory;
use crate::model::{AnyNet, Model};
use crate::trace::{Trace, Tracer};
use crate::weights::Net;
use kernels::KvType;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The most sequences in one context.
const MAX_SEQ: usize = 256;

/// How large a context to allocate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextOptions {
    /// Positions of each sequence.
    pub n_ctx: usize,
    /// Sequences; each has its own `n_ctx` positions.
    pub n_seq: usize,
    /// Tokens computed at once. It changes the speed of long prompts and the memory they need, never a result.
    pub n_ubatch: usize,
    /// To what the cache's keys are rounded. `Oracle` rounds nothing; `Reference` has no Q8_0, nor has `Fast` where
    /// heads are no multiple of 32.
    pub type_k: KvType,
    /// The same for values.
    pub type_v: KvType,
    /// Layers with a sliding window keep all positions, not only what they need to go on (`Reference` and `Oracle` always
    /// do). It takes memory, never changes a result, and lets [`Context::truncate`] go back to any position.
    pub swa_full: bool,
}

impl Default for ContextOptions {
    fn default() -> Self {
        Self {
            n_ctx: 2048,
            n_seq: 1,
            n_ubatch: 512,
            type_k: KvType::F16,
            type_v: KvType::F16,
            swa_full: false,
        }
    }
}

impl ContextOptions {
    /// Fails unless `has` both types of the cache; `allowed` says what it has.
    pub(crate) fn check_types(
        &self,
        has: impl Fn(KvType) -> bool,
        allowed: impl FnOnce() -> String,
    ) -> Result<(), ModelError> {
        let types = [("the type of keys", self.type_k), ("the type of values", self.type_v)];
        match types.into_iter().find(|(_, ty)| !has(*ty)) {
            Some((what, ty)) => {
                Err(ModelError::Argument { what, found: ty.name().to_owned(), allowed: allowed() })
            }
            None => Ok(()),
        }
    }
}

/// One token of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchToken {
    /// The sequence it extends.
    pub seq: usize,
    /// Its position there: the sequence's length so far.
    pub pos: usize,
    /// Its id.
    pub token: u32,
    /// Whether the logits behind it are wanted.
    pub output: bool,
}

impl BatchToken {
    /// A prompt (or the next token) as a batch: `tokens` at positions `pos..` of `seq`, logits for the last.
    #[must_use]
    pub fn prompt(seq: usize, pos: usize, tokens: &[u32]) -> Vec<Self> {
        let last = tokens.len().wrapping_sub(1);
        tokens
            .iter()
            .enumerate()
            .map(|(i, t)| Self { seq, pos: pos + i, token: *t, output: i == last })
            .collect()
    }
}

/// Workspace and cache of one arithmetic.
struct State<A: Arithmetic> {
    n_ctx: usize,
    ws: Workspace<A>,
    cache: A::Cache,
}

enum AnyState {
    Fast(Box<State<Fast>>),
    Reference(Box<State<Reference>>),
    Oracle(Box<State<Oracle>>),
}

/// Sequences in progress. `Send`, so it may move between threads; one thread at a time uses it.
pub struct Context {
    model: Arc<Model>,
    options: ContextOptions,
    state: AnyState,
    /// Positions held, by sequence.
    lens: Vec<usize>,
    /// Where the positions end that were stored since a sequence was empty: not before `lens`.
    ends: Vec<usize>,
    logits: Vec<f32>,
    cancel: Arc<AtomicBool>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("options", &self.options)
            .field("lens", &self.lens)
            .finish_non_exhaustive()
    }
}

impl Context {
    /// Allocates cache and workspace.
    ///
    /// # Errors
    /// `Argument` for a size of 0 or beyond reason; `OverBudget`, naming a context that fits, before anything
    /// is allocated.
    pub fn new(model: Arc<Model>, options: &ContextOptions) -> Result<Self, ModelError> {
        for (what, found, max) in [
            ("the context size", options.n_ctx, u32::MAX as usize),
            ("the number of sequences", options.n_seq, MAX_SEQ),
            ("the micro-batch size", options.n_ubatch, 1 << 20),
        ] {
            if found == 0 || found > max {
                return Err(ModelError::Argument {
                    what,
                    found: found.to_string(),
                    allowed: format!("1..={max}"),
                });
            }
        }
        if let Some(n) = model.hparams().n_positions().filter(|n| options.n_ctx > *n) {
            return Err(ModelError::Argument {
                what: "the context size",
                found: options.n_ctx.to_string(),
                allowed: format!("1..={n}, for which the model has position embeddings"),
            });
        }
        let options = ContextOptions {
            n_ubatch: options.n_ubatch.min(options.n_ctx * options.n_seq),
            ..options.clone()
        };
        model.check_cache(&options)?;
        memory::check("the context", model.context_bytes(&options), |have| {
            let n = model.max_context(&options, have);
            if n == 0 { String::new() } else { format!("; try a context of {n}") }
        })?;
        let state = match &model.net {
            AnyNet::Fast(net) => AnyState::Fast(Box::new(State::new(net, &options)?)),
            AnyNet::Reference(net) => AnyState::Reference(Box::new(State::new(net, &options)?)),
            AnyNet::Oracle(net) => AnyState::Oracle(Box::new(State::new(net, &options)?)),
        };
        let (lens, ends) = (vec![0; options.n_seq], vec![0; options.n_seq]);
        Ok(Self { model, options, state, lens, ends, logits: Vec::new(), cancel: Arc::default() })
    }

    /// Runs a batch and returns the logits of the tokens with `output`, `[n_outputs, n_vocab]`.
    ///
    /// The tokens of a sequence stand in order and go on where it ends. Results do not depend on how tokens are
    /// put into batches, on the micro-batch, or on what other sequences do.
    ///
    /// # Errors
    /// Ids, sequences or positions out of range, `ContextFull`: nothing has happened. `NotFinite` if the model
    /// is damaged, `Cancelled`: the sequences are as long as before the call, or empty where a long batch left too little
    /// of what layers with a sliding window keep ([`Self::truncate`]).
    pub fn decode(&mut self, batch: &[BatchToken]) -> Result<&[f32], ModelError> {
        self.run(batch, None)
    }

    /// The same, handing every node to `trace`.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_traced(
        &mut self,
        batch: &[BatchToken],
        trace: &mut dyn Trace,
    ) -> Result<&[f32], ModelError> {
        self.run(batch, Some(trace))
    }

    fn run(
        &mut self,
        batch: &[BatchToken],
        trace: Option<&mut dyn Trace>,
    ) -> Result<&[f32], ModelError> {
        let lens = self.lens_after(batch)?;
        match self.passes(batch, trace) {
            Ok(()) => {
                self.lens = lens;
                Ok(&self.logits)
            }
            Err(error) => {
                for seq in 0..self.lens.len() {
                    let _ = self.truncate(seq, self.lens[seq]);
                }
                Err(error)
            }
        }
    }

    /// A pass for each micro-batch.
    fn passes(
        &mut self,
        batch: &[BatchToken],
        mut trace: Option<&mut dyn Trace>,
    ) -> Result<(), ModelError> {
        self.logits.clear();
        for ubatch in batch.chunks(self.options.n_ubatch) {
            for token in ubatch {
                self.ends[token.seq] = self.ends[token.seq].max(token.pos + 1);
            }
            // Reborrowed by hand: a closure would tie the trace's lifetime to its own.
            let sink: Option<&mut (dyn Trace + '_)> = match &mut trace {
                Some(sink) => Some(&mut **sink),
                None => None,
            };
            let (out, cancel) = (&mut self.logits, &*self.cancel);
            match (&self.model.net, &mut self.state) {
                (AnyNet::Fast(net), AnyState::Fast(state)) => {
                    state.pass(net, ubatch, cancel, sink, out)?
                }
                (AnyNet::Reference(net), AnyState::Reference(state)) => {
                    state.pass(net, ubatch, cancel, sink, out)?
                }
                (AnyNet::Oracle(net), AnyState::Oracle(state)) => {
                    state.pass(net, ubatch, cancel, sink, out)?
                }
                _ => unreachable!("new() made the state for this net"),
            }
        }
        if let Some(i) = not_finite(&self.logits) {
            return Err(ModelError::NotFinite {
                found: self.logits[i],
                token: i % self.model.hparams().n_vocab,
            });
        }
        Ok(())
    }

    /// Checks a batch; the lengths of all sequences once it has run.
    fn lens_after(&self, batch: &[BatchToken]) -> Result<Vec<usize>, ModelError> {
        let wrong = |what, found: usize, allowed: String| ModelError::Argument {
            what,
            found: found.to_string(),
            allowed,
        };
        let n_vocab = self.model.hparams().n_vocab;
        let mut lens = self.lens.clone();
        for t in batch {
            let Some(len) = lens.get_mut(t.seq) else {
                return Err(wrong("the sequence", t.seq, format!("below {}", self.options.n_seq)));
            };
            if t.token as usize >= n_vocab {
                return Err(wrong("the token id", t.token as usize, format!("below {n_vocab}")));
            }
            if t.pos != *len {
                return Err(wrong(
                    "the position",
                    t.pos,
                    format!("{len}, where the sequence ends"),
                ));
            }
            *len += 1;
        }
        match lens.iter().max() {
            Some(needed) if *needed > self.options.n_ctx => {
                Err(ModelError::ContextFull { needed: *needed, n_ctx: self.options.n_ctx })
            }
            _ => Ok(lens),
        }
    }

    /// Positions held of `seq`; 0 for a sequence there is not.
    #[must_use]
    pub fn len(&self, seq: usize) -> usize {
        self.lens.get(seq).copied().unwrap_or(0)
    }

    /// Whether no sequence holds a position.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lens.iter().all(|len| *len == 0)
    }

    /// Forgets the positions of `seq` from `len` on; returns how long the sequence is now.
    ///
    /// That may be 0: layers with a sliding window keep what is needed to go on where the sequence ended when it was
    /// longest, or up to `n_ubatch` positions before that, not further back (unless the context has `swa_full`). What is to
    /// go on from an earlier position must be decoded again from the start.
    #[must_use = "the sequence may have become shorter than asked for"]
    pub fn truncate(&mut self, seq: usize, len: usize) -> usize {
        let len = self.held(seq, len);
        if len == 0 {
            self.clear(seq);
        } else {
            self.lens[seq] = len;
        }
        len
    }

    /// Forgets all positions of `seq`.
    pub fn clear(&mut self, seq: usize) {
        if let (Some(len), Some(end)) = (self.lens.get_mut(seq), self.ends.get_mut(seq)) {
            (*len, *end) = (0, 0);
        }
    }

    /// From where `seq` can go on if it is to keep `len` positions: there, or from 0.
    fn held(&self, seq: usize, len: usize) -> usize {
        let (Some(have), Some(end)) = (self.lens.get(seq), self.ends.get(seq)) else { return 0 };
        let len = len.min(*have);
        let holds = match &self.state {
            AnyState::Fast(state) => state.cache.holds(len, *end),
            AnyState::Reference(state) => state.cache.holds(len, *end),
            AnyState::Oracle(state) => state.cache.holds(len, *end),
        };
        if holds { len } else { 0 }
    }

    /// Makes `dst` the first `len` positions of `src`; returns how long `dst` is now, which may be 0 as after
    /// [`Self::truncate`].
    ///
    /// # Errors
    /// `Argument` if there is no such sequence, or `src` is shorter.
    pub fn copy(&mut self, src: usize, dst: usize, len: usize) -> Result<usize, ModelError> {
        let wrong = |what, found: usize, max: usize| ModelError::Argument {
            what,
            found: found.to_string(),
            allowed: format!("0..={max}"),
        };
        for seq in [src, dst] {
            if seq >= self.lens.len() {
                return Err(wrong("the sequence", seq, self.lens.len() - 1));
            }
        }
        if len > self.lens[src] {
            return Err(wrong("the length", len, self.lens[src]));
        }
        let len = self.held(src, len);
        if len == 0 {
            self.clear(dst);
            return Ok(0);
        }
        if src != dst {
            match &mut self.state {
                AnyState::Fast(state) => state.cache.copy(src, dst, len)?,
                AnyState::Reference(state) => state.cache.copy(src, dst, len)?,
                AnyState::Oracle(state) => state.cache.copy(src, dst, len)?,
            }
        }
        (self.lens[dst], self.ends[dst]) = (len, self.ends[src]);
        Ok(len)
    }

    /// Layer `il` of the cache for `seq` as f16 bits: K and V, both `[len, n_embd_kv]`. `None` where these are not the
    /// cache's types (`Oracle` keeps f64), a layer with a window no longer holds all of it, or there is no such layer or
    /// sequence.
    #[must_use]
    pub fn cache_f16(&self, il: usize, seq: usize) -> Option<(Vec<u16>, Vec<u16>)> {
        let types = [self.options.type_k, self.options.type_v];
        let (k, v) = self.cache_f32(il, seq).filter(|_| types == [KvType::F16; 2])?;
        let bits = |x: Vec<f32>| x.iter().map(|x| half::f16::from_f32(*x).to_bits()).collect();
        Some((bits(k), bits(v)))
    }

    /// The same as f32, which holds the numbers of every type of cache.
    #[must_use]
    pub fn cache_f32(&self, il: usize, seq: usize) -> Option<(Vec<f32>, Vec<f32>)> {
        let (len, end) = (*self.lens.get(seq)?, *self.ends.get(seq)?);
        if il >= self.model.hparams().n_layer {
            return None;
        }
        match &self.state {
            AnyState::Fast(state) => state.cache.rows(il, seq, len, end),
            AnyState::Reference(state) => state.cache.rows(il, seq, len, end),
            AnyState::Oracle(state) => state.cache.rows(il, seq, len, end),
        }
    }

    /// Set it from any thread and [`Self::decode`] stops at the next layer with `Cancelled`. Stays set until
    /// somebody clears it.
    #[must_use]
    pub fn cancel_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.cancel)
    }

    /// Positions that fit into a sequence.
    #[must_use]
    pub fn n_ctx(&self) -> usize {
        self.options.n_ctx
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }
}

/// The first number that is none, or is infinite.
fn not_finite(x: &[f32]) -> Option<usize> {
    const EXPONENT: u32 = 0x7F80_0000;
    // Portion by portion without an early end: vectors then do it.
    let portion = x.chunks(256).position(|x| {
        x.iter().fold(false, |found, x| found | (x.to_bits() & EXPONENT == EXPONENT))
    })?;
    let rest = &x[portion * 256..];
    rest.iter().position(|x| !x.is_finite()).map(|i| portion * 256 + i)
}

impl<A: Arithmetic> State<A> {
    fn new(net: &Net<A>, options: &ContextOptions) -> Result<Self, ModelError> {
        Ok(Self {
            n_ctx: options.n_ctx,
            ws: Workspace::new(net, options.n_ubatch),
            cache: net.arith.cache(&net.hp, options)?,
        })
    }

    fn pass<'a>(
        &'a mut self,
        net: &'a Net<A>,
        batch: &'a [BatchToken],
        cancel: &'a AtomicBool,
        sink: Option<&'a mut (dyn Trace + 'a)>,
        logits: &mut Vec<f32>,
    ) -> Result<(), ModelError> {
        let (cache, trace) = (&mut self.cache, Tracer::new(sink));
        Pass { net, cache, batch, n_ctx: self.n_ctx, cancel, trace }.forward(&mut self.ws, logits)
    }
}
