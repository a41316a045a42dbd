//! Random models: the bytes that llama.cpp's goldens were captured from, and weights of the promised size.

use gguf_parse::{GgmlType, Gguf};
use llama_model::synth::{Shape, SynthModel, SynthOptions, tiny_models};
use sha2::{Digest, Sha256};

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
    model.write(&path, |done| fractions.push(done)).unwrap();
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
        for tensor in model.tensors().iter().filter(|tensor| tensor.dims().len() == 2) {
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
    let unknown = SynthModel::new(SynthOptions::new(tiny, GgmlType::IQ4_XS)).unwrap();
    assert_eq!(unknown.to_bytes().unwrap_err().code(), "E-ARGUMENT");
}
