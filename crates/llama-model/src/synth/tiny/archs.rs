//! A tiny model for each architecture, and for each way in which its models differ.
//!
//! Every feature matters: windows are shorter than the captured prompt, caps low enough to bend, factors not one, and
//! there are more experts than a token passes.

use super::super::{Shape, SynthOptions, SynthRopeScaling, SynthValue};
use SynthValue::{Bool, F32, U32};
use gguf_parse::GgmlType;

type Named = (&'static str, SynthOptions);

/// Names and options.
pub(super) fn all() -> impl Iterator<Item = Named> {
    rms().into_iter().chain(gemmas()).chain(factors()).chain(layer_norms()).chain(experts())
}

/// An architecture with `keys`, in Q8_0.
fn of(arch: &'static str, shape: Shape, keys: &[(&'static str, SynthValue)]) -> SynthOptions {
    let plain = SynthOptions::new(shape, GgmlType::Q8_0);
    SynthOptions { arch, seed: 5, keys: keys.to_vec(), ..plain }
}

/// Query heads, key heads, width of a head.
fn heads(n_head: usize, n_head_kv: usize, n_embd_head: usize) -> Shape {
    Shape { n_head, n_head_kv, n_embd_head, ..Shape::TINY }
}

fn layers(n_layer: usize, shape: Shape) -> Shape {
    Shape { n_layer, ..shape }
}

/// RMSNorm, one half behind the other.
fn rms() -> Vec<Named> {
    let tiny = Shape::TINY;
    let yarn = |n_ctx_orig| SynthRopeScaling::Yarn { factor: 4.0, n_ctx_orig };
    let biased = |arch| SynthOptions { qkv_bias: true, ..of(arch, tiny, &[]) };
    let phi3 = |n_ctx_orig| SynthOptions {
        fused_qkv: true,
        n_rot: Some(48),
        rope_scaling: SynthRopeScaling::Long { n_ctx_orig },
        ..of("phi3", tiny, &[("rope.scaling.attn_factor", F32(1.2))])
    };
    let mistral3 = [
        ("attention.temperature_scale", F32(0.1)),
        ("rope.scaling.yarn_beta_fast", F32(8.0)),
        ("rope.scaling.yarn_beta_slow", F32(0.5)),
        ("rope.scaling.yarn_log_multiplier", F32(0.7)),
    ];
    let olmo3 = [("attention.sliding_window", U32(3))];
    vec![
        ("qwen3", of("qwen3", heads(4, 2, 128), &[])),
        ("mistral3", SynthOptions { rope_scaling: yarn(4), ..of("mistral3", tiny, &mistral3) }),
        ("phi3", phi3(1024)),
        ("phi3-long", phi3(64)),
        ("olmo2", of("olmo2", tiny, &[])),
        (
            "olmo2-window",
            SynthOptions { rope_scaling: yarn(64), ..of("olmo2", layers(4, tiny), &olmo3) },
        ),
        ("smollm3", of("smollm3", layers(4, tiny), &[])),
        ("exaone", SynthOptions { rope_freqs: true, ..of("exaone", tiny, &[]) }),
        ("exaone4", SynthOptions { rope_freqs: true, ..of("exaone4", tiny, &[]) }),
        ("glm4", SynthOptions { n_rot: Some(32), ..biased("glm4") }),
        ("internlm2", of("internlm2", tiny, &[])),
    ]
}

fn gemmas() -> Vec<Named> {
    let gemma2 = [
        ("attention.sliding_window", U32(3)),
        ("rope.freq_base_swa", F32(500.0)),
        ("attn_logit_softcapping", F32(3.0)),
        ("final_logit_softcapping", F32(2.0)),
    ];
    let gemma3 = [("attention.sliding_window", U32(3)), ("rope.freq_base_swa", F32(500.0))];
    let full = [("final_logit_softcapping", F32(2.0))];
    let linear = SynthRopeScaling::Linear(8.0);
    vec![
        ("gemma", of("gemma", heads(4, 1, 32), &[])),
        ("gemma2", of("gemma2", heads(4, 2, 32), &gemma2)),
        (
            "gemma3",
            SynthOptions {
                rope_scaling: linear,
                tied_output: true,
                ..of("gemma3", layers(6, heads(4, 1, 32)), &gemma3)
            },
        ),
        ("gemma3-full", of("gemma3", heads(4, 2, 64), &full)),
    ]
}

