//! Models with random weights, written as GGUF from a seed: the same bytes on every machine.
//!
//! They stand in for real models where only the shape matters (speed), and where every tensor type, head size and
//! option must be tried (tests): [`tiny_models`] lists the set that llama.cpp's goldens were captured from.
//! Weights are scaled so that activations neither vanish nor explode; norms are not one and biases not zero, so that
//! leaving one out shows. The generator is SplitMix64, one stream per tensor name.

mod blocks;
mod file_type;
mod random;
mod shape;
mod tiny;
mod vocab;

use crate::ModelError;
use gguf_parse::{GgmlType, GgufPlan, Value};
use random::Random;
use std::ops::ControlFlow;
use std::path::Path;

pub use file_type::SynthFileType;
pub use shape::Shape;
pub use tiny::tiny_models;

/// What a model is besides its shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SynthArch {
    /// `llama`.
    Llama,
    /// `qwen2`: biases on query, key and value, and RoPE on halves.
    Qwen2,
}

impl SynthArch {
    fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
        }
    }
}

/// How positions are stretched.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SynthRopeScaling {
    /// Not at all.
    None,
    /// Position interpolation by a factor.
    Linear(f32),
    /// YaRN by a factor.
    Yarn {
        /// How many times longer than the original context.
        factor: f32,
        /// The original context.
        n_ctx_orig: u32,
    },
}

/// Kinds of vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vocab {
    /// SentencePiece with byte tokens, as Llama 2 has.
    Spm,
    /// Byte-level BPE, as Qwen2 has.
    Bpe,
}

/// Everything that determines a random model.
#[derive(Debug, Clone, PartialEq)]
pub struct SynthOptions {
    /// Architecture.
    pub arch: SynthArch,
    /// Sizes.
    pub shape: Shape,
    /// Type of the matrices; vectors are `F32`.
    pub ty: GgmlType,
    /// Where the random numbers begin.
    pub seed: u64,
    /// Whether the token embedding is also the output matrix.
    pub tied_output: bool,
    /// Biases on query, key and value.
    pub qkv_bias: bool,
    /// A bias on the attention's output.
    pub attn_output_bias: bool,
    /// Biases in the feed-forward block.
    pub ffn_bias: bool,
    /// A tensor of divisors of the rotation's frequencies, as Llama 3 has.
    pub rope_freqs: bool,
    /// How positions are stretched.
    pub rope_scaling: SynthRopeScaling,
    /// Vocabulary.
    pub vocab: Vocab,
}

impl SynthOptions {
    /// A plain `llama` with an SPM vocabulary and its own output matrix, from seed 1.
    #[must_use]
    pub fn new(shape: Shape, ty: GgmlType) -> Self {
        Self {
            arch: SynthArch::Llama,
            shape,
            ty,
            seed: 1,
            tied_output: false,
            qkv_bias: false,
            attn_output_bias: false,
            ffn_bias: false,
            rope_freqs: false,
            rope_scaling: SynthRopeScaling::None,
            vocab: Vocab::Spm,
        }
    }

    /// The model of one of [`Shape::NAMES`], all of whose matrices have the type `ty`.
    #[must_use]
    pub fn named(name: &str, ty: GgmlType) -> Option<Self> {
        let shape = Shape::named(name)?;
        let llama = Self::new(shape, ty);
        let bpe = Self { vocab: Vocab::Bpe, ..llama.clone() };
        Some(match name {
            "smollm2-135m" => Self { tied_output: true, ..bpe },
            "qwen2.5-0.5b" => Self { tied_output: true, ..Self::qwen2(shape, ty) },
            "llama-3.2-1b" => Self { tied_output: true, rope_freqs: true, ..bpe },
            "llama-3.1-8b" => Self { rope_freqs: true, ..bpe },
            _ => llama,
        })
    }

    /// A `qwen2` with a BPE vocabulary and biases on query, key and value.
    #[must_use]
    pub fn qwen2(shape: Shape, ty: GgmlType) -> Self {
        let llama = Self::new(shape, ty);
        Self { arch: SynthArch::Qwen2, qkv_bias: true, vocab: Vocab::Bpe, ..llama }
    }
}

