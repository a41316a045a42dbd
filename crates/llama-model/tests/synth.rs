//! Random models: the bytes that llama.cpp's goldens were captured from, and weights of the promised size.

use gguf_parse::{GgmlType, Gguf};
use llama_model::synth::{Shape, SynthFileType, SynthModel, SynthOptions, tiny_models};
use sha2::{Digest, Sha256};
use std::ops::ControlFlow;

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn tiny_models_are_those_of_the_goldens() {
    let models = tiny_models();
    assert!(models.len() >= 30, "only {} tiny models", models.len());
    for (name, options) in models {
        let bytes = SynthModel::new(options).unwrap().to_bytes().unwrap();
        let info = golden::info(&format!("trace/tiny-{name}"), "prefill");
        assert_eq!(
            info["model_sha256"],
            sha256(&bytes),
            "{name} is not the model that was captured"
        );
    }
}

#[test]
fn a_written_file_has_the_bytes_of_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let model = SynthModel::new(SynthOptions::qwen2(Shape::TINY, GgmlType::Q5_K)).unwrap();
    let mut fractions = Vec::new();
    let mut go_on = |done| {
        fractions.push(done);
        ControlFlow::Continue(())
    };
    model.write(&path, &mut go_on).unwrap();
    assert!(std::fs::read(&path).unwrap() == model.to_bytes().unwrap(), "file and memory differ");
    assert!(fractions.is_sorted() && fractions.last() == Some(&1.0), "{fractions:?}");
}

/// Quantized weights have the root mean square that the layout of each type promises. The smallest matrix has 128
/// blocks whose scales vary by a factor of three: one standard deviation is about 3 %.
#[test]
fn weights_have_the_wanted_size() {
    for (name, options) in tiny_models() {
        let model = SynthModel::new(options).unwrap();
        let gguf = Gguf::from_bytes(model.to_bytes().unwrap()).unwrap();
        // (A norm for each head has two dimensions too.)
        let is_matrix = |dims: &[u64], name: &str| dims.len() == 2 && !name.contains("_norm");
        for tensor in model.tensors().iter().filter(|t| is_matrix(t.dims(), t.name())) {
            let view = gguf.tensor(tensor.name()).unwrap();
            let mut values = vec![0f32; view.dims.n_elems()];
            dequant::dequantize(view.ty, view.data, &mut values).unwrap();
            let n = values.len() as f64;
            let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
            let rms = (values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / n).sqrt();
            let n_in = tensor.dims()[0] as f64;
            let wanted = match tensor.name() {
                "token_embd.weight" if gguf.find_tensor("output.weight").is_some() => 1.0,
                "token_embd.weight" => 2.0 / n_in.sqrt(),
                "position_embd.weight" => 1.0,
                _ => 1.0 / n_in.sqrt(),
            };
            let name = format!("{name} {}", tensor.name());
            assert!((0.85..1.15).contains(&(rms / wanted)), "{name}: rms {rms}, wanted {wanted}");
            assert!(mean.abs() < 0.1 * wanted, "{name}: mean {mean}, rms {rms}");
        }
    }
}

#[test]
fn a_mix_of_types_keeps_the_vectors() {
    let mut model = SynthModel::new(SynthOptions::new(Shape::TINY, GgmlType::Q4_K)).unwrap();
    let is_down = |name: &str| name.ends_with("ffn_down.weight");
    model.set_types(|t| if is_down(t.name()) { GgmlType::Q6_K } else { t.ty() });
    for tensor in model.tensors() {
        let wanted = match tensor.dims().len() {
            1 => GgmlType::F32,
            _ if is_down(tensor.name()) => GgmlType::Q6_K,
            _ => GgmlType::Q4_K,
        };
        assert_eq!(tensor.ty(), wanted, "{}", tensor.name());
    }
    Gguf::from_bytes(model.to_bytes().unwrap()).unwrap();
}

