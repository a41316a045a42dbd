//! Hyper-parameters: what the metadata says of a model's shape, checked before anything is allocated.
//!
//! | GGUF key (`llama.` or another architecture's prefix) | field | Hugging Face config | paper |
//! |---|---|---|---|
//! | `block_count` | `n_layer` | `num_hidden_layers` | L |
//! | `embedding_length` | `n_embd` | `hidden_size` | d_model |
//! | `attention.head_count` | `n_head` | `num_attention_heads` | h |
//! | `attention.head_count_kv` | `n_head_kv` | `num_key_value_heads` | groups of GQA |
//! | `attention.key_length` | `n_embd_head` | `head_dim` | d_k |
//! | `feed_forward_length` | `n_ff` | `intermediate_size` | d_ff |
//! | `context_length` | `n_ctx_train` | `max_position_embeddings` | n_ctx |
//! | `attention.layer_norm_rms_epsilon` | `norm_rms_eps` | `rms_norm_eps` | epsilon |
//! | `rope.freq_base` | `rope.freq_base` | `rope_theta` | base of theta_i |
//! | `rope.dimension_count` | `rope.n_rot` | `head_dim * partial_rotary_factor` | d of RoPE |
//! | `rope.scaling.*` | `rope.*` | `rope_scaling` | s of PI and YaRN |

use crate::ModelError;
use crate::arch::{ARCHS, Arch, arch_names};
use gguf_parse::{ArrayView, FromValue, Gguf, Metadata, Value};
use kernels::RopeKind;

/// The most layers and heads a model may have (llama.cpp's `LLAMA_MAX_LAYERS` is 512).
const MAX_LAYERS: u32 = 512;
const MAX_HEADS: u32 = 65_536;

/// Rotary position embedding: RoFormer (arXiv 2104.09864), position interpolation (2306.15595), YaRN (2309.00071).
#[derive(Debug, Clone, PartialEq)]
pub struct RopeParams {
    /// Which elements form a pair.
    pub kind: RopeKind,
    /// How many elements of a head are rotated; even.
    pub n_rot: usize,
    /// Base of the frequencies.
    pub freq_base: f32,
    /// Positions are multiplied by it: 1 / the scaling factor.
    pub freq_scale: f32,
    /// YaRN: share of extrapolation, 0 without YaRN.
    pub ext_factor: f32,
    /// Magnitude of the rotation (llama.cpp's `attn_factor`, with YaRN's own correction cancelled).
    pub attn_factor: f32,
    /// YaRN: rotations at which a dimension counts as high-frequency.
    pub beta_fast: f32,
    /// YaRN: rotations at which a dimension counts as low-frequency.
    pub beta_slow: f32,
    /// The context that the model was first trained with.
    pub n_ctx_orig: usize,
}

/// The shape of a model. Sizes are elements.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Hparams {
    /// `general.architecture`.
    pub arch: &'static str,
    /// Layers.
    pub n_layer: usize,
    /// Width of the residual stream.
    pub n_embd: usize,
    /// Query heads.
    pub n_head: usize,
    /// Key and value heads; divides `n_head`.
    pub n_head_kv: usize,
    /// Elements of a head.
    pub n_embd_head: usize,
    /// Width of the feed-forward block.
    pub n_ff: usize,
    /// Tokens of the vocabulary.
    pub n_vocab: usize,
    /// The context the model was trained for.
    pub n_ctx_train: usize,
    /// Epsilon of RMSNorm.
    pub norm_rms_eps: f32,
    /// Scores are multiplied by it: `1/sqrt(n_embd_head)` unless the file says otherwise.
    pub attention_scale: f32,
    /// Rotary position embedding.
    pub rope: RopeParams,
}

impl Hparams {
    /// Elements of all query heads together.
    #[must_use]
    pub fn n_embd_q(&self) -> usize {
        self.n_head * self.n_embd_head
    }

    /// Elements of all key (or value) heads together.
    #[must_use]
    pub fn n_embd_kv(&self) -> usize {
        self.n_head_kv * self.n_embd_head
    }

