//! The dense feed-forward block.

use super::block::side_by_side;
use super::{Pass, Workspace};
use crate::arch::Act;
use crate::arith::{Arithmetic, Job};
use crate::weights::{Dense, Linear};

impl<A: Arithmetic> Pass<'_, A> {
    /// `down(act(gate(x)) * up(x))`, or without a gate `down(act(up(x)))`: `cur` in, or what is prepared of it if it is
    /// `ready`, `cur` out.
    pub(super) fn dense(
        &mut self,
        ws: &mut Workspace<A>,
        dense: &Dense<A>,
        il: usize,
        n_rows: usize,
        label: &'static str,
        ready: bool,
    ) {
        self.hidden(ws, dense, il, n_rows, ready);
        let cur = &mut ws.cur[..n_rows * self.net.hp.n_embd];
        let job = Job { weight: &dense.down.weight, out: &mut *cur };
        self.net.arith.matmul(&ws.acts, &mut [job]);
        let product = if dense.down.bias.is_some() { "ffn_down" } else { label };
        self.finish_linear(&dense.down, cur, [product, label], Some(il));
    }

    /// The same, added to `x`: for a `down` without a bias, where nobody wants to see the product.
    pub(super) fn add_dense(
        &mut self,
        ws: &mut Workspace<A>,
        dense: &Dense<A>,
        il: usize,
        n_rows: usize,
        ready: bool,
    ) {
        self.hidden(ws, dense, il, n_rows, ready);
        let (arith, n) = (&self.net.arith, n_rows * self.net.hp.n_embd);
        let x = &mut ws.x[..n];
        arith.matmul_add(&ws.acts, &dense.down.weight, x, &mut ws.cur[..n]);
        let label = self.net.arch.labels.ffn_out;
        self.trace.node("MUL_MAT", label, Some(il), &[self.net.hp.n_embd], x);
    }

    /// What `down` is multiplied with, prepared.
    fn hidden(
        &mut self,
        ws: &mut Workspace<A>,
        dense: &Dense<A>,
        il: usize,
        n_rows: usize,
        ready: bool,
    ) {
        let (net, n_embd, n_ff) = (self.net, self.net.hp.n_embd, dense.up.n_out);
        let up = &dense.up.weight;
        let gate = dense.gate.as_ref().map_or(up, |gate| &gate.weight);
        if !ready {
            net.arith.prepare(&mut ws.acts, &[gate, up], &ws.cur[..n_rows * n_embd], n_embd);
        }
        let has_bias = |linear: &Linear<A>| linear.bias.is_some();
        let plain = dense.gate.as_ref().is_some_and(|gate| !has_bias(gate)) && !has_bias(&dense.up);
        let (act, weights, down) = (net.arch.act, [gate, up], &dense.down.weight);
        if plain && !self.trace.sees_all() && net.arith.gate_up(&mut ws.acts, act, weights, down) {
            return;
        }
        match &dense.gate {
            Some(gate) => self.gated(ws, dense, gate, il, n_rows),
            None => self.ungated(ws, dense, il, n_rows),
        }
        net.arith.prepare(&mut ws.acts, &[down], &ws.act[..n_rows * n_ff], n_ff);
    }

    /// `act(gate(x)) * up(x)` of the prepared input, into `act`.
    fn gated(
        &mut self,
        ws: &mut Workspace<A>,
        dense: &Dense<A>,
        gate_linear: &Linear<A>,
        il: usize,
        n_rows: usize,
    ) {
        let (net, n_ff) = (self.net, dense.up.n_out);
        let n = n_rows * n_ff;
        let (gate, up, act) = (&mut ws.gate[..n], &mut ws.up[..n], &mut ws.act[..n]);
        let gate_job = Job { weight: &gate_linear.weight, out: &mut *gate };
        let up_job = Job { weight: &dense.up.weight, out: &mut *up };
        net.arith.matmul(&ws.acts, &mut [gate_job, up_job]);
        if dense.fused {
            if self.trace.is_on() {
                let both = side_by_side(&[(&*gate, n_ff), (&*up, n_ff)]);
                self.trace.node("MUL_MAT", "ffn_up", Some(il), &[2 * n_ff], &both);
            }
        } else {
            self.finish_linear(gate_linear, gate, ["ffn_gate", "ffn_gate_b"], Some(il));
            self.finish_linear(&dense.up, up, ["ffn_up", "ffn_up_b"], Some(il));
        }
        net.arith.gated(net.arch.act, gate, up, n_ff, act);
        let [op, name] = gated_node(net.arch.act);
        self.trace.node(op, name, Some(il), &[n_ff], act);
    }

    /// `act(up(x))` of the prepared input, into `act`.
    fn ungated(&mut self, ws: &mut Workspace<A>, dense: &Dense<A>, il: usize, n_rows: usize) {
        let (net, n_ff) = (self.net, dense.up.n_out);
        let n = n_rows * n_ff;
        let (up, act) = (&mut ws.up[..n], &mut ws.act[..n]);
        net.arith.matmul(&ws.acts, &mut [Job { weight: &dense.up.weight, out: &mut *up }]);
        self.finish_linear(&dense.up, up, ["ffn_up", "ffn_up_b"], Some(il));
        net.arith.activate(net.arch.act, up, n_ff, act);
        let [op, name] = match net.arch.act {
            Act::Silu => ["SILU", "ffn_silu"],
            Act::Gelu => ["GELU", "ffn_gelu"],
            Act::ReluSqr => ["RELU", "ffn_relu"],
        };
        self.trace.node(op, name, Some(il), &[n_ff], act);
        if net.arch.act == Act::ReluSqr {
            act.iter_mut().for_each(|x| *x = *x * *x);
            self.trace.node("SQR", "ffn_sqr(relu)", Some(il), &[n_ff], act);
        }
    }
}

/// ggml's operation and llama.cpp's name.
fn gated_node(act: Act) -> [&'static str; 2] {
    match act {
        Act::Silu => ["SWIGLU", "ffn_swiglu"],
        Act::Gelu => ["GEGLU", "ffn_geglu"],
        Act::ReluSqr => ["REGLU", "ffn_reglu"],
    }
}
