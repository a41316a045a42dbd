//! The types against llama.cpp's, for models that exist by name only (golden/capture/mixes.py makes the same).
use super::*;
use std::fmt::Write;

struct Model {
    name: &'static str,
    facts: Facts<'static>,
    n_embd: u64,
    n_ff: u64,
    /// Tensors of a layer.
    layer: String,
    /// Tensors of no layer.
    ends: &'static str,
}

const ATTN: &str = "attn_k attn_norm attn_output attn_q attn_v";
const FUSED: &str = "attn_norm attn_output attn_qkv ffn_down ffn_norm ffn_up";
const RARE: &str = "attn_kv_b attn_rel_b ffn_down.0 ffn_down.1 indexer.k_proj shortconv.conv ssm_conv1d \
    time_mix_w1 time_mix_key";
const ENDS: &str = "output output_norm token_embd";
const TIED: &str = "output_norm token_embd";

fn model(
    name: &'static str,
    architecture: &'static str,
    shape: [u64; 3],
    layer: &str,
    ends: &'static str,
) -> Model {
    let [n_layer, n_embd, n_ff] = shape;
    let n_layer = usize::try_from(n_layer).unwrap();
    let facts = Facts { architecture, n_layer, n_expert: 0, n_gqa: 1, is_70b: name == "70B" };
    Model { name, facts, n_embd, n_ff, layer: layer.to_owned(), ends }
}

fn models() -> Vec<Model> {
    let dense = format!("{ATTN} ffn_down ffn_gate ffn_norm ffn_up");
    let moe = format!("{ATTN} ffn_down_exps ffn_gate_exps ffn_gate_inp ffn_norm ffn_up_exps");
    let split = format!("{ATTN} ffn_down.0 ffn_down.1 ffn_gate.0 ffn_up.0");
    let rare_ends = "position_embd per_layer_token_embd token_embd token_types";
    let mut models = vec![
        model("7B", "llama", [32, 4096, 11008], &dense, ENDS),
        model("70B", "llama", [80, 8192, 28672], &dense, ENDS),
        model("65B", "llama", [80, 8192, 22016], &dense, ENDS),
        model("135M tied", "llama", [30, 576, 1536], &dense, TIED),
        model("one layer", "llama", [1, 256, 512], &dense, "rope_freqs output_norm token_embd"),
        model("odd width", "llama", [5, 80, 144], &dense, ENDS),
        model("8 experts", "llama", [32, 4096, 14336], &moe, ENDS),
        model("16 experts", "llama", [12, 2048, 4096], &moe, ENDS),
        model("8 experts, split", "llama", [9, 4096, 14336], &split, ENDS),
        model("falcon", "falcon", [32, 4544, 18176], FUSED, ENDS),
        model("falcon wide", "falcon", [60, 8192, 32768], FUSED, ENDS),
        model("qwen2", "qwen2", [24, 896, 4864], &dense, TIED),
        model("phi3", "phi3", [40, 5120, 17920], FUSED, ENDS),
        model("rare names", "bert", [7, 512, 1024], RARE, rare_ends),
    ];
    for model in &mut models {
        model.facts.n_expert = match model.name {
            "8 experts" | "8 experts, split" => 8,
            "16 experts" => 16,
            _ => 0,
        };
        model.facts.n_gqa = match model.name {
            "70B" => 64 / 8,
            "135M tied" => 9 / 3,
            "one layer" => 8 / 4,
            // 32 heads on 8, 16 on 4, 40 on 10.
            "8 experts" | "8 experts, split" | "16 experts" | "phi3" => 4,
            "falcon" => 71,
            "falcon wide" => 128 / 8,
            "qwen2" => 14 / 2,
            _ => 1,
        };
    }
    models
}

