//! The dense feed-forward block.

use super::block::side_by_side;
use super::{Pass, Workspace};
use crate::arch::Act;
use crate::arith::{Arithmetic, Job};
use crate::weights::Dense;

impl<A: Arithmetic> Pass<'_, A> {
    /// `down(act(gate(x)) * up(x))`, or without a gate `down(act(up(x)))`: `cur` in, `cur` out.
    pub(super) fn dense(
        &mut self,
        ws: &mut Workspace<A>,
        dense: &Dense<A>,
        il: usize,
        n_rows: usize,
        label: &'static str,
    ) {
        let (net, n_embd, n_ff) = (self.net, self.net.hp.n_embd, dense.up.n_out);
        let n = n_rows * n_ff;
        let (gate, up, act) = (&mut ws.gate[..n], &mut ws.up[..n], &mut ws.act[..n]);
        let cur = &mut ws.cur[..n_rows * n_embd];
        let up_job = |out| Job { weight: &dense.up.weight, out };
        if let Some(gate_linear) = &dense.gate {
            let weights = [&gate_linear.weight, &dense.up.weight];
            net.arith.prepare(&mut ws.acts, &weights, cur, n_embd);
            let gate_job = Job { weight: &gate_linear.weight, out: &mut *gate };
            net.arith.matmul(&ws.acts, &mut [gate_job, up_job(&mut *up)]);
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
        } else {
            net.arith.prepare(&mut ws.acts, &[&dense.up.weight], cur, n_embd);
            net.arith.matmul(&ws.acts, &mut [up_job(&mut *up)]);
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
        net.arith.prepare(&mut ws.acts, &[&dense.down.weight], act, n_ff);
        net.arith.matmul(&ws.acts, &mut [Job { weight: &dense.down.weight, out: &mut *cur }]);
        let product = if dense.down.bias.is_some() { "ffn_down" } else { label };
        self.finish_linear(&dense.down, cur, [product, label], Some(il));
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
