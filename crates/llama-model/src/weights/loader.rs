//! From the file to [`Net`]: every tensor is looked up by name and checked before it is used.

use super::{Dense, Ffn, FileTensor, Layer, Linear, Moe, Net, Norm, Ropes};
use crate::ModelError;
use crate::arch::{Arch, BlockNorms, FfnKind, NormKind, QkNorm, SharedExpert};
use crate::arith::Arithmetic;
use crate::hparams::{Experts, Hparams, RopeParams};
use gguf_parse::{Gguf, GgufError, TensorView};
use std::collections::HashSet;
use std::sync::Arc;

/// Takes tensors from the file and remembers which were used.
pub(crate) struct Loader<'a, A> {
    gguf: &'a Arc<Gguf>,
    arith: A,
    hp: Hparams,
    arch: &'static Arch,
    used: HashSet<String>,
    progress: &'a mut dyn FnMut(f32),
}

impl<'a, A: Arithmetic> Loader<'a, A> {
    pub(crate) fn new(
        gguf: &'a Arc<Gguf>,
        arith: A,
        hp: Hparams,
        arch: &'static Arch,
        progress: &'a mut dyn FnMut(f32),
    ) -> Self {
        Self { gguf, arith, hp, arch, used: HashSet::new(), progress }
    }

    /// Loads everything. The second is what is odd but harmless: tensors that nothing uses.
    pub(crate) fn net(mut self) -> Result<(Net<A>, Vec<String>), ModelError> {
        let (e, v) = (self.hp.n_embd, self.hp.n_vocab);
        self.require("")?;
        let token_embd = self.file_tensor("token_embd.weight", &[v, e])?;
        let position_embd = match self.arch.position_embd {
            true => Some(self.file_tensor("position_embd.weight", &[self.hp.n_ctx_train, e])?),
            false => None,
        };
        let mut layers = Vec::new();
        for il in 0..self.hp.n_layer {
            layers.push(self.layer(il)?);
            #[expect(clippy::cast_precision_loss, reason = "a fraction for a progress bar")]
            (self.progress)((il + 1) as f32 / (self.hp.n_layer + 1) as f32);
        }
        let own_output = !self.arch.tied && self.gguf.find_tensor("output.weight").is_some();
        let output = self.linear(if own_output { "output" } else { "token_embd" }, v, e)?;
        let output_norm = self.norm("output_norm", e)?;
        let ropes = self.ropes()?;
        let unused = self
            .gguf
            .tensors()
            .iter()
            .filter(|t| !self.used.contains(&t.name))
            .map(|t| format!("tensor {} is not used by architecture {}", t.name, self.arch.name))
            .collect();
        let Self { arith, hp, arch, .. } = self;
        let net =
            Net { arith, hp, arch, token_embd, position_embd, layers, output_norm, output, ropes };
        Ok((net, unused))
    }

    /// Fails if a tensor is missing that this architecture needs although others do not.
    fn require(&self, layer: &str) -> Result<(), ModelError> {
        let of_layer =
            |name: &&&str| name.starts_with("output.") || name.starts_with("output_norm");
        for name in self.arch.required.iter().filter(|name| of_layer(name) == layer.is_empty()) {
            let full = format!("{layer}{name}");
            // Q, K and V in one tensor have one bias too.
            let fused = self.gguf.find_tensor(&format!("{layer}attn_qkv.weight")).is_some();
            if !(fused && ["attn_q.bias", "attn_k.bias", "attn_v.bias"].contains(name)) {
                self.gguf.tensor(&full)?;
            }
        }
        Ok(())
    }