/// What the values of a tensor are like.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Values {
    /// Mean zero, with this root mean square.
    Weights(f32),
    /// Uniform in a range.
    Uniform(f32, f32),
}

/// A tensor of a random model.
#[derive(Debug, Clone, PartialEq)]
pub struct SynthTensor {
    name: String,
    ne: Vec<u64>,
    ty: GgmlType,
    values: Values,
}

impl SynthTensor {
    /// Name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Dimensions, innermost first as GGUF stores them.
    #[must_use]
    pub fn dims(&self) -> &[u64] {
        &self.ne
    }

    /// Type.
    #[must_use]
    pub fn ty(&self) -> GgmlType {
        self.ty
    }

    /// The tensor's bytes.
    fn generate(&self, seed: u64) -> Result<Vec<u8>, ModelError> {
        let n_bytes = self.n_bytes().ok_or_else(|| ModelError::Argument {
            what: "a row of a random model",
            found: format!("{} elements in {}", self.ne[0], self.name),
            allowed: format!("a multiple of {}", self.ty.block_elems()),
        })?;
        let mut bytes = vec![0; n_bytes];
        let mut random = Random::new(seed, &self.name);
        match self.values {
            Values::Weights(rms) => blocks::fill_weights(self.ty, rms, &mut random, &mut bytes)?,
            Values::Uniform(low, high) => bytes
                .chunks_exact_mut(4)
                .for_each(|b| b.copy_from_slice(&random.uniform(low, high).to_le_bytes())),
        }
        Ok(bytes)
    }

    fn n_bytes(&self) -> Option<usize> {
        let n_cols = usize::try_from(self.ne[0]).ok()?;
        let n_rows = usize::try_from(self.ne[1..].iter().product::<u64>()).ok()?;
        self.ty.row_bytes(n_cols)?.checked_mul(n_rows)
    }
}

/// A random model, ready to be written.
#[derive(Debug, Clone)]
pub struct SynthModel {
    options: SynthOptions,
    tensors: Vec<SynthTensor>,
    /// `None`: the file does not say.
    file_type: Option<SynthFileType>,
}

impl SynthModel {
    /// Lists the tensors of a model; nothing is generated yet.
    ///
    /// # Errors
    /// Sizes that contradict each other, or a vocabulary too small for its kind.
    pub fn new(options: SynthOptions) -> Result<Self, ModelError> {
        check(&options)?;
        let tensors = tensors(&options);
        Ok(Self { options, tensors, file_type: None })
    }

    /// The tensors in file order.
    #[must_use]
    pub fn tensors(&self) -> &[SynthTensor] {
        &self.tensors
    }

    /// Gives each matrix the type that `choose` says, as a file type's mix does.
    pub fn set_types(&mut self, mut choose: impl FnMut(&SynthTensor) -> GgmlType) {
        for tensor in &mut self.tensors {
            if matches!(tensor.values, Values::Weights(_)) {
                tensor.ty = choose(tensor);
            }
        }
    }

    /// Gives each matrix the type that a file quantized to `file_type` has there, and says so in the metadata.
    ///
    /// # Errors
    /// None that a model of this module can cause.
    pub fn set_file_type(&mut self, file_type: SynthFileType) -> Result<(), ModelError> {
        let types = file_type.types(&self.options, &self.tensors)?;
        for (tensor, ty) in self.tensors.iter_mut().zip(types) {
            tensor.ty = ty;
        }
        self.file_type = Some(file_type);
        Ok(())
    }

    /// Bytes of all tensors; `None` if a row is no whole number of blocks.
    #[must_use]
    pub fn n_bytes(&self) -> Option<u64> {
        self.tensors.iter().map(|tensor| Some(tensor.n_bytes()? as u64)).sum()
    }