#[test]
fn file_types_are_mixes() {
    let types = |shape: &str, ty: &str| {
        let file_type = SynthFileType::from_name(ty).unwrap();
        let options = SynthOptions::named(shape, file_type.tensor_type()).unwrap();
        let mut model = SynthModel::new(options).unwrap();
        model.set_file_type(file_type).unwrap();
        let ty = |name: &str| model.tensors().iter().find(|t| t.name() == name).unwrap().ty();
        ["blk.0.attn_norm.weight", "blk.0.attn_v.weight", "blk.1.attn_q.weight"].map(ty)
    };
    let (f32, q6_k) = (GgmlType::F32, GgmlType::Q6_K);
    assert_eq!(types("tinyllama-1.1b", "q4_k_m"), [f32, q6_k, GgmlType::Q4_K]);
    assert_eq!(types("tinyllama-1.1b", "Q5_0"), [f32, GgmlType::Q5_0, GgmlType::Q5_0]);
    // Rows of 576 are no whole number of blocks of 256.
    assert_eq!(types("smollm2-135m", "Q4_K_M"), [f32, GgmlType::Q8_0, GgmlType::Q5_0]);
    assert_eq!(types("tiny", "BF16"), [f32, GgmlType::BF16, GgmlType::BF16]);
    assert_eq!(SynthFileType::from_name("Q3_K_M"), None);
    for file_type in SynthFileType::all() {
        assert_eq!(SynthFileType::from_name(&file_type.name().to_lowercase()), Some(file_type));
        let options = SynthOptions::named("tiny", file_type.tensor_type()).unwrap();
        let mut model = SynthModel::new(options).unwrap();
        model.set_file_type(file_type).unwrap();
        let bytes = model.to_bytes().unwrap();
        let gguf = Gguf::from_bytes(bytes).unwrap();
        let id: u32 = gguf.metadata().get("general.file_type").unwrap();
        assert_eq!(SynthFileType::from_id(id), Some(file_type));
        let n_bytes = gguf.tensors().iter().map(|t| t.n_bytes as u64).sum::<u64>();
        assert_eq!(model.n_bytes(), Some(n_bytes), "{}", file_type.name());
    }
}

#[test]
fn every_shape_is_a_model() {
    let sizes: Vec<_> = Shape::NAMES
        .iter()
        .map(|name| {
            let options = SynthOptions::named(name, GgmlType::F32).unwrap();
            assert_eq!(Some(options.shape), Shape::named(name), "{name}");
            SynthModel::new(options).unwrap().n_bytes().unwrap() / 4 / 1_000_000
        })
        .collect();
    // Millions of weights.
    assert_eq!(sizes, [1, 134, 494, 1100, 1235, 8030]);
    assert_eq!(SynthOptions::named("gpt-5", GgmlType::F32), None);
}

#[test]
fn impossible_models_are_refused() {
    let tiny = Shape::TINY;
    let shapes = [
        Shape { n_layer: 0, ..tiny },
        Shape { n_head_kv: 3, ..tiny },
        Shape { n_embd_head: 63, ..tiny },
        Shape { n_vocab: 200, ..tiny },
        Shape { n_vocab: 1 << 20, ..tiny },
        Shape { n_ctx_train: usize::MAX, ..tiny },
    ];
    for shape in shapes {
        let refused = SynthModel::new(SynthOptions::new(shape, GgmlType::F32)).unwrap_err();
        assert_eq!(refused.code(), "E-ARGUMENT", "{shape:?}: {refused}");
    }
    let narrow = Shape { n_head: 2, ..tiny };
    let refused = SynthModel::new(SynthOptions::qwen2(narrow, GgmlType::F32)).unwrap_err();
    assert_eq!(refused.code(), "E-ARGUMENT", "{refused}");
    let odd = Shape { n_embd: 160, ..tiny };
    let model = SynthModel::new(SynthOptions::new(odd, GgmlType::Q4_K)).unwrap();
    assert_eq!(model.to_bytes().unwrap_err().code(), "E-ARGUMENT");
    let unknown = SynthModel::new(SynthOptions::new(tiny, GgmlType::TQ2_0)).unwrap();
    assert_eq!(unknown.to_bytes().unwrap_err().code(), "E-ARGUMENT");
}
