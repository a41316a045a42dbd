//! Models with random weights, written as GGUF from a seed: the same bytes on every machine.
//!
//! They stand in for real models where only the shape matters (speed), and where every tensor type, head size and
//! option must be tried (tests): [`tiny_models`] lists the set that llama.cpp's goldens were captured from.
//! Weights are scaled so that activations neither vanish nor explode; norms are not one and biases not zero, so that
//! leaving one out shows. The generator is SplitMix64, one stream per tensor name.

mod blocks;
mod describe;
mod file_type;
mod random;
mod shape;
mod tensors;
mod tiny;
mod vocab;

use crate::ModelError;
use crate::arch::{ARCHS, Arch, arch_names};
use gguf_parse::{GgmlType, GgufPlan};
use random::Random;
use std::ops::ControlFlow;
use std::path::Path;

pub use file_type::SynthFileType;
pub use shape::Shape;
pub use tiny::tiny_models;

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
    /// LongRoPE: divisors of the frequencies, others beyond the original context.
    Long {
        /// The original context.
        n_ctx_orig: u32,
    },
}

/// The value of a metadata key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SynthValue {
    /// An integer.
    U32(u32),
    /// A number.
    F32(f32),
    /// A switch.
    Bool(bool),
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
    /// Architecture: a name that models can have.
    pub arch: &'static str,
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
    /// Elements of a head that are rotated, if not all.
    pub n_rot: Option<usize>,
    /// Query, key and value in one tensor.
    pub fused_qkv: bool,
    /// Norms of each head's queries and keys, where they are optional.
    pub head_norms: bool,
    /// Attention and feed-forward block side by side, where that is optional.
    pub parallel: bool,
    /// Experts of a layer, and how many of them a token passes.
    pub experts: Option<(usize, usize)>,
    /// Further metadata, without the architecture's prefix.
    pub keys: Vec<(&'static str, SynthValue)>,
}

impl SynthOptions {
    /// A plain `llama` with an SPM vocabulary and its own output matrix, from seed 1.
    #[must_use]
    pub fn new(shape: Shape, ty: GgmlType) -> Self {
        Self {
            arch: "llama",
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
            n_rot: None,
            fused_qkv: false,
            head_norms: false,
            parallel: false,
            experts: None,
            keys: Vec::new(),
        }
    }

    /// Its row in the table of architectures.
    fn row(&self) -> Option<&'static Arch> {
        ARCHS.iter().find(|arch| arch.name == self.arch)
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
        Self { arch: "qwen2", qkv_bias: true, vocab: Vocab::Bpe, ..llama }
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
        let arch = check(&options)?;
        let tensors = tensors::tensors(&options, arch);
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
        describe::describe(&self.options, &mut plan);
        if let Some(file_type) = self.file_type {
            file_type.describe(&mut plan);
        }
        for tensor in &self.tensors {
            plan.tensor(&tensor.name, tensor.ty, &tensor.ne);
        }
        plan
    }
}

fn check(options: &SynthOptions) -> Result<&'static Arch, ModelError> {
    let shape = &options.shape;
    let arch = options.row().ok_or_else(|| ModelError::Argument {
        what: "the architecture of a random model",
        found: options.arch.to_owned(),
        allowed: format!("one of {}", arch_names().join(", ")),
    })?;
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
    if options.arch == "qwen2" && n_embd_q != shape.n_embd {
        return refuse(
            "n_head * n_embd_head of a random qwen2",
            n_embd_q,
            shape.n_embd.to_string(),
        );
    }
    Ok(arch)
}
