//! The architectures that run, as data: everything in which one differs from plain llama is a field of its row, a
//! hyper-parameter, or a tensor that is there or not. docs/architectures.md says the same for people.

mod labels;
mod table;

pub(crate) use labels::{Labels, PostNormLabel};
pub(crate) use table::{ARCHS, arch_names};

use kernels::RopeKind;

/// What is special about an architecture.
#[derive(Debug, Clone)]
pub(crate) struct Arch {
    /// `general.architecture`.
    pub(crate) name: &'static str,
    /// Tensors that must be there although others do without (`attn_q.bias` is that of every layer).
    pub(crate) required: &'static [&'static str],
    /// Whether the output is the token embedding even if the file has an `output.weight`.
    pub(crate) tied: bool,
    /// What the embedding is multiplied with, and other factors on the way.
    pub(crate) scales: Scales,
    /// Whether positions have an embedding (`position_embd.weight`), added to the token's.
    pub(crate) position_embd: bool,
    /// What every norm does, but those of queries and keys where they say otherwise.
    pub(crate) norm: NormKind,
    /// Where a block normalizes.
    pub(crate) block_norms: BlockNorms,
    /// How a block's two halves are added up.
    pub(crate) sum: Sum,
    /// Norms of queries and keys before RoPE.
    pub(crate) qk_norm: QkNorm,
    /// Which elements RoPE pairs; `None` if nothing is rotated.
    pub(crate) rope: Option<RopeKind>,
    /// What else is special about RoPE.
    pub(crate) rope_options: RopeOptions,
    /// Layers that see a window of positions only.
    pub(crate) swa: Option<Swa>,
    /// Scores are scaled before they are scores: queries are multiplied.
    pub(crate) scales_queries: bool,
    /// `attn_logit_softcapping` where the file has no such key; `None` where the key means nothing.
    pub(crate) attn_softcap: Option<f32>,
    /// `final_logit_softcapping`, likewise; 0 is none.
    pub(crate) final_softcap: Option<f32>,
    /// The feed-forward block's matrices.
    pub(crate) ffn: FfnKind,
    /// Its function.
    pub(crate) act: Act,
    /// Mixture of experts, where the file may have one.
    pub(crate) moe: Option<MoeKind>,
    /// What llama.cpp calls the nodes.
    pub(crate) labels: Labels,
}

/// A normalization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NormKind {
    /// RMSNorm (arXiv 1910.07467).
    Rms,
    /// LayerNorm (1607.06450).
    Layer,
}

/// Where a block normalizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BlockNorms {
    /// Before both halves.
    Before,
    /// Behind both halves, before they are added.
    Behind,
    /// Before and behind.
    Around,
    /// Once before both, which run side by side.
    Shared,
}

/// How `x`, attention and feed-forward become the block's output. Floating-point addition has an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sum {
    /// One behind the other: the feed-forward block sees `x + attention`.
    InTurn,
    /// `(attention + ffn) + x`, attention first.
    AttnFfnX,
    /// `(ffn + attention) + x`.
    FfnAttnX,
    /// `(ffn + x) + attention`.
    FfnXAttn,
    /// `ffn + (attention + x)`.
    AttnXFfn,
    /// As the file says: `FfnXAttn` if `use_parallel_residual`, else `InTurn`.
    ByKey,
    /// As the tensors say: `AttnXFfn` without an `ffn_norm`, else `InTurn`.
    ByFfnNorm,
}

/// Norms of queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QkNorm {
    /// None.
    None,
    /// One weight vector for every head.
    Head,
    /// Over all heads together.
    Row,
    /// A weight vector for each head, if the file has them.
    EachHead,
}

/// The factors of an architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scales {
    /// None.
    None,
    /// The embedding times `sqrt(n_embd)`.
    Gemma,
    /// Embedding, residual, attention and logit multipliers by key.
    Granite,
    /// The same without the one of attention; MiniCPM's where a key is missing.
    MiniCpm,
    /// Logits times `logit_scale`.
    Cohere,
}

/// What is special about RoPE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RopeOptions {
    /// Heads may be rotated in part.
    pub(crate) partial: bool,
    /// Divisors of the frequencies (`rope_freqs.weight`, `rope_factors_{long,short}.weight`) are read.
    pub(crate) factors: bool,
    /// Every so-manyth layer rotates nothing.
    pub(crate) skip_every: Option<usize>,
    /// `rope.scaling.finetuned` = false switches RoPE off.
    pub(crate) switch: bool,
    /// YaRN's parameters have keys, and attention gets colder with the position (`attention.temperature_scale`).
    pub(crate) mistral3: bool,
}

/// Sliding windows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Swa {
    /// Every so-manyth layer sees everything, where `attention.sliding_window_pattern` does not say otherwise.
    pub(crate) pattern: usize,
    /// The window where `attention.sliding_window` does not say it; `None`: no windows then.
    pub(crate) n_swa: Option<usize>,
    /// Only models of so many layers have windows at all.
    pub(crate) n_layer: Option<usize>,
    /// RoPE of the layers with a window.
    pub(crate) rope: SwaRope,
}

/// RoPE of layers with a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum SwaRope {
    /// As elsewhere, but with the base `rope.freq_base_swa` if there is such a key.
    SameBase,
    /// Never stretched; base `rope.freq_base_swa`, 10000 without the key.
    OwnBase,
    /// Never stretched, as YaRN would do elsewhere.
    Unscaled,
    /// As elsewhere, and elsewhere nothing is rotated.
    Only,
}

/// The feed-forward block's matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FfnKind {
    /// gate, up and down.
    Gated,
    /// gate and up in one tensor, `ffn_up`.
    GatedFused,
    /// up and down.
    Plain,
}

/// The feed-forward block's function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// `x / (1 + exp(-x))`
    Silu,
    /// `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`
    Gelu,
    /// `max(x, 0)^2`
    ReluSqr,
}

/// Mixtures of experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MoeKind {
    /// The file must have experts.
    pub(crate) required: bool,
    /// The weights of the chosen experts are divided by their sum.
    pub(crate) normalized: bool,
    /// An expert that every token passes.
    pub(crate) shared: SharedExpert,
}

/// The expert that every token passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SharedExpert {
    /// None.
    None,
    /// If the file gives its width.
    ByKey,
    /// Always, weighted by a sigmoid.
    Gated,
}
