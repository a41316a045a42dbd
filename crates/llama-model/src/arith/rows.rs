//! Rows in parallel, for the two arithmetics that are after exactness, not speed.
//!
//! Each value is computed by one thread in one order, so the thread count changes nothing.

use super::Real;
use crate::ModelError;
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// A private pool, so that nothing depends on who else uses rayon.
pub(crate) fn pool(n_threads: usize) -> Result<ThreadPool, ModelError> {
    ThreadPoolBuilder::new().num_threads(n_threads).build().map_err(ModelError::Threads)
}

/// Fills `out [n_tokens, n_rows]`: `row(r, values)` computes row `r` of a matrix for every token.
pub(crate) fn matrix_rows<R: Real>(
    pool: &ThreadPool,
    n_tokens: usize,
    out: &mut [R],
    row: impl Fn(usize, &mut [R]) + Sync,
) {
    if n_tokens == 1 {
        pool.install(|| {
            out.par_iter_mut()
                .enumerate()
                .with_min_len(16)
                .for_each(|(r, value)| row(r, std::slice::from_mut(value)));
        });
        return;
    }
    matrix_blocks(pool, n_tokens, 1, out, row);
}

/// Fills `out [n_tokens, n_rows]`: `block(first, values)` computes `n_block` rows of a matrix (the last block may be
/// smaller), `[n_rows, n_tokens]`.
pub(crate) fn matrix_blocks<R: Real>(
    pool: &ThreadPool,
    n_tokens: usize,
    n_block: usize,
    out: &mut [R],
    block: impl Fn(usize, &mut [R]) + Sync,
) {
    let n_rows = out.len() / n_tokens;
    let mut by_row = vec![R::default(); out.len()];
    pool.install(|| {
        let blocks = by_row.par_chunks_mut(n_block * n_tokens).enumerate();
        blocks.for_each(|(b, values)| block(b * n_block, values));
        out.par_chunks_exact_mut(n_rows).enumerate().for_each(|(t, token)| {
            for (r, value) in token.iter_mut().enumerate() {
                *value = by_row[r * n_tokens + t];
            }
        });
    });
}

/// Calls `token(t, row)` for each row of `n_cols` values.
pub(crate) fn token_rows<R: Real>(
    pool: &ThreadPool,
    n_cols: usize,
    out: &mut [R],
    token: impl Fn(usize, &mut [R]) + Sync,
) {
    pool.install(|| {
        out.par_chunks_exact_mut(n_cols).enumerate().for_each(|(t, row)| token(t, row))
    });
}
