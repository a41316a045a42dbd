//! Scalar arithmetic, bit-identical to llama.cpp's scalar build at every node.

use super::rows::{matrix_rows, pool, token_rows};
use super::{Arithmetic, Attend, Job, KvStore, NormStage, Rows, Scores};
use crate::ModelError;
use crate::arch::{Act, NormKind};
use crate::context::{BatchToken, ContextOptions};
use crate::hparams::{Factor, Hparams, RopeParams};
use crate::weights::{FileTensor, Norm};
use gguf_parse::GgmlType;
use kernels::{KvType, reference as ops};
use rayon::ThreadPool;
use std::cell::RefCell;

/// llama.cpp attends to a multiple of so many cells; the rest of them are masked.
const KV_PADDING: usize = 256;

/// llama.cpp's scalar arithmetic.
pub(crate) struct Reference {
    pool: ThreadPool,
}

impl Reference {
    pub(crate) fn new(n_threads: usize) -> Result<Self, ModelError> {
        Ok(Self { pool: pool(n_threads)? })
    }
}

/// A matrix of the file, and the type to which its input is rounded.
pub(crate) struct Matrix {
    pub(super) tensor: FileTensor,
    act_type: GgmlType,
}

/// A matmul's input in each format that its matrices multiply with.
pub(crate) struct Acts {
    n_tokens: usize,
    forms: Vec<(GgmlType, ops::Rows)>,
}

thread_local! {
    /// One row of weights, taken apart for all tokens.
    static ROW: RefCell<ops::Rows> = RefCell::new(ops::Rows::default());
}

/// RoPE's parameters with the frequency factors.
pub(crate) struct Rope {
    params: ops::RopeParams<'static>,
    factors: Option<Vec<f32>>,
}

impl Arithmetic for Reference {
    type Real = f32;
    type Matrix = Matrix;
    type Acts = Acts;
    type Cache = Cache;
    type Rope = Rope;
    type Positions = Vec<usize>;

    fn matrix(&self, tensor: FileTensor) -> Result<Matrix, ModelError> {
        let ty = tensor.ty;
        let act_type = ops::act_type(ty).ok_or(dequant::DequantError::Unsupported { ty })?;
        Ok(Matrix { tensor, act_type })
    }

    fn matrix_bytes(&self, _: GgmlType, _: usize, _: usize) -> u64 {
        0
    }

    fn rope(p: &RopeParams, freq_factors: Option<&[f32]>) -> Result<Rope, ModelError> {
        let params = ops::RopeParams {
            n_rot: p.n_rot,
            mode: p.kind,
            freq_base: p.freq_base,
            freq_scale: p.freq_scale,
            ext_factor: p.ext_factor,
            attn_factor: p.attn_factor,
            beta_fast: p.beta_fast,
            beta_slow: p.beta_slow,
            n_ctx_orig: p.n_ctx_orig,
            freq_factors: None,
        };
        Ok(Rope { params, factors: freq_factors.map(<[f32]>::to_vec) })
    }

    fn acts(&self, _: usize, _: usize) -> Acts {
        Acts { n_tokens: 0, forms: Vec::new() }
    }

    fn check_cache(_: &Hparams, options: &ContextOptions) -> Result<(), ModelError> {
        options.check_types(|ty| ty != KvType::Q8_0, || {
            "f32 or f16 in the reference arithmetic: llama.cpp rotates keys before it quantizes them, and needs flash \
             attention for quantized values"
                .to_owned()
        })
    }

    fn cache(&self, hp: &Hparams, options: &ContextOptions) -> Result<Cache, ModelError> {
        let n_cells = options.n_ctx.next_multiple_of(KV_PADDING);
        let n = hp.n_layer * options.n_seq * n_cells * hp.n_embd_kv();
        let (k, v) = (Cells::new(options.type_k, n), Cells::new(options.type_v, n));
        Ok(Cache {
            n_layer: hp.n_layer,
            n_seq: options.n_seq,
            n_cells,
            n_embd_kv: hp.n_embd_kv(),
            k,
            v,
        })
    }

    fn cache_bytes(hp: &Hparams, options: &ContextOptions) -> u64 {
        let n_cells = (options.n_ctx as u64).next_multiple_of(KV_PADDING as u64);
        let n = n_cells.saturating_mul((hp.n_layer * options.n_seq * hp.n_embd_kv()) as u64);
        let cell =
            options.type_k.n_bytes(1).zip(options.type_v.n_bytes(1)).map_or(8, |(k, v)| k + v);
        n.saturating_mul(cell as u64)
    }

