//! The transformer, once: for every architecture and in every arithmetic.
//!
//! Node names and their order are llama.cpp's, so that traces can be laid side by side. The model is
//! "Attention Is All You Need" (arXiv 1706.03762) with rotary positions (2104.09864), grouped queries (2305.13245)
//! and gated feed-forward blocks (2002.05202); where its parts stand and what they are, `arch/table.rs` says.
//! A block is in `forward/block.rs`, its halves in `attention.rs`, `ffn.rs` and `moe.rs`.

mod attention;
mod block;
mod ffn;
mod moe;
#[cfg(test)]
mod tests;
mod workspace;

pub(crate) use workspace::Workspace;

use crate::ModelError;
use crate::arch::Scales;
use crate::arith::{Arithmetic, Job, NormStage, Real};
use crate::context::BatchToken;
use crate::hparams::Factor;
use crate::trace::Tracer;
use crate::weights::{Linear, Net, Norm};
use kernels::RopeKind;
use std::sync::atomic::{AtomicBool, Ordering};

/// One evaluation of the network: what stays the same from layer to layer.
pub(crate) struct Pass<'a, A: Arithmetic> {
    pub(crate) net: &'a Net<A>,
    pub(crate) cache: &'a mut A::Cache,
    pub(crate) batch: &'a [BatchToken],
    /// Positions of the context.
    pub(crate) n_ctx: usize,
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
        let net = self.net;
        self.embed(ws);
        for (positions, ropes) in ws.positions.iter_mut().zip(&net.ropes) {
            net.arith.positions(ropes.of(self.n_ctx), self.batch, positions);
        }
        if self.trace.wants_rope_tables() {
            self.rope_tables(ws);
        }
        let n_outputs = self.batch.iter().filter(|t| t.output).count();
        for (il, layer) in net.layers.iter().enumerate() {
            if self.cancel.load(Ordering::Relaxed) {
                return Err(ModelError::Cancelled);
            }
            let ready = self.block_norms(ws, layer, il);
            self.attention(ws, layer, il, ready);
            if il + 1 == net.layers.len() && n_outputs == 0 {
                // Nobody asked for logits, and the cache is complete.
                return Ok(());
            }
            self.block(ws, layer, il, n_outputs);
        }
        self.result(ws, n_outputs, logits);
        Ok(())
    }

    /// The rotations of the batch's positions: what becomes of pairs (1, 0). So the first of each pair is the cosine,
    /// the second the sine, in the arithmetic's own numbers.
    fn rope_tables(&mut self, ws: &Workspace<A>) {
        let (net, n_rot) = (self.net, self.net.hp.rope.n_rot);
        let is_first = |i: usize| match net.hp.rope.kind {
            RopeKind::Norm => i.is_multiple_of(2),
            RopeKind::Neox => i < n_rot / 2,
        };
        let element = |i: usize| A::Real::from_f32(if is_first(i) { 1.0 } else { 0.0 });
        let pairs: Vec<A::Real> = (0..n_rot).map(element).collect();
        for (i, ropes) in net.ropes.iter().enumerate().filter(|_| n_rot > 0) {
            let mut table = pairs.repeat(self.batch.len());
            net.arith.rotate(ropes.of(self.n_ctx), &ws.positions[i], &mut table, n_rot);
            let label = if i == 0 { "rope_table" } else { "rope_table_swa" };
            self.trace.node("ROPE", label, None, &[n_rot], &table);
        }
    }

    /// Rows of the embedding matrix into the residual stream.
    fn embed(&mut self, ws: &mut Workspace<A>) {
        let (net, n_embd) = (self.net, self.net.hp.n_embd);
        let x = &mut ws.x[..self.batch.len() * n_embd];
        for (token, x) in self.batch.iter().zip(x.chunks_exact_mut(n_embd)) {
            net.token_embd.dequantize_row(token.token as usize, &mut ws.row);
            x.iter_mut().zip(&ws.row).for_each(|(x, value)| *x = A::Real::from_f32(*value));
        }
        let gemma = net.arch.scales == Scales::Gemma;
        // The last of a chain of nodes is called `embd`, but gemma's has a name of its own.
        let [rows, scaled] = match net.hp.scaling.embedding {
            Some(_) if !gemma => ["node", "embd"],
            _ => ["embd", "inp_scaled"],
        };
        self.trace.node("GET_ROWS", rows, None, &[n_embd], x);
        if let Some(by) = net.hp.scaling.embedding {
            net.arith.scale(x, by);
            self.trace.node("SCALE", scaled, None, &[n_embd], x);
        }
        if let Some(table) = &net.position_embd {
            let cur = &mut ws.cur[..x.len()];
            for (token, cur) in self.batch.iter().zip(cur.chunks_exact_mut(n_embd)) {
                table.dequantize_row(token.pos, &mut ws.row);
                cur.iter_mut().zip(&ws.row).for_each(|(x, value)| *x = A::Real::from_f32(*value));
            }
            self.trace.node("GET_ROWS", "pos_embd", None, &[n_embd], cur);
            net.arith.add(x, cur);
            self.trace.node("ADD", "inpL", None, &[n_embd], x);
        }
    }

    /// The last norm, the vocabulary projection, and what is done to logits.
    fn result(&mut self, ws: &mut Workspace<A>, n_rows: usize, logits: &mut Vec<f32>) {
        let (net, output) = (self.net, &self.net.output);
        let n_embd = net.hp.n_embd;
        let cur = &mut ws.cur[..n_rows * n_embd];
        self.norm(&net.output_norm, &ws.x[..n_rows * n_embd], cur, &Site::of("result_norm", None));

        ws.logits.resize(n_rows * output.n_out, A::Real::default());
        net.arith.prepare(&mut ws.acts, &[&output.weight], cur, n_embd);
        net.arith.matmul(&ws.acts, &mut [Job { weight: &output.weight, out: &mut ws.logits }]);
        let scaling = &net.hp.scaling;
        let is_last = scaling.logits.is_none() && scaling.final_softcap.is_none();
        let product = match (&output.bias, is_last) {
            // phi2 has the only builder that always adds a bias, and it names the product.
            (Some(_), _) if net.arch.required.contains(&"output.bias") => "result_output_no_bias",
            (None, true) => "result_output",
            _ => "node",
        };
        self.finish_linear(output, &mut ws.logits, [product, "result_output"], None);
        if let Some(by) = scaling.logits {
            net.arith.scale(&mut ws.logits, by);
            self.trace.node("SCALE", "result_output", None, &[output.n_out], &ws.logits);
        }
        if let Some(cap) = scaling.final_softcap {
            net.arith.scale(&mut ws.logits, Factor::inverse(cap));
            self.trace.node("SCALE", "node", None, &[output.n_out], &ws.logits);
            net.arith.tanh(&mut ws.logits);
            self.trace.node("TANH", "node", None, &[output.n_out], &ws.logits);
            net.arith.scale(&mut ws.logits, Factor::of(cap));
            self.trace.node("SCALE", "result_output", None, &[output.n_out], &ws.logits);
        }
        logits.extend(ws.logits.iter().map(|l| l.to_f32()));
    }

    /// Normalizes the rows of `x` into `out`.
    fn norm(&mut self, norm: &Norm<A::Real>, x: &[A::Real], out: &mut [A::Real], site: &Site<'_>) {
        let own = [norm.n];
        let shape = site.shape.unwrap_or(&own);
        let op = match norm.kind {
            crate::arch::NormKind::Rms => "RMS_NORM",
            crate::arch::NormKind::Layer => "NORM",
        };
        let trace = &mut self.trace;
        let seen = &mut |stage: NormStage, rows: &[A::Real]| match stage {
            NormStage::Normed => trace.node(op, "norm", site.norm_il, shape, rows),
            NormStage::Weighted => trace.node("MUL", "norm_w", site.norm_il, shape, rows),
        };
        self.net.arith.norm(norm, x, out, seen);
        let op = if norm.bias.is_some() { "ADD" } else { "MUL" };
        self.trace.node(op, site.label, site.il, shape, out);
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
}

/// Where a norm stands in the graph: for its names in a trace.
struct Site<'a> {
    label: &'static str,
    il: Option<usize>,
    /// The layer of the node before the weights, which llama.cpp does not always tell.
    norm_il: Option<usize>,
    /// A row's shape if it is not flat.
    shape: Option<&'a [usize]>,
}

impl Site<'_> {
    fn of(label: &'static str, il: Option<usize>) -> Self {
        Self { label, il, norm_il: il, shape: None }
    }
}

/// Adds `bias` to every row.
fn add_bias<R: Real>(rows: &mut [R], bias: &[R]) {
    for row in rows.chunks_exact_mut(bias.len()) {
        row.iter_mut().zip(bias).for_each(|(x, b)| *x += *b);
    }
}
