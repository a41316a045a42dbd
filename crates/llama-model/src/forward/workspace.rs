//! Buffers for one micro-batch, allocated once.

use crate::Hparams;
use crate::arith::Arithmetic;
use crate::weights::Net;

/// Buffers for one micro-batch. Rows are tokens.
pub(crate) struct Workspace<A: Arithmetic> {
    /// The residual stream, `[n_tokens, n_embd]`.
    pub(super) x: Vec<A::Real>,
    /// `[n_tokens, n_embd]`
    pub(super) cur: Vec<A::Real>,
    /// What attention adds, `[n_tokens, n_embd]`.
    pub(super) attn: Vec<A::Real>,
    /// The norm that both halves of a parallel block see, `[n_tokens, n_embd]`.
    pub(super) shared: Vec<A::Real>,
    /// `[n_tokens, n_embd_q]`
    pub(super) q: Vec<A::Real>,
    /// `[n_tokens, n_embd_kv]`
    pub(super) k: Vec<A::Real>,
    /// `[n_tokens, n_embd_kv]`
    pub(super) v: Vec<A::Real>,
    /// Attention's output, `[n_tokens, n_embd_q]`.
    pub(super) kqv: Vec<A::Real>,
    /// `[n_tokens, n_ff]`
    pub(super) gate: Vec<A::Real>,
    /// `[n_tokens, n_ff]`
    pub(super) up: Vec<A::Real>,
    /// Of gate and up, `[n_tokens, n_ff]`.
    pub(super) act: Vec<A::Real>,
    /// `[n_outputs, n_vocab]`, grown to what is asked for.
    pub(super) logits: Vec<A::Real>,
    /// One row of the embedding, `[n_embd]`.
    pub(super) row: Vec<f32>,
    pub(super) acts: A::Acts,
    /// For each of the model's rotations.
    pub(super) positions: Vec<A::Positions>,
}

impl<A: Arithmetic> Workspace<A> {
    pub(crate) fn new(net: &Net<A>, n_ubatch: usize) -> Self {
        let hp = &net.hp;
        let reals = |n: usize| vec![A::Real::default(); n_ubatch * n];
        let n_ff = n_ff(hp);
        let widest = hp.n_embd.max(n_ff).max(hp.n_embd_q());
        Self {
            x: reals(hp.n_embd),
            cur: reals(hp.n_embd),
            attn: reals(hp.n_embd),
            shared: reals(hp.n_embd),
            q: reals(hp.n_embd_q()),
            k: reals(hp.n_embd_kv()),
            v: reals(hp.n_embd_kv()),
            kqv: reals(hp.n_embd_q()),
            gate: reals(n_ff),
            up: reals(n_ff),
            act: reals(n_ff),
            logits: Vec::new(),
            row: vec![0.0; hp.n_embd],
            acts: net.arith.acts(n_ubatch, widest),
            positions: net.ropes.iter().map(|_| A::Positions::default()).collect(),
        }
    }

    /// Bytes of a workspace for `n_ubatch` tokens, `n_vocab` logits of one token and what a mixture of experts puts
    /// together included.
    pub(crate) fn n_bytes(hp: &Hparams, n_ubatch: usize) -> u64 {
        let n_ff = n_ff(hp);
        let experts = hp.experts.map_or(0, |e| e.n_expert + e.n_used * (2 * hp.n_embd + 4 * n_ff));
        let per_token = 6 * hp.n_embd + 2 * hp.n_embd_q() + 2 * hp.n_embd_kv() + 4 * n_ff + experts;
        (per_token as u64 * n_ubatch as u64 + hp.n_vocab as u64) * size_of::<A::Real>() as u64
    }
}

/// Width of the widest feed-forward block.
fn n_ff(hp: &Hparams) -> usize {
    let shared = hp.experts.and_then(|experts| experts.n_ff_shexp()).unwrap_or(0);
    hp.n_ff.max(shared)
}
