//! A wrong `Reference`, for tests: one mistake that engines make, in one layer. `lockstep compare` has to name it.

use super::reference::{Acts, Cache, Matrix, Rope};
use super::{Arithmetic, Attend, Heads, Job, NormStage, Reference, Scores};
use crate::ModelError;
use crate::arch::Act;
use crate::context::{BatchToken, ContextOptions};
use crate::hparams::{Factor, Hparams, RopeParams};
use crate::weights::{FileTensor, Norm};
use gguf_parse::GgmlType;
use kernels::RopeKind;
use std::sync::Mutex;

/// A mistake.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    /// None: then this is `Reference`.
    None,
    /// Epsilon of RMSNorm times a factor.
    Epsilon(f32),
    /// Epsilon added to the root instead of under it.
    EpsilonOutside,
    /// RoPE on neighbors for RoPE on halves, or the other way around.
    RopePairs,
    /// Every position moved by one.
    RopePosition,
    /// Another base.
    RopeBase(f32),
    /// Scores multiplied by this instead of `1/sqrt(n_embd_head)`.
    Scale(f32),
    /// A token sees the one behind it.
    Mask,
    /// K and V written one position late.
    CacheLate,
    /// K and V change places.
    CacheSwapped,
    /// What was truncated is not written again.
    CacheStale,
    /// Query heads take turns with key heads.
    HeadTurns,
    /// The attention's output of one head is lost.
    HeadLost(usize),
    /// The stream is replaced by the output of attention.
    ResidualSkipped,
    /// GELU for `SiLU`.
    Gelu,
    /// Logits `x` are `c * tanh(x / c)`.
    Softcap(f32),
    /// One value of a norm is NaN.
    NotANumber,
}

/// How often things were called in this pass, which tells the layer.
#[derive(Debug, Default)]
struct Calls {
    norms: usize,
    rotations: usize,
    sums: usize,
    activations: usize,
    /// Cells written so far by layer.
    written: Vec<usize>,
}

/// `Reference` with a fault in one layer (those of no layer: `None`).
pub(crate) struct Faulty {
    right: Reference,
    fault: Fault,
    layer: Option<usize>,
    /// Rows of the output matrix.
    n_vocab: usize,
    calls: Mutex<Calls>,
}

impl Faulty {
    pub(crate) fn new(
        right: Reference,
        fault: Fault,
        layer: Option<usize>,
        n_vocab: usize,
    ) -> Self {
        Self { right, fault, layer, n_vocab, calls: Mutex::default() }
    }

    fn is(&self, fault: Fault, layer: usize) -> bool {
        self.fault == fault && self.layer.is_none_or(|il| il == layer)
    }

    /// Counts one of the calls; how many there were before.
    fn count(&self, of: impl Fn(&mut Calls) -> &mut usize) -> usize {
        let mut calls = self.calls.lock().unwrap();
        let n = of(&mut calls);
        *n += 1;
        *n - 1
    }
}

/// What the norm divides by when epsilon stands outside the root.
fn outside(x: &[f32], eps: f32) -> f32 {
    let ms = x.iter().map(|x| f64::from(x * x)).sum::<f64>() / x.len() as f64;
    (ms as f32).sqrt() + eps
}

/// Moves the heads of each token: head `h` goes to `to(h)`.
fn moved<R: Copy>(rows: &[R], n_head: usize, size: usize, to: impl Fn(usize) -> usize) -> Vec<R> {
    let mut out = rows.to_vec();
    for (from, into) in rows.chunks_exact(n_head * size).zip(out.chunks_exact_mut(n_head * size)) {
        for h in 0..n_head {
            into[to(h) * size..][..size].copy_from_slice(&from[h * size..][..size]);
        }
    }
    out
}

impl Arithmetic for Faulty {
    type Real = f32;
    type Matrix = Matrix;
    type Acts = Acts;
    type Cache = Cache;
    type Rope = [Rope; 3];
    type Positions = Vec<usize>;

    fn matrix(&self, tensor: FileTensor) -> Result<Matrix, ModelError> {
        self.right.matrix(tensor)
    }

    fn matrix_bytes(&self, ty: GgmlType, n_rows: usize, n_cols: usize) -> u64 {
        self.right.matrix_bytes(ty, n_rows, n_cols)
    }

