//! Every feature of every architecture matters: without it the logits are others.
// Longer than 600 lines because its two tables, the features that can be switched off and the models that have them, are read
// side by side: a feature is an entry in both.

use super::{Pass, Workspace};
use crate::arch::{Act, Arch, NormKind, Sum};
use crate::arith::{Arithmetic, Reference};
use crate::context::{BatchToken, ContextOptions};
use crate::hparams::{Factor, Hparams, LayerRope};
use crate::synth::{SynthModel, tiny_models};
use crate::trace::Tracer;
use crate::weights::{Dense, Ffn, Layer, Loader, Moe, Net, Norm};
use gguf_parse::Gguf;
use kernels::RopeKind;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Switches a feature off: before the weights are loaded, or after; says whether the model has it.
#[derive(Clone, Copy)]
enum Switch {
    Before(fn(&mut Hparams, &mut Arch) -> bool),
    After(fn(&mut Net<Reference>) -> bool),
    /// The divisors of RoPE's frequencies are not read.
    Factors,
}
use Switch::{After, Before, Factors};

const SWITCHES: &[(&str, Switch)] = &[
    ("embedding scale", Before(|hp, _| hp.scaling.embedding.take().is_some())),
    ("query scale", Before(|hp, _| hp.scaling.queries.take().is_some())),
    (
        "attention scale",
        Before(|hp, _| {
            let usual = Factor::of(1.0 / (hp.n_embd_head as f32).sqrt());
            let other =
                hp.scaling.queries.is_none() && hp.scaling.attention.rounded != usual.rounded;
            hp.scaling.attention = usual;
            other
        }),
    ),
    ("temperature", Before(|hp, _| hp.scaling.temperature.take().is_some())),
    ("cap on scores", Before(|hp, _| hp.scaling.attn_softcap.take().is_some())),
    ("cap on logits", Before(|hp, _| hp.scaling.final_softcap.take().is_some())),
    ("residual scale", Before(|hp, _| hp.scaling.residual.take().is_some())),
    ("logit scale", Before(|hp, _| hp.scaling.logits.take().is_some())),
    ("window", Before(|hp, _| any(&mut hp.layers, |layer| layer.n_swa.take().is_some()))),
    (
        "layers without RoPE",
        Before(|hp, arch| {
            let has = |rope: &mut LayerRope| {
                std::mem::replace(rope, LayerRope::Global) == LayerRope::None
            };
            arch.rope.is_some() && any(&mut hp.layers, |layer| has(&mut layer.rope))
        }),
    ),
    (
        "RoPE of windows",
        Before(|hp, _| {
            let has =
                |rope: &mut LayerRope| std::mem::replace(rope, LayerRope::Global) == LayerRope::Swa;
            hp.rope_swa.is_some() && any(&mut hp.layers, |layer| has(&mut layer.rope))
        }),
    ),
    (
        "pairs of halves",
        Before(|hp, _| {
            let neox = hp.rope.kind == RopeKind::Neox;
            let ropes = [Some(&mut hp.rope), hp.rope_swa.as_mut()];
            ropes.into_iter().flatten().for_each(|rope| rope.kind = RopeKind::Norm);
            neox
        }),
    ),
    (
        "partial RoPE",
        Before(|hp, arch| {
            let partial = hp.rope.n_rot < hp.n_embd_head && !arch.rope_options.factors;
            hp.rope.n_rot = if partial { hp.n_embd_head } else { hp.rope.n_rot };
            partial
        }),
    ),
    (
        "stretched RoPE",
        Before(|hp, _| {
            let stretched = hp.rope.freq_scale != 1.0;
            (hp.rope.freq_scale, hp.rope.ext_factor) = (1.0, 0.0);
            stretched
        }),
    ),
    ("magnitude of RoPE", Before(|hp, _| std::mem::replace(&mut hp.rope.attn_factor, 1.0) != 1.0)),
    ("frequency factors", Factors),
    (
        "long factors",
        After(|net| net.ropes[0].n_ctx_orig < 256 && net.ropes[0].long.take().is_some()),
    ),
    ("embedded positions", After(|net| net.position_embd.take().is_some())),
    (
        "biases of Q, K, V",
        After(|net| {
            any(&mut net.layers, |layer| {
                let linears = [&mut layer.attn_q, &mut layer.attn_k, &mut layer.attn_v];
                linears.map(|linear| linear.bias.take().is_some()) == [true; 3]
            })
        }),
    ),
    (
        "bias behind attention",
        After(|net| any(&mut net.layers, |layer| layer.attn_output.bias.take().is_some())),
    ),
    (
        "biases of the FFN",
        After(|net| {
            any(&mut net.layers, |layer| match &mut layer.ffn {
                Ffn::Dense(dense) => {
                    dense.up.bias.take().is_some() & dense.down.bias.take().is_some()
                }
                Ffn::Moe(_) => false,
            })
        }),
    ),
    ("bias of logits", After(|net| net.output.bias.take().is_some())),
    (
        "biases of norms",
        After(|net| {
            let own = net.output_norm.bias.take().is_some();
            let before = any(&mut net.layers, |layer| {
                any(block_norms(layer), |norm| norm.bias.take().is_some())
            });
            own & before
        }),
    ),
    (
        "means of norms",
        After(|net| {
            let mut is_layer = |norm: &mut Norm<f32>| {
                std::mem::replace(&mut norm.kind, NormKind::Rms) == NormKind::Layer
            };
            let own = is_layer(&mut net.output_norm);
            own & any(&mut net.layers, |layer| any(block_norms(layer), &mut is_layer))
        }),
    ),
    (
        "norms before",
        After(|net| {
            any(&mut net.layers, |layer| {
                layer.attn_norm.take().is_some() | layer.ffn_norm.take().is_some()
            })
        }),
    ),
    (
        "norms behind",
        After(|net| {
            any(&mut net.layers, |layer| {
                layer.attn_post_norm.take().is_some() & layer.ffn_post_norm.take().is_some()
            })
        }),
    ),
    ("norms of Q", After(|net| any(&mut net.layers, |layer| layer.attn_q_norm.take().is_some()))),
    ("norms of K", After(|net| any(&mut net.layers, |layer| layer.attn_k_norm.take().is_some()))),
    (
        "each head's weights",
        After(|net| {
            any(&mut net.layers, |layer| {
                let norms = [layer.attn_q_norm.as_mut(), layer.attn_k_norm.as_mut()];
                any(norms.into_iter().flatten(), |norm| {
                    let n = norm.weight.len();
                    norm.weight.truncate(norm.n);
                    n > norm.n
                })
            })
        }),
    ),
    (
        "attention's own norm",
        After(|net| any(&mut net.layers, |layer| layer.attn_norm_2.take().is_some())),
    ),
    ("side by side", After(|net| std::mem::replace(&mut net.hp.sum, Sum::InTurn) != Sum::InTurn)),
    ("GELU", Before(|_, arch| is_act(arch, Act::Gelu))),
    ("squared ReLU", Before(|_, arch| is_act(arch, Act::ReluSqr))),
    (
        "gate",
        After(|net| {
            any(&mut net.layers, |layer| match &mut layer.ffn {
                Ffn::Dense(dense) => dense.gate.take().is_some(),
                Ffn::Moe(_) => false,
            })
        }),
    ),
    (
        "several experts",
        Before(|hp, _| {
            hp.experts.as_mut().is_some_and(|experts| std::mem::replace(&mut experts.n_used, 1) > 1)
        }),
    ),
    (
        "normalized weights",
        Before(|hp, _| {
            hp.experts
                .as_mut()
                .is_some_and(|experts| std::mem::replace(&mut experts.kind.normalized, false))
        }),
    ),
    (
        "choice of experts",
        After(|net| {
            any(&mut net.layers, |layer| {
                moe(layer).is_some_and(|moe| {
                    moe.experts.rotate_left(1);
                    true
                })
            })
        }),
    ),
    (
        "shared expert",
        After(|net| {
            any(&mut net.layers, |layer| moe(layer).is_some_and(|moe| moe.shared.take().is_some()))
        }),
    ),
    (
        "shared expert's gate",
        After(|net| {
            any(&mut net.layers, |layer| {
                moe(layer).is_some_and(|moe| moe.shared_gate.take().is_some())
            })
        }),
    ),
];