    /// Reads and checks the hyper-parameters.
    ///
    /// # Errors
    /// An unknown architecture; a key that is missing, of the wrong type or out of its range.
    pub(crate) fn from_gguf(gguf: &Gguf) -> Result<(Self, &'static Arch), ModelError> {
        let name: &str = gguf.metadata().get("general.architecture")?;
        let Some(arch) = ARCHS.iter().find(|a| a.name == name) else {
            let found = name.chars().take(64).collect();
            return Err(ModelError::UnknownArch { found, known: arch_names() });
        };
        let keys = Keys { metadata: gguf.metadata(), arch: arch.name };
        keys.refuse_experts()?;
        let n_layer = keys.dim("block_count", MAX_LAYERS)?;
        let n_embd = keys.dim("embedding_length", 1 << 24)?;
        let n_head =
            keys.uniform("attention.head_count", n_layer, MAX_HEADS)?.ok_or_else(|| {
                gguf_parse::GgufError::MissingKey {
                    key: format!("{}.attention.head_count", arch.name),
                }
            })?;
        let n_head_kv =
            keys.uniform("attention.head_count_kv", n_layer, MAX_HEADS)?.unwrap_or(n_head);
        if !n_head.is_multiple_of(n_head_kv) {
            return Err(keys.wrong(
                "attention.head_count_kv",
                n_head_kv,
                &format!("a divisor of {n_head} heads"),
            ));
        }
        let n_embd_head = keys.head_size(n_embd, n_head)?;
        let n_ff = keys.uniform("feed_forward_length", n_layer, 1 << 26)?.ok_or_else(|| {
            gguf_parse::GgufError::MissingKey { key: format!("{}.feed_forward_length", arch.name) }
        })?;
        let n_ctx_train = keys.dim("context_length", u32::MAX)?;
        let norm_rms_eps = keys.positive("attention.layer_norm_rms_epsilon")?.ok_or_else(|| {
            gguf_parse::GgufError::MissingKey {
                key: format!("{}.attention.layer_norm_rms_epsilon", arch.name),
            }
        })?;
        let rope = keys.rope(arch, n_embd_head, n_ctx_train)?;
        Ok((
            Self {
                arch: arch.name,
                n_layer,
                n_embd,
                n_head,
                n_head_kv,
                n_embd_head,
                n_ff,
                n_vocab: keys.n_vocab(gguf)?,
                n_ctx_train,
                norm_rms_eps,
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "a head has far fewer than 2^24 elements"
                )]
                attention_scale: 1.0 / (n_embd_head as f32).sqrt(),
                rope,
            },
            arch,
        ))
    }
}

/// The metadata as seen by one architecture: keys get its prefix.
struct Keys<'a> {
    metadata: Metadata<'a>,
    arch: &'static str,
}

impl<'a> Keys<'a> {
    fn wrong(&self, key: &str, found: impl ToString, allowed: &str) -> ModelError {
        ModelError::Hparam {
            key: format!("{}.{key}", self.arch),
            found: found.to_string(),
            allowed: allowed.to_owned(),
        }
    }