    /// The right one, one with the other pairs, one with a base ten times as large.
    fn rope(params: &RopeParams, factors: Option<&[f32]>) -> Result<[Rope; 3], ModelError> {
        let kind = match params.kind {
            RopeKind::Norm => RopeKind::Neox,
            RopeKind::Neox => RopeKind::Norm,
        };
        let pairs = RopeParams { kind, ..params.clone() };
        let base = RopeParams { freq_base: params.freq_base * 10.0, ..params.clone() };
        Ok([
            Reference::rope(params, factors)?,
            Reference::rope(&pairs, factors)?,
            Reference::rope(&base, factors)?,
        ])
    }

    fn acts(&self, n_tokens: usize, n_cols: usize) -> Acts {
        self.right.acts(n_tokens, n_cols)
    }

    fn check_cache(hp: &Hparams, options: &ContextOptions) -> Result<(), ModelError> {
        Reference::check_cache(hp, options)
    }

    fn cache(&self, hp: &Hparams, options: &ContextOptions) -> Result<Cache, ModelError> {
        self.right.cache(hp, options)
    }

    fn cache_bytes(hp: &Hparams, options: &ContextOptions) -> u64 {
        Reference::cache_bytes(hp, options)
    }

    fn norm(
        &self,
        norm: &Norm<f32>,
        x: &[f32],
        out: &mut [f32],
        seen: &mut dyn FnMut(NormStage, &[f32]),
    ) {
        // Two norms a layer; the last belongs to none and is counted as one more layer.
        let il = self.count(|calls| &mut calls.norms) / 2;
        match self.fault {
            Fault::Epsilon(factor) if self.is(self.fault, il) => {
                let norm = Norm { eps: norm.eps * factor, ..norm.clone() };
                self.right.norm(&norm, x, out, seen);
            }
            Fault::EpsilonOutside if self.is(self.fault, il) => {
                let n = norm.n;
                for (row, x) in out.chunks_exact_mut(n).zip(x.chunks_exact(n)) {
                    let scale = 1.0 / outside(x, norm.eps);
                    row.iter_mut().zip(x).for_each(|(y, x)| *y = x * scale);
                }
                seen(NormStage::Normed, out);
                out.chunks_exact_mut(n)
                    .for_each(|row| row.iter_mut().zip(&norm.weight).for_each(|(y, w)| *y *= w));
            }
            Fault::NotANumber if self.is(self.fault, il) => {
                let mut x = x.to_vec();
                x[0] = f32::NAN;
                self.right.norm(norm, &x, out, seen);
            }
            _ => self.right.norm(norm, x, out, seen),
        }
    }

    fn prepare(&self, acts: &mut Acts, weights: &[&Matrix], x: &[f32], n_cols: usize) {
        self.right.prepare(acts, weights, x, n_cols);
    }