    fn norm(
        &self,
        norm: &Norm<f32>,
        x: &[f32],
        out: &mut [f32],
        seen: &mut dyn FnMut(NormStage, &[f32]),
    ) {
        let n = norm.n;
        token_rows(&self.pool, n, out, |t, row| {
            let x = &x[t * n..(t + 1) * n];
            match norm.kind {
                NormKind::Rms => ops::rms_norm(x, norm.eps, row),
                NormKind::Layer => ops::norm(x, norm.eps, row),
            }
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

    fn prepare(&self, acts: &mut Acts, weights: &[&Matrix], x: &[f32], n_cols: usize) {
        acts.n_tokens = x.len() / n_cols;
        acts.forms.clear();
        for weight in weights {
            let ty = weight.act_type;
            if acts.forms.iter().any(|(have, _)| *have == ty) {
                continue;
            }
            let row_bytes = n_cols / ty.block_elems() * ty.block_bytes();
            let mut bytes = vec![0; acts.n_tokens * row_bytes];
            for (x, row) in x.chunks_exact(n_cols).zip(bytes.chunks_exact_mut(row_bytes)) {
                ops::quantize_row(ty, x, row);
            }
            acts.forms.push((ty, ops::Rows::new(ty, &bytes)));
        }
    }

    fn matmul(&self, acts: &Acts, jobs: &mut [Job<'_, Self>]) {
        for job in jobs {
            let FileTensor { ty, n_rows, .. } = job.weight.tensor;
            let Some((_, acts_rows)) =
                acts.forms.iter().find(|(have, _)| *have == job.weight.act_type)
            else {
                unreachable!("prepare() made a form for every matrix of this input");
            };
            let data = job.weight.tensor.data();
            let w_bytes = data.len() / n_rows;
            matrix_rows(&self.pool, acts.n_tokens, job.out, |r, values| {
                ROW.with_borrow_mut(|w| {
                    w.set(ty, &data[r * w_bytes..(r + 1) * w_bytes]);
                    ops::dots(w, acts_rows, values);
                });
            });
        }
    }

    fn positions(&self, _: &Rope, batch: &[BatchToken], positions: &mut Vec<usize>) {
        positions.clear();
        positions.extend(batch.iter().map(|t| t.pos));
    }

    fn rotate(&self, rope: &Rope, positions: &Vec<usize>, x: &mut [f32], n_embd_head: usize) {
        let n_cols = x.len() / positions.len();
        let params = ops::RopeParams { freq_factors: rope.factors.as_deref(), ..rope.params };
        token_rows(&self.pool, n_cols, x, |t, row| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_possible_wrap,
                reason = "ggml's positions are i32"
            )]
            ops::rope(row, n_embd_head, positions[t] as i32, &params);
        });
    }

    fn store(
        &self,
        cache: &mut Cache,
        il: usize,
        batch: &[BatchToken],
        _: &Self::Positions,
        k: &[f32],
        v: &[f32],
    ) {
        let n = cache.n_embd_kv;
        for (i, token) in batch.iter().enumerate() {
            let base = cache.base(il, token.seq);
            for (d, (k, v)) in k[i * n..].iter().zip(&v[i * n..(i + 1) * n]).enumerate() {
                cache.k.set(base + token.pos * n + d, *k);
                cache.v.set(base + d * cache.n_cells + token.pos, *v);
            }
        }
    }

    fn attend(&self, at: Attend<'_, Self>, out: &mut [f32], scores: Option<&mut Scores<f32>>) {
        let Attend { cache, il, heads, batch, q, .. } = at;
        let (n_tokens, n_head, size) = (batch.len(), heads.n_head, heads.n_embd_head);
        let n_kv = batch.iter().map(|t| t.pos + 1).max().unwrap_or(0).next_multiple_of(KV_PADDING);
        let mut by_head = Scores { kq: vec![0.0; n_head * n_tokens * n_kv], ..Scores::default() };
        let memory = cache.memory(&self.pool, il, n_kv, batch, size);
        // Of token `t` and the K/V head that head `h` attends to.
        let cells = |h: usize, t: usize| {
            let kv_head = h * heads.n_head_kv / n_head;
            memory.cells(batch[t].seq, kv_head)
        };

        // One row of scores for each (head, token), in llama.cpp's order.
        token_rows(&self.pool, n_kv, &mut by_head.kq, |i, row| {
            let (h, t) = (i / n_tokens, i % n_tokens);
            let q = cache.k.rounded(&q[(t * n_head + h) * size..][..size]);
            ops::weighted_sum(&q, cells(h, t).0, row);
        });
        by_head.kq_soft_max.clone_from(&by_head.kq);
        if let Some(cap) = heads.softcap {
            let x = &mut by_head.kq_soft_max;
            ops::scale(x, 1.0 / cap);
            let divided = x.clone();
            ops::tanh(x);
            let tanh = x.clone();
            ops::scale(x, cap);
            by_head.capped = Some([divided, tanh, x.clone()]);
        }
        token_rows(&self.pool, n_kv, &mut by_head.kq_soft_max, |i, row| {
            let pos = batch[i % n_tokens].pos;
            let mask = |cell| if heads.sees(pos, cell) { 0.0 } else { f32::NEG_INFINITY };
            let mask: Vec<f32> = (0..n_kv).map(mask).collect();
            ops::soft_max(row, Some(&mask), heads.scale.rounded);
        });
        by_head.kqv = vec![0.0; n_head * n_tokens * size];
        token_rows(&self.pool, size, &mut by_head.kqv, |i, row| {
            let p = cache.v.rounded(&by_head.kq_soft_max[i * n_kv..][..n_kv]);
            ops::weighted_sum(&p, cells(i / n_tokens, i % n_tokens).1, row);
        });
        for (i, row) in by_head.kqv.chunks_exact(size).enumerate() {
            let (h, t) = (i / n_tokens, i % n_tokens);
            out[(t * n_head + h) * size..][..size].copy_from_slice(row);
        }
        if let Some(scores) = scores {
            *scores = by_head;
        }
    }

    fn add(&self, x: &mut [f32], y: &[f32]) {
        x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
    }

    fn scale(&self, x: &mut [f32], by: Factor) {
        ops::scale(x, by.rounded);
    }

    fn tanh(&self, x: &mut [f32]) {
        ops::tanh(x);
    }

    fn activate(&self, act: Act, x: &[f32], n: usize, out: &mut [f32]) {
        token_rows(&self.pool, n, out, |t, row| {
            let x = &x[t * n..(t + 1) * n];
            match act {
                Act::Silu => ops::silu(x, row),
                Act::Gelu => ops::gelu(x, row),
                Act::ReluSqr => {
                    row.copy_from_slice(x);
                    ops::relu(row);
                }
            }
        });
    }

    fn gated(&self, act: Act, gate: &[f32], up: &[f32], n_ff: usize, out: &mut [f32]) {
        token_rows(&self.pool, n_ff, out, |t, row| {
            let (gate, up) = (&gate[t * n_ff..(t + 1) * n_ff], &up[t * n_ff..(t + 1) * n_ff]);
            match act {
                Act::Silu => ops::swiglu(gate, up, row),
                Act::Gelu => ops::geglu(gate, up, row),
                Act::ReluSqr => unreachable!("no architecture has a gate before a squared ReLU"),
            }
        });
    }

    fn soft_max(&self, x: &mut [f32], n: usize) {
        token_rows(&self.pool, n, x, |_, row| ops::soft_max(row, None, 1.0));
    }
}

/// The cells of a layer's cache as f32, laid out so that sums run along rows.
struct Memory {
    /// Floats of a head, K or V.
    n: usize,
    n_head_kv: usize,
    /// The sequences it holds.
    seqs: Vec<usize>,
    /// `[n_seqs, n_head_kv, n_embd_head, n_kv]`
    k: Vec<f32>,
    /// `[n_seqs, n_head_kv, n_kv, n_embd_head]`
    v: Vec<f32>,
}

impl Memory {
    /// K and V of a head.
    fn cells(&self, seq: usize, kv_head: usize) -> (&[f32], &[f32]) {
        let at = self.seqs.iter().position(|s| *s == seq).unwrap_or(0);
        let at = (at * self.n_head_kv + kv_head) * self.n;
        (&self.k[at..at + self.n], &self.v[at..at + self.n])
    }
}

/// Numbers of a cache. What is multiplied with them is rounded as they are.
enum Cells {
    F32(Vec<f32>),
    F16(Vec<u16>),
}

impl Cells {
    fn new(ty: KvType, n: usize) -> Self {
        match ty {
            KvType::F32 => Self::F32(vec![0.0; n]),
            KvType::F16 => Self::F16(vec![0; n]),
            KvType::Q8_0 => unreachable!("check_cache() refuses it"),
        }
    }

