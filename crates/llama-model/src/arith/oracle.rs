//! f64 throughout: the arbiter of who is closer to the truth.
//!
//! Weights are what their blocks mean, exactly; nothing is rounded on the way, the cache is f64, angles are
//! computed directly. What llama.cpp and `Fast` differ from this by is their error.

use super::rows::{matrix_blocks, pool, token_rows};
use super::{Arithmetic, Attend, Job, KvStore, NormStage, Rows, Scores};
use crate::ModelError;
use crate::arch::{Act, NormKind};
use crate::context::{BatchToken, ContextOptions};
use crate::hparams::{Factor, Hparams, RopeParams};
use crate::weights::{FileTensor, Norm};
use gguf_parse::GgmlType;
use kernels::RopeKind;
use rayon::ThreadPool;
use std::cell::RefCell;

/// f64 arithmetic.
pub(crate) struct Oracle {
    pool: ThreadPool,
}

impl Oracle {
    pub(crate) fn new(n_threads: usize) -> Result<Self, ModelError> {
        Ok(Self { pool: pool(n_threads)? })
    }
}

/// The input of a matmul, `[n_tokens, n_cols]`.
pub(crate) struct Acts {
    n_cols: usize,
    x: Vec<f64>,
}

/// Angle per position and magnitude of each pair.
pub(crate) struct Rope {
    kind: RopeKind,
    n_rot: usize,
    frequencies: Vec<f64>,
    magnitude: f64,
}

/// Rows of weights that share what is read of the input.
const BLOCK: usize = 16;

