//! A Llama engine as one writes it on a weekend: every weight as f32, loops, no cache of quantized anything. It has five
//! bugs, one at a time; docs/porting-guide.md finds them. Nothing of lockstep's own engine is in it.

use compare::{EvalInfo, TraceError, TraceHparams, TraceInfo, Values, Writer};
use gguf_parse::Gguf;
use std::path::Path;

/// What the engine does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    None,
    /// Epsilon is a constant of the program instead of the file's.
    RmsNorm,
    /// Pairs are halves of a head; the file has its rows in the order of neighbors.
    Rope,
    /// Query heads take turns with key heads instead of sharing them in groups.
    Attention,
    /// Behind the prompt each position is written one too late.
    KvCache,
    /// The matrix of the embedding is read by columns.
    Output,
}

struct Layer {
    attn_norm: Vec<f32>,
    attn_q: Vec<f32>,
    attn_k: Vec<f32>,
    attn_v: Vec<f32>,
    attn_output: Vec<f32>,
    ffn_norm: Vec<f32>,
    ffn_gate: Vec<f32>,
    ffn_up: Vec<f32>,
    ffn_down: Vec<f32>,
}

/// The cache of a layer: one position a row.
#[derive(Default)]
struct Cache {
    k: Vec<f32>,
    v: Vec<f32>,
}

pub(crate) struct Engine {
    pub(crate) bug: Bug,
    n_embd: usize,
    n_head: usize,
    n_head_kv: usize,
    size: usize,
    eps: f32,
    freq_base: f32,
    token_embd: Vec<f32>,
    layers: Vec<Layer>,
    output_norm: Vec<f32>,
    caches: Vec<Cache>,
}

impl Engine {
    pub(crate) fn load(path: &Path) -> Self {
        let gguf = Gguf::open(path).unwrap();
        let key = |key: &str| gguf.metadata().get::<u32>(&format!("llama.{key}")).unwrap() as usize;
        let real = |key: &str| gguf.metadata().get::<f32>(&format!("llama.{key}")).unwrap();
        let tensor = |name: &str| {
            let view = gguf.tensor(&format!("{name}.weight")).unwrap();
            let mut values = vec![0.0; view.dims.n_elems()];
            dequant::dequantize(view.ty, view.data, &mut values).unwrap();
            values
        };
        let layer = |il: usize| {
            let of = |name: &str| tensor(&format!("blk.{il}.{name}"));
            Layer {
                attn_norm: of("attn_norm"),
                attn_q: of("attn_q"),
                attn_k: of("attn_k"),
                attn_v: of("attn_v"),
                attn_output: of("attn_output"),
                ffn_norm: of("ffn_norm"),
                ffn_gate: of("ffn_gate"),
                ffn_up: of("ffn_up"),
                ffn_down: of("ffn_down"),
            }
        };
        let (n_embd, n_head) = (key("embedding_length"), key("attention.head_count"));
        Self {
            bug: Bug::None,
            n_embd,
            n_head,
            n_head_kv: key("attention.head_count_kv"),
            size: n_embd / n_head,
            eps: real("attention.layer_norm_rms_epsilon"),
            freq_base: real("rope.freq_base"),
            token_embd: tensor("token_embd"),
            layers: (0..key("block_count")).map(layer).collect(),
            output_norm: tensor("output_norm"),
            caches: Vec::new(),
        }
    }

    /// Forgets what it has read.
    pub(crate) fn reset(&mut self) {
        self.caches = self.layers.iter().map(|_| Cache::default()).collect();
    }

    /// One evaluation: the logits behind the last token. Each `trace.node` is a line that a porter adds.
    pub(crate) fn eval(&mut self, n_past: usize, tokens: &[u32], trace: &mut Tracer) -> Vec<f32> {
        let (n, e) = (tokens.len(), self.n_embd);
        trace.begin(n_past, tokens);
        let row = |id: &u32| &self.token_embd[*id as usize * e..][..e];
        let mut x: Vec<f32> = tokens.iter().flat_map(row).copied().collect();
        trace.node("embd", &[n, e], &x);
        for il in 0..self.layers.len() {
            let normed = self.norm(&x, il, trace);
            let cur = multiplied(&normed, &self.layers[il].attn_norm);
            trace.node(&format!("attn_norm-{il}"), &[n, e], &cur);
            let attended = self.attention(il, n_past, &cur, trace);
            let out = matmul(&self.layers[il].attn_output, &attended, e);
            trace.node(&format!("attn_out-{il}"), &[n, e], &out);
            add(&mut x, &out);
            trace.node(&format!("ffn_inp-{il}"), &[n, e], &x);
            let normed = self.norm(&x, il, trace);
            let cur = multiplied(&normed, &self.layers[il].ffn_norm);
            trace.node(&format!("ffn_norm-{il}"), &[n, e], &cur);
            let out = feed_forward(&self.layers[il], il, &cur, trace);
            add(&mut x, &out);
            trace.node(&format!("l_out-{il}"), &[n, e], &x);
        }
        for (il, cache) in self.caches.iter().enumerate() {
            let n_kv = self.n_head_kv * self.size;
            for (name, x) in [("cache_k_l", &cache.k), ("cache_v_l", &cache.v)] {
                let used = &x[..(n_past + n) * n_kv];
                trace.node(&format!("{name}{il}"), &[n_past + n, n_kv], used);
            }
        }
        self.logits(&x[(n - 1) * e..], trace)
    }

