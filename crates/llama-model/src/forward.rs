//! The transformer, once: for every architecture and in every arithmetic.
//!
//! Node names and their order are llama.cpp's, so that traces can be laid side by side. The model is
//! "Attention Is All You Need" (arXiv 1706.03762) with pre-normalization by RMSNorm (1910.07467), rotary
//! positions (2104.09864), grouped queries (2305.13245) and SwiGLU (2002.05202).

use crate::ModelError;
use crate::arith::{Arithmetic, Attend, Heads, Job, Real, Scores};
use crate::context::BatchToken;
use crate::trace::Tracer;
use crate::weights::{Layer, Linear, Net};
use std::sync::atomic::{AtomicBool, Ordering};

/// Buffers for one micro-batch, allocated once. Rows are tokens.
pub(crate) struct Workspace<A: Arithmetic> {
    /// The residual stream, `[n_tokens, n_embd]`.
    x: Vec<A::Real>,
    /// `[n_tokens, n_embd]`
    cur: Vec<A::Real>,
    /// `[n_tokens, n_embd_q]`
    q: Vec<A::Real>,
    /// `[n_tokens, n_embd_kv]`
    k: Vec<A::Real>,
    /// `[n_tokens, n_embd_kv]`
    v: Vec<A::Real>,
    /// Attention's output, `[n_tokens, n_embd_q]`.
    kqv: Vec<A::Real>,
    /// `[n_tokens, n_ff]`
    gate: Vec<A::Real>,
    /// `[n_tokens, n_ff]`
    up: Vec<A::Real>,
    /// `silu(gate) * up`, `[n_tokens, n_ff]`.
    act: Vec<A::Real>,
    /// `[n_outputs, n_vocab]`, grown to what is asked for.
    logits: Vec<A::Real>,
    /// One row of the embedding, `[n_embd]`.
    row: Vec<f32>,
    acts: A::Acts,
    positions: A::Positions,
}

impl<A: Arithmetic> Workspace<A> {
    pub(crate) fn new(net: &Net<A>, n_ubatch: usize) -> Self {
        let hp = &net.hp;
        let reals = |n: usize| vec![A::Real::default(); n_ubatch * n];
        let widest = hp.n_embd.max(hp.n_ff).max(hp.n_embd_q());
        Self {
            x: reals(hp.n_embd),
            cur: reals(hp.n_embd),
            q: reals(hp.n_embd_q()),
            k: reals(hp.n_embd_kv()),
            v: reals(hp.n_embd_kv()),
            kqv: reals(hp.n_embd_q()),
            gate: reals(hp.n_ff),
            up: reals(hp.n_ff),
            act: reals(hp.n_ff),
            logits: Vec::new(),
            row: vec![0.0; hp.n_embd],
            acts: net.arith.acts(n_ubatch, widest),
            positions: A::Positions::default(),
        }
    }

    /// Bytes of a workspace for `n_ubatch` tokens, `n_vocab` logits of one token included.
    pub(crate) fn n_bytes(hp: &crate::Hparams, n_ubatch: usize) -> u64 {
        let per_token = 4 * hp.n_embd + 2 * hp.n_embd_q() + 2 * hp.n_embd_kv() + 4 * hp.n_ff;
        (per_token as u64 * n_ubatch as u64 + hp.n_vocab as u64) * size_of::<A::Real>() as u64
    }
}

/// One evaluation of the network: what stays the same from layer to layer.
pub(crate) struct Pass<'a, A: Arithmetic> {
    pub(crate) net: &'a Net<A>,
    pub(crate) cache: &'a mut A::Cache,
    pub(crate) batch: &'a [BatchToken],
    pub(crate) cancel: &'a AtomicBool,
    pub(crate) trace: Tracer<'a>,
}