    /// Writes the model to a file; `progress` gets the fraction done and may break off. The file has its name only
    /// once it is whole.
    ///
    /// # Errors
    /// A type that cannot be generated or whose blocks do not fit the rows; `Cancelled`; I/O errors.
    pub fn write(
        &self,
        path: &Path,
        mut progress: impl FnMut(f32) -> ControlFlow<()>,
    ) -> Result<(), ModelError> {
        let mut file = self.plan().create(path)?;
        for (i, tensor) in self.tensors.iter().enumerate() {
            file.write_tensor(&tensor.generate(self.options.seed)?)?;
            if progress((i + 1) as f32 / self.tensors.len() as f32).is_break() {
                return Err(ModelError::Cancelled);
            }
        }
        Ok(file.finish()?)
    }

    /// The whole file in memory.
    ///
    /// # Errors
    /// As [`Self::write`], but for I/O.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ModelError> {
        let generate = |tensor: &SynthTensor| tensor.generate(self.options.seed);
        let data = self.tensors.iter().map(generate).collect::<Result<Vec<_>, _>>()?;
        let data: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
        Ok(self.plan().to_bytes(&data)?)
    }

    fn plan(&self) -> GgufPlan {
        let mut plan = GgufPlan::new();
        describe(&self.options, &mut plan);
        if let Some(file_type) = self.file_type {
            file_type.describe(&mut plan);
        }
        for tensor in &self.tensors {
            plan.tensor(&tensor.name, tensor.ty, &tensor.ne);
        }
        plan
    }
}

fn check(options: &SynthOptions) -> Result<(), ModelError> {
    let shape = &options.shape;
    let refuse = |what, found: usize, allowed: String| {
        Err(ModelError::Argument { what, found: found.to_string(), allowed })
    };
    let sizes =
        [shape.n_embd, shape.n_layer, shape.n_head, shape.n_head_kv, shape.n_ff, shape.n_ctx_train];
    if let Some(&size) = sizes.iter().find(|&&size| size == 0 || u32::try_from(size).is_err()) {
        return refuse("a size of a random model", size, format!("1..={}", u32::MAX));
    }
    if !shape.n_head.is_multiple_of(shape.n_head_kv) {
        let allowed = format!("a divisor of {} heads", shape.n_head);
        return refuse("n_head_kv of a random model", shape.n_head_kv, allowed);
    }
    if shape.n_embd_head == 0 || !shape.n_embd_head.is_multiple_of(2) {
        return refuse("n_embd_head of a random model", shape.n_embd_head, "even".to_owned());
    }
    let min_tokens = options.vocab.min_tokens();
    if shape.n_vocab < min_tokens || shape.n_vocab > 400_000 {
        return refuse(
            "n_vocab of a random model",
            shape.n_vocab,
            format!("{min_tokens}..=400000"),
        );
    }
    let n_embd_q = shape.n_head * shape.n_embd_head;
    if options.arch == SynthArch::Qwen2 && n_embd_q != shape.n_embd {
        return refuse(
            "n_head * n_embd_head of a random qwen2",
            n_embd_q,
            shape.n_embd.to_string(),
        );
    }
    Ok(())
}

/// The metadata.
fn describe(options: &SynthOptions, plan: &mut GgufPlan) {
    let (arch, shape) = (options.arch.name(), &options.shape);
    plan.set("general.architecture", Value::Str(arch));
    plan.set("general.name", Value::Str("random weights"));
    plan.set("general.alignment", Value::U32(32));
    let mut set = |key: &str, value: Value<'_>| {
        plan.set(&format!("{arch}.{key}"), value);
    };
    let mut set_size =
        |key: &str, n: usize| set(key, Value::U32(u32::try_from(n).unwrap_or(u32::MAX)));
    set_size("context_length", shape.n_ctx_train);
    set_size("embedding_length", shape.n_embd);
    set_size("block_count", shape.n_layer);
    set_size("feed_forward_length", shape.n_ff);
    set_size("attention.head_count", shape.n_head);
    set_size("attention.head_count_kv", shape.n_head_kv);
    set_size("attention.key_length", shape.n_embd_head);
    set_size("attention.value_length", shape.n_embd_head);
    set_size("rope.dimension_count", shape.n_embd_head);
    set_size("vocab_size", shape.n_vocab);
    set("attention.layer_norm_rms_epsilon", Value::F32(1e-5));
    set("rope.freq_base", Value::F32(10_000.0));
    match options.rope_scaling {
        SynthRopeScaling::None => {}
        SynthRopeScaling::Linear(factor) => {
            set("rope.scaling.type", Value::Str("linear"));
            set("rope.scaling.factor", Value::F32(factor));
        }
        SynthRopeScaling::Yarn { factor, n_ctx_orig } => {
            set("rope.scaling.type", Value::Str("yarn"));
            set("rope.scaling.factor", Value::F32(factor));
            set("rope.scaling.original_context_length", Value::U32(n_ctx_orig));
        }
    }
    options.vocab.describe(shape.n_vocab, plan);
}