thread_local! {
    /// A block of dequantized rows of weights.
    static ROWS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl Oracle {
    /// What attention computes on its way, for a trace. Cells that a token does not see have weight zero, and a score
    /// of zero if they are ahead of it.
    fn scores(&self, at: &Attend<'_, Self>) -> Scores<f64> {
        let Attend { cache, il, heads, batch, q, .. } = at;
        let (n_tokens, size) = (batch.len(), heads.n_embd_head);
        let n_kv = batch.iter().map(|t| t.pos + 1).max().unwrap_or(0);
        let cell = |h: usize, t: usize, pos: usize| {
            cache.at(*il, batch[t].seq, pos) + h * heads.n_head_kv / heads.n_head * size
        };
        let mut kq = vec![0.0; heads.n_head * n_tokens * n_kv];
        token_rows(&self.pool, n_kv, &mut kq, |i, row| {
            let (h, t) = (i / n_tokens, i % n_tokens);
            let q = &q[(t * heads.n_head + h) * size..][..size];
            for (pos, score) in row.iter_mut().enumerate().take(batch[t].pos + 1) {
                *score = q.iter().zip(&cache.k[cell(h, t, pos)..]).map(|(q, k)| q * k).sum();
            }
        });
        let capped = heads.softcap.map(|cap| {
            let of = |x: &[f64], f: &dyn Fn(f64) -> f64| x.iter().map(|x| f(*x)).collect();
            let divided: Vec<f64> = of(&kq, &|x| x / f64::from(cap));
            let tanh: Vec<f64> = of(&divided, &f64::tanh);
            let capped = of(&tanh, &|x| x * f64::from(cap));
            [divided, tanh, capped]
        });
        let mut weights = capped.as_ref().map_or_else(|| kq.clone(), |[.., capped]| capped.clone());
        token_rows(&self.pool, n_kv, &mut weights, |i, row| {
            let pos = batch[i % n_tokens].pos;
            let scaled = |cell: usize, x: f64| {
                if heads.sees(pos, cell) { x * heads.scale.exact } else { f64::NEG_INFINITY }
            };
            row.iter_mut().enumerate().for_each(|(cell, x)| *x = scaled(cell, *x));
            let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            row.iter_mut().for_each(|x| *x = (*x - max).exp());
            let sum: f64 = row.iter().sum();
            row.iter_mut().for_each(|x| *x /= sum);
        });
        let mut kqv = vec![0.0; heads.n_head * n_tokens * size];
        token_rows(&self.pool, size, &mut kqv, |i, row| {
            let (h, t) = (i / n_tokens, i % n_tokens);
            for (pos, w) in weights[i * n_kv..][..n_kv].iter().enumerate().take(batch[t].pos + 1) {
                let v = &cache.v[cell(h, t, pos)..];
                row.iter_mut().zip(v).for_each(|(o, v)| *o += w * v);
            }
        });
        Scores { kq, capped, kq_soft_max: weights, kqv }
    }
}

impl Arithmetic for Oracle {
    type Real = f64;
    type Matrix = FileTensor;
    type Acts = Acts;
    type Cache = Cache;
    type Rope = Rope;
    type Positions = Vec<usize>;

    fn matrix(&self, tensor: FileTensor) -> Result<FileTensor, ModelError> {
        Ok(tensor)
    }

    fn matrix_bytes(&self, _: GgmlType, _: usize, _: usize) -> u64 {
        0
    }

    fn rope(p: &RopeParams, freq_factors: Option<&[f32]>) -> Result<Rope, ModelError> {
        let n = p.n_rot as f64;
        let base = f64::from(p.freq_base);
        // The dimension that turns `beta` times within the original context (YaRN, equation 17).
        let dim = |beta: f32| {
            let turns = p.n_ctx_orig as f64 / (f64::from(beta) * std::f64::consts::TAU);
            n * turns.ln() / (2.0 * base.ln())
        };
        let (low, high) = (dim(p.beta_fast).floor().max(0.0), dim(p.beta_slow).ceil().min(n - 1.0));
        let frequencies = (0..p.n_rot / 2).map(|i| {
            let factor = freq_factors.map_or(1.0, |f| f64::from(f[i]));
            let extrapolated = base.powf(-2.0 * i as f64 / n) / factor;
            let interpolated = f64::from(p.freq_scale) * extrapolated;
            let ramp = 1.0 - ((i as f64 - low) / (high - low).max(0.001)).clamp(0.0, 1.0);
            let mix = ramp * f64::from(p.ext_factor);
            interpolated * (1.0 - mix) + extrapolated * mix
        });
        let yarn = if p.ext_factor == 0.0 {
            1.0
        } else {
            1.0 + 0.1 * (1.0 / f64::from(p.freq_scale)).ln()
        };
        Ok(Rope {
            kind: p.kind,
            n_rot: p.n_rot,
            frequencies: frequencies.collect(),
            magnitude: f64::from(p.attn_factor) * yarn,
        })
    }

    fn acts(&self, _: usize, _: usize) -> Acts {
        Acts { n_cols: 1, x: Vec::new() }
    }

    fn check_cache(_: &Hparams, _: &ContextOptions) -> Result<(), ModelError> {
        // Whatever its type, a cache is a rounding that the oracle does not make.
        Ok(())
    }

    fn cache(&self, hp: &Hparams, options: &ContextOptions) -> Result<Cache, ModelError> {
        let (n_ctx, n_seq) = (options.n_ctx, options.n_seq);
        let n = hp.n_layer * n_seq * n_ctx * hp.n_embd_kv();
        Ok(Cache { n_seq, n_ctx, n_embd_kv: hp.n_embd_kv(), k: vec![0.0; n], v: vec![0.0; n] })
    }

    fn cache_bytes(hp: &Hparams, options: &ContextOptions) -> u64 {
        (options.n_ctx as u64)
            .saturating_mul((hp.n_layer * options.n_seq * hp.n_embd_kv()) as u64)
            .saturating_mul(16)
    }

    fn norm(
        &self,
        norm: &Norm<f64>,
        x: &[f64],
        out: &mut [f64],
        seen: &mut dyn FnMut(NormStage, &[f64]),
    ) {
        let n = norm.n;
        token_rows(&self.pool, n, out, |t, row| {
            let x = &x[t * n..(t + 1) * n];
            let mean = match norm.kind {
                NormKind::Rms => 0.0,
                NormKind::Layer => x.iter().sum::<f64>() / n as f64,
            };
            let square = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n as f64;
            let scale = 1.0 / (square + f64::from(norm.eps)).sqrt();
            row.iter_mut().zip(x).for_each(|(o, x)| *o = (x - mean) * scale);
        });
        seen(NormStage::Normed, out);
        token_rows(&self.pool, n, out, |t, row| {
            let weight = norm.weight.iter().skip(t * n % norm.weight.len());
            row.iter_mut().zip(weight).for_each(|(o, w)| *o *= w)
        });
        if let Some(bias) = &norm.bias {
            seen(NormStage::Weighted, out);
            token_rows(&self.pool, n, out, |_, row| {
                row.iter_mut().zip(bias).for_each(|(o, b)| *o += b)
            });
        }
    }

    fn prepare(&self, acts: &mut Acts, _: &[&FileTensor], x: &[f64], n_cols: usize) {
        acts.n_cols = n_cols;
        acts.x.clear();
        acts.x.extend_from_slice(x);
    }

    fn matmul(&self, acts: &Acts, jobs: &mut [Job<'_, Self>]) {
        let (n_cols, x) = (acts.n_cols, &acts.x);
        for job in jobs {
            let (weight, data) = (job.weight, job.weight.data());
            let n_tokens = x.len() / n_cols;
            matrix_blocks(&self.pool, n_tokens, BLOCK, job.out, |first, values| {
                ROWS.with_borrow_mut(|rows| {
                    rows.resize(values.len() / n_tokens * n_cols, 0.0);
                    for (r, row) in rows.chunks_exact_mut(n_cols).enumerate() {
                        weight.dequantize_row_of(data, first + r, row);
                    }
                    for (t, x) in x.chunks_exact(n_cols).enumerate() {
                        for (r, row) in rows.chunks_exact(n_cols).enumerate() {
                            values[r * n_tokens + t] = dot(row, x);
                        }
                    }
                });
            });
        }
    }

    fn positions(&self, _: &Rope, batch: &[BatchToken], positions: &mut Vec<usize>) {
        positions.clear();
        positions.extend(batch.iter().map(|t| t.pos));
    }

    fn rotate(&self, rope: &Rope, positions: &Vec<usize>, x: &mut [f64], n_embd_head: usize) {
        let n_cols = x.len() / positions.len();
        token_rows(&self.pool, n_cols, x, |t, row| {
            for (i, frequency) in rope.frequencies.iter().enumerate() {
                let (sin, cos) = (positions[t] as f64 * frequency).sin_cos();
                let (a, b) = match rope.kind {
                    RopeKind::Norm => (2 * i, 2 * i + 1),
                    RopeKind::Neox => (i, i + rope.n_rot / 2),
                };
                for head in row.chunks_exact_mut(n_embd_head) {
                    let (x0, x1) = (head[a] * rope.magnitude, head[b] * rope.magnitude);
                    head[a] = x0 * cos - x1 * sin;
                    head[b] = x0 * sin + x1 * cos;
                }
            }
        });
    }

    fn store(
        &self,
        cache: &mut Cache,
        il: usize,
        batch: &[BatchToken],
        _: &Self::Positions,
        k: &[f64],
        v: &[f64],
    ) {
        let n = cache.n_embd_kv;
        for (i, token) in batch.iter().enumerate() {
            let at = cache.at(il, token.seq, token.pos);
            cache.k[at..at + n].copy_from_slice(&k[i * n..(i + 1) * n]);
            cache.v[at..at + n].copy_from_slice(&v[i * n..(i + 1) * n]);
        }
    }

    fn attend(&self, at: Attend<'_, Self>, out: &mut [f64], scores: Option<&mut Scores<f64>>) {
        if let Some(scores) = scores {
            *scores = self.scores(&at);
        }
        let Attend { cache, il, heads, batch, q, .. } = at;
        let (n_head, size) = (heads.n_head, heads.n_embd_head);
        token_rows(&self.pool, size, out, |i, row| {
            let (t, h) = (i / n_head, i % n_head);
            let kv = h * heads.n_head_kv / n_head * size;
            let q = &q[i * size..(i + 1) * size];
            let cell = |pos: usize| cache.at(il, batch[t].seq, pos) + kv;
            let score = |pos: usize| {
                let dot: f64 = q.iter().zip(&cache.k[cell(pos)..]).map(|(q, k)| q * k).sum();
                let capped = heads.softcap.map_or(dot, |cap| {
                    let cap = f64::from(cap);
                    cap * (dot / cap).tanh()
                });
                capped * heads.scale.exact
            };
            let first = (0..=batch[t].pos).find(|pos| heads.sees(batch[t].pos, *pos)).unwrap_or(0);
            let scores: Vec<f64> = (first..=batch[t].pos).map(score).collect();
            let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
            let sum: f64 = weights.iter().sum();
            row.fill(0.0);
            for (pos, w) in (first..).zip(&weights) {
                row.iter_mut().zip(&cache.v[cell(pos)..]).for_each(|(o, v)| *o += w / sum * v);
            }
        });
    }

    fn add(&self, x: &mut [f64], y: &[f64]) {
        x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
    }

    fn scale(&self, x: &mut [f64], by: Factor) {
        x.iter_mut().for_each(|x| *x *= by.exact);
    }

    fn tanh(&self, x: &mut [f64]) {
        x.iter_mut().for_each(|x| *x = x.tanh());
    }

    fn activate(&self, act: Act, x: &[f64], _: usize, out: &mut [f64]) {
        out.iter_mut().zip(x).for_each(|(o, x)| *o = activated(act, *x));
    }

    fn gated(&self, act: Act, gate: &[f64], up: &[f64], n_ff: usize, out: &mut [f64]) {
        token_rows(&self.pool, n_ff, out, |t, row| {
            let inputs = gate[t * n_ff..].iter().zip(&up[t * n_ff..]);
            row.iter_mut().zip(inputs).for_each(|(o, (g, u))| *o = activated(act, *g) * u);
        });
    }

    fn soft_max(&self, x: &mut [f64], n: usize) {
        for row in x.chunks_exact_mut(n) {
            let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            row.iter_mut().for_each(|x| *x = (*x - max).exp());
            let sum: f64 = row.iter().sum();
            row.iter_mut().for_each(|x| *x /= sum);
        }
    }
}

/// Of `ReluSqr` the first half.
fn activated(act: Act, x: f64) -> f64 {
    match act {
        Act::Silu => x / (1.0 + (-x).exp()),
        Act::Gelu => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
            0.5 * x * (1.0 + inner.tanh())
        }
        Act::ReluSqr => x.max(0.0),
    }
}

/// Sum of products, in eight interleaved chains.
fn dot(w: &[f32], x: &[f64]) -> f64 {
    let add = |sums: &mut [f64; 8], w: &[f32], x: &[f64]| {
        sums.iter_mut().zip(w).zip(x).for_each(|((sum, w), x)| *sum += f64::from(*w) * x);
    };
    let mut sums = [0.0; 8];
    let ((w, w_rest), (x, x_rest)) = (w.as_chunks::<8>(), x.as_chunks::<8>());
    // Of known length, so that the eight chains become vectors.
    w.iter().zip(x).for_each(|(w, x)| add(&mut sums, w, x));
    add(&mut sums, w_rest, x_rest);
    sums.iter().sum()
}

/// K and V, both `[n_layer, n_seq, n_ctx, n_embd_kv]`.
pub(crate) struct Cache {
    n_seq: usize,
    n_ctx: usize,
    n_embd_kv: usize,
    k: Vec<f64>,
    v: Vec<f64>,
}

impl Cache {
    fn at(&self, il: usize, seq: usize, pos: usize) -> usize {
        ((il * self.n_seq + seq) * self.n_ctx + pos) * self.n_embd_kv
    }
}

impl KvStore for Cache {
    fn copy(&mut self, src: usize, dst: usize, len: usize) -> Result<(), ModelError> {
        let n = len * self.n_embd_kv;
        let per_layer = self.n_seq * self.n_ctx * self.n_embd_kv;
        for il in 0..self.k.len() / per_layer.max(1) {
            let (from, to) = (self.at(il, src, 0), self.at(il, dst, 0));
            self.k.copy_within(from..from + n, to);
            self.v.copy_within(from..from + n, to);
        }
        Ok(())
    }

    fn rows(&self, _: usize, _: usize, _: usize, _: usize) -> Option<Rows> {
        None
    }
}
