//! The SIMD kernels on weights packed at load, or when they are read: what users run.
//!
//! Each method is one parallel region of `kernels`; the order of its float operations is fixed there.

use super::{Arithmetic, Attend, Job, KvStore, NormStage, Rotated, Rows, Scores};
use crate::ModelError;
use crate::arch::{Act, NormKind};
use crate::context::{BatchToken, ContextOptions};
use crate::hparams::{Factor, Hparams, RopeParams};
use crate::weights::{FileTensor, Norm};
use gguf_parse::GgmlType;
use kernels::{
    ActForms, Acts, Arena, Attention, Gate, Gated, Isa, KvCache, KvShape, LayerNorm, Linear,
    Matrix, RopeAngles, RopeScaling, RopeTable, Rotation, RowNorm, Team,
};

/// SIMD arithmetic with its threads.
pub(crate) struct Fast {
    isa: Isa,
    team: Team,
    arena: Arena,
    /// Whether matrices are packed at load.
    repack: bool,
}

impl Fast {
    pub(crate) fn new(n_threads: usize, isa: Isa, repack: bool) -> Result<Self, ModelError> {
        Ok(Self { isa, team: Team::new(n_threads)?, arena: Arena::new(), repack })
    }
}

/// A tensor keeps its file open, and with it what its bytes are mapped to.
impl kernels::Rows for FileTensor {
    fn bytes(&self) -> &[u8] {
        self.data()
    }
}

impl Arithmetic for Fast {
    type Real = f32;
    type Matrix = Matrix;
    type Acts = Prepared;
    type Cache = Cache;
    type Rope = RopeTable;
    type Positions = Positions;

    fn matrix(&self, tensor: FileTensor) -> Result<Matrix, ModelError> {
        let FileTensor { ty, n_rows, n_cols, .. } = tensor;
        if !self.repack {
            return Ok(Matrix::on_demand(self.isa, ty, n_rows, n_cols, Box::new(tensor))?);
        }
        let mut matrix = Matrix::zeroed(self.isa, ty, n_rows, n_cols, &self.arena)?;
        // The file is let go behind what is packed, so that there never are two copies of much.
        for (first_row, bytes) in tensor.slices() {
            matrix.pack_rows(first_row, bytes, &self.team)?;
            tensor.release(bytes);
        }
        Ok(matrix)
    }

    fn matrix_bytes(&self, ty: GgmlType, n_rows: usize, n_cols: usize) -> u64 {
        if !self.repack {
            return 0;
        }
        Matrix::packed_bytes(ty, n_rows, n_cols).map_or(u64::MAX, |n| n as u64)
    }

    fn rope(p: &RopeParams, freq_factors: Option<&[f32]>) -> Result<RopeTable, ModelError> {
        let scaling = if p.ext_factor != 0.0 || p.attn_factor != 1.0 {
            RopeScaling::Yarn {
                freq_scale: p.freq_scale,
                ext_factor: p.ext_factor,
                attn_factor: p.attn_factor,
                beta_fast: p.beta_fast,
                beta_slow: p.beta_slow,
                n_ctx_orig: p.n_ctx_orig,
            }
        } else {
            RopeScaling::Linear { freq_scale: p.freq_scale }
        };
        let params = kernels::RopeParams {
            kind: p.kind,
            n_rot: p.n_rot,
            freq_base: p.freq_base,
            freq_factors,
            scaling,
        };
        Ok(RopeTable::new(&params)?)
    }

    fn acts(&self, _: usize, _: usize) -> Prepared {
        Prepared::default()
    }

    fn check_cache(hp: &Hparams, options: &ContextOptions) -> Result<(), ModelError> {
        let n = hp.n_embd_head;
        options.check_types(
            |ty| n.is_multiple_of(ty.head_multiple()),
            || format!("f32 or f16: q8_0 takes 32 numbers of a head together, and heads have {n}"),
        )
    }

    fn cache(&self, hp: &Hparams, options: &ContextOptions) -> Result<Cache, ModelError> {
        let (shape, n_cells) = kv_shape(hp, options);
        let windows = hp.layers.iter().zip(&n_cells);
        let windows = windows.filter_map(|(layer, n)| Some((layer.n_swa?, *n)));
        let mut rings: Vec<_> = windows.filter(|(_, n)| *n < shape.n_ctx).collect();
        rings.dedup();
        Ok(Cache { kv: KvCache::with_cells(shape, n_cells)?, rings })
    }

