//! The steps of attention. The operations and their order are those of [`crate::attention`].

use super::elementwise::{tree_max, tree_sum};
use crate::attention::CHUNK;
use crate::kv_cache::BLOCK;
use crate::kv_cache::number::{GROUP, Number, Numbers};
use crate::math;
use std::ops::Range;

/// Products of all queries `[n, dk]` with blocks of keys; the first position goes to `out[.., at]`, rows of `CHUNK`.
pub(crate) fn scores<T: Number>(
    q: &[f32],
    keys: Numbers<'_>,
    dk: usize,
    at: usize,
    out: &mut [f32],
) {
    for b in 0..keys.n_rows::<T>(BLOCK * dk) {
        let block = keys.rows::<T>(b..b + 1, BLOCK * dk);
        for (q, out) in q.chunks_exact(dk).zip(out.chunks_exact_mut(CHUNK)) {
            let mut acc = [0.0_f32; BLOCK];
            let lines = block.codes.chunks_exact(BLOCK * T::BYTES);
            for (d, (&q, line)) in q.iter().zip(lines).enumerate() {
                let codes = line.chunks_exact(T::BYTES);
                for (lane, (acc, k)) in acc.iter_mut().zip(codes).enumerate() {
                    let scale = block.scale::<T>(d / GROUP * BLOCK + lane);
                    *acc = q.mul_add(T::decode(k, scale), *acc);
                }
            }
            out[at + b * BLOCK..][..BLOCK].copy_from_slice(&acc);
        }
    }
}

/// Scores in `seen` to probabilities relative to their maximum, 0 elsewhere in their blocks of 16; (maximum, sum).
#[inline(always)]
pub(crate) fn soften(
    scores: &mut [f32],
    seen: &Range<usize>,
    scale: f32,
    softcap: Option<f32>,
    result: &mut (f32, f32),
) {
    let start = seen.start / BLOCK * BLOCK;
    let x = &mut scores[start..seen.end.next_multiple_of(BLOCK)];
    let mut lanes = [f32::NEG_INFINITY; BLOCK];
    if softcap.is_none() && *seen == (start..start + x.len()) {
        // The same at once, where there is nothing between the two steps.
        for block in x.as_chunks_mut::<BLOCK>().0 {
            for (lane, x) in lanes.iter_mut().zip(block) {
                *x *= scale;
                *lane = if *x > *lane { *x } else { *lane };
            }
        }
    } else {
        for x in x.iter_mut() {
            *x *= scale;
        }
        if let Some(cap) = softcap {
            for x in x.iter_mut() {
                *x = math::tanh(*x / cap) * cap;
            }
        }
        x[..seen.start - start].fill(f32::NEG_INFINITY);
        x[seen.end - start..].fill(f32::NEG_INFINITY);
        for block in x.as_chunks::<BLOCK>().0 {
            for (lane, &x) in lanes.iter_mut().zip(block) {
                // A NaN is passed over here and reaches the sum.
                *lane = if x > *lane { x } else { *lane };
            }
        }
    }
    let max = tree_max(&lanes);
    let mut sums = [0.0; BLOCK];
    for block in x.as_chunks_mut::<BLOCK>().0 {
        for (sum, x) in sums.iter_mut().zip(block) {
            *x = math::exp(*x - max);
            *sum += *x;
        }
    }
    *result = (max, tree_sum(&sums));
}

/// `o` of every query's row `m, l, o[dv]`: values weighted with the probabilities (rows of `CHUNK`) in `seen`.
pub(crate) fn values<T: Number>(
    p: &[f32],
    values: Numbers<'_>,
    dv: usize,
    seen: &[Range<usize>],
    out: &mut [f32],
) {
    let rows = p.chunks_exact(CHUNK).zip(seen).zip(out.chunks_exact_mut(dv + 2));
    for ((p, seen), out) in rows.filter(|((_, seen), _)| !seen.is_empty()) {
        let out = &mut out[2..];
        out.fill(0.0);
        for pos in seen.clone() {
            for (d, o) in out.iter_mut().enumerate() {
                *o = p[pos].mul_add(values.get::<T>(pos * dv + d), *o);
            }
        }
    }
}

/// Merges a partial result into a state, both rows `m, l, o[dv]`.
#[inline(always)]
pub(crate) fn merge(part: &[f32], state: &mut [f32]) {
    let (m, m_part) = (state[0], part[0]);
    let max = if m_part > m { m_part } else { m };
    let (a, b) = (math::exp(m - max), math::exp(m_part - max));
    state[0] = max;
    for (s, &p) in state[1..].iter_mut().zip(&part[1..]) {
        *s = p.mul_add(b, *s * a);
    }
}

/// A query's output of its state.
#[inline(always)]
pub(crate) fn divide(state: &[f32], out: &mut [f32]) {
    let l = state[1];
    for (out, &o) in out.iter_mut().zip(&state[2..]) {
        *out = (o + 0.0) / l;
    }
}

/// Merges a score without a value.
pub(crate) fn merge_sink(sink: f32, state: &mut [f32]) {
    let max = if sink > state[0] { sink } else { state[0] };
    let (a, b) = (math::exp(state[0] - max), math::exp(sink - max));
    state[0] = max;
    state[1] = 1.0_f32.mul_add(b, state[1] * a);
    for o in &mut state[2..] {
        *o *= a;
    }
}