/// (name, shape innermost first without trailing ones), those of no layer first, then layer by layer.
fn tensors(model: &Model) -> Vec<(String, Vec<u64>)> {
    let ends = model.ends.split(' ').map(|name| format!("{name}.weight"));
    let layers = (0..model.facts.n_layer)
        .flat_map(|il| model.layer.split(' ').map(move |name| format!("blk.{il}.{name}.weight")));
    let shape = |name: String| {
        let n_cols = if name.contains("ffn_down") { model.n_ff } else { model.n_embd };
        let mut ne = vec![n_cols];
        if !name.contains("norm") && !name.contains("rope_freqs") {
            ne.push(96);
        }
        if name.contains("_exps") {
            ne.push(model.facts.n_expert as u64);
        }
        (name, ne)
    };
    ends.chain(layers).map(shape).collect()
}

/// A line for each name, layers together, runs counted.
fn lines(pairs: impl Iterator<Item = (String, &'static str)>) -> String {
    let mut rows: Vec<(String, Vec<(&str, usize)>)> = Vec::new();
    for (name, ty) in pairs {
        let parts: Vec<&str> = name.split('.').collect();
        let key = match parts[..] {
            ["blk", _, ref rest @ ..] => format!("blk.*.{}", rest.join(".")),
            _ => name,
        };
        let row = rows.iter().position(|(k, _)| *k == key).unwrap_or_else(|| {
            rows.push((key, Vec::new()));
            rows.len() - 1
        });
        let runs = &mut rows[row].1;
        match runs.last_mut() {
            Some((last, n)) if *last == ty => *n += 1,
            _ => runs.push((ty, 1)),
        }
    }
    let run = |&(ty, n): &(&str, usize)| if n == 1 { ty.to_owned() } else { format!("{ty}*{n}") };
    rows.iter().fold(String::new(), |mut text, (key, runs)| {
        let runs: Vec<String> = runs.iter().map(run).collect();
        let _ = writeln!(text, "  {key}: {}", runs.join(" "));
        text
    })
}

#[test]
fn types_are_those_of_the_reference() {
    let mut text = String::new();
    for model in models() {
        let tensors = tensors(&model);
        let sources: Vec<Source<'_>> =
            tensors.iter().map(|(name, ne)| Source { name, ty: GgmlType::F32, ne }).collect();
        for &file_type in FileType::ALL {
            let mix = choose(model.facts, file_type, &sources).unwrap();
            let names = mix.types.iter().map(|ty| ty.name());
            let pairs = tensors.iter().map(|(name, _)| name.clone()).zip(names);
            text += &format!("{} as {}\n{}", model.name, file_type.name(), lines(pairs));
        }
    }
    golden::check("quantize", "mixes", &text);
}

#[test]
fn fallbacks_are_counted() {
    let ne = [80, 96];
    let tensor = |name| Source { name, ty: GgmlType::F32, ne: &ne };
    let facts = Facts { architecture: "llama", n_layer: 1, n_expert: 0, n_gqa: 1, is_70b: false };
    let tensors = [tensor("output.weight"), tensor("blk.0.attn_q.weight")];
    let mix = choose(facts, FileType::Q4_0, &tensors).unwrap();
    assert_eq!((mix.n_fallback, &mix.types[..]), (2, &[GgmlType::F16; 2][..]));
}

#[test]
fn experts_need_a_layer() {
    let ne = [256, 256, 4];
    let facts = Facts { architecture: "llama", n_layer: 3, n_expert: 4, n_gqa: 1, is_70b: false };
    for name in ["blk.3.ffn_down_exps.weight", "blk.x.ffn_up_exps.weight", "ffn_gate_exps.weight"] {
        let tensor = Source { name, ty: GgmlType::F32, ne: &ne };
        let error = choose(facts, FileType::Q4_K_M, &[tensor]).unwrap_err();
        assert!(
            matches!(&error, QuantizeError::Layer { tensor, n_layer: 3 } if tensor == name),
            "{error}"
        );
    }
}

#[test]
fn tensors_are_ranked_by_layer_then_name() {
    let mut names =
        ["blk.10.a", "blk.2.b", "token_embd.weight", "blk.2.B", "blk.x", "output.weight"];
    names.sort_by_key(|name| rank(name));
    assert_eq!(
        names,
        ["blk.x", "output.weight", "token_embd.weight", "blk.2.B", "blk.2.b", "blk.10.a"]
    );
}