    /// RMSNorm without its weight.
    fn norm(&self, x: &[f32], il: usize, trace: &mut Tracer) -> Vec<f32> {
        let eps = if self.bug == Bug::RmsNorm { 1e-6 } else { self.eps };
        let out = rms_norm(x, self.n_embd, eps);
        trace.node(&format!("norm-{il}"), &[x.len() / self.n_embd, self.n_embd], &out);
        out
    }

    fn attention(&mut self, il: usize, n_past: usize, x: &[f32], trace: &mut Tracer) -> Vec<f32> {
        let (e, size) = (self.n_embd, self.size);
        let (n, n_kv) = (x.len() / e, self.n_head_kv * size);
        let layer = &self.layers[il];
        let mut q = matmul(&layer.attn_q, x, e);
        let mut k = matmul(&layer.attn_k, x, e);
        let v = matmul(&layer.attn_v, x, e);
        for (name, x, n_cols) in [("Qcur", &q, e), ("Kcur", &k, n_kv), ("Vcur", &v, n_kv)] {
            trace.node(&format!("{name}-{il}"), &[n, n_cols], x);
        }
        for (name, x, n_head) in [("Qcur", &mut q, self.n_head), ("Kcur", &mut k, self.n_head_kv)] {
            self.rotate(x, n_head, n_past);
            trace.node(&format!("{name}-{il}"), &[n, n_head, size], x);
        }

        let cache = &mut self.caches[il];
        let late = usize::from(self.bug == Bug::KvCache && n_past > 0);
        for (cells, rows) in [(&mut cache.k, &k), (&mut cache.v, &v)] {
            cells.resize((n_past + n + 1) * n_kv, 0.0);
            cells[(n_past + late) * n_kv..][..n * n_kv].copy_from_slice(rows);
        }

        let n_cells = n_past + n;
        let (mut kq, mut weights) = (Vec::new(), Vec::new());
        let mut kqv = vec![0.0; n * e];
        for h in 0..self.n_head {
            let kv = if self.bug == Bug::Attention {
                h % self.n_head_kv
            } else {
                h / (self.n_head / self.n_head_kv)
            };
            for t in 0..n {
                let q = &q[(t * self.n_head + h) * size..][..size];
                let cell = |j: usize| j * n_kv + kv * size;
                let scores: Vec<f32> =
                    (0..n_cells).map(|j| dot(q, &cache.k[cell(j)..][..size])).collect();
                let softmax = causal_softmax(&scores, n_past + t + 1, (size as f32).sqrt().recip());
                let out = &mut kqv[(t * self.n_head + h) * size..][..size];
                for (j, w) in softmax.iter().enumerate() {
                    let v = &cache.v[cell(j)..][..size];
                    out.iter_mut().zip(v).for_each(|(o, v)| *o += w * v);
                }
                kq.extend(scores);
                weights.extend(softmax);
            }
        }
        trace.node(&format!("kq-{il}"), &[self.n_head, n, n_cells], &kq);
        trace.node(&format!("kq_soft_max-{il}"), &[self.n_head, n, n_cells], &weights);
        trace.node(&format!("kqv_out-{il}"), &[n, e], &kqv);
        kqv
    }

    fn rotate(&self, x: &mut [f32], n_head: usize, n_past: usize) {
        let size = self.size;
        for (i, head) in x.chunks_exact_mut(size).enumerate() {
            let pos = (n_past + i / n_head) as f32;
            for p in 0..size / 2 {
                let angle = pos * self.freq_base.powf(-2.0 * p as f32 / size as f32);
                let (sin, cos) = angle.sin_cos();
                let (a, b) =
                    if self.bug == Bug::Rope { (p, p + size / 2) } else { (2 * p, 2 * p + 1) };
                (head[a], head[b]) = (head[a] * cos - head[b] * sin, head[a] * sin + head[b] * cos);
            }
        }
    }

