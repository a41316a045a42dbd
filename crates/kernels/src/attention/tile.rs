//! The queries that share a head of the cache, of a few consecutive tokens.

use super::{Attention, BLOCK, CHUNK};
use crate::kv_cache::KvShape;
use crate::kv_cache::number::with_number;
use crate::team::BlockMut;
use crate::{Isa, scalar};
use std::ops::Range;

/// Queries computed together. A query's partial result or state is a row `m, l, o[n_embd_head_v]`.
pub(super) struct Tile<'a> {
    isa: Isa,
    layer: &'a Attention<'a>,
    /// The head of the cache.
    head: usize,
    seq: usize,
    /// Positions of the tokens.
    positions: Range<usize>,
    /// `[n_queries, n_embd_head_k]`: token by token, head by head.
    q: Vec<f32>,
    /// `[n_queries, CHUNK]`.
    scores: Vec<f32>,
}

/// Elements of a row of state.
pub(super) fn width(layer: &Attention<'_>) -> usize {
    layer.cache.shape().n_embd_head_v + 2
}

impl<'a> Tile<'a> {
    /// Takes the queries of `range` (a run of consecutive positions of one sequence) for head `head` of the cache.
    pub(super) fn new(
        isa: Isa,
        layer: &'a Attention<'a>,
        head: usize,
        q: &[f32],
        tokens: &[(usize, usize)],
        range: &Range<usize>,
    ) -> Self {
        Self::reusing([const { Vec::new() }; 2], isa, layer, head, q, tokens, range)
    }

    /// The same in memory of [`Self::into_memory`].
    pub(super) fn reusing(
        [mut gathered, mut scores]: [Vec<f32>; 2],
        isa: Isa,
        layer: &'a Attention<'a>,
        head: usize,
        q: &[f32],
        tokens: &[(usize, usize)],
        range: &Range<usize>,
    ) -> Self {
        let dk = layer.cache.shape().n_embd_head_k;
        let group = layer.group() * dk;
        let (seq, pos) = tokens[range.start];
        let rows = q.chunks_exact(layer.n_head * dk).skip(range.start).take(range.len());
        gathered.clear();
        rows.for_each(|row| gathered.extend_from_slice(&row[head * group..][..group]));
        // What was there is overwritten before it is read, as it is from chunk to chunk.
        scores.resize(gathered.len() / dk * CHUNK, 0.0);
        Self { isa, layer, head, seq, positions: pos..pos + range.len(), q: gathered, scores }
    }

    /// The memory, for the next tile.
    pub(super) fn into_memory(self) -> [Vec<f32>; 2] {
        [self.q, self.scores]
    }

    pub(super) fn width(&self) -> usize {
        width(self.layer)
    }

    fn n_queries(&self) -> usize {
        self.scores.len() / CHUNK
    }

    /// The chunks that some query sees.
    pub(super) fn chunks(&self) -> Range<usize> {
        let first = self.layer.visible(self.positions.start).start;
        first / CHUNK..(self.positions.end - 1) / CHUNK + 1
    }

    /// What query `i` sees of a chunk, relative to its start.
    fn visible(&self, i: usize, chunk: usize) -> Range<usize> {
        let seen = self.layer.visible(self.positions.start + i / self.layer.group());
        let inside = |pos: usize| pos.saturating_sub(chunk * CHUNK).min(CHUNK);
        inside(seen.start)..inside(seen.end)
    }

    /// The state before the first chunk.
    pub(super) fn start(&self) -> Vec<f32> {
        let mut state = Vec::new();
        self.start_in(&mut state);
        state
    }

    /// The same in memory that is there.
    pub(super) fn start_in(&self, state: &mut Vec<f32>) {
        state.clear();
        state.resize(self.n_queries() * self.width(), 0.0);
        state.iter_mut().step_by(self.width()).for_each(|m| *m = f32::NEG_INFINITY);
    }

    /// Computes a chunk's partial results into the start of `part`, `[n_queries, width]`. Rows of queries that see nothing of it are
    /// left as they are.
    pub(super) fn chunk(&mut self, chunk: usize, part: &mut [f32]) {
        let seen: Vec<Range<usize>> =
            (0..self.n_queries()).map(|i| self.visible(i, chunk)).collect();
        let (Some(first), Some(last)) = (seen.first(), seen.last()) else { return };
        let part = &mut part[..seen.len() * width(self.layer)];
        self.scores(chunk, first.start / BLOCK..last.end.div_ceil(BLOCK));
        let width = self.width();
        for ((scores, seen), row) in
            self.scores.chunks_exact_mut(CHUNK).zip(&seen).zip(part.chunks_exact_mut(width))
        {
            if !seen.is_empty() {
                let (m, l) = soften(self.isa, scores, seen, self.layer);
                (row[0], row[1]) = (m, l);
            }
        }
        self.values(chunk, &seen, part);
    }