    fn get(&self, i: usize) -> f32 {
        match self {
            Self::F32(x) => x[i],
            Self::F16(x) => ops::f16_to_f32(x[i]),
        }
    }

    fn set(&mut self, i: usize, value: f32) {
        match self {
            Self::F32(x) => x[i] = value,
            Self::F16(x) => x[i] = ops::f32_to_f16(value),
        }
    }

    fn rounded(&self, x: &[f32]) -> Vec<f32> {
        match self {
            Self::F32(_) => x.to_vec(),
            Self::F16(_) => x.iter().map(|x| ops::f16_to_f32(ops::f32_to_f16(*x))).collect(),
        }
    }

    fn copy_within(&mut self, from: std::ops::Range<usize>, to: usize) {
        match self {
            Self::F32(x) => x.copy_within(from, to),
            Self::F16(x) => x.copy_within(from, to),
        }
    }
}

/// llama.cpp's cache: K row by row, V transposed, so that both matmuls read along rows.
pub(crate) struct Cache {
    n_layer: usize,
    n_seq: usize,
    n_cells: usize,
    n_embd_kv: usize,
    /// `[n_layer, n_seq, n_cells, n_embd_kv]`
    k: Cells,
    /// `[n_layer, n_seq, n_embd_kv, n_cells]`
    v: Cells,
}

impl Cache {
    /// Where a layer and sequence begin, in both.
    fn base(&self, il: usize, seq: usize) -> usize {
        (il * self.n_seq + seq) * self.n_cells * self.n_embd_kv
    }

