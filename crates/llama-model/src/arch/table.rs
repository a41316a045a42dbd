//! One row for each architecture: what differs from llama. The source is llama.cpp's graph builder of that name.

use super::labels::LABELS;
use super::{
    Act, Arch, BlockNorms, FfnKind, Labels, MoeKind, NormKind, PostNormLabel, QkNorm, RopeOptions,
    Scales, SharedExpert, Sum, Swa, SwaRope,
};
use kernels::RopeKind::{Neox, Norm};

const LLAMA: Arch = Arch {
    name: "llama",
    required: &[],
    tied: false,
    scales: Scales::None,
    position_embd: false,
    norm: NormKind::Rms,
    block_norms: BlockNorms::Before,
    sum: Sum::InTurn,
    qk_norm: QkNorm::None,
    rope: Some(Norm),
    rope_options: RopeOptions { factors: true, ..ROPE },
    swa: None,
    scales_queries: false,
    attn_softcap: None,
    final_softcap: None,
    ffn: FfnKind::Gated,
    act: Act::Silu,
    moe: Some(MoeKind { required: false, normalized: true, shared: SharedExpert::None }),
    labels: Labels { attn_out: "attn_out", ..LABELS },
};

const ROPE: RopeOptions = RopeOptions {
    partial: false,
    factors: false,
    skip_every: None,
    switch: false,
    mistral3: false,
};
const PARTIAL: RopeOptions = RopeOptions { partial: true, ..ROPE };

/// A dense llama whose builder names fewer nodes and reads no frequency factors.
const PLAIN: Arch = Arch { rope_options: ROPE, moe: None, labels: LABELS, ..LLAMA };

/// LayerNorm with biases, biases everywhere, GELU without a gate: the family of GPT-2.
const GPT: Arch = Arch {
    norm: NormKind::Layer,
    ffn: FfnKind::Plain,
    act: Act::Gelu,
    required: &[
        "output_norm.bias",
        "attn_norm.bias",
        "attn_output.bias",
        "ffn_norm.bias",
        "ffn_up.bias",
        "ffn_down.bias",
    ],
    ..PLAIN
};

const GEMMA: Arch = Arch {
    rope: Some(Neox),
    tied: true,
    scales: Scales::Gemma,
    scales_queries: true,
    act: Act::Gelu,
    labels: Labels { q_scaled: "Qcur_scaled", ffn_inp: "sa_out", ..LABELS },
    ..PLAIN
};
const GEMMA2: Arch = Arch {
    block_norms: BlockNorms::Around,
    rope_options: PARTIAL,
    labels: Labels { ffn_inp: "sa_out", ..LABELS },
    ..GEMMA
};
const LAYERED: PostNormLabel =
    PostNormLabel { label: "ffn_post_norm", layered: true, norm_layered: false };

const GRANITE: Arch = Arch {
    scales: Scales::Granite,
    rope_options: RopeOptions { factors: true, switch: true, ..ROPE },
    moe: Some(MoeKind { shared: SharedExpert::ByKey, ..MIXTRAL }),
    ..LLAMA
};
const MIXTRAL: MoeKind = MoeKind { required: false, normalized: true, shared: SharedExpert::None };

const COMMAND_R: Arch = Arch {
    tied: true,
    norm: NormKind::Layer,
    block_norms: BlockNorms::Shared,
    sum: Sum::FfnXAttn,
    qk_norm: QkNorm::EachHead,
    rope_options: PARTIAL,
    scales: Scales::Cohere,
    labels: Labels { qk_normed: ["Qcur", "Kcur"], ..LABELS },
    ..PLAIN
};

