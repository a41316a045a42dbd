//! Self-attention: `cur` in, `kqv` out, and the matrix behind it.

use super::block::side_by_side;
use super::{Pass, Site, Workspace, add_bias};
use crate::arith::{Arithmetic, Attend, Heads, Job, Real, Rotated, Scores};
use crate::weights::{Layer, Norm};

impl<A: Arithmetic> Pass<'_, A> {
    /// If its input is `ready`, that has been prepared from `cur`.
    pub(super) fn attention(
        &mut self,
        ws: &mut Workspace<A>,
        layer: &Layer<A>,
        il: usize,
        ready: bool,
    ) {
        let (net, n_tokens) = (self.net, self.batch.len());
        let hp = &net.hp;
        let (n_q, n_kv) = (n_tokens * hp.n_embd_q(), n_tokens * hp.n_embd_kv());
        let weights = [&layer.attn_q.weight, &layer.attn_k.weight, &layer.attn_v.weight];
        if !ready {
            net.arith.prepare(&mut ws.acts, &weights, &ws.cur[..n_tokens * hp.n_embd], hp.n_embd);
        }
        net.arith.matmul(
            &ws.acts,
            &mut [
                Job { weight: weights[0], out: &mut ws.q[..n_q] },
                Job { weight: weights[1], out: &mut ws.k[..n_kv] },
                Job { weight: weights[2], out: &mut ws.v[..n_kv] },
            ],
        );
        if layer.fused_qkv {
            self.finish_qkv(ws, layer, il);
        }
        self.query(ws, layer, il);
        // llama.cpp adds values before keys to its graph, except where layers have windows.
        if net.arch.swa.is_some() && hp.layers.iter().any(|layer| layer.n_swa.is_some()) {
            self.key(ws, layer, il);
            self.value(ws, layer, il);
        } else {
            self.value(ws, layer, il);
            self.key(ws, layer, il);
        }
        if layer.fused_qkv {
            let v = &ws.v[..n_kv];
            self.trace.node("CONT", "Vcur (cont)", Some(il), &[hp.n_embd_kv()], v);
        }
        let positions = &ws.positions[net.rope_of(il).unwrap_or(0)];
        let (k, v) = (&mut ws.k[..n_kv], &ws.v[..n_kv]);
        match self.rotated_late(il) {
            Some(i) => {
                let rope = net.ropes[i].of(self.n_ctx);
                let (batch, n_embd_head) = (self.batch, hp.n_embd_head);
                let at = Rotated { il, batch, rope, positions, n_embd_head };
                net.arith.store_rotated(self.cache, at, k, v);
            }
            None => net.arith.store(self.cache, il, self.batch, positions, k, v),
        }
        self.attend(positions, &ws.q[..n_q], &mut ws.kqv[..n_q], il);
    }

    /// Biases of Q, K and V that are one tensor, and its names.
    fn finish_qkv(&mut self, ws: &mut Workspace<A>, layer: &Layer<A>, il: usize) {
        let (hp, n_tokens) = (&self.net.hp, self.batch.len());
        let (n_q, n_kv) = (hp.n_embd_q(), hp.n_embd_kv());
        let linears = [&layer.attn_q, &layer.attn_k, &layer.attn_v];
        let mut parts = [
            &mut ws.q[..n_tokens * n_q],
            &mut ws.k[..n_tokens * n_kv],
            &mut ws.v[..n_tokens * n_kv],
        ];
        let show = |pass: &mut Self, parts: &[&mut [A::Real]; 3], op, label| {
            if pass.trace.is_on() {
                let [q, k, v] = parts;
                let all = side_by_side(&[(&**q, n_q), (&**k, n_kv), (&**v, n_kv)]);
                pass.trace.node(op, label, Some(il), &[n_q + 2 * n_kv], &all);
            }
        };
        show(self, &parts, "MUL_MAT", "wqkv");
        if linears.iter().any(|linear| linear.bias.is_some()) {
            for (part, linear) in parts.iter_mut().zip(linears) {
                linear.bias.iter().for_each(|bias| add_bias(part, bias));
            }
            show(self, &parts, "ADD", "wqkv_b");
        }
    }

    fn query(&mut self, ws: &mut Workspace<A>, layer: &Layer<A>, il: usize) {
        let (net, hp) = (self.net, &self.net.hp);
        let n = self.batch.len() * hp.n_embd_q();
        let (q, spare) = (&mut ws.q[..n], &mut ws.kqv[..n]);
        if !layer.fused_qkv {
            self.finish_linear(&layer.attn_q, q, ["Qcur", "Qcur"], Some(il));
        }
        let shape = [hp.n_head, hp.n_embd_head];
        self.head_norm(layer.attn_q_norm.as_ref(), q, spare, shape, 0, il);
        self.rotate(&ws.positions, q, "Qcur", il);
        if let Some(temperature) = hp.scaling.temperature {
            for (row, token) in q.chunks_exact_mut(hp.n_embd_q()).zip(self.batch) {
                #[expect(clippy::cast_precision_loss, reason = "positions are far below 2^24")]
                let floor = (token.pos as f32 / temperature.floor as f32).floor();
                let by = A::ln(f64::from(floor) + 1.0) * f64::from(temperature.scale) + 1.0;
                // llama.cpp has these factors as f32.
                let by = A::Real::from_f32(f32::from_f64(by));
                row.iter_mut().for_each(|x| *x = *x * by);
            }
            self.trace.node("MUL", "Qcur_attn_temp_scaled", Some(il), &shape, q);
        }
        if let Some(by) = hp.scaling.queries {
            net.arith.scale(q, by);
            self.trace.node("SCALE", net.arch.labels.q_scaled, Some(il), &shape, q);
        }
    }

    fn key(&mut self, ws: &mut Workspace<A>, layer: &Layer<A>, il: usize) {
        let hp = &self.net.hp;
        let n = self.batch.len() * hp.n_embd_kv();
        let (k, spare) = (&mut ws.k[..n], &mut ws.kqv[..n]);
        if !layer.fused_qkv {
            self.finish_linear(&layer.attn_k, k, ["Kcur", "Kcur"], Some(il));
        }
        let shape = [hp.n_head_kv, hp.n_embd_head];
        self.head_norm(layer.attn_k_norm.as_ref(), k, spare, shape, 1, il);
        if self.rotated_late(il).is_none() {
            self.rotate(&ws.positions, k, "Kcur", il);
        }
    }

    /// Which RoPE rotates the keys on their way into the cache: the layer's, where nobody wants to see them in between.
    fn rotated_late(&self, il: usize) -> Option<usize> {
        self.net.rope_of(il).filter(|_| !self.trace.sees_all())
    }

    fn value(&mut self, ws: &mut Workspace<A>, layer: &Layer<A>, il: usize) {
        let n = self.batch.len() * self.net.hp.n_embd_kv();
        if !layer.fused_qkv {
            self.finish_linear(&layer.attn_v, &mut ws.v[..n], ["Vcur", "Vcur"], Some(il));
        }
    }

    /// The norm of queries (`which` 0) or keys (1), in place.
    fn head_norm(
        &mut self,
        norm: Option<&Norm<A::Real>>,
        x: &mut [A::Real],
        spare: &mut [A::Real],
        heads: [usize; 2],
        which: usize,
        il: usize,
    ) {
        let Some(norm) = norm else { return };
        spare.copy_from_slice(x);
        // The last node before the cache is `Qcur`, whatever it does.
        let label = match self.net.rope_of(il) {
            Some(_) => self.net.arch.labels.qk_normed[which],
            None => ["Qcur", "Kcur"][which],
        };
        let shape = (norm.n == heads[1]).then_some(heads.as_slice());
        let site = Site { shape, ..Site::of(label, Some(il)) };
        self.norm(norm, spare, x, &site);
    }

    /// RoPE on every head of `x`.
    fn rotate(
        &mut self,
        positions: &[A::Positions],
        x: &mut [A::Real],
        label: &'static str,
        il: usize,
    ) {
        let Some(i) = self.net.rope_of(il) else { return };
        let n_embd_head = self.net.hp.n_embd_head;
        let rope = self.net.ropes[i].of(self.n_ctx);
        self.net.arith.rotate(rope, &positions[i], x, n_embd_head);
        let n_heads = x.len() / self.batch.len() / n_embd_head;
        self.trace.node("ROPE", label, Some(il), &[n_heads, n_embd_head], x);
    }

    fn attend(&mut self, positions: &A::Positions, q: &[A::Real], out: &mut [A::Real], il: usize) {
        let hp = &self.net.hp;
        let heads = Heads {
            n_head: hp.n_head,
            n_head_kv: hp.n_head_kv,
            n_embd_head: hp.n_embd_head,
            scale: hp.scaling.attention,
            n_swa: hp.layers[il].n_swa,
            softcap: hp.scaling.attn_softcap,
        };
        let mut scores = self.trace.is_on().then(Scores::default);
        let at = Attend { cache: &*self.cache, il, heads, batch: self.batch, positions, q };
        self.net.arith.attend(at, out, scores.as_mut());
        if let Some(s) = scores.filter(|s| !s.kq.is_empty()) {
            let n_tokens = self.batch.len();
            let shape = [n_tokens, s.kq.len() / (hp.n_head * n_tokens)];
            self.trace.node("MUL_MAT", "kq", Some(il), &shape, &s.kq);
            if let Some([divided, tanh, capped]) = &s.capped {
                self.trace.node("SCALE", "kq_scaled_1", Some(il), &shape, divided);
                self.trace.node("TANH", "kq_tanh", Some(il), &shape, tanh);
                self.trace.node("SCALE", "kq_scaled_2", Some(il), &shape, capped);
            }
            self.trace.node("SOFT_MAX", "kq_soft_max", Some(il), &shape, &s.kq_soft_max);
            self.trace.node("MUL_MAT", "kqv", Some(il), &[n_tokens, hp.n_embd_head], &s.kqv);
        }
        self.trace.node("CONT", "kqv_out", Some(il), &[hp.n_embd_q()], out);
    }

    /// The matrix behind attention: `kqv` in, `attn` out.
    pub(super) fn attn_output(&mut self, ws: &mut Workspace<A>, layer: &Layer<A>, il: usize) {
        let (net, n_tokens) = (self.net, self.batch.len());
        let (n_embd, n_q) = (net.hp.n_embd, net.hp.n_embd_q());
        let linear = &layer.attn_output;
        net.arith.prepare(&mut ws.acts, &[&linear.weight], &ws.kqv[..n_tokens * n_q], n_q);
        let attn = &mut ws.attn[..n_tokens * n_embd];
        net.arith.matmul(&ws.acts, &mut [Job { weight: &linear.weight, out: &mut *attn }]);
        let label = net.arch.labels.attn_out;
        // With a bias only the sum has the name.
        let product = if linear.bias.is_some() { "node" } else { label };
        self.finish_linear(linear, attn, [product, label], Some(il));
    }
}