impl<A: Arithmetic> Pass<'_, A> {
    /// Runs the batch; appends the logits of the tokens that want them, `[n_outputs, n_vocab]`, to `logits`.
    pub(crate) fn forward(
        &mut self,
        ws: &mut Workspace<A>,
        logits: &mut Vec<f32>,
    ) -> Result<(), ModelError> {
        let (net, n_embd) = (self.net, self.net.hp.n_embd);
        self.embed(ws);
        net.arith.positions(&net.rope, self.batch, &mut ws.positions);
        let mut n_rows = self.batch.len();
        for (il, layer) in net.layers.iter().enumerate() {
            if self.cancel.load(Ordering::Relaxed) {
                return Err(ModelError::Cancelled);
            }
            self.norm(ws, n_rows, &layer.attn_norm, "attn_norm", Some(il));
            self.attention(ws, layer, il);
            if il + 1 == net.layers.len() {
                n_rows = self.keep_outputs(ws);
            }
            if n_rows == 0 {
                // Nobody asked for logits, and the cache is complete.
                return Ok(());
            }
            net.arith.add(&mut ws.x[..n_rows * n_embd], &ws.cur[..n_rows * n_embd]);
            self.trace.node("ADD", "ffn_inp", Some(il), &[n_embd], &ws.x[..n_rows * n_embd]);

            self.norm(ws, n_rows, &layer.ffn_norm, "ffn_norm", Some(il));
            self.feed_forward(ws, layer, il, n_rows);
            net.arith.add(&mut ws.x[..n_rows * n_embd], &ws.cur[..n_rows * n_embd]);
            self.trace.node("ADD", "l_out", Some(il), &[n_embd], &ws.x[..n_rows * n_embd]);
        }
        self.norm(ws, n_rows, &net.output_norm, "result_norm", None);
        self.output(ws, n_rows, logits);
        Ok(())
    }

    /// Rows of the embedding matrix into the residual stream.
    fn embed(&mut self, ws: &mut Workspace<A>) {
        let n_embd = self.net.hp.n_embd;
        for (token, x) in self.batch.iter().zip(ws.x.chunks_exact_mut(n_embd)) {
            self.net.token_embd.dequantize_row(token.token as usize, &mut ws.row);
            for (x, value) in x.iter_mut().zip(&ws.row) {
                *x = A::Real::from_f32(*value);
            }
        }
        self.trace.node("GET_ROWS", "embd", None, &[n_embd], &ws.x[..self.batch.len() * n_embd]);
    }

    /// RMSNorm of the residual stream into `cur`.
    fn norm(
        &mut self,
        ws: &mut Workspace<A>,
        n_rows: usize,
        weight: &[A::Real],
        label: &'static str,
        il: Option<usize>,
    ) {
        let n_embd = self.net.hp.n_embd;
        let (x, cur) = (&ws.x[..n_rows * n_embd], &mut ws.cur[..n_rows * n_embd]);
        let trace = &mut self.trace;
        let normed = &mut |rows: &[A::Real]| trace.node("RMS_NORM", "norm", il, &[n_embd], rows);
        self.net.arith.norm(x, weight, self.net.hp.norm_rms_eps, cur, normed);
        self.trace.node("MUL", label, il, &[n_embd], cur);
    }

    /// Self-attention: `cur` in, `cur` out.
    fn attention(&mut self, ws: &mut Workspace<A>, layer: &Layer<A>, il: usize) {
        let (net, n_tokens) = (self.net, self.batch.len());
        let hp = &net.hp;
        let (n_q, n_kv) = (n_tokens * hp.n_embd_q(), n_tokens * hp.n_embd_kv());
        let (q, k, v) = (&mut ws.q[..n_q], &mut ws.k[..n_kv], &mut ws.v[..n_kv]);
        let weights = [&layer.attn_q.weight, &layer.attn_k.weight, &layer.attn_v.weight];
        net.arith.prepare(&mut ws.acts, &weights, &ws.cur[..n_tokens * hp.n_embd], hp.n_embd);
        net.arith.matmul(
            &ws.acts,
            &mut [
                Job { weight: weights[0], out: q },
                Job { weight: weights[1], out: k },
                Job { weight: weights[2], out: v },
            ],
        );
        self.finish_linear(&layer.attn_q, q, ["Qcur", "Qcur"], Some(il));
        self.rotate(&ws.positions, q, "Qcur", il);
        self.finish_linear(&layer.attn_v, v, ["Vcur", "Vcur"], Some(il));
        self.finish_linear(&layer.attn_k, k, ["Kcur", "Kcur"], Some(il));
        self.rotate(&ws.positions, k, "Kcur", il);
        net.arith.store(self.cache, il, self.batch, &ws.positions, k, v);

        let kqv = &mut ws.kqv[..n_q];
        self.attend(&ws.positions, q, kqv, il);
        net.arith.prepare(&mut ws.acts, &[&layer.attn_output.weight], kqv, hp.n_embd_q());
        let cur = &mut ws.cur[..n_tokens * hp.n_embd];
        net.arith
            .matmul(&ws.acts, &mut [Job { weight: &layer.attn_output.weight, out: &mut *cur }]);
        self.finish_attn_output(&layer.attn_output, cur, il);
    }

    fn attend(&mut self, positions: &A::Positions, q: &[A::Real], out: &mut [A::Real], il: usize) {
        let hp = &self.net.hp;
        let heads = Heads {
            n_head: hp.n_head,
            n_head_kv: hp.n_head_kv,
            n_embd_head: hp.n_embd_head,
            scale: hp.attention_scale,
        };
        let mut scores = self.trace.is_on().then(Scores::default);
        let at = Attend { cache: &*self.cache, il, heads, batch: self.batch, positions, q };
        self.net.arith.attend(at, out, scores.as_mut());
        if let Some(s) = scores.filter(|s| !s.kq.is_empty()) {
            let n_tokens = self.batch.len();
            let n_kv = s.kq.len() / (hp.n_head * n_tokens);
            self.trace.node("MUL_MAT", "kq", Some(il), &[n_tokens, n_kv], &s.kq);
            self.trace.node("SOFT_MAX", "kq_soft_max", Some(il), &[n_tokens, n_kv], &s.kq_soft_max);
            self.trace.node("MUL_MAT", "kqv", Some(il), &[n_tokens, hp.n_embd_head], &s.kqv);
        }
        self.trace.node("CONT", "kqv_out", Some(il), &[hp.n_embd_q()], out);
    }

    /// Traces the output projection under the names llama.cpp gives it: with a bias, only the sum is named.
    fn finish_attn_output(&mut self, linear: &Linear<A>, cur: &mut [A::Real], il: usize) {
        let label = self.net.arch.attn_out_label;
        match (label, &linear.bias) {
            (Some(label), None) => {
                self.trace.node("MUL_MAT", label, Some(il), &[linear.n_out], cur)
            }
            _ => self.trace.node("MUL_MAT", "node", None, &[linear.n_out], cur),
        }
        if let Some(bias) = &linear.bias {
            add_bias(cur, bias);
            let (label, il) = label.map_or(("node", None), |l| (l, Some(il)));
            self.trace.node("ADD", label, il, &[linear.n_out], cur);
        }
    }

    /// SwiGLU feed-forward: `cur` in, `cur` out.
    fn feed_forward(&mut self, ws: &mut Workspace<A>, layer: &Layer<A>, il: usize, n_rows: usize) {
        let (net, hp) = (self.net, &self.net.hp);
        let (gate, up) = (&mut ws.gate[..n_rows * hp.n_ff], &mut ws.up[..n_rows * hp.n_ff]);
        let cur = &mut ws.cur[..n_rows * hp.n_embd];
        let weights = [&layer.ffn_gate.weight, &layer.ffn_up.weight];
        net.arith.prepare(&mut ws.acts, &weights, cur, hp.n_embd);
        net.arith.matmul(
            &ws.acts,
            &mut [Job { weight: weights[0], out: gate }, Job { weight: weights[1], out: up }],
        );
        self.finish_linear(&layer.ffn_gate, gate, ["ffn_gate", "ffn_gate_b"], Some(il));
        self.finish_linear(&layer.ffn_up, up, ["ffn_up", "ffn_up_b"], Some(il));
        let act = &mut ws.act[..n_rows * hp.n_ff];
        net.arith.swiglu(gate, up, hp.n_ff, act);
        self.trace.node("SWIGLU", "ffn_swiglu", Some(il), &[hp.n_ff], act);

        net.arith.prepare(&mut ws.acts, &[&layer.ffn_down.weight], act, hp.n_ff);
        net.arith.matmul(&ws.acts, &mut [Job { weight: &layer.ffn_down.weight, out: &mut *cur }]);
        let product = if layer.ffn_down.bias.is_some() { "ffn_down" } else { "ffn_out" };
        self.finish_linear(&layer.ffn_down, cur, [product, "ffn_out"], Some(il));
    }

    /// Traces a product, adds the bias if there is one, traces the sum.
    fn finish_linear(
        &mut self,
        linear: &Linear<A>,
        out: &mut [A::Real],
        labels: [&'static str; 2],
        il: Option<usize>,
    ) {
        self.trace.node("MUL_MAT", labels[0], il, &[linear.n_out], out);
        if let Some(bias) = &linear.bias {
            add_bias(out, bias);
            self.trace.node("ADD", labels[1], il, &[linear.n_out], out);
        }
    }

    /// RoPE on every head of `x`.
    fn rotate(
        &mut self,
        positions: &A::Positions,
        x: &mut [A::Real],
        label: &'static str,
        il: usize,
    ) {
        let n_embd_head = self.net.hp.n_embd_head;
        self.net.arith.rotate(&self.net.rope, positions, x, n_embd_head);
        let n_heads = x.len() / self.batch.len() / n_embd_head;
        self.trace.node("ROPE", label, Some(il), &[n_heads, n_embd_head], x);
    }

    /// Behind the last attention only the rows matter whose logits are asked for. Returns how many.
    fn keep_outputs(&mut self, ws: &mut Workspace<A>) -> usize {
        let n_embd = self.net.hp.n_embd;
        for buffer in [&mut ws.cur, &mut ws.x] {
            let outputs = self.batch.iter().enumerate().filter(|(_, t)| t.output);
            let mut n = 0;
            for (i, _) in outputs {
                buffer.copy_within(i * n_embd..(i + 1) * n_embd, n * n_embd);
                n += 1;
            }
            self.trace.node("GET_ROWS", "node", None, &[n_embd], &buffer[..n * n_embd]);
        }
        self.batch.iter().filter(|t| t.output).count()
    }

    /// The vocabulary projection of `cur`.
    fn output(&mut self, ws: &mut Workspace<A>, n_rows: usize, logits: &mut Vec<f32>) {
        let (net, output) = (self.net, &self.net.output);
        ws.logits.resize(n_rows * output.n_out, A::Real::default());
        net.arith.prepare(
            &mut ws.acts,
            &[&output.weight],
            &ws.cur[..n_rows * net.hp.n_embd],
            net.hp.n_embd,
        );
        net.arith.matmul(&ws.acts, &mut [Job { weight: &output.weight, out: &mut ws.logits }]);
        if let Some(bias) = &output.bias {
            self.trace.node("MUL_MAT", "node", None, &[output.n_out], &ws.logits);
            add_bias(&mut ws.logits, bias);
            self.trace.node("ADD", "result_output", None, &[output.n_out], &ws.logits);
        } else {
            self.trace.node("MUL_MAT", "result_output", None, &[output.n_out], &ws.logits);
        }
        logits.extend(ws.logits.iter().map(|l| l.to_f32()));
    }
}

/// Adds `bias` to every row.
fn add_bias<R: Real>(rows: &mut [R], bias: &[R]) {
    for row in rows.chunks_exact_mut(bias.len()) {
        row.iter_mut().zip(bias).for_each(|(x, b)| *x += *b);
    }
}