    fn layer(&mut self, il: usize) -> Result<Layer<A>, ModelError> {
        let blk = format!("blk.{il}.");
        let name = |part: &str| format!("{blk}{part}");
        self.require(&blk)?;
        let (e, q) = (self.hp.n_embd, self.hp.n_embd_q());
        let norms = self.arch.block_norms;
        let before = norms != BlockNorms::Behind;
        let behind = matches!(norms, BlockNorms::Behind | BlockNorms::Around);
        let own_ffn_norm = matches!(norms, BlockNorms::Before | BlockNorms::Around)
            && self.hp.sum != crate::arch::Sum::AttnXFfn;
        let fused_qkv = self.gguf.find_tensor(&name("attn_qkv.weight")).is_some();
        let [attn_q, attn_k, attn_v] = self.qkv(&blk, fused_qkv)?;
        let [attn_q_norm, attn_k_norm] = self.qk_norms(&blk)?;
        Ok(Layer {
            attn_norm: self.norm_if(before, &name("attn_norm"), e)?,
            attn_norm_2: match self.gguf.find_tensor(&name("attn_norm_2.weight")) {
                Some(_) if norms == BlockNorms::Shared => Some(self.norm(&name("attn_norm_2"), e)?),
                _ => None,
            },
            attn_q,
            attn_k,
            attn_v,
            fused_qkv,
            attn_q_norm,
            attn_k_norm,
            attn_output: self.linear(&name("attn_output"), e, q)?,
            attn_post_norm: self.norm_if(behind, &name("post_attention_norm"), e)?,
            ffn_norm: self.norm_if(own_ffn_norm, &name("ffn_norm"), e)?,
            ffn: match self.hp.experts {
                Some(experts) => Ffn::Moe(self.moe(&blk, &experts)?),
                None => Ffn::Dense(self.dense(&blk, "", self.arch.ffn, self.hp.n_ff)?),
            },
            ffn_post_norm: self.norm_if(behind, &name("post_ffw_norm"), e)?,
        })
    }

    /// Q, K and V from three tensors, or from the rows of one.
    fn qkv(&mut self, blk: &str, fused: bool) -> Result<[Linear<A>; 3], ModelError> {
        let (e, q, kv) = (self.hp.n_embd, self.hp.n_embd_q(), self.hp.n_embd_kv());
        if !fused {
            return Ok([
                self.linear(&format!("{blk}attn_q"), q, e)?,
                self.linear(&format!("{blk}attn_k"), kv, e)?,
                self.linear(&format!("{blk}attn_v"), kv, e)?,
            ]);
        }
        let tensor = self.file_tensor(&format!("{blk}attn_qkv.weight"), &[q + 2 * kv, e])?;
        let bias = self.opt_f32s(&format!("{blk}attn_qkv.bias"), &[q + 2 * kv])?;
        let part = |rows: std::ops::Range<usize>| -> Result<Linear<A>, ModelError> {
            let bias = bias.as_ref().map(|b| A::reals(&b[rows.clone()]));
            let n_out = rows.len();
            Ok(Linear { weight: self.arith.matrix(tensor.rows(rows))?, bias, n_out })
        };
        Ok([part(0..q)?, part(q..q + kv)?, part(q + kv..q + 2 * kv)?])
    }

    fn qk_norms(&mut self, blk: &str) -> Result<[Option<Norm<A::Real>>; 2], ModelError> {
        let names = ["attn_q_norm", "attn_k_norm"].map(|part| format!("{blk}{part}"));
        let n_heads = [self.hp.n_head, self.hp.n_head_kv];
        let n = self.hp.n_embd_head;
        let mut norms = [None, None];
        for ((norm, name), n_head) in norms.iter_mut().zip(&names).zip(n_heads) {
            *norm = match self.arch.qk_norm {
                QkNorm::None => None,
                QkNorm::Head => Some(self.norm(name, n)?),
                QkNorm::Row => Some(self.norm(name, n_head * n)?),
                QkNorm::EachHead => {
                    let weight = self.opt_f32s(&format!("{name}.weight"), &[n_head, n])?;
                    weight.map(|weight| self.norm_of(n, &weight, None))
                }
            };
        }
        Ok(norms)
    }

