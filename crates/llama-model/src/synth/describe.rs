//! The metadata of a random model.

use super::{SynthOptions, SynthRopeScaling, SynthValue};
use crate::arch::NormKind;
use gguf_parse::{GgufPlan, Value};

pub(super) fn describe(options: &SynthOptions, plan: &mut GgufPlan) {
    let (arch, shape) = (options.arch, &options.shape);
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
    set_size("rope.dimension_count", options.n_rot.unwrap_or(shape.n_embd_head));
    set_size("vocab_size", shape.n_vocab);
    let norm = options.row().map_or(NormKind::Rms, |arch| arch.norm);
    let eps = match norm {
        NormKind::Rms => "attention.layer_norm_rms_epsilon",
        NormKind::Layer => "attention.layer_norm_epsilon",
    };
    set(eps, Value::F32(1e-5));
    set("rope.freq_base", Value::F32(10_000.0));
    let mut scaling = |name, factor: Option<f32>, n_ctx_orig: Option<u32>| {
        set("rope.scaling.type", Value::Str(name));
        factor.into_iter().for_each(|x| set("rope.scaling.factor", Value::F32(x)));
        let key = "rope.scaling.original_context_length";
        n_ctx_orig.into_iter().for_each(|n| set(key, Value::U32(n)));
    };
    match options.rope_scaling {
        SynthRopeScaling::None => {}
        SynthRopeScaling::Linear(factor) => scaling("linear", Some(factor), None),
        SynthRopeScaling::Yarn { factor, n_ctx_orig } => {
            scaling("yarn", Some(factor), Some(n_ctx_orig));
        }
        SynthRopeScaling::Long { n_ctx_orig } => scaling("longrope", None, Some(n_ctx_orig)),
    }
    if let Some((n_expert, n_used)) = options.experts {
        for (key, n) in [("expert_count", n_expert), ("expert_used_count", n_used)] {
            set(key, Value::U32(u32::try_from(n).unwrap_or(u32::MAX)));
        }
    }
    for (key, value) in &options.keys {
        let value = match *value {
            SynthValue::U32(n) => Value::U32(n),
            SynthValue::F32(x) => Value::F32(x),
            SynthValue::Bool(flag) => Value::Bool(flag),
        };
        set(key, value);
    }
    options.vocab.describe(shape.n_vocab, plan);
}