/// Multipliers on the way.
fn factors() -> Vec<Named> {
    let granite = [
        ("embedding_scale", F32(2.0)),
        ("residual_scale", F32(0.5)),
        ("attention.scale", F32(0.1)),
        ("logit_scale", F32(3.0)),
    ];
    let no_rope = [("logit_scale", F32(3.0)), ("rope.scaling.finetuned", Bool(false))];
    vec![
        ("granite", of("granite", Shape::TINY, &granite)),
        ("granite-norope", of("granite", Shape::TINY, &no_rope)),
        // At a width of 256 its default would be no scale.
        ("minicpm", of("minicpm", Shape { n_embd: 512, ..heads(8, 4, 64) }, &[])),
    ]
}

fn layer_norms() -> Vec<Named> {
    let tiny = Shape::TINY;
    let biased = |arch| SynthOptions { qkv_bias: true, ..of(arch, tiny, &[]) };
    let fused = |options| SynthOptions { fused_qkv: true, ..options };
    let gptneox = |parallel| SynthOptions {
        n_rot: Some(16),
        qkv_bias: true,
        ..fused(of("gptneox", tiny, &[("use_parallel_residual", Bool(parallel))]))
    };
    let stablelm = SynthOptions { n_rot: Some(16), ..biased("stablelm") };
    let cohere2 = [("attention.sliding_window", U32(3)), ("logit_scale", F32(0.5))];
    let gpt2 = Shape { n_ctx_train: 512, ..tiny };
    vec![
        ("phi2", SynthOptions { n_rot: Some(32), ..fused(biased("phi2")) }),
        ("starcoder2", biased("starcoder2")),
        ("stablelm", stablelm.clone()),
        ("stablelm-parallel", SynthOptions { parallel: true, head_norms: true, ..stablelm }),
        ("command-r", of("command-r", tiny, &[("logit_scale", F32(0.5))])),
        ("cohere2", of("cohere2", layers(4, tiny), &cohere2)),
        ("gpt2", SynthOptions { qkv_bias: true, ..fused(of("gpt2", gpt2, &[])) }),
        ("gptneox", gptneox(true)),
        ("gptneox-in-turn", gptneox(false)),
        ("falcon", fused(of("falcon", heads(4, 1, 64), &[]))),
        ("falcon-40b", SynthOptions { parallel: true, ..fused(of("falcon", tiny, &[])) }),
        ("nemotron", SynthOptions { n_rot: Some(32), ..of("nemotron", tiny, &[]) }),
    ]
}

/// Mixtures of experts.
fn experts() -> Vec<Named> {
    let moe = |options| SynthOptions { experts: Some((5, 2)), ..options };
    let tiny = Shape::TINY;
    let three = |options| SynthOptions { experts: Some((6, 3)), ..options };
    let qwen2moe =
        [("expert_feed_forward_length", U32(256)), ("expert_shared_feed_forward_length", U32(768))];
    let granitemoe = [
        ("embedding_scale", F32(2.0)),
        ("residual_scale", F32(0.5)),
        ("attention.scale", F32(0.1)),
        ("logit_scale", F32(3.0)),
        ("expert_shared_feed_forward_length", U32(256)),
    ];
    vec![
        ("mixtral", moe(of("llama", tiny, &[]))),
        ("qwen2moe", SynthOptions { qkv_bias: true, ..three(of("qwen2moe", tiny, &qwen2moe)) }),
        ("qwen3moe", three(of("qwen3moe", heads(4, 2, 128), &qwen2moe[..1]))),
        ("granitemoe", moe(of("granitemoe", tiny, &granitemoe))),
    ]
}