    /// A dense block. `suffix` follows the names of its tensors.
    fn dense(
        &mut self,
        blk: &str,
        suffix: &str,
        kind: FfnKind,
        n_ff: usize,
    ) -> Result<Dense<A>, ModelError> {
        let e = self.hp.n_embd;
        let name = |part: &str| format!("{blk}ffn_{part}{suffix}");
        let down = self.linear(&name("down"), e, n_ff)?;
        Ok(match kind {
            FfnKind::Plain => {
                let up = self.linear(&name("up"), n_ff, e)?;
                Dense { gate: None, up, down, fused: false }
            }
            FfnKind::Gated => {
                let gate = Some(self.linear(&name("gate"), n_ff, e)?);
                let up = self.linear(&name("up"), n_ff, e)?;
                Dense { gate, up, down, fused: false }
            }
            FfnKind::GatedFused => {
                let both = self.file_tensor(&format!("{}.weight", name("up")), &[2 * n_ff, e])?;
                let half = |rows| -> Result<Linear<A>, ModelError> {
                    let weight = self.arith.matrix(both.rows(rows))?;
                    Ok(Linear { weight, bias: None, n_out: n_ff })
                };
                Dense { gate: Some(half(0..n_ff)?), up: half(n_ff..2 * n_ff)?, down, fused: true }
            }
        })
    }

    fn moe(&mut self, blk: &str, experts: &Experts) -> Result<Moe<A>, ModelError> {
        let (e, f, n) = (self.hp.n_embd, self.hp.n_ff, experts.n_expert);
        let gate_inp = self.linear(&format!("{blk}ffn_gate_inp"), n, e)?;
        let gates = self.file_tensor(&format!("{blk}ffn_gate_exps.weight"), &[n, f, e])?;
        let ups = self.file_tensor(&format!("{blk}ffn_up_exps.weight"), &[n, f, e])?;
        let downs = self.file_tensor(&format!("{blk}ffn_down_exps.weight"), &[n, e, f])?;
        let mut list = Vec::new();
        for i in 0..n {
            let expert = |all: &FileTensor, n_out: usize| -> Result<Linear<A>, ModelError> {
                let weight = self.arith.matrix(all.rows(i * n_out..(i + 1) * n_out))?;
                Ok(Linear { weight, bias: None, n_out })
            };
            list.push(Dense {
                gate: Some(expert(&gates, f)?),
                up: expert(&ups, f)?,
                down: expert(&downs, e)?,
                fused: false,
            });
        }
        let shared = match experts.n_ff_shexp() {
            Some(n_ff) => Some(self.dense(blk, "_shexp", FfnKind::Gated, n_ff)?),
            None => None,
        };
        let shared_gate = match experts.kind.shared {
            SharedExpert::Gated => Some(self.linear(&format!("{blk}ffn_gate_inp_shexp"), 1, e)?),
            SharedExpert::None | SharedExpert::ByKey => None,
        };
        Ok(Moe { gate_inp, experts: list, shared, shared_gate })
    }

    /// The rotations, with the divisors of their frequencies.
    fn ropes(&mut self) -> Result<Vec<Ropes<A>>, ModelError> {
        let n = self.hp.rope.n_rot / 2;
        let mut factors = [None, None, None];
        if self.arch.rope_options.factors {
            let names = ["rope_freqs", "rope_factors_short", "rope_factors_long"];
            for (factors, name) in factors.iter_mut().zip(names) {
                *factors = self.opt_f32s(&format!("{name}.weight"), &[n])?;
            }
        }
        let [freqs, short, long] = factors;
        // Where the file has both, llama.cpp prefers those for any length.
        let long = long.filter(|_| freqs.is_none());
        let short = freqs.or(short);
        let of = |params: &RopeParams| -> Result<Ropes<A>, ModelError> {
            Ok(Ropes {
                short: A::rope(params, short.as_deref())?,
                long: long.as_deref().map(|f| A::rope(params, Some(f))).transpose()?,
                n_ctx_orig: params.n_ctx_orig,
            })
        };
        [Some(&self.hp.rope), self.hp.rope_swa.as_ref()].into_iter().flatten().map(of).collect()
    }

