//! Causal attention over the cache.
//!
//! # The definition
//! Positions are taken in chunks of 256 by absolute position, so that a query's result does not depend on how the
//! cache was filled or on what is computed beside it. For one query head, and the positions of a chunk that it sees,
//!
//! ```text
//! x[pos] = scale * (sum over d of q[d] k[pos][d])      one chain of fused multiply-adds, d ascending
//! m = max x;   p[pos] = exp(x[pos] - m)
//! l = sum of p                                         16 lanes by pos % 16, ascending; halves onto halves
//! o[d] = sum over pos of p[pos] v[pos][d]              one chain, pos ascending
//! ```
//!
//! and chunks are merged in ascending order, from `M = -inf, L = 0, O = 0`:
//!
//! ```text
//! M' = max(M, m);   a = exp(M - M');   b = exp(m - M')
//! L = fma(l, b, L a);   O[d] = fma(o[d], b, O[d] a);   M = M'
//! ```
//!
//! Finally `out[d] = (O[d] + 0) / L`; the addition makes a zero positive, and with it a first chunk's merge changes
//! nothing: it may be left out. Queries and probabilities stay f32; `k` and `v` are the numbers of the cache, whatever its
//! types: each is exactly one f32 (`crate::kv_cache::number`). All query heads that share
//! a head of the cache are computed together, as are a few consecutive tokens of a sequence.

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) mod frame;
mod tile;

use crate::kv_cache::{BLOCK, KvShape};
use crate::team::Grid;
use crate::{Isa, KvCache, Team};
use std::ops::Range;
use tile::Tile;

/// Positions of a chunk.
pub(crate) const CHUNK: usize = 256;
/// Queries (tokens times heads) computed together, if a single token has not more.
const QUERIES: usize = 24;

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
    /// Sliding window: a query at `pos` sees the last `n_swa` positions only, itself included.
    pub n_swa: Option<usize>,
    /// `x = cap * tanh(x / cap)` after scaling (gemma2).
    pub attn_logit_softcap: Option<f32>,
    /// `[n_head]`: a score that takes part in each head's softmax without a value (gpt-oss).
    pub sinks: Option<&'a [f32]>,
}

impl Attention<'_> {
    /// The positions that a query at `pos` sees.
    fn visible(&self, pos: usize) -> Range<usize> {
        self.n_swa.map_or(0, |n| (pos + 1).saturating_sub(n))..pos + 1
    }

    /// The chunks that some token sees.
    fn chunks(&self, tokens: &[(usize, usize)]) -> Range<usize> {
        let seen = tokens.iter().map(|&(_, pos)| self.visible(pos));
        let first = seen.clone().map(|seen| seen.start / CHUNK).min().unwrap_or(0);
        first..seen.map(|seen| seen.end.div_ceil(CHUNK)).max().unwrap_or(first)
    }

    /// Query heads per head of the cache.
    fn group(&self) -> usize {
        self.n_head / self.cache.shape().n_head_kv
    }

    fn check(&self, q: &[f32], tokens: &[(usize, usize)], out: &[f32]) {
        let KvShape { n_ctx, n_head_kv, n_embd_head_k, n_embd_head_v, .. } = *self.cache.shape();
        let n_head = self.n_head;
        assert!(n_head.is_multiple_of(n_head_kv), "{n_head} heads share {n_head_kv}");
        assert_eq!(q.len(), tokens.len() * n_head * n_embd_head_k, "queries");
        assert_eq!(out.len(), tokens.len() * n_head * n_embd_head_v, "output");
        assert!(self.sinks.is_none_or(|sinks| sinks.len() == n_head), "a sink per head");
        assert!(self.n_swa != Some(0), "a window of no positions");
        let n_cells = self.cache.n_cells(self.il);
        let holds = n_cells == n_ctx || self.n_swa.is_some_and(|n| n <= n_cells);
        assert!(holds, "{n_cells} cells are too few");
        tokens.iter().for_each(|&(seq, pos)| self.cache.check(self.il, seq, pos));
    }
}