/// Applies `f` to all; whether one of them said yes.
fn any<T>(all: impl IntoIterator<Item = T>, mut f: impl FnMut(T) -> bool) -> bool {
    all.into_iter().fold(false, |any, x| f(x) | any)
}

fn is_act(arch: &mut Arch, act: Act) -> bool {
    std::mem::replace(&mut arch.act, Act::Silu) == act
}

fn moe(layer: &mut Layer<Reference>) -> Option<&mut Moe<Reference>> {
    match &mut layer.ffn {
        Ffn::Moe(moe) => Some(moe),
        Ffn::Dense(Dense { .. }) => None,
    }
}

fn block_norms(layer: &mut Layer<Reference>) -> impl Iterator<Item = &mut Norm<f32>> {
    [&mut layer.attn_norm, &mut layer.attn_norm_2, &mut layer.ffn_norm].into_iter().flatten()
}

/// Logits of the last of twelve tokens, without a feature; `None` if the model does not have it.
fn logits(gguf: &Arc<Gguf>, switch: Option<Switch>) -> Option<Vec<u32>> {
    let (mut hp, arch) = Hparams::from_gguf(gguf).unwrap();
    let mut arch = arch.clone();
    if let Some(Before(off)) = switch
        && !off(&mut hp, &mut arch)
    {
        return None;
    }
    if let Some(Factors) = switch {
        arch.rope_options.factors = false;
        let names = ["rope_freqs.weight", "rope_factors_short.weight"];
        names.iter().find_map(|name| gguf.find_tensor(name))?;
    }
    let arch = Box::leak(Box::new(arch));
    let progress = &mut |_| ();
    let loader = Loader::new(gguf, Reference::new(1).unwrap(), hp, arch, progress);
    let mut net = loader.net().unwrap().0;
    if let Some(After(off)) = switch
        && !off(&mut net)
    {
        return None;
    }
    let tokens = [1, 87, 300, 42, 5, 260, 199, 3, 77, 150, 12, 281];
    let batch = BatchToken::prompt(0, 0, &tokens);
    let options = ContextOptions { n_ctx: 256, ..ContextOptions::default() };
    let mut cache = net.arith.cache(&net.hp, &options).unwrap();
    let (cancel, trace) = (AtomicBool::new(false), Tracer::new(None));
    let mut out = Vec::new();
    let mut ws = Workspace::new(&net, batch.len());
    Pass { net: &net, cache: &mut cache, batch: &batch, n_ctx: 256, cancel: &cancel, trace }
        .forward(&mut ws, &mut out)
        .unwrap();
    Some(out.iter().map(|logit| logit.to_bits()).collect())
}