/// Every architecture that runs.
pub(crate) const ARCHS: &[Arch] = &[
    LLAMA,
    Arch {
        name: "mistral3",
        rope_options: RopeOptions { factors: true, mistral3: true, ..ROPE },
        ..LLAMA
    },
    Arch {
        name: "qwen2",
        rope: Some(Neox),
        required: &["attn_q.bias", "attn_k.bias", "attn_v.bias"],
        ..PLAIN
    },
    Arch { name: "qwen3", rope: Some(Neox), qk_norm: QkNorm::Head, ..PLAIN },
    Arch {
        name: "qwen2moe",
        rope: Some(Neox),
        required: &["attn_q.bias", "attn_k.bias", "attn_v.bias"],
        moe: Some(MoeKind { required: true, normalized: false, shared: SharedExpert::Gated }),
        ..PLAIN
    },
    Arch {
        name: "qwen3moe",
        rope: Some(Neox),
        qk_norm: QkNorm::Head,
        moe: Some(MoeKind { required: true, ..MIXTRAL }),
        ..PLAIN
    },
    Arch { name: "gemma", ..GEMMA },
    Arch {
        name: "gemma2",
        swa: Some(Swa { pattern: 2, n_swa: Some(4096), n_layer: None, rope: SwaRope::SameBase }),
        attn_softcap: Some(50.0),
        final_softcap: Some(30.0),
        ..GEMMA2
    },
    Arch {
        name: "gemma3",
        tied: false,
        qk_norm: QkNorm::Head,
        swa: Some(Swa { pattern: 6, n_swa: None, n_layer: None, rope: SwaRope::OwnBase }),
        final_softcap: Some(0.0),
        labels: Labels { ffn_post_norm: LAYERED, ..GEMMA2.labels },
        ..GEMMA2
    },
    Arch {
        name: "phi2",
        rope: Some(Neox),
        rope_options: PARTIAL,
        block_norms: BlockNorms::Shared,
        sum: Sum::AttnFfnX,
        scales_queries: true,
        required: &[
            "output_norm.bias",
            "output.bias",
            "attn_norm.bias",
            "attn_output.bias",
            "ffn_up.bias",
            "ffn_down.bias",
        ],
        ..GPT
    },
    Arch {
        name: "phi3",
        rope: Some(Neox),
        rope_options: RopeOptions { partial: true, factors: true, ..ROPE },
        scales_queries: true,
        ffn: FfnKind::GatedFused,
        labels: Labels { q_scaled: "Qcur", ffn_inp: "node", ..LABELS },
        ..PLAIN
    },
    Arch { name: "granite", ..GRANITE },
    Arch { name: "granitemoe", rope_options: RopeOptions { factors: true, ..ROPE }, ..GRANITE },
    Arch {
        name: "minicpm",
        scales: Scales::MiniCpm,
        rope_options: RopeOptions { factors: true, ..ROPE },
        ..GRANITE
    },
    Arch {
        name: "olmo2",
        rope: Some(Neox),
        block_norms: BlockNorms::Behind,
        qk_norm: QkNorm::Row,
        swa: Some(Swa { pattern: 4, n_swa: None, n_layer: None, rope: SwaRope::Unscaled }),
        ..PLAIN
    },
    Arch {
        name: "smollm3",
        rope_options: RopeOptions { skip_every: Some(4), ..ROPE },
        labels: Labels { attn_out: "attn_out", ..LABELS },
        ..PLAIN
    },
    Arch {
        name: "exaone",
        rope: Some(Neox),
        rope_options: RopeOptions { factors: true, ..ROPE },
        ..PLAIN
    },
    Arch {
        name: "exaone4",
        rope: Some(Neox),
        rope_options: RopeOptions { factors: true, ..ROPE },
        block_norms: BlockNorms::Behind,
        qk_norm: QkNorm::Head,
        swa: Some(Swa { pattern: 4, n_swa: Some(4096), n_layer: Some(64), rope: SwaRope::Only }),
        labels: Labels { attn_out: "attn_out", ..LABELS },
        ..PLAIN
    },
    Arch {
        name: "glm4",
        rope_options: PARTIAL,
        block_norms: BlockNorms::Around,
        ffn: FfnKind::GatedFused,
        labels: Labels {
            attn_post_norm: "post_attn_norm",
            ffn_post_norm: PostNormLabel {
                label: "post_mlp_norm",
                layered: true,
                norm_layered: true,
            },
            ..LABELS
        },
        ..PLAIN
    },
    Arch { name: "internlm2", ..PLAIN },
    Arch { name: "starcoder2", rope: Some(Neox), ..GPT },
    Arch {
        name: "stablelm",
        rope: Some(Neox),
        rope_options: PARTIAL,
        norm: NormKind::Layer,
        sum: Sum::ByFfnNorm,
        qk_norm: QkNorm::EachHead,
        required: &["output_norm.bias", "attn_norm.bias"],
        labels: Labels { qk_normed: ["Qcur", "Kcur"], first_sum: "ffn_inp", ..LABELS },
        ..PLAIN
    },
    Arch { name: "command-r", ..COMMAND_R },
    Arch {
        name: "cohere2",
        qk_norm: QkNorm::None,
        swa: Some(Swa { pattern: 4, n_swa: None, n_layer: None, rope: SwaRope::Only }),
        ..COMMAND_R
    },
    Arch { name: "gpt2", rope: None, position_embd: true, ..GPT },
    Arch {
        name: "gptneox",
        rope: Some(Neox),
        rope_options: PARTIAL,
        sum: Sum::ByKey,
        labels: Labels { first_sum: "ffn_out", ..LABELS },
        ..GPT
    },
    Arch {
        name: "falcon",
        rope: Some(Neox),
        block_norms: BlockNorms::Shared,
        sum: Sum::FfnAttnX,
        required: &["output_norm.bias", "attn_norm.bias"],
        ..GPT
    },
    Arch {
        name: "nemotron",
        rope: Some(Neox),
        rope_options: PARTIAL,
        act: Act::ReluSqr,
        required: &["output_norm.bias", "attn_norm.bias", "ffn_norm.bias"],
        labels: Labels { ffn_out: "node", ..LABELS },
        ..GPT
    },
];

/// Their names.
pub(crate) fn arch_names() -> &'static [&'static str] {
    const NAMES: [&str; ARCHS.len()] = {
        let mut names = [""; ARCHS.len()];
        let mut i = 0;
        while i < ARCHS.len() {
            names[i] = ARCHS[i].name;
            i += 1;
        }
        names
    };
    &NAMES
}