    fn logits(&self, x: &[f32], trace: &mut Tracer) -> Vec<f32> {
        let normed = rms_norm(x, self.n_embd, self.eps);
        trace.node("norm", &[self.n_embd], &normed);
        let normed = multiplied(&normed, &self.output_norm);
        trace.node("result_norm", &[self.n_embd], &normed);
        let n_vocab = self.token_embd.len() / self.n_embd;
        let logits = if self.bug == Bug::Output {
            let mut logits = vec![0.0; n_vocab];
            for (column, x) in self.token_embd.chunks_exact(n_vocab).zip(&normed) {
                logits.iter_mut().zip(column).for_each(|(l, w)| *l += w * x);
            }
            logits
        } else {
            matmul(&self.token_embd, &normed, self.n_embd)
        };
        trace.node("result_output", &[n_vocab], &logits);
        logits
    }

    pub(crate) fn hparams(&self) -> TraceHparams {
        TraceHparams {
            n_head: Some(self.n_head),
            n_head_kv: Some(self.n_head_kv),
            n_embd_head: Some(self.size),
            n_rot: Some(self.size),
            ..TraceHparams::default()
        }
    }
}

fn feed_forward(layer: &Layer, il: usize, x: &[f32], trace: &mut Tracer) -> Vec<f32> {
    let e = layer.ffn_norm.len();
    let (n, n_ff) = (x.len() / e, layer.ffn_gate.len() / e);
    let mut gate = matmul(&layer.ffn_gate, x, e);
    trace.node(&format!("ffn_gate-{il}"), &[n, n_ff], &gate);
    let up = matmul(&layer.ffn_up, x, e);
    trace.node(&format!("ffn_up-{il}"), &[n, n_ff], &up);
    gate.iter_mut().zip(&up).for_each(|(g, u)| *g = *g / (1.0 + (-*g).exp()) * u);
    trace.node(&format!("ffn_swiglu-{il}"), &[n, n_ff], &gate);
    let out = matmul(&layer.ffn_down, &gate, n_ff);
    trace.node(&format!("ffn_out-{il}"), &[n, e], &out);
    out
}

/// `w` is `[n_out, n_in]`, `x` `[n_tokens, n_in]`.
fn matmul(w: &[f32], x: &[f32], n_in: usize) -> Vec<f32> {
    let n_out = w.len() / n_in;
    let mut out = vec![0.0; x.len() / n_in * n_out];
    for (r, w) in w.chunks_exact(n_in).enumerate() {
        for (t, x) in x.chunks_exact(n_in).enumerate() {
            out[t * n_out + r] = dot(w, x);
        }
    }
    out
}

/// Eight sums side by side, so that a compiler can take eight products at once.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 8];
    for (a, b) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        for i in 0..8 {
            sums[i] += a[i] * b[i];
        }
    }
    sums.iter().sum()
}

fn rms_norm(x: &[f32], n: usize, eps: f32) -> Vec<f32> {
    let norm = |row: &[f32]| {
        let mean = row.iter().map(|x| x * x).sum::<f32>() / n as f32;
        let scale = (mean + eps).sqrt().recip();
        row.iter().map(|x| x * scale).collect::<Vec<_>>()
    };
    x.chunks_exact(n).flat_map(norm).collect()
}

fn causal_softmax(scores: &[f32], n_seen: usize, scale: f32) -> Vec<f32> {
    let max = scores[..n_seen].iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut weights: Vec<f32> =
        scores[..n_seen].iter().map(|s| ((s - max) * scale).exp()).collect();
    let sum: f32 = weights.iter().sum();
    weights.iter_mut().for_each(|w| *w /= sum);
    weights.resize(scores.len(), 0.0);
    weights
}

fn multiplied(x: &[f32], weight: &[f32]) -> Vec<f32> {
    x.iter().zip(weight.iter().cycle()).map(|(x, w)| x * w).collect()
}

fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

/// The trace, if one is written.
pub(crate) struct Tracer(Option<Writer>);

impl Tracer {
    pub(crate) fn off() -> Self {
        Self(None)
    }

    pub(crate) fn create(path: &Path) -> Result<Self, TraceError> {
        Ok(Self(Some(Writer::create(path, 4000)?)))
    }

    fn begin(&mut self, n_past: usize, tokens: &[u32]) {
        if let Some(writer) = &mut self.0 {
            writer.begin_eval(n_past, tokens);
        }
    }

    fn node(&mut self, name: &str, shape: &[usize], x: &[f32]) {
        if let Some(writer) = &mut self.0 {
            writer.node(name, "", shape, Values::F32(x)).unwrap();
        }
    }

    pub(crate) fn finish(self, hparams: TraceHparams) {
        let info = TraceInfo { engine: "weekend".to_owned(), hparams, ..TraceInfo::default() };
        self.0.unwrap().finish(info).unwrap();
    }
}

/// Evaluates what another trace evaluated, and writes what came out.
pub(crate) fn trace_like(engine: &mut Engine, evals: &[EvalInfo], path: &Path) {
    let mut tracer = Tracer::create(path).unwrap();
    engine.reset();
    for eval in evals {
        engine.eval(eval.n_past, &eval.tokens, &mut tracer);
    }
    tracer.finish(engine.hparams());
}