    fn cache_bytes(hp: &Hparams, options: &ContextOptions) -> u64 {
        let (shape, n_cells) = kv_shape(hp, options);
        KvCache::bytes_of(&shape, &n_cells).map_or(u64::MAX, |n| n as u64)
    }

    fn norm(
        &self,
        norm: &Norm<f32>,
        x: &[f32],
        out: &mut [f32],
        _: &mut dyn FnMut(NormStage, &[f32]),
    ) {
        let (isa, team) = (self.isa, &self.team);
        match row_norm(norm) {
            RowNorm::Rms { weight, eps } => kernels::rms_norm(isa, team, x, weight, eps, out),
            RowNorm::Layer(norm) => kernels::layer_norm(isa, team, &norm, x, out),
        }
    }

    fn prepare(&self, acts: &mut Prepared, weights: &[&Matrix], x: &[f32], n_cols: usize) {
        acts.now.prepare(self.isa, &self.team, forms(weights), x, n_cols);
    }

    fn prepare_normed(
        &self,
        acts: &mut Prepared,
        weights: &[&Matrix],
        norm: &Norm<f32>,
        x: &[f32],
    ) -> bool {
        acts.now.prepare_normed(self.isa, &self.team, forms(weights), &row_norm(norm), x);
        true
    }

    fn gate_up(
        &self,
        acts: &mut Prepared,
        act: Act,
        [gate, up]: [&Matrix; 2],
        down: &Matrix,
    ) -> bool {
        let act = match act {
            Act::Silu => Gate::Silu,
            Act::Gelu => Gate::Gelu,
            Act::ReluSqr => return false,
        };
        let (what, forms) = (Gated { gate, up, act }, forms(&[down]));
        let did = kernels::gated(self.isa, &self.team, &acts.now, &what, forms, &mut acts.next);
        if did {
            std::mem::swap(&mut acts.now, &mut acts.next);
        }
        did
    }

    fn matmul_add(&self, acts: &Prepared, weight: &Matrix, x: &mut [f32], _: &mut [f32]) {
        let sum = Linear { w: weight, bias: None, out: x, add: true };
        kernels::linears(self.isa, &self.team, &acts.now, [sum]);
    }

    fn matmul(&self, acts: &Prepared, jobs: &mut [Job<'_, Self>]) {
        let acts = &acts.now;
        // By hand up to three: no allocation per token.
        match jobs {
            [a] => kernels::linears(self.isa, &self.team, acts, [linear(a)]),
            [a, b] => kernels::linears(self.isa, &self.team, acts, [linear(a), linear(b)]),
            [a, b, c] => {
                kernels::linears(self.isa, &self.team, acts, [linear(a), linear(b), linear(c)])
            }
            more => more
                .iter_mut()
                .for_each(|job| kernels::linears(self.isa, &self.team, acts, [linear(job)])),
        }
    }

    fn positions(&self, rope: &RopeTable, batch: &[BatchToken], positions: &mut Positions) {
        positions.angles.prepare(rope, batch.iter().map(|t| t.pos));
        positions.cells.clear();
        positions.cells.extend(batch.iter().map(|t| (t.seq, t.pos)));
    }

    fn rotate(&self, _: &RopeTable, positions: &Positions, x: &mut [f32], n_embd_head: usize) {
        kernels::rope(self.isa, &self.team, &positions.angles, x, n_embd_head);
    }

    fn store(
        &self,
        cache: &mut Cache,
        il: usize,
        _: &[BatchToken],
        positions: &Positions,
        k: &[f32],
        v: &[f32],
    ) {
        cache.kv.store_all(&self.team, il, &positions.cells, k, v);
    }

    fn store_rotated(&self, cache: &mut Cache, at: Rotated<'_, Self>, k: &mut [f32], v: &[f32]) {
        let by = Rotation { isa: self.isa, angles: &at.positions.angles };
        cache.kv.store_rotated(&self.team, at.il, &at.positions.cells, (k, by), v);
    }

    fn attend(&self, at: Attend<'_, Self>, out: &mut [f32], _: Option<&mut Scores<f32>>) {
        let layer = Attention {
            cache: &at.cache.kv,
            il: at.il,
            n_head: at.heads.n_head,
            scale: at.heads.scale.rounded,
            n_swa: at.heads.n_swa,
            attn_logit_softcap: at.heads.softcap,
            sinks: None,
        };
        kernels::attention(self.isa, &self.team, &layer, at.q, &at.positions.cells, out);
    }

    fn add(&self, x: &mut [f32], y: &[f32]) {
        kernels::add(self.isa, &self.team, x, y);
    }

    fn scale(&self, x: &mut [f32], by: Factor) {
        kernels::scale(self.isa, &self.team, x, by.rounded);
    }

    fn tanh(&self, x: &mut [f32]) {
        kernels::tanh(self.isa, &self.team, x);
    }

    fn activate(&self, act: Act, x: &[f32], _: usize, out: &mut [f32]) {
        let act = match act {
            Act::Silu => kernels::silu,
            Act::Gelu => kernels::gelu,
            Act::ReluSqr => kernels::relu,
        };
        act(self.isa, &self.team, x, out);
    }

    fn gated(&self, act: Act, gate: &[f32], up: &[f32], _: usize, out: &mut [f32]) {
        let gated = match act {
            Act::Silu => kernels::swiglu,
            Act::Gelu => kernels::geglu,
            Act::ReluSqr => unreachable!("no architecture has a gate before a squared ReLU"),
        };
        gated(self.isa, &self.team, gate, up, out);
    }

    fn soft_max(&self, x: &mut [f32], n: usize) {
        kernels::soft_max(self.isa, &self.team, x, n);
    }

    fn ln(x: f64) -> f64 {
        kernels::math::ln64(x)
    }
}

/// The input of a matmul, and what the input of the next becomes while this one is read.
#[derive(Default)]
pub(crate) struct Prepared {
    now: Acts,
    next: Acts,
}

/// What `weights` are multiplied with.
fn forms(weights: &[&Matrix]) -> ActForms {
    weights.iter().map(|w| w.act_form()).collect()
}

fn row_norm(norm: &Norm<f32>) -> RowNorm<'_> {
    let Norm { n, weight, bias, eps, .. } = norm;
    match norm.kind {
        NormKind::Rms => RowNorm::Rms { weight, eps: *eps },
        NormKind::Layer => {
            RowNorm::Layer(LayerNorm { n: *n, weight, bias: bias.as_deref(), eps: *eps })
        }
    }
}

