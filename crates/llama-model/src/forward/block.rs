//! A transformer block: its norms, and how its halves are added up.

use super::{Pass, Site, Workspace};
use crate::arch::Sum;
use crate::arith::{Arithmetic, Real};
use crate::weights::{Ffn, Layer, Linear, Norm};
use std::mem::swap;

impl<A: Arithmetic> Pass<'_, A> {
    /// What attention sees into `cur`; into `shared` too if the feed-forward block sees it. Returns whether it has been
    /// prepared for attention instead.
    pub(super) fn block_norms(
        &mut self,
        ws: &mut Workspace<A>,
        layer: &Layer<A>,
        il: usize,
    ) -> bool {
        let n = self.batch.len() * self.net.hp.n_embd;
        let (x, cur) = (&ws.x[..n], &mut ws.cur[..n]);
        let alone = self.net.hp.sum == Sum::InTurn && layer.attn_norm_2.is_none();
        if let Some(norm) = layer.attn_norm.as_ref().filter(|_| alone && !self.trace.sees_all()) {
            let weights = [&layer.attn_q.weight, &layer.attn_k.weight, &layer.attn_v.weight];
            if self.net.arith.prepare_normed(&mut ws.acts, &weights, norm, x) {
                return true;
            }
        }
        match (&layer.attn_norm_2, &layer.attn_norm) {
            (Some(norm), _) => self.norm(norm, x, cur, &Site::of("attn_norm_2", Some(il))),
            (None, Some(norm)) => self.norm(norm, x, cur, &Site::of("attn_norm", Some(il))),
            (None, None) => cur.copy_from_slice(x),
        }
        if self.net.hp.sum != Sum::InTurn && layer.ffn_norm.is_none() {
            ws.shared[..n].copy_from_slice(cur);
        }
        false
    }

    /// What follows attention: `kqv` and `x` in, `x` out. In the last layer only the output rows go on.
    pub(super) fn block(
        &mut self,
        ws: &mut Workspace<A>,
        layer: &Layer<A>,
        il: usize,
        n_outputs: usize,
    ) {
        let is_last = il + 1 == self.net.layers.len();
        let n_rows = if is_last { n_outputs } else { self.batch.len() };
        match self.net.hp.sum {
            Sum::InTurn => self.in_turn(ws, layer, il, n_rows),
            sum => self.side_by_side(ws, layer, il, n_rows, sum),
        }
    }

    /// `x += attention; x += ffn(x)`
    fn in_turn(&mut self, ws: &mut Workspace<A>, layer: &Layer<A>, il: usize, n_rows: usize) {
        // In the last layer rows are left out between the product and the sum.
        let all = n_rows == self.batch.len();
        if all && self.adds_at_once(&layer.attn_post_norm, &layer.attn_output) {
            self.add_attn_output(ws, layer, il);
        } else {
            self.add_attention(ws, layer, il, n_rows);
        }
        let ready = self.ffn_norm(ws, layer, il, n_rows);
        if let Ffn::Dense(dense) = &layer.ffn
            && self.adds_at_once(&layer.ffn_post_norm, &dense.down)
        {
            return self.add_dense(ws, dense, il, n_rows, ready);
        }
        self.ffn(ws, layer, il, n_rows, ready);
        self.add_ffn(ws, layer, il, n_rows);
    }

    /// `x += attention`, one after the other.
    fn add_attention(&mut self, ws: &mut Workspace<A>, layer: &Layer<A>, il: usize, n_rows: usize) {
        let (labels, residual) = (&self.net.arch.labels, self.net.hp.scaling.residual);
        let n = n_rows * self.net.hp.n_embd;
        self.attn_output(ws, layer, il);
        self.output_rows(&mut ws.attn, il);
        if let Some(norm) = &layer.attn_post_norm {
            let site = Site::of(labels.attn_post_norm, Some(il));
            self.norm(norm, &ws.attn[..n], &mut ws.cur[..n], &site);
            swap(&mut ws.attn, &mut ws.cur);
        }
        self.residual_scale(&mut ws.attn[..n], residual);
        self.output_rows(&mut ws.x, il);
        self.sum(&mut ws.x[..n], &ws.attn[..n], labels.ffn_inp, il);
    }

    /// Whether a product can be added to the stream as it is, and nobody wants to see it.
    fn adds_at_once(&self, post_norm: &Option<Norm<A::Real>>, linear: &Linear<A>) -> bool {
        let plain = post_norm.is_none() && self.net.hp.scaling.residual.is_none();
        plain && linear.bias.is_none() && !self.trace.sees_all()
    }

    /// `x += attention` at once.
    fn add_attn_output(&mut self, ws: &mut Workspace<A>, layer: &Layer<A>, il: usize) {
        let (net, n_rows, n_q) = (self.net, self.batch.len(), self.net.hp.n_embd_q());
        let (n, weight) = (n_rows * net.hp.n_embd, &layer.attn_output.weight);
        let x = &mut ws.x[..n];
        net.arith.prepare(&mut ws.acts, &[weight], &ws.kqv[..n_rows * n_q], n_q);
        net.arith.matmul_add(&ws.acts, weight, x, &mut ws.attn[..n]);
        self.trace.node("MUL_MAT", net.arch.labels.attn_out, Some(il), &[net.hp.n_embd], x);
    }

    /// The norm before a feed-forward block that follows attention. Returns whether the block's input has been prepared
    /// instead.
    fn ffn_norm(
        &mut self,
        ws: &mut Workspace<A>,
        layer: &Layer<A>,
        il: usize,
        n_rows: usize,
    ) -> bool {
        let n = n_rows * self.net.hp.n_embd;
        let (x, cur) = (&ws.x[..n], &mut ws.cur[..n]);
        let Some(norm) = &layer.ffn_norm else {
            cur.copy_from_slice(x);
            return false;
        };
        if let Ffn::Dense(dense) = &layer.ffn
            && !self.trace.sees_all()
        {
            let gate = dense.gate.as_ref().unwrap_or(&dense.up);
            let weights = [&gate.weight, &dense.up.weight];
            if self.net.arith.prepare_normed(&mut ws.acts, &weights, norm, x) {
                return true;
            }
        }
        self.norm(norm, x, cur, &Site::of("ffn_norm", Some(il)));
        false
    }

    /// `x += ffn`, which is in `cur`.
    fn add_ffn(&mut self, ws: &mut Workspace<A>, layer: &Layer<A>, il: usize, n_rows: usize) {
        let (labels, residual) = (&self.net.arch.labels, self.net.hp.scaling.residual);
        let n = n_rows * self.net.hp.n_embd;
        if let Some(norm) = &layer.ffn_post_norm {
            let names = labels.ffn_post_norm;
            let site = Site {
                il: names.layered.then_some(il),
                norm_il: names.norm_layered.then_some(il),
                ..Site::of(names.label, None)
            };
            self.norm(norm, &ws.cur[..n], &mut ws.attn[..n], &site);
            swap(&mut ws.attn, &mut ws.cur);
        }
        self.residual_scale(&mut ws.cur[..n], residual);
        self.sum(&mut ws.x[..n], &ws.cur[..n], "l_out", il);
    }

    /// `x`, attention and a feed-forward block that does not see it, added up as `sum` says. All but phi2 evaluate
    /// the feed-forward block first, for it stands first in their sums.
    fn side_by_side(
        &mut self,
        ws: &mut Workspace<A>,
        layer: &Layer<A>,
        il: usize,
        n_rows: usize,
        sum: Sum,
    ) {
        let first = self.net.arch.labels.first_sum;
        let n = n_rows * self.net.hp.n_embd;
        if sum == Sum::AttnFfnX {
            self.attn_output(ws, layer, il);
            self.output_rows(&mut ws.attn, il);
        }
        if let Some(norm) = &layer.ffn_norm {
            self.output_rows(&mut ws.x, il);
            let site = Site::of("ffn_norm", Some(il));
            self.norm(norm, &ws.x[..n], &mut ws.cur[..n], &site);
        } else {
            if let (Some(_), Some(norm)) = (&layer.attn_norm_2, &layer.attn_norm) {
                // Attention saw another norm.
                let all = self.batch.len() * self.net.hp.n_embd;
                let site = Site::of("attn_norm", Some(il));
                self.norm(norm, &ws.x[..all], &mut ws.shared[..all], &site);
            }
            self.output_rows(&mut ws.shared, il);
            ws.cur[..n].copy_from_slice(&ws.shared[..n]);
        }
        self.ffn(ws, layer, il, n_rows, false);
        match sum {
            Sum::FfnXAttn => {
                if layer.ffn_norm.is_none() {
                    self.output_rows(&mut ws.x, il);
                }
                self.sum(&mut ws.x[..n], &ws.cur[..n], first, il);
                self.attn_output(ws, layer, il);
                self.output_rows(&mut ws.attn, il);
                self.sum(&mut ws.x[..n], &ws.attn[..n], "l_out", il);
            }
            Sum::AttnXFfn => {
                self.attn_output(ws, layer, il);
                self.output_rows(&mut ws.attn, il);
                self.output_rows(&mut ws.x, il);
                self.sum(&mut ws.x[..n], &ws.attn[..n], first, il);
                self.sum(&mut ws.x[..n], &ws.cur[..n], "l_out", il);
            }
            _ => {
                if sum == Sum::FfnAttnX {
                    self.attn_output(ws, layer, il);
                    self.output_rows(&mut ws.attn, il);
                }
                self.sum(&mut ws.cur[..n], &ws.attn[..n], first, il);
                self.output_rows(&mut ws.x, il);
                self.sum(&mut ws.x[..n], &ws.cur[..n], "l_out", il);
            }
        }
    }

    /// The feed-forward half: `cur` in, or what is prepared of it if it is `ready`, `cur` out.
    fn ffn(
        &mut self,
        ws: &mut Workspace<A>,
        layer: &Layer<A>,
        il: usize,
        n_rows: usize,
        ready: bool,
    ) {
        match &layer.ffn {
            Ffn::Dense(dense) => {
                self.dense(ws, dense, il, n_rows, self.net.arch.labels.ffn_out, ready);
            }
            Ffn::Moe(moe) => self.moe(ws, moe, il, n_rows),
        }
    }

    /// In the last layer only the rows matter whose logits are asked for.
    fn output_rows(&mut self, buffer: &mut [A::Real], il: usize) {
        if il + 1 < self.net.layers.len() {
            return;
        }
        let n_embd = self.net.hp.n_embd;
        let mut n = 0;
        for (i, _) in self.batch.iter().enumerate().filter(|(_, t)| t.output) {
            buffer.copy_within(i * n_embd..(i + 1) * n_embd, n * n_embd);
            n += 1;
        }
        self.trace.node("GET_ROWS", "node", None, &[n_embd], &buffer[..n * n_embd]);
    }

    /// `x += y`
    fn sum(&mut self, x: &mut [A::Real], y: &[A::Real], label: &'static str, il: usize) {
        self.net.arith.add(x, y);
        self.trace.node("ADD", label, Some(il), &[self.net.hp.n_embd], x);
    }

    fn residual_scale(&mut self, x: &mut [A::Real], by: Option<crate::hparams::Factor>) {
        if let Some(by) = by {
            self.net.arith.scale(x, by);
            self.trace.node("SCALE", "node", None, &[self.net.hp.n_embd], x);
        }
    }
}

/// Rows of several buffers side by side, `[n_rows, sum of widths]`: what one product of a fused tensor is.
pub(super) fn side_by_side<R: Real>(parts: &[(&[R], usize)]) -> Vec<R> {
    let n_rows = parts.first().map_or(0, |(rows, width)| rows.len() / width);
    (0..n_rows)
        .flat_map(|i| parts.iter().flat_map(move |(rows, width)| &rows[i * width..(i + 1) * width]))
        .copied()
        .collect()
}
