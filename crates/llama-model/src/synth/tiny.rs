//! The tiny models that llama.cpp's goldens were captured from.

mod archs;

use super::{Shape, SynthOptions, SynthRopeScaling};
use gguf_parse::GgmlType;

/// Tensor types that a model can be made of.
const TYPES: [GgmlType; 16] = [
    GgmlType::F32,
    GgmlType::F16,
    GgmlType::BF16,
    GgmlType::Q4_0,
    GgmlType::Q4_1,
    GgmlType::Q5_0,
    GgmlType::Q5_1,
    GgmlType::Q8_0,
    GgmlType::Q2_K,
    GgmlType::Q3_K,
    GgmlType::Q4_K,
    GgmlType::Q5_K,
    GgmlType::Q6_K,
    GgmlType::IQ4_NL,
    GgmlType::IQ4_XS,
    GgmlType::MXFP4,
];

/// Names and options of all tiny models: every tensor type with grouped heads and an output matrix of its own
/// (`q4_K-gqa`) and with as many key heads as query heads and a tied output (`q4_K-mha`), other head sizes, RoPE
/// variants, biases, `qwen2`, and the other architectures.
#[must_use]
pub fn tiny_models() -> Vec<(String, SynthOptions)> {
    let mut models = Vec::new();
    for ty in TYPES {
        models.push((format!("{}-gqa", ty.name()), SynthOptions::new(Shape::TINY, ty)));
        let shape = Shape { n_head_kv: Shape::TINY.n_head, ..Shape::TINY };
        let mha = SynthOptions { tied_output: true, seed: 2, ..SynthOptions::new(shape, ty) };
        models.push((format!("{}-mha", ty.name()), mha));
    }
    models.extend(variants().map(|(name, options)| (name.to_owned(), options)));
    models.extend(archs::all().map(|(name, options)| (name.to_owned(), options)));
    models
}

fn variants() -> impl Iterator<Item = (&'static str, SynthOptions)> {
    let heads =
        |n_head, n_head_kv, n_embd_head| Shape { n_head, n_head_kv, n_embd_head, ..Shape::TINY };
    let q8_0 = SynthOptions { seed: 3, ..SynthOptions::new(Shape::TINY, GgmlType::Q8_0) };
    let q4_k = SynthOptions { ty: GgmlType::Q4_K, ..q8_0.clone() };
    let qwen2 = SynthOptions { seed: 4, ..SynthOptions::qwen2(Shape::TINY, GgmlType::Q8_0) };
    let yarn = SynthRopeScaling::Yarn { factor: 4.0, n_ctx_orig: 64 };
    [
        ("head32", SynthOptions { shape: heads(8, 2, 32), ..q4_k.clone() }),
        ("head128", SynthOptions { shape: heads(2, 1, 128), ..q4_k.clone() }),
        ("head32-wide", SynthOptions { shape: heads(12, 3, 32), ..q8_0.clone() }),
        (
            "rope-linear",
            SynthOptions { rope_scaling: SynthRopeScaling::Linear(2.5), ..q8_0.clone() },
        ),
        ("rope-yarn", SynthOptions { rope_scaling: yarn, ..q8_0.clone() }),
        ("rope-freqs", SynthOptions { rope_freqs: true, ..q8_0.clone() }),
        ("biases", SynthOptions { qkv_bias: true, attn_output_bias: true, ffn_bias: true, ..q8_0 }),
        ("qwen2", qwen2.clone()),
        ("qwen2-tied", SynthOptions { tied_output: true, ty: GgmlType::Q5_K, ..qwen2.clone() }),
        ("qwen2-yarn", SynthOptions { rope_scaling: yarn, shape: heads(8, 4, 32), ..qwen2 }),
    ]
    .into_iter()
}