    fn linear(&mut self, name: &str, n_out: usize, n_in: usize) -> Result<Linear<A>, ModelError> {
        let tensor = self.file_tensor(&format!("{name}.weight"), &[n_out, n_in])?;
        let bias = self.opt_f32s(&format!("{name}.bias"), &[n_out])?;
        Ok(Linear { weight: self.arith.matrix(tensor)?, bias: bias.map(|b| A::reals(&b)), n_out })
    }

    fn norm_if(
        &mut self,
        there: bool,
        name: &str,
        n: usize,
    ) -> Result<Option<Norm<A::Real>>, ModelError> {
        there.then(|| self.norm(name, n)).transpose()
    }

    fn norm(&mut self, name: &str, n: usize) -> Result<Norm<A::Real>, ModelError> {
        let full = format!("{name}.weight");
        let weight = self.opt_f32s(&full, &[n])?.ok_or(GgufError::MissingTensor { name: full })?;
        let bias = match self.arch.norm {
            NormKind::Rms => None,
            NormKind::Layer => self.opt_f32s(&format!("{name}.bias"), &[n])?,
        };
        Ok(self.norm_of(n, &weight, bias.as_deref()))
    }

    fn norm_of(&self, n: usize, weight: &[f32], bias: Option<&[f32]>) -> Norm<A::Real> {
        let (kind, eps) = (self.arch.norm, self.hp.norm_eps);
        Norm { kind, eps, n, weight: A::reals(weight), bias: bias.map(A::reals) }
    }

    /// A tensor of the file, `shape` outermost first, whose shape and type have been checked. What is further out
    /// than rows is rows too.
    fn file_tensor(&mut self, name: &str, shape: &[usize]) -> Result<FileTensor, ModelError> {
        let view = self.gguf.tensor(name)?;
        check_shape(name, &view, shape)?;
        check_type(name, &view)?;
        self.used.insert(name.to_owned());
        let (n_cols, outer) = shape.split_last().unwrap_or((&1, &[]));
        let n_rows = outer.iter().product();
        Ok(FileTensor {
            gguf: Arc::clone(self.gguf),
            name: name.to_owned(),
            ty: view.ty,
            n_rows,
            n_cols: *n_cols,
            first_row: 0,
            n_rows_all: n_rows,
        })
    }

    /// A tensor as f32, if the file has it.
    fn opt_f32s(&mut self, name: &str, shape: &[usize]) -> Result<Option<Vec<f32>>, ModelError> {
        let Some(view) = self.gguf.find_tensor(name) else { return Ok(None) };
        check_shape(name, &view, shape)?;
        check_type(name, &view)?;
        self.used.insert(name.to_owned());
        let mut values = vec![0.0; shape.iter().product()];
        dequant::dequantize(view.ty, view.data, &mut values)?;
        Ok(Some(values))
    }
}

/// `shape` is outermost first, as in all our messages.
fn check_shape(name: &str, view: &TensorView<'_>, shape: &[usize]) -> Result<(), ModelError> {
    let expected: Vec<u64> = shape.iter().map(|n| *n as u64).collect();
    let found: Vec<u64> = view.dims.ne().iter().rev().copied().collect();
    // Trailing (here: leading) dimensions of 1 say nothing.
    let significant =
        found.iter().position(|d| *d != 1).map_or(&found[found.len() - 1..], |i| &found[i..]);
    let wanted = expected
        .iter()
        .position(|d| *d != 1)
        .map_or(&expected[expected.len() - 1..], |i| &expected[i..]);
    if significant != wanted || found.len() > expected.len() {
        return Err(ModelError::Shape { name: name.to_owned(), found, expected });
    }
    Ok(())
}

fn check_type(name: &str, view: &TensorView<'_>) -> Result<(), ModelError> {
    if dequant::is_supported(view.ty) {
        return Ok(());
    }
    Err(ModelError::Unsupported {
        key: name.to_owned(),
        found: view.ty.name().to_owned(),
        feature: "this tensor type",
    })
}