    fn opt<T: FromValue<'a>>(&self, key: &str) -> Result<Option<T>, ModelError> {
        Ok(self.metadata.get_opt(&format!("{}.{key}", self.arch))?)
    }

    /// A required size, `1..=max`.
    fn dim(&self, key: &str, max: u32) -> Result<usize, ModelError> {
        let n: u32 = self.metadata.get(&format!("{}.{key}", self.arch))?;
        self.in_range(key, n, max)
    }

    fn in_range(&self, key: &str, n: u32, max: u32) -> Result<usize, ModelError> {
        if n == 0 || n > max {
            return Err(self.wrong(key, n, &format!("1..={max}")));
        }
        Ok(n as usize)
    }

    /// A size that may be given once or once a layer; layers that differ are not supported.
    fn uniform(&self, key: &str, n_layer: usize, max: u32) -> Result<Option<usize>, ModelError> {
        let full = format!("{}.{key}", self.arch);
        let Some(Value::Array(array)) = self.metadata.value(&full) else {
            return self.opt::<u32>(key)?.map(|n| self.in_range(key, n, max)).transpose();
        };
        let values = as_u32s(array).filter(|v| v.len() == n_layer).ok_or_else(|| {
            self.wrong(key, format!("an array of {}", array.len()), &format!("{n_layer} numbers"))
        })?;
        if values.iter().any(|v| *v != values[0]) {
            return Err(ModelError::Unsupported {
                key: full,
                found: "an array".to_owned(),
                feature: "a size that differs from layer to layer",
            });
        }
        self.in_range(key, values[0], max).map(Some)
    }

    /// A finite number above zero.
    fn positive(&self, key: &str) -> Result<Option<f32>, ModelError> {
        match self.opt::<f32>(key)? {
            Some(x) if !(x.is_finite() && x > 0.0) => Err(self.wrong(key, x, "finite and above 0")),
            x => Ok(x),
        }
    }

    /// Mixtures of experts are known but not run.
    fn refuse_experts(&self) -> Result<(), ModelError> {
        let n_expert = self.opt::<u32>("expert_count")?.unwrap_or(0);
        let n_used = self.opt::<u32>("expert_used_count")?.unwrap_or(0);
        if n_expert > 512 {
            return Err(self.wrong("expert_count", n_expert, "0..=512"));
        }
        if n_used > n_expert || (n_expert > 0 && n_used == 0) {
            return Err(self.wrong(
                "expert_used_count",
                n_used,
                &format!("1..={n_expert}, or absent without experts"),
            ));
        }
        if n_expert > 0 {
            return Err(ModelError::Unsupported {
                key: format!("{}.expert_count", self.arch),
                found: n_expert.to_string(),
                feature: "a mixture of experts",
            });
        }
        Ok(())
    }

    fn head_size(&self, n_embd: usize, n_head: usize) -> Result<usize, ModelError> {
        let mut size = None;
        for key in ["attention.key_length", "attention.value_length"] {
            let found = match self.opt::<u32>(key)? {
                Some(n) => self.in_range(key, n, 1 << 16)?,
                None if !n_embd.is_multiple_of(n_head) => {
                    return Err(self.wrong(
                        "embedding_length",
                        n_embd,
                        &format!("a multiple of {n_head} heads"),
                    ));
                }
                None => n_embd / n_head,
            };
            if *size.get_or_insert(found) != found {
                return Err(ModelError::Unsupported {
                    key: format!("{}.{key}", self.arch),
                    found: found.to_string(),
                    feature: "a value head of another size than the key head",
                });
            }
        }
        Ok(size.unwrap_or(n_embd / n_head))
    }

    /// The rows of the embedding matrix, which the vocabulary must agree with.
    fn n_vocab(&self, gguf: &Gguf) -> Result<usize, ModelError> {
        let n_vocab = gguf.tensor("token_embd.weight")?.dims.n_rows();
        if let Some(tokens) = self.metadata.get_opt::<ArrayView<'_>>("tokenizer.ggml.tokens")?
            && tokens.len() != n_vocab
        {
            return Err(ModelError::Hparam {
                key: "tokenizer.ggml.tokens".to_owned(),
                found: format!("an array of {}", tokens.len()),
                allowed: format!("{n_vocab} tokens, the rows of token_embd.weight"),
            });
        }
        Ok(n_vocab)
    }

    fn rope(
        &self,
        arch: &Arch,
        n_embd_head: usize,
        n_ctx_train: usize,
    ) -> Result<RopeParams, ModelError> {
        let n_rot = match self.opt::<u32>("rope.dimension_count")? {
            Some(n) => self.in_range("rope.dimension_count", n, u32::MAX)?,
            None => n_embd_head,
        };
        // Both architectures so far rotate whole heads; llama.cpp refuses anything else for them.
        if n_rot != n_embd_head || !n_rot.is_multiple_of(2) {
            let allowed = format!("{n_embd_head}, the size of a head, and even");
            return Err(self.wrong("rope.dimension_count", n_rot, &allowed));
        }
        let kind = self.opt::<&str>("rope.scaling.type")?.unwrap_or("linear");
        if !["none", "linear", "yarn"].contains(&kind) {
            return Err(ModelError::Unsupported {
                key: format!("{}.rope.scaling.type", self.arch),
                found: kind.chars().take(64).collect(),
                feature: "this kind of RoPE scaling",
            });
        }
        let factor = match self.scaling_factor("rope.scaling.factor")? {
            None => self.scaling_factor("rope.scale_linear")?,
            some => some,
        };
        let freq_scale = match factor {
            Some(f) if f != 0.0 && kind != "none" => 1.0 / f,
            _ => 1.0,
        };
        let n_ctx_orig = match self.opt::<u32>("rope.scaling.original_context_length")? {
            Some(n) => self.in_range("rope.scaling.original_context_length", n, u32::MAX)?,
            None => n_ctx_train,
        };
        let ext_factor = if kind == "yarn" { 1.0 } else { 0.0 };
        let attn_factor = self.positive("rope.scaling.attn_factor")?.unwrap_or(1.0);
        Ok(RopeParams {
            kind: arch.rope,
            n_rot,
            freq_base: self.positive("rope.freq_base")?.unwrap_or(10_000.0),
            freq_scale,
            ext_factor,
            attn_factor: yarn_attn_factor(ext_factor, freq_scale) * attn_factor,
            // llama.cpp reads no key for these two in the architectures here.
            beta_fast: 32.0,
            beta_slow: 1.0,
            n_ctx_orig,
        })
    }

    /// A scaling factor; 0 means none, as in llama.cpp.
    fn scaling_factor(&self, key: &str) -> Result<Option<f32>, ModelError> {
        match self.opt::<f32>(key)? {
            Some(x) if !(x.is_finite() && x >= 0.0) => {
                Err(self.wrong(key, x, "finite and not negative"))
            }
            x => Ok(x),
        }
    }
}

/// llama.cpp's magnitude for YaRN before the rope kernel multiplies in `1 + 0.1 ln(1/freq_scale)`: that
/// factor's inverse times the intended `1 + 0.1 ln(factor)`, in its order of `f32` operations.
fn yarn_attn_factor(ext_factor: f32, freq_scale: f32) -> f32 {
    if ext_factor == 0.0 {
        return 1.0;
    }
    let factor = 1.0 / freq_scale;
    let mscale = if factor <= 1.0 { 1.0 } else { 0.1 * factor.ln() + 1.0 };
    mscale * (1.0 / (1.0 + 0.1 * factor.ln()))
}

/// Any integer array as `u32`s; `None` if it holds something else or a negative number.
fn as_u32s(array: ArrayView<'_>) -> Option<Vec<u32>> {
    if let Some(values) = array.to_u32s() {
        return Some(values);
    }
    array.to_i32s()?.into_iter().map(|v| u32::try_from(v).ok()).collect()
}
