//! A model's tensors by role, each checked against the hyper-parameters, in the form an arithmetic wants.

use crate::ModelError;
use crate::arch::Arch;
use crate::arith::Arithmetic;
use crate::hparams::Hparams;
use gguf_parse::{GgmlType, Gguf, GgufError, TensorView};
use std::collections::HashSet;
use std::sync::Arc;

/// A tensor of the file that is read where it lies. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct FileTensor {
    gguf: Arc<Gguf>,
    name: String,
    pub(crate) ty: GgmlType,
    pub(crate) n_rows: usize,
    pub(crate) n_cols: usize,
}

impl FileTensor {
    /// Its bytes.
    pub(crate) fn data(&self) -> &[u8] {
        // The loader found it, and an open file does not change: never empty.
        self.gguf.find_tensor(&self.name).map_or(&[], |view| view.data)
    }

    /// Its bytes in slices of some megabytes, each with its first row, a multiple of 16.
    pub(crate) fn slices(&self) -> impl Iterator<Item = (usize, &[u8])> {
        const BYTES: usize = 4 << 20;
        let data = self.data();
        let row_bytes = data.len() / self.n_rows;
        let n = (BYTES / row_bytes.max(1)).next_multiple_of(16);
        data.chunks((n * row_bytes).max(1)).enumerate().map(move |(i, slice)| (i * n, slice))
    }

    /// Tells the system that `bytes` of it are not needed for now: they stop to take memory until they are read again.
    pub(crate) fn release(&self, bytes: &[u8]) {
        self.gguf.release(bytes);
    }

    /// Row `i` as f32, exactly.
    pub(crate) fn dequantize_row(&self, i: usize, out: &mut [f32]) {
        self.dequantize_row_of(self.data(), i, out);
    }

    /// The same for who has [`Self::data`] at hand.
    pub(crate) fn dequantize_row_of(&self, data: &[u8], i: usize, out: &mut [f32]) {
        let n_bytes = data.len() / self.n_rows;
        let row = &data[i * n_bytes..(i + 1) * n_bytes];
        // The loader checked type and shape.
        let done = dequant::dequantize(self.ty, row, out);
        debug_assert!(done.is_ok(), "{}: {done:?}", self.name);
    }
}

/// A matrix with the bias that may go with it.
pub(crate) struct Linear<A: Arithmetic> {
    /// `[n_out, n_in]`.
    pub(crate) weight: A::Matrix,
    /// `[n_out]`.
    pub(crate) bias: Option<Vec<A::Real>>,
    /// Elements of an output row.
    pub(crate) n_out: usize,
}

/// One transformer block.
pub(crate) struct Layer<A: Arithmetic> {
    /// `[n_embd]`
    pub(crate) attn_norm: Vec<A::Real>,
    /// `[n_embd_q, n_embd]`
    pub(crate) attn_q: Linear<A>,
    /// `[n_embd_kv, n_embd]`
    pub(crate) attn_k: Linear<A>,
    /// `[n_embd_kv, n_embd]`
    pub(crate) attn_v: Linear<A>,
    /// `[n_embd, n_embd_q]`
    pub(crate) attn_output: Linear<A>,
    /// `[n_embd]`
    pub(crate) ffn_norm: Vec<A::Real>,
    /// `[n_ff, n_embd]`
    pub(crate) ffn_gate: Linear<A>,
    /// `[n_ff, n_embd]`
    pub(crate) ffn_up: Linear<A>,
    /// `[n_embd, n_ff]`
    pub(crate) ffn_down: Linear<A>,
}

/// All weights of a model.
pub(crate) struct Net<A: Arithmetic> {
    pub(crate) arith: A,
    pub(crate) hp: Hparams,
    pub(crate) arch: &'static Arch,
    /// `[n_vocab, n_embd]`, read row by row.
    pub(crate) token_embd: FileTensor,
    pub(crate) layers: Vec<Layer<A>>,
    /// `[n_embd]`
    pub(crate) output_norm: Vec<A::Real>,
    /// `[n_vocab, n_embd]`; the embedding again where the file has no other.
    pub(crate) output: Linear<A>,
    pub(crate) rope: A::Rope,
}

/// Takes tensors from the file and remembers which were used.
pub(crate) struct Loader<'a> {
    gguf: &'a Arc<Gguf>,
    used: HashSet<String>,
    progress: &'a mut dyn FnMut(f32),
}

impl<'a> Loader<'a> {
    pub(crate) fn new(gguf: &'a Arc<Gguf>, progress: &'a mut dyn FnMut(f32)) -> Self {
        Self { gguf, used: HashSet::new(), progress }
    }

