//! Sizes of models, by name.

/// Sizes of a model, in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Width of the residual stream.
    pub n_embd: usize,
    /// Layers.
    pub n_layer: usize,
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
    /// Context the model claims to be trained for.
    pub n_ctx_train: usize,
}

impl Shape {
    /// TinyLlama 1.1B.
    pub const TINYLLAMA_1_1B: Self = Self {
        n_embd: 2048,
        n_layer: 22,
        n_head: 32,
        n_head_kv: 4,
        n_embd_head: 64,
        n_ff: 5632,
        n_vocab: 32_000,
        n_ctx_train: 2048,
    };

    /// Two layers of width 256, which is one block of a K-quant: 4 heads of 64.
    pub const TINY: Self = Self {
        n_embd: 256,
        n_layer: 2,
        n_head: 4,
        n_head_kv: 2,
        n_embd_head: 64,
        n_ff: 512,
        n_vocab: 320,
        n_ctx_train: 2048,
    };

    /// SmolLM2 135M.
    pub const SMOLLM2_135M: Self = Self {
        n_embd: 576,
        n_layer: 30,
        n_head: 9,
        n_head_kv: 3,
        n_embd_head: 64,
        n_ff: 1536,
        n_vocab: 49_152,
        n_ctx_train: 8192,
    };

    /// Qwen2.5 0.5B.
    pub const QWEN2_5_0_5B: Self = Self {
        n_embd: 896,
        n_layer: 24,
        n_head: 14,
        n_head_kv: 2,
        n_embd_head: 64,
        n_ff: 4864,
        n_vocab: 151_936,
        n_ctx_train: 32_768,
    };

    /// Llama 3.2 1B.
    pub const LLAMA_3_2_1B: Self = Self {
        n_embd: 2048,
        n_layer: 16,
        n_head: 32,
        n_head_kv: 8,
        n_embd_head: 64,
        n_ff: 8192,
        n_vocab: 128_256,
        n_ctx_train: 131_072,
    };

    /// Llama 3.1 8B.
    pub const LLAMA_3_1_8B: Self = Self {
        n_embd: 4096,
        n_layer: 32,
        n_head: 32,
        n_head_kv: 8,
        n_embd_head: 128,
        n_ff: 14_336,
        n_vocab: 128_256,
        n_ctx_train: 131_072,
    };

    /// Names that [`Self::named`] knows.
    pub const NAMES: &[&str] =
        &["tiny", "smollm2-135m", "qwen2.5-0.5b", "tinyllama-1.1b", "llama-3.2-1b", "llama-3.1-8b"];

    /// A shape by its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "tiny" => Self::TINY,
            "smollm2-135m" => Self::SMOLLM2_135M,
            "qwen2.5-0.5b" => Self::QWEN2_5_0_5B,
            "tinyllama-1.1b" => Self::TINYLLAMA_1_1B,
            "llama-3.2-1b" => Self::LLAMA_3_2_1B,
            "llama-3.1-8b" => Self::LLAMA_3_1_8B,
            _ => return None,
        })
    }
}
