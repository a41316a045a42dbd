//! What the tests share: models, and a trace in the form of the goldens.

#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod text;

use gguf_parse::Gguf;
use golden::trace::{Eval, TraceText};
use half::f16;
use llama_model::quantize::{FileType, QuantizeOptions, quantize_path};
use llama_model::{
    BatchToken, Context, ContextOptions, KvType, LoadOptions, Model, NodeData, NodeName, Numerics,
    Trace,
};
use model_store::Store;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A registry model's file, fetched on first use.
pub(crate) fn registry(name: &str) -> PathBuf {
    Store::open().unwrap().resolve(name, &mut |_, _| ()).unwrap()
}

/// SmolLM2 in another type, quantized once into the cache and checked each time.
pub(crate) fn smollm2_in(ty: &str) -> PathBuf {
    let original = registry("smollm2");
    let Some((_, sha256)) = QUANTIZED.iter().find(|(name, _)| *name == ty) else { return original };
    let path = original.with_file_name(format!("smollm2-{ty}.gguf"));
    if !path.exists() {
        let options = QuantizeOptions::new().allow_requantize(true);
        let ty = FileType::from_name(ty).unwrap();
        quantize_path(&original, &path, ty, &options, &mut |_| ControlFlow::Continue(())).unwrap();
    }
    assert_eq!(
        sha256_of(&path),
        *sha256,
        "{} is not what llama-quantize makes of SmolLM2",
        path.display()
    );
    path
}

/// SHA-256 of what llama-quantize makes of SmolLM2 Q4_1.
const QUANTIZED: &[(&str, &str)] = &[
    ("Q4_0", "aa4256f3b46eb4add75ece1c0eeac1c6e4f1ec0c93e6fbe64fe1770f4ad09ae8"),
    ("Q4_K_M", "dc0f3a02e821146247a0af6895adf9872124f368682cb110cb9ed09ff2a9f9f1"),
    ("Q6_K", "a969ae2086dd4945a7c61594bf72b2bcc3b7df8571c92aed8f213918673a7f80"),
    ("Q8_0", "7b46609d11703c058397e5cfe4cc6e4b2508cb1eb4c80ddc472a5d421fbdb508"),
];

/// Loads a model file.
pub(crate) fn load(path: &Path, numerics: Numerics) -> Arc<Model> {
    load_with(path, &LoadOptions { numerics, ..LoadOptions::default() })
}

/// The same with every option.
pub(crate) fn load_with(path: &Path, options: &LoadOptions) -> Arc<Model> {
    let gguf = Arc::new(Gguf::open(path).unwrap());
    Arc::new(Model::load(gguf, options, &mut |_| ()).unwrap())
}

/// A context of one sequence, as the captures used it.
pub(crate) fn context_of(model: &Arc<Model>, n_ctx: usize) -> Context {
    Context::new(Arc::clone(model), &ContextOptions { n_ctx, ..ContextOptions::default() }).unwrap()
}

/// Writes nodes down as the goldens have them.
struct Lines(TraceText);

impl Trace for Lines {
    fn node(&mut self, name: NodeName, shape: &[usize], data: NodeData<'_>) {
        let NodeData::F32(values) = data else { panic!("goldens are f32") };
        self.0.node(name.op, name.label, name.il, shape, values);
    }
}

/// Repeats every captured evaluation of `golden` with the `Reference` arithmetic and compares each node, the
/// cache and the logits. Returns how many tensors were compared.
pub(crate) fn check_traces(golden: &str, path: &Path) -> usize {
    check_traces_with(golden, path, [KvType::F16; 2])
}

/// The same with keys and values of these types.
pub(crate) fn check_traces_with(golden: &str, path: &Path, cache: [KvType; 2]) -> usize {
    let model = load(path, Numerics::Reference);
    let n_ctx = 512.min(model.hparams().n_ctx_train);
    let [type_k, type_v] = cache;
    let options = ContextOptions { n_ctx, type_k, type_v, ..ContextOptions::default() };
    let mut context = Context::new(Arc::clone(&model), &options).unwrap();
    let evals = golden::trace::evals(golden);
    evals.iter().map(|eval| check_eval(golden, &mut context, cache, eval)).sum()
}

fn check_eval(golden: &str, context: &mut Context, cache: [KvType; 2], eval: &Eval) -> usize {
    let batch = BatchToken::prompt(0, eval.n_past, &eval.tokens);
    let mut lines = Lines(TraceText::new(eval));
    let logits = context.decode_traced(&batch, &mut lines).unwrap().to_vec();
    let n_cells = context.len(0);
    let n_layer = context.model().hparams().n_layer;
    for il in 0..n_layer {
        let (k, v) = context.cache_f32(il, 0).unwrap();
        for (kind, ty, x) in [('k', cache[0], k), ('v', cache[1], v)] {
            if ty == KvType::F32 {
                lines.0.cache_f32(kind, il, n_cells, &x);
            } else {
                let bits: Vec<u16> = x.iter().map(|x| f16::from_f32(*x).to_bits()).collect();
                lines.0.cache(kind, il, n_cells, &bits);
            }
        }
    }
    let n_tensors = lines.0.n_nodes() + 2 * n_layer;
    golden::check(&format!("trace/{golden}"), &eval.name, &lines.0.finish());
    let text = golden::trace::logits_text(&eval.tokens, eval.n_past, &logits);
    golden::check(&format!("logits/{golden}"), &eval.name, &text);
    n_tensors
}

/// SHA-256 of a file, hex.
fn sha256_of(path: &Path) -> String {
    Sha256::digest(std::fs::read(path).unwrap()).iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}