    /// Loads everything. `freq_factors` are the divisors of RoPE's frequencies (`rope_freqs.weight`).
    pub(crate) fn net<A: Arithmetic>(
        mut self,
        arith: A,
        hp: Hparams,
        arch: &'static Arch,
    ) -> Result<(Net<A>, Vec<String>), ModelError> {
        let (e, v) = (hp.n_embd, hp.n_vocab);
        let token_embd = self.file_tensor("token_embd.weight", v, e)?;
        let mut layers = Vec::new();
        for il in 0..hp.n_layer {
            layers.push(self.layer(&arith, &hp, arch, il)?);
        }
        let head =
            if self.gguf.find_tensor("output.weight").is_some() { "output" } else { "token_embd" };
        let output = self.linear(&arith, head, v, e)?;
        let output_norm = self.vector::<A>("output_norm.weight", e)?;
        let factors = self.opt_f32s("rope_freqs.weight", hp.rope.n_rot / 2)?;
        let rope = A::rope(&hp.rope, factors.as_deref())?;
        let unused = self
            .gguf
            .tensors()
            .iter()
            .filter(|t| !self.used.contains(&t.name))
            .map(|t| format!("tensor {} is not used by architecture {}", t.name, arch.name))
            .collect();
        Ok((Net { arith, hp, arch, token_embd, layers, output_norm, output, rope }, unused))
    }

    fn layer<A: Arithmetic>(
        &mut self,
        a: &A,
        hp: &Hparams,
        arch: &Arch,
        il: usize,
    ) -> Result<Layer<A>, ModelError> {
        let (e, q, kv, f) = (hp.n_embd, hp.n_embd_q(), hp.n_embd_kv(), hp.n_ff);
        let name = |part: &str| format!("blk.{il}.{part}");
        if arch.qkv_bias {
            for part in ["attn_q.bias", "attn_k.bias", "attn_v.bias"] {
                self.gguf.tensor(&name(part))?;
            }
        }
        let layer = Layer {
            attn_norm: self.vector::<A>(&name("attn_norm.weight"), e)?,
            attn_q: self.linear(a, &name("attn_q"), q, e)?,
            attn_k: self.linear(a, &name("attn_k"), kv, e)?,
            attn_v: self.linear(a, &name("attn_v"), kv, e)?,
            attn_output: self.linear(a, &name("attn_output"), e, q)?,
            ffn_norm: self.vector::<A>(&name("ffn_norm.weight"), e)?,
            ffn_gate: self.linear(a, &name("ffn_gate"), f, e)?,
            ffn_up: self.linear(a, &name("ffn_up"), f, e)?,
            ffn_down: self.linear(a, &name("ffn_down"), e, f)?,
        };
        #[expect(clippy::cast_precision_loss, reason = "a fraction for a progress bar")]
        (self.progress)((il + 1) as f32 / (hp.n_layer + 1) as f32);
        Ok(layer)
    }

    fn linear<A: Arithmetic>(
        &mut self,
        a: &A,
        name: &str,
        n_out: usize,
        n_in: usize,
    ) -> Result<Linear<A>, ModelError> {
        let tensor = self.file_tensor(&format!("{name}.weight"), n_out, n_in)?;
        let bias = self.opt_f32s(&format!("{name}.bias"), n_out)?;
        Ok(Linear { weight: a.matrix(tensor)?, bias: bias.map(|b| A::reals(&b)), n_out })
    }

    fn vector<A: Arithmetic>(&mut self, name: &str, n: usize) -> Result<Vec<A::Real>, ModelError> {
        let values = self
            .opt_f32s(name, n)?
            .ok_or_else(|| GgufError::MissingTensor { name: name.to_owned() })?;
        Ok(A::reals(&values))
    }

    /// A matrix `[n_rows, n_cols]` whose shape and type have been checked.
    fn file_tensor(
        &mut self,
        name: &str,
        n_rows: usize,
        n_cols: usize,
    ) -> Result<FileTensor, ModelError> {
        let view = self.gguf.tensor(name)?;
        check_shape(name, &view, &[n_rows as u64, n_cols as u64])?;
        check_type(name, &view)?;
        self.used.insert(name.to_owned());
        Ok(FileTensor {
            gguf: Arc::clone(self.gguf),
            name: name.to_owned(),
            ty: view.ty,
            n_rows,
            n_cols,
        })
    }

    /// A vector of `n` elements as f32, if the file has it.
    fn opt_f32s(&mut self, name: &str, n: usize) -> Result<Option<Vec<f32>>, ModelError> {
        let Some(view) = self.gguf.find_tensor(name) else { return Ok(None) };
        check_shape(name, &view, &[n as u64])?;
        check_type(name, &view)?;
        self.used.insert(name.to_owned());
        let mut values = vec![0.0; n];
        dequant::dequantize(view.ty, view.data, &mut values)?;
        Ok(Some(values))
    }
}

/// `expected` is outermost first, as in all our messages.
fn check_shape(name: &str, view: &TensorView<'_>, expected: &[u64]) -> Result<(), ModelError> {
    let found: Vec<u64> = view.dims.ne().iter().rev().copied().collect();
    // Trailing (here: leading) dimensions of 1 say nothing.
    let significant =
        found.iter().position(|d| *d != 1).map_or(&found[found.len() - 1..], |i| &found[i..]);
    let wanted = expected
        .iter()
        .position(|d| *d != 1)
        .map_or(&expected[expected.len() - 1..], |i| &expected[i..]);
    if significant != wanted || found.len() > expected.len() {
        return Err(ModelError::Shape {
            name: name.to_owned(),
            found,
            expected: expected.to_vec(),
        });
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