/// What the models have, of what can be switched off.
const FEATURES: &[(&str, &[&str])] = &[
    ("rope-linear", &["stretched RoPE", "norms before", "gate"]),
    ("rope-yarn", &["stretched RoPE", "norms before", "gate"]),
    ("rope-freqs", &["frequency factors", "norms before", "gate"]),
    (
        "biases",
        &[
            "biases of Q, K, V",
            "bias behind attention",
            "biases of the FFN",
            "norms before",
            "gate",
        ],
    ),
    ("qwen2", &["pairs of halves", "biases of Q, K, V", "norms before", "gate"]),
    ("qwen2-tied", &["pairs of halves", "biases of Q, K, V", "norms before", "gate"]),
    (
        "qwen2-yarn",
        &["pairs of halves", "stretched RoPE", "biases of Q, K, V", "norms before", "gate"],
    ),
    ("qwen3", &["pairs of halves", "norms before", "norms of Q", "norms of K", "gate"]),
    ("mistral3", &["temperature", "stretched RoPE", "magnitude of RoPE", "norms before", "gate"]),
    (
        "phi3",
        &[
            "query scale",
            "pairs of halves",
            "magnitude of RoPE",
            "frequency factors",
            "norms before",
            "gate",
        ],
    ),
    (
        "phi3-long",
        &[
            "query scale",
            "pairs of halves",
            "magnitude of RoPE",
            "frequency factors",
            "long factors",
            "norms before",
            "gate",
        ],
    ),
    ("olmo2", &["pairs of halves", "norms behind", "norms of Q", "norms of K", "gate"]),
    (
        "olmo2-window",
        &[
            "window",
            "RoPE of windows",
            "pairs of halves",
            "stretched RoPE",
            "norms behind",
            "norms of Q",
            "norms of K",
            "gate",
        ],
    ),
    ("smollm3", &["layers without RoPE", "norms before", "gate"]),
    ("exaone", &["pairs of halves", "frequency factors", "norms before", "gate"]),
    (
        "exaone4",
        &[
            "pairs of halves",
            "frequency factors",
            "norms behind",
            "norms of Q",
            "norms of K",
            "gate",
        ],
    ),
    ("glm4", &["partial RoPE", "biases of Q, K, V", "norms before", "norms behind", "gate"]),
    ("internlm2", &["norms before", "gate"]),
    (
        "gemma",
        &["embedding scale", "query scale", "pairs of halves", "norms before", "GELU", "gate"],
    ),
    (
        "gemma2",
        &[
            "embedding scale",
            "query scale",
            "cap on scores",
            "cap on logits",
            "window",
            "RoPE of windows",
            "pairs of halves",
            "norms before",
            "norms behind",
            "GELU",
            "gate",
        ],
    ),
    (
        "gemma3",
        &[
            "embedding scale",
            "query scale",
            "window",
            "RoPE of windows",
            "pairs of halves",
            "stretched RoPE",
            "norms before",
            "norms behind",
            "norms of Q",
            "norms of K",
            "GELU",
            "gate",
        ],
    ),
    (
        "gemma3-full",
        &[
            "embedding scale",
            "query scale",
            "cap on logits",
            "pairs of halves",
            "norms before",
            "norms behind",
            "norms of Q",
            "norms of K",
            "GELU",
            "gate",
        ],
    ),
    (
        "granite",
        &[
            "embedding scale",
            "attention scale",
            "residual scale",
            "logit scale",
            "norms before",
            "gate",
        ],
    ),
    ("granite-norope", &["logit scale", "layers without RoPE", "norms before", "gate"]),
    ("minicpm", &["embedding scale", "residual scale", "logit scale", "norms before", "gate"]),
    (
        "phi2",
        &[
            "query scale",
            "pairs of halves",
            "partial RoPE",
            "biases of Q, K, V",
            "bias behind attention",
            "biases of the FFN",
            "bias of logits",
            "biases of norms",
            "means of norms",
            "norms before",
            "side by side",
            "GELU",
        ],
    ),
    (
        "starcoder2",
        &[
            "pairs of halves",
            "biases of Q, K, V",
            "bias behind attention",
            "biases of the FFN",
            "biases of norms",
            "means of norms",
            "norms before",
            "GELU",
        ],
    ),
    (
        "stablelm",
        &[
            "pairs of halves",
            "partial RoPE",
            "biases of Q, K, V",
            "biases of norms",
            "means of norms",
            "norms before",
            "gate",
        ],
    ),
    (
        "stablelm-parallel",
        &[
            "pairs of halves",
            "partial RoPE",
            "biases of Q, K, V",
            "biases of norms",
            "means of norms",
            "norms before",
            "norms of Q",
            "norms of K",
            "each head's weights",
            "side by side",
            "gate",
        ],
    ),
    ("command-r", &["logit scale", "means of norms", "norms before", "side by side", "gate"]),
    (
        "cohere2",
        &[
            "logit scale",
            "window",
            "layers without RoPE",
            "means of norms",
            "norms before",
            "side by side",
            "gate",
        ],
    ),
    (
        "gpt2",
        &[
            "embedded positions",
            "biases of Q, K, V",
            "bias behind attention",
            "biases of the FFN",
            "biases of norms",
            "means of norms",
            "norms before",
            "GELU",
        ],
    ),
    (
        "gptneox",
        &[
            "pairs of halves",
            "partial RoPE",
            "biases of Q, K, V",
            "bias behind attention",
            "biases of the FFN",
            "biases of norms",
            "means of norms",
            "norms before",
            "side by side",
            "GELU",
        ],
    ),
    (
        "gptneox-in-turn",
        &[
            "pairs of halves",
            "partial RoPE",
            "biases of Q, K, V",
            "bias behind attention",
            "biases of the FFN",
            "biases of norms",
            "means of norms",
            "norms before",
            "GELU",
        ],
    ),
    (
        "falcon",
        &[
            "pairs of halves",
            "biases of norms",
            "means of norms",
            "norms before",
            "side by side",
            "GELU",
        ],
    ),
    (
        "falcon-40b",
        &[
            "pairs of halves",
            "biases of norms",
            "means of norms",
            "norms before",
            "attention's own norm",
            "side by side",
            "GELU",
        ],
    ),
    (
        "nemotron",
        &[
            "pairs of halves",
            "partial RoPE",
            "biases of norms",
            "means of norms",
            "norms before",
            "squared ReLU",
        ],
    ),
    ("mixtral", &["norms before", "several experts", "normalized weights", "choice of experts"]),
    (
        "qwen2moe",
        &[
            "pairs of halves",
            "biases of Q, K, V",
            "norms before",
            "several experts",
            "choice of experts",
            "shared expert",
            "shared expert's gate",
        ],
    ),
    (
        "qwen3moe",
        &[
            "pairs of halves",
            "norms before",
            "norms of Q",
            "norms of K",
            "several experts",
            "normalized weights",
            "choice of experts",
        ],
    ),
    (
        "granitemoe",
        &[
            "embedding scale",
            "attention scale",
            "residual scale",
            "logit scale",
            "norms before",
            "several experts",
            "normalized weights",
            "choice of experts",
            "shared expert",
        ],
    ),
];

#[test]
fn every_feature_matters() {
    let mut models = tiny_models();
    for (name, features) in FEATURES {
        let i = models.iter().position(|(model, _)| model == name).unwrap();
        let bytes = SynthModel::new(models.swap_remove(i).1).unwrap().to_bytes().unwrap();
        let gguf = Arc::new(Gguf::from_bytes(bytes).unwrap());
        let whole = logits(&gguf, None).unwrap();
        let mut found = Vec::new();
        for (feature, switch) in SWITCHES {
            if let Some(without) = logits(&gguf, Some(*switch)) {
                assert!(without != whole, "{name} does not need its {feature}");
                found.push(*feature);
            }
        }
        assert_eq!(found, *features, "{name}");
    }
    // What is left is plain llama in other types and sizes.
    assert!(models.iter().all(|(_, options)| options.arch == "llama"));
}
