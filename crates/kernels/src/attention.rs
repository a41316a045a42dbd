//! Causal attention over the cache.

use crate::{Isa, KvCache, Team};

/// One layer's attention.
#[derive(Debug, Clone, Copy)]
pub struct Attention<'a> {
    /// The cache; the batch's own keys and values are already in it.
    pub cache: &'a KvCache,
    /// The layer.
    pub il: usize,
    /// Query heads, a multiple of the cache's heads.
    pub n_head: usize,
    /// Factor of the scores.
    pub scale: f32,
    /// Sliding window: a query at `pos` sees positions `pos + 1 - window ..= pos` only.
    pub window: Option<usize>,
    /// `score = cap * tanh(score / cap)` (gemma2).
    pub softcap: Option<f32>,
    /// `[n_head]`: a score that takes part in each head's softmax without a value (gpt-oss).
    pub sinks: Option<&'a [f32]>,
}

/// `out[token] = softmax(scale * q k^T) v` over the positions `0..=pos` of the token's sequence.
/// `q` is `[n_tokens, n_head, n_embd_head_k]`, `tokens` holds (sequence, position), `out` is `[n_tokens, n_head, n_embd_head_v]`.
/// # Panics
/// On shapes that do not match and positions outside the cache.
pub fn attention(
    isa: Isa,
    team: &Team,
    layer: &Attention<'_>,
    q: &[f32],
    tokens: &[(usize, usize)],
    out: &mut [f32],
) {
    let _ = (isa, team, layer, q, tokens, out);
    unimplemented!()
}