    /// Scores of all queries and some blocks of a chunk.
    fn scores(&mut self, chunk: usize, blocks: Range<usize>) {
        let KvShape { type_k, n_embd_head_k: dk, .. } = *self.layer.cache.shape();
        let keys = self.layer.cache.keys(self.layer.il, self.seq, self.head);
        let first = self.layer.cache.cell(self.layer.il, chunk * CHUNK) / BLOCK;
        let at = blocks.start * BLOCK;
        let (q, out) = (&self.q, &mut self.scores);
        with_number!(type_k, T => {
            let keys = keys.rows::<T>(first + blocks.start..first + blocks.end, BLOCK * dk);
            match self.isa {
                Isa::Scalar => scalar::attention::scores::<T>(q, keys, dk, at, out),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2(token) => {
                    crate::x86_64::attention::scores::<T>(token, q, keys, dk, at, out);
                }
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512(token) => {
                    crate::x86_64::avx512::attention::scores::<T>(token, q, keys, dk, at, out);
                }
                #[cfg(target_arch = "aarch64")]
                Isa::Neon(token) => {
                    crate::aarch64::attention::scores::<T>(token, q, keys, dk, at, out);
                }
            }
        });
    }

    /// Values weighted with the probabilities that are in the place of the scores; `seen` is what each query sees of the
    /// chunk, ends ascending.
    fn values(&self, chunk: usize, seen: &[Range<usize>], out: &mut [f32]) {
        let KvShape { type_v, n_embd_head_v: dv, .. } = *self.layer.cache.shape();
        let values = self.layer.cache.values(self.layer.il, self.seq, self.head);
        let first = self.layer.cache.cell(self.layer.il, chunk * CHUNK);
        let n = seen.last().map_or(0, |seen| seen.end);
        let p = &self.scores;
        with_number!(type_v, T => {
            let v = values.rows::<T>(first..first + n, dv);
            match self.isa {
                Isa::Scalar => scalar::attention::values::<T>(p, v, dv, seen, out),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2(token) => {
                    crate::x86_64::attention::values::<T>(token, p, v, dv, seen, out);
                }
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512(token) => {
                    crate::x86_64::avx512::attention::values::<T>(token, p, v, dv, seen, out);
                }
                #[cfg(target_arch = "aarch64")]
                Isa::Neon(token) => {
                    crate::aarch64::attention::values::<T>(token, p, v, dv, seen, out);
                }
            }
        });
    }

    /// Merges a chunk's partial results into the state.
    pub(super) fn merge(&self, chunk: usize, part: &[f32], state: &mut [f32]) {
        let rows = state.chunks_exact_mut(self.width()).zip(part.chunks_exact(self.width()));
        for (i, (state, part)) in rows.enumerate() {
            if !self.visible(i, chunk).is_empty() {
                match self.isa {
                    Isa::Scalar => scalar::attention::merge(part, state),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2(token) => crate::x86_64::elementwise::merge(token, part, state),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512(token) => {
                        crate::x86_64::avx512::elementwise::merge(token, part, state);
                    }
                    #[cfg(target_arch = "aarch64")]
                    Isa::Neon(_) => scalar::attention::merge(part, state),
                }
            }
        }
    }

    /// Takes the sinks in, divides, and writes the tile's rectangle of the output.
    pub(super) fn finish(&self, state: &mut [f32], width: usize, out: &mut BlockMut<'_>) {
        let group = self.layer.group();
        for (i, state) in state.chunks_exact_mut(width).enumerate() {
            let head = i % group;
            if let Some(sinks) = self.layer.sinks {
                scalar::attention::merge_sink(sinks[self.head * group + head], state);
            }
            let dv = width - 2;
            let out = &mut out.row(i / group)[head * dv..][..dv];
            match self.isa {
                Isa::Scalar => scalar::attention::divide(state, out),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2(token) => crate::x86_64::elementwise::divide(token, state, out),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512(token) => crate::x86_64::avx512::elementwise::divide(token, state, out),
                #[cfg(target_arch = "aarch64")]
                Isa::Neon(_) => scalar::attention::divide(state, out),
            }
        }
    }
}

/// Turns a query's scores in `seen` into probabilities relative to their maximum (0 elsewhere in their blocks of
/// 16); returns maximum and sum.
fn soften(isa: Isa, scores: &mut [f32], seen: &Range<usize>, layer: &Attention<'_>) -> (f32, f32) {
    let mut result = (0.0, 0.0);
    match isa {
        Isa::Scalar => scalar::attention::soften(
            scores,
            seen,
            layer.scale,
            layer.attn_logit_softcap,
            &mut result,
        ),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(token) => {
            crate::x86_64::elementwise::soften(
                token,
                scores,
                seen,
                layer.scale,
                layer.attn_logit_softcap,
                &mut result,
            );
        }
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(token) => {
            crate::x86_64::avx512::elementwise::soften(
                token,
                scores,
                seen,
                layer.scale,
                layer.attn_logit_softcap,
                &mut result,
            );
        }
        #[cfg(target_arch = "aarch64")]
        Isa::Neon(_) => {
            scalar::attention::soften(
                scores,
                seen,
                layer.scale,
                layer.attn_logit_softcap,
                &mut result,
            );
        }
    }
    result
}