/// A batch's cells and the angles of its positions.
#[derive(Default)]
pub(crate) struct Positions {
    angles: RopeAngles,
    /// (sequence, position) of each token.
    cells: Vec<(usize, usize)>,
}

fn linear<'a>(job: &'a mut Job<'_, Fast>) -> Linear<'a> {
    Linear { w: job.weight, bias: None, out: job.out, add: false }
}

/// The cache, and the cells of each layer: those with a window have what they need, unless all are asked for.
fn kv_shape(hp: &Hparams, options: &ContextOptions) -> (KvShape, Vec<usize>) {
    let shape = KvShape {
        n_layer: hp.n_layer,
        n_seq: options.n_seq,
        n_ctx: options.n_ctx,
        n_head_kv: hp.n_head_kv,
        n_embd_head_k: hp.n_embd_head,
        n_embd_head_v: hp.n_embd_head,
        type_k: options.type_k,
        type_v: options.type_v,
    };
    let of_window = |n_swa| shape.window_cells(n_swa, options.n_ubatch);
    let windows = hp.layers.iter().map(|layer| layer.n_swa.filter(|_| !options.swa_full));
    (shape, windows.map(|n_swa| n_swa.map_or(shape.n_ctx, of_window)).collect())
}

/// The kernels' cache.
pub(crate) struct Cache {
    kv: KvCache,
    /// (Window, cells) of layers that do not keep all positions, equal neighbors once.
    rings: Vec<(usize, usize)>,
}

impl KvStore for Cache {
    fn holds(&self, len: usize, end: usize) -> bool {
        self.rings.iter().all(|(n_swa, n_cells)| {
            let first_seen = (len + 1).saturating_sub(*n_swa);
            first_seen + n_cells >= end
        })
    }

    fn copy(&mut self, src: usize, dst: usize, len: usize) -> Result<(), ModelError> {
        Ok(self.kv.copy(src, dst, len)?)
    }

    fn rows(&self, il: usize, seq: usize, len: usize, end: usize) -> Option<Rows> {
        let shape = self.kv.shape();
        if end > self.kv.n_cells(il) {
            return None;
        }
        let n = shape.n_head_kv * shape.n_embd_head_k;
        let (mut k, mut v) = (vec![0.0; len * n], vec![0.0; len * n]);
        for (pos, (k, v)) in k.chunks_exact_mut(n).zip(v.chunks_exact_mut(n)).enumerate() {
            self.kv.load(il, seq, pos, k, v);
        }
        Some((k, v))
    }
}