/// `out[token] = softmax(scale * q k^T) v` over the positions `0..=pos` of the token's sequence (or the last `n_swa` of them).
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
    layer.check(q, tokens, out);
    if q.is_empty() {
        return;
    }
    let n_head_kv = layer.cache.shape().n_head_kv;
    let tiles = tiles(tokens, (QUERIES / layer.group()).max(1));
    let n_chunks = layer.chunks(tokens).len();
    // Few queries and many positions: let the threads share the chunks.
    if n_chunks > 1 && tiles.len() * n_head_kv < 4 * team.n_threads() && team.n_threads() > 1 {
        by_chunks(isa, team, layer, q, tokens, &tiles, out);
    } else {
        by_tiles(isa, team, layer, q, tokens, &tiles, out);
    }
}

/// Runs of at most `max` tokens of one sequence at consecutive positions, as ranges of tokens.
fn tiles(tokens: &[(usize, usize)], max: usize) -> Vec<Range<usize>> {
    let mut tiles: Vec<Range<usize>> = Vec::new();
    for (i, &(seq, pos)) in tokens.iter().enumerate() {
        match tiles.last_mut() {
            Some(tile) if tile.len() < max && tokens[i - 1] == (seq, pos.wrapping_sub(1)) => {
                tile.end += 1
            }
            _ => tiles.push(i..i + 1),
        }
    }
    tiles
}

/// One task per tile and head of the cache.
fn by_tiles(
    isa: Isa,
    team: &Team,
    layer: &Attention<'_>,
    q: &[f32],
    tokens: &[(usize, usize)],
    tiles: &[Range<usize>],
    out: &mut [f32],
) {
    team.for_grid(&mut grid(layer, tiles, out), &|i, head, out| {
        let [gathered, scores, mut state, mut part] = team.take_spare();
        let memory = [gathered, scores];
        let mut tile = Tile::reusing(memory, isa, layer, head, q, tokens, &tiles[i]);
        let width = tile.width();
        tile.start_in(&mut state);
        part.resize(state.len(), 0.0);
        let mut chunks = tile.chunks();
        if let Some(first) = chunks.next() {
            tile.chunk(first, &mut state);
        }
        for chunk in chunks {
            tile.chunk(chunk, &mut part);
            tile.merge(chunk, &part, &mut state);
        }
        tile.finish(&mut state, width, out);
        let [gathered, scores] = tile.into_memory();
        team.give_back([gathered, scores, state, part]);
    });
}

/// One task per tile, head of the cache and chunk, then the merging. The same results as in [`by_tiles`].
fn by_chunks(
    isa: Isa,
    team: &Team,
    layer: &Attention<'_>,
    q: &[f32],
    tokens: &[(usize, usize)],
    tiles: &[Range<usize>],
    out: &mut [f32],
) {
    let n_head_kv = layer.cache.shape().n_head_kv;
    let chunks = layer.chunks(tokens);
    let n_chunks = chunks.len();
    let longest = tiles.iter().map(|tile| tile.len()).max().unwrap_or(1);
    let size = longest * layer.group() * tile::width(layer);
    team.with_scratch(tiles.len() * n_head_kv * n_chunks * size, |parts| {
        team.for_chunks_mut(parts, size, &|index, part| {
            let (task, chunk) = (index / n_chunks, chunks.start + index % n_chunks);
            let range = &tiles[task / n_head_kv];
            let mut tile = Tile::new(isa, layer, task % n_head_kv, q, tokens, range);
            if tile.chunks().contains(&chunk) {
                tile.chunk(chunk, part);
            }
        });
        team.for_grid(&mut grid(layer, tiles, out), &|i, head, out| {
            let tile = Tile::new(isa, layer, head, q, tokens, &tiles[i]);
            let parts = &parts[(i * n_head_kv + head) * n_chunks * size..];
            let mut state = tile.start();
            for chunk in tile.chunks() {
                let part = &parts[(chunk - chunks.start) * size..][..size];
                tile.merge(chunk, part, &mut state);
            }
            tile.finish(&mut state, tile.width(), out);
        });
    });
}

/// The output cut by tiles and by heads of the cache.
fn grid<'a>(layer: &Attention<'_>, tiles: &'a [Range<usize>], out: &'a mut [f32]) -> Grid<'a> {
    let dv = layer.cache.shape().n_embd_head_v;
    Grid { data: out, n_cols: layer.n_head * dv, rows: tiles, tile_cols: layer.group() * dv }
}

#[cfg(test)]
mod tests;
