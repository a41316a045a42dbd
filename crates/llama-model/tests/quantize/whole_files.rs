//! From every source to every file type, against llama.cpp's files by their hashes.
use crate::{folder, go_on};
use gguf_parse::Gguf;
use llama_model::quantize::{FileType, QuantizeOptions, quantize_file};
use llama_model::synth::{SynthModel, tiny_models};
use model_store::Store;
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::Path;

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha256(path: &Path) -> String {
    let mut file = std::fs::File::open(path).unwrap();
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => return hex(hasher.finalize()),
            n => hasher.update(&buffer[..n]),
        }
    }
}

/// A line for each file type.
fn lines(source: &Gguf) -> Vec<String> {
    let folder = folder().unwrap();
    let target = folder.path().join("model.gguf");
    let options = QuantizeOptions::new().allow_requantize(true);
    let line = |&file_type: &FileType| {
        quantize_file(source, &target, file_type, &options, &mut go_on).unwrap();
        let n_bytes = target.metadata().unwrap().len();
        format!("{}: {n_bytes} bytes, sha256 {}\n", file_type.name(), sha256(&target))
    };
    FileType::ALL.iter().map(line).collect()
}

#[test]
fn smollm2_is_quantized_as_by_the_reference() {
    let path = Store::open().unwrap().resolve("smollm2", &mut |_, _| ()).unwrap();
    let source = Gguf::open(&path).unwrap();
    golden::check("quantize", "smollm2", &lines(&source).concat());
}

/// From every tensor type to every file type: output matrices tied or not, biases, two architectures.
#[test]
fn tiny_models_are_quantized_as_by_the_reference() {
    let mut models = tiny_models();
    models.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut text = String::new();
    for (name, options) in models {
        let bytes = SynthModel::new(options).unwrap().to_bytes().unwrap();
        text += &format!("{name}: sha256 {}\n", hex(Sha256::digest(&bytes)));
        for line in lines(&Gguf::from_bytes(bytes).unwrap()) {
            text += &format!("  {line}");
        }
    }
    golden::check("quantize", "tiny", &text);
}
