//! A mixture of experts instead of a dense feed-forward block (arXiv 1701.06538, 2401.04088): each token passes the
//! experts that a small matrix scores highest, and the results are added up by weight.

use super::{Pass, Workspace};
use crate::arch::Act;
use crate::arith::{Arithmetic, Job, Real};
use crate::weights::{Dense, Linear, Moe};

/// The smallest sum of weights that llama.cpp divides by: the smallest normal F16.
const MIN_SUM: f32 = 6.103_515_6e-5;

/// Which experts each row passes, the highest score first, and their weights: both `[n_rows, n_used]`.
struct Chosen<R> {
    experts: Vec<usize>,
    weights: Vec<R>,
    n_used: usize,
}

impl<A: Arithmetic> Pass<'_, A> {
    /// `cur` in, `cur` out.
    pub(super) fn moe(&mut self, ws: &mut Workspace<A>, moe: &Moe<A>, il: usize, n_rows: usize) {
        let n_embd = self.net.hp.n_embd;
        let chosen = self.choose(ws, moe, il, n_rows);
        let mut out = self.experts(ws, moe, &chosen, il, n_rows);
        if let Some(shared) = &moe.shared {
            // The gate sees the block's input, which the shared expert overwrites.
            let gate = moe.shared_gate.as_ref().map(|gate| self.shared_gate(ws, gate, n_rows));
            self.dense(ws, shared, il, n_rows, "ffn_shexp", false);
            let cur = &mut ws.cur[..n_rows * n_embd];
            if let Some(gate) = gate {
                self.weigh_shared(cur, gate, il);
            }
            self.net.arith.add(&mut out, cur);
            self.trace.node("ADD", "ffn_out", Some(il), &[n_embd], &out);
        }
        ws.cur[..n_rows * n_embd].copy_from_slice(&out);
    }

    /// Scores of all experts for each row, and the best of them.
    fn choose(
        &mut self,
        ws: &mut Workspace<A>,
        moe: &Moe<A>,
        il: usize,
        n_rows: usize,
    ) -> Chosen<A::Real> {
        let (n_expert, n_embd) = (moe.experts.len(), self.net.hp.n_embd);
        let mut probs = self.product(ws, &moe.gate_inp, n_rows * n_embd);
        self.trace.node("MUL_MAT", "ffn_moe_logits", Some(il), &[n_expert], &probs);
        self.net.arith.soft_max(&mut probs, n_expert);
        self.trace.node("SOFT_MAX", "ffn_moe_probs", Some(il), &[n_expert], &probs);

        let kind = self.net.hp.experts;
        let n_used = kind.map_or(1, |experts| experts.n_used);
        let mut chosen = Chosen { experts: Vec::new(), weights: Vec::new(), n_used };
        for probs in probs.chunks_exact(n_expert) {
            let mut order: Vec<usize> = (0..n_expert).collect();
            // Of equals the lower id first.
            order.sort_by(|a, b| {
                let (a, b): (f64, f64) = (probs[*a].into(), probs[*b].into());
                b.total_cmp(&a)
            });
            chosen.weights.extend(order[..n_used].iter().map(|e| probs[*e]));
            chosen.experts.extend_from_slice(&order[..n_used]);
        }
        let weights = &mut chosen.weights;
        self.trace.node("GET_ROWS", "ffn_moe_weights", Some(il), &[n_used, 1], weights);
        if kind.is_some_and(|experts| experts.kind.normalized) {
            self.normalize(weights, n_used, il);
        }
        chosen
    }

    /// Divides each row by its sum.
    fn normalize(&mut self, weights: &mut [A::Real], n_used: usize, il: usize) {
        let sum = |row: &[A::Real]| A::Real::from_f64(row.iter().map(|w| (*w).into()).sum());
        let mut sums: Vec<A::Real> = weights.chunks_exact(n_used).map(sum).collect();
        self.trace.node("SUM_ROWS", "ffn_moe_weights_sum", Some(il), &[1], &sums);
        let min = A::Real::from_f32(MIN_SUM);
        sums.iter_mut().filter(|sum| **sum < min).for_each(|sum| *sum = min);
        self.trace.node("CLAMP", "ffn_moe_weights_sum_clamped", Some(il), &[1], &sums);
        for (row, sum) in weights.chunks_exact_mut(n_used).zip(&sums) {
            row.iter_mut().for_each(|w| *w = *w / *sum);
        }
        self.trace.node("DIV", "ffn_moe_weights_norm", Some(il), &[n_used], weights);
    }

    /// The chosen experts' outputs, weighted and added up: `[n_rows, n_embd]`.
    fn experts(
        &mut self,
        ws: &mut Workspace<A>,
        moe: &Moe<A>,
        chosen: &Chosen<A::Real>,
        il: usize,
        n_rows: usize,
    ) -> Vec<A::Real> {
        let (n_embd, n_ff) = (self.net.hp.n_embd, self.net.hp.n_ff);
        let n = n_rows * chosen.n_used;
        let zeros = |width: usize| vec![A::Real::default(); n * width];
        let mut all =
            Stages { gate: zeros(n_ff), up: zeros(n_ff), act: zeros(n_ff), down: zeros(n_embd) };
        for (e, expert) in moe.experts.iter().enumerate() {
            let slots: Vec<usize> = (0..n).filter(|slot| chosen.experts[*slot] == e).collect();
            if !slots.is_empty() {
                self.expert(ws, expert, &slots, chosen.n_used, &mut all);
            }
        }
        let Stages { gate, up, act, mut down } = all;
        let shape = |width| [chosen.n_used, width];
        self.trace.node("MUL_MAT_ID", "ffn_moe_gate", Some(il), &shape(n_ff), &gate);
        self.trace.node("MUL_MAT_ID", "ffn_moe_up", Some(il), &shape(n_ff), &up);
        self.trace.node("SWIGLU", "ffn_moe_swiglu", Some(il), &shape(n_ff), &act);
        self.trace.node("MUL_MAT_ID", "ffn_moe_down", Some(il), &shape(n_embd), &down);
        for (row, weight) in down.chunks_exact_mut(n_embd).zip(&chosen.weights) {
            row.iter_mut().for_each(|x| *x = *x * *weight);
        }
        self.trace.node("MUL", "ffn_moe_weighted", Some(il), &shape(n_embd), &down);
        self.add_up(&down, chosen.n_used, il)
    }

    /// One expert for the rows of some slots, `[n_rows, n_used]`.
    fn expert(
        &mut self,
        ws: &mut Workspace<A>,
        expert: &Dense<A>,
        slots: &[usize],
        n_used: usize,
        all: &mut Stages<A::Real>,
    ) {
        let (arith, n_embd, n_ff) = (&self.net.arith, self.net.hp.n_embd, self.net.hp.n_ff);
        let zeros = |width: usize| vec![A::Real::default(); slots.len() * width];
        let (mut x, mut gate, mut up) = (zeros(n_embd), zeros(n_ff), zeros(n_ff));
        for (x, slot) in x.chunks_exact_mut(n_embd).zip(slots) {
            x.copy_from_slice(&ws.cur[slot / n_used * n_embd..][..n_embd]);
        }
        let gate_weight = expert.gate.as_ref().map_or(&expert.up.weight, |gate| &gate.weight);
        let weights = [gate_weight, &expert.up.weight];
        arith.prepare(&mut ws.acts, &weights, &x, n_embd);
        let mut jobs =
            [Job { weight: weights[0], out: &mut gate }, Job { weight: weights[1], out: &mut up }];
        arith.matmul(&ws.acts, &mut jobs);
        let mut act = zeros(n_ff);
        arith.gated(Act::Silu, &gate, &up, n_ff, &mut act);
        arith.prepare(&mut ws.acts, &[&expert.down.weight], &act, n_ff);
        let job = Job { weight: &expert.down.weight, out: &mut x };
        arith.matmul(&ws.acts, &mut [job]);
        scatter(&gate, slots, n_ff, &mut all.gate);
        scatter(&up, slots, n_ff, &mut all.up);
        scatter(&act, slots, n_ff, &mut all.act);
        scatter(&x, slots, n_embd, &mut all.down);
    }

    /// The sums over a row's experts, in the order of their scores.
    fn add_up(&mut self, down: &[A::Real], n_used: usize, il: usize) -> Vec<A::Real> {
        let n_embd = self.net.hp.n_embd;
        let rows = |i: usize| -> Vec<A::Real> {
            let of_row = |row: &[A::Real]| row[i * n_embd..(i + 1) * n_embd].to_vec();
            down.chunks_exact(n_used * n_embd).flat_map(of_row).collect()
        };
        let mut out = rows(0);
        if n_used == 1 {
            self.trace.node("CONT", "ffn_moe_out", Some(il), &[n_embd], &out);
        }
        for i in 1..n_used {
            self.net.arith.add(&mut out, &rows(i));
            let label = if i + 1 == n_used { "ffn_moe_out" } else { "node" };
            self.trace.node("ADD", label, Some(il), &[n_embd], &out);
        }
        out
    }

    /// What the shared expert's gate makes of `cur`: `[n_rows]`.
    fn shared_gate(
        &mut self,
        ws: &mut Workspace<A>,
        gate: &Linear<A>,
        n_rows: usize,
    ) -> Vec<A::Real> {
        self.product(ws, gate, n_rows * self.net.hp.n_embd)
    }

    /// Multiplies each row of the shared expert's output with the sigmoid of its gate.
    fn weigh_shared(&mut self, cur: &mut [A::Real], mut gate: Vec<A::Real>, il: usize) {
        self.trace.node("MUL_MAT", "ffn_shexp_gate_inp", Some(il), &[1], &gate);
        let mut silu = gate.clone();
        self.net.arith.activate(Act::Silu, &gate, 1, &mut silu);
        self.trace.node("SILU", "node", None, &[1], &silu);
        // llama.cpp's sigmoid.
        gate.iter_mut().zip(&silu).for_each(|(gate, silu)| *gate = *silu / *gate);
        self.trace.node("DIV", "ffn_shexp_gate", Some(il), &[1], &gate);
        let n_embd = self.net.hp.n_embd;
        for (row, gate) in cur.chunks_exact_mut(n_embd).zip(&gate) {
            row.iter_mut().for_each(|x| *x = *x * *gate);
        }
        self.trace.node("MUL", "ffn_shexp_out", Some(il), &[n_embd], cur);
    }

    /// The product of a small matrix with the first `n` elements of `cur`.
    fn product(&mut self, ws: &mut Workspace<A>, linear: &Linear<A>, n: usize) -> Vec<A::Real> {
        let (arith, n_embd) = (&self.net.arith, self.net.hp.n_embd);
        let mut out = vec![A::Real::default(); n / n_embd * linear.n_out];
        arith.prepare(&mut ws.acts, &[&linear.weight], &ws.cur[..n], n_embd);
        arith.matmul(&ws.acts, &mut [Job { weight: &linear.weight, out: &mut out }]);
        out
    }
}

/// What the chosen experts compute, `[n_rows, n_used, …]`.
struct Stages<R> {
    gate: Vec<R>,
    up: Vec<R>,
    act: Vec<R>,
    down: Vec<R>,
}

/// Puts rows of `width` where they belong.
fn scatter<R: Copy>(rows: &[R], slots: &[usize], width: usize, out: &mut [R]) {
    for (row, slot) in rows.chunks_exact(width).zip(slots) {
        out[slot * width..(slot + 1) * width].copy_from_slice(row);
    }
}