    /// The first `n_kv` cells of every sequence in `batch`, with heads of `size`.
    fn memory(
        &self,
        pool: &ThreadPool,
        il: usize,
        n_kv: usize,
        batch: &[BatchToken],
        size: usize,
    ) -> Memory {
        let mut seqs: Vec<usize> = batch.iter().map(|t| t.seq).collect();
        seqs.sort_unstable();
        seqs.dedup();
        let (n, n_head_kv) = (n_kv * size, self.n_embd_kv / size);
        let mut k = vec![0.0; seqs.len() * n_head_kv * n];
        let mut v = k.clone();
        token_rows(pool, n, &mut k, |i, head| {
            let base = self.base(il, seqs[i / n_head_kv]) + i % n_head_kv * size;
            for (d, row) in head.chunks_exact_mut(n_kv).enumerate() {
                for (cell, x) in row.iter_mut().enumerate() {
                    *x = self.k.get(base + cell * self.n_embd_kv + d);
                }
            }
        });
        token_rows(pool, n, &mut v, |i, head| {
            let base = self.base(il, seqs[i / n_head_kv]) + i % n_head_kv * size * self.n_cells;
            for (cell, row) in head.chunks_exact_mut(size).enumerate() {
                for (d, x) in row.iter_mut().enumerate() {
                    *x = self.v.get(base + d * self.n_cells + cell);
                }
            }
        });
        Memory { n, n_head_kv, seqs, k, v }
    }
}

impl KvStore for Cache {
    fn copy(&mut self, src: usize, dst: usize, _len: usize) -> Result<(), ModelError> {
        // Cells behind `len` are masked; copying them keeps this simple.
        let n = self.n_cells * self.n_embd_kv;
        for il in 0..self.n_layer {
            let (from, to) = (self.base(il, src), self.base(il, dst));
            self.k.copy_within(from..from + n, to);
            self.v.copy_within(from..from + n, to);
        }
        Ok(())
    }

    fn rows(&self, il: usize, seq: usize, len: usize, _: usize) -> Option<Rows> {
        let (base, n) = (self.base(il, seq), self.n_embd_kv);
        let k = (0..len * n).map(|i| self.k.get(base + i));
        let v = (0..len * n).map(|i| self.v.get(base + (i % n) * self.n_cells + i / n));
        Some((k.collect(), v.collect()))
    }
}