/// The tensor table: shapes are innermost first.
fn tensors(options: &SynthOptions) -> Vec<SynthTensor> {
    let shape = &options.shape;
    let mut list = TensorList { ty: options.ty, tensors: Vec::new() };
    let values =
        Values::Weights(if options.tied_output { 2.0 / (shape.n_embd as f32).sqrt() } else { 1.0 });
    list.push("token_embd.weight".to_owned(), &[shape.n_embd, shape.n_vocab], options.ty, values);
    list.norm("output_norm", shape.n_embd);
    if !options.tied_output {
        list.matrix("output", shape.n_embd, shape.n_vocab);
    }
    if options.rope_freqs {
        list.vector("rope_freqs.weight", shape.n_embd_head / 2, Values::Uniform(1.0, 8.0));
    }
    for il in 0..shape.n_layer {
        list.layer(il, options);
    }
    list.tensors
}

struct TensorList {
    ty: GgmlType,
    tensors: Vec<SynthTensor>,
}

impl TensorList {
    fn layer(&mut self, il: usize, options: &SynthOptions) {
        let shape = &options.shape;
        let (n_embd, n_ff) = (shape.n_embd, shape.n_ff);
        let (n_q, n_kv) = (shape.n_head * shape.n_embd_head, shape.n_head_kv * shape.n_embd_head);
        self.norm(&format!("blk.{il}.attn_norm"), n_embd);
        let parts = [
            ("attn_q", n_embd, n_q, options.qkv_bias),
            ("attn_k", n_embd, n_kv, options.qkv_bias),
            ("attn_v", n_embd, n_kv, options.qkv_bias),
            ("attn_output", n_q, n_embd, options.attn_output_bias),
            ("ffn_gate", n_embd, n_ff, options.ffn_bias),
            ("ffn_up", n_embd, n_ff, options.ffn_bias),
            ("ffn_down", n_ff, n_embd, options.ffn_bias),
        ];
        for (part, n_in, n_out, has_bias) in parts {
            if part == "ffn_gate" {
                self.norm(&format!("blk.{il}.ffn_norm"), n_embd);
            }
            self.matrix(&format!("blk.{il}.{part}"), n_in, n_out);
            if has_bias {
                let values = Values::Uniform(-0.5, 0.5);
                self.vector(&format!("blk.{il}.{part}.bias"), n_out, values);
            }
        }
    }

    /// Outputs have about the root mean square of the inputs.
    fn matrix(&mut self, name: &str, n_in: usize, n_out: usize) {
        let values = Values::Weights(1.0 / (n_in as f32).sqrt());
        self.push(format!("{name}.weight"), &[n_in, n_out], self.ty, values);
    }

    fn norm(&mut self, name: &str, n: usize) {
        self.vector(&format!("{name}.weight"), n, Values::Uniform(0.5, 1.5));
    }

    fn vector(&mut self, name: &str, n: usize, values: Values) {
        self.push(name.to_owned(), &[n], GgmlType::F32, values);
    }

    fn push(&mut self, name: String, ne: &[usize], ty: GgmlType, values: Values) {
        let ne = ne.iter().map(|&n| n as u64).collect();
        self.tensors.push(SynthTensor { name, ne, ty, values });
    }
}