    fn matmul(&self, acts: &Acts, jobs: &mut [Job<'_, Self>]) {
        for job in jobs {
            let n_rows = job.weight.tensor.n_rows;
            self.right.matmul(acts, &mut [Job { weight: job.weight, out: &mut *job.out }]);
            if let (Fault::Softcap(c), true) = (self.fault, n_rows == self.n_vocab) {
                job.out.iter_mut().for_each(|x| *x = c * (*x / c).tanh());
            }
        }
    }

    fn positions(&self, rope: &[Rope; 3], batch: &[BatchToken], positions: &mut Vec<usize>) {
        // A pass begins.
        let mut calls = self.calls.lock().unwrap();
        *calls = Calls { written: std::mem::take(&mut calls.written), ..Calls::default() };
        self.right.positions(&rope[0], batch, positions);
    }

    fn rotate(&self, rope: &[Rope; 3], positions: &Vec<usize>, x: &mut [f32], n_embd_head: usize) {
        // Q and K of a layer.
        let il = self.count(|calls| &mut calls.rotations) / 2;
        let later: Vec<usize> = positions.iter().map(|pos| pos + 1).collect();
        let (rope, positions) = match self.fault {
            Fault::RopePairs if self.is(self.fault, il) => (&rope[1], positions),
            Fault::RopeBase(_) if self.is(self.fault, il) => (&rope[2], positions),
            Fault::RopePosition if self.is(self.fault, il) => (&rope[0], &later),
            _ => (&rope[0], positions),
        };
        self.right.rotate(rope, positions, x, n_embd_head);
    }

    fn store(
        &self,
        cache: &mut Cache,
        il: usize,
        batch: &[BatchToken],
        positions: &Vec<usize>,
        k: &[f32],
        v: &[f32],
    ) {
        let late: Vec<_> = batch.iter().map(|t| BatchToken { pos: t.pos + 1, ..*t }).collect();
        if self.is(Fault::CacheLate, il) {
            return self.right.store(cache, il, &late, positions, k, v);
        }
        if self.is(Fault::CacheSwapped, il) {
            return self.right.store(cache, il, batch, positions, v, k);
        }
        if self.is(Fault::CacheStale, il) {
            let mut calls = self.calls.lock().unwrap();
            if calls.written.len() <= il {
                calls.written.resize(il + 1, 0);
            }
            let (first, n) = (batch[0].pos, k.len() / batch.len());
            let skip = calls.written[il].saturating_sub(first).min(batch.len());
            calls.written[il] = calls.written[il].max(first + batch.len());
            let (k, v) = (&k[skip * n..], &v[skip * n..]);
            return self.right.store(cache, il, &batch[skip..], positions, k, v);
        }
        self.right.store(cache, il, batch, positions, k, v);
    }

    fn attend(&self, at: Attend<'_, Self>, out: &mut [f32], scores: Option<&mut Scores<f32>>) {
        let Attend { cache, il, heads, batch, positions, q } = at;
        let Heads { n_head, n_head_kv, n_embd_head: size, .. } = heads;
        let right = Attend { cache, il, heads, batch, positions, q };
        match self.fault {
            Fault::Scale(scale) if self.is(self.fault, il) => {
                let heads = Heads { scale: Factor::of(scale), ..heads };
                self.right.attend(Attend { heads, ..right }, out, scores);
            }
            Fault::Mask if self.is(self.fault, il) => {
                let batch: Vec<_> =
                    batch.iter().map(|t| BatchToken { pos: t.pos + 1, ..*t }).collect();
                self.right.attend(Attend { batch: &batch, ..right }, out, scores);
            }
            Fault::HeadTurns if self.is(self.fault, il) => {
                // To where the head would have to be for groups to be turns.
                let group = n_head / n_head_kv;
                let to = |h: usize| h % n_head_kv * group + h / n_head_kv;
                let back = |h: usize| h % group * n_head_kv + h / group;
                let q = moved(q, n_head, size, to);
                let mut found = Scores::default();
                self.right.attend(Attend { q: &q, ..right }, out, Some(&mut found));
                out.copy_from_slice(&moved(out, n_head, size, back));
                if let Some(scores) = scores {
                    let by_head = |x: &[f32]| moved(x, n_head, x.len() / n_head, back);
                    let Scores { kq, kq_soft_max, kqv, .. } = found;
                    let (kq, kqv) = (by_head(&kq), by_head(&kqv));
                    let kq_soft_max = by_head(&kq_soft_max);
                    *scores = Scores { kq, kq_soft_max, kqv, capped: None };
                }
            }
            Fault::HeadLost(head) if self.is(self.fault, il) => {
                self.right.attend(right, out, scores);
                out.chunks_exact_mut(n_head * size)
                    .for_each(|token| token[head * size..][..size].fill(0.0));
            }
            _ => self.right.attend(right, out, scores),
        }
    }

    fn add(&self, x: &mut [f32], y: &[f32]) {
        // Behind attention and behind the feed-forward block.
        let n = self.count(|calls| &mut calls.sums);
        if n.is_multiple_of(2) && self.is(Fault::ResidualSkipped, n / 2) {
            x.copy_from_slice(y);
        } else {
            self.right.add(x, y);
        }
    }

    fn scale(&self, x: &mut [f32], by: Factor) {
        self.right.scale(x, by);
    }

    fn tanh(&self, x: &mut [f32]) {
        self.right.tanh(x);
    }

    fn activate(&self, act: Act, x: &[f32], n: usize, out: &mut [f32]) {
        self.right.activate(act, x, n, out);
    }

    fn gated(&self, act: Act, gate: &[f32], up: &[f32], n_ff: usize, out: &mut [f32]) {
        let il = self.count(|calls| &mut calls.activations);
        let act = if self.is(Fault::Gelu, il) { Act::Gelu } else { act };
        self.right.gated(act, gate, up, n_ff, out);
    }

    fn soft_max(&self, x: &mut [f32], n: usize) {
        self.right.soft_max(x, n);
    }
}
