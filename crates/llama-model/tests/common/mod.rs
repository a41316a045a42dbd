//! What the tests share: models, and a trace in the form of the goldens.

#![allow(dead_code, reason = "each test file uses its part")]

use gguf_parse::Gguf;
use golden::trace::{Eval, TraceText};
use llama_model::quantize::{FileType, QuantizeOptions, quantize_path};
use llama_model::{
    BatchToken, Context, ContextOptions, LoadOptions, Model, NodeData, NodeName, Numerics, Trace,
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
    let options = ContextOptions { n_ctx, n_seq: 1, n_ubatch: 512 };
    Context::new(Arc::clone(model), &options).unwrap()
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
    let model = load(path, Numerics::Reference);
    let mut context = context_of(&model, 512.min(model.hparams().n_ctx_train));
    let mut n_tensors = 0;
    for eval in golden::trace::evals(golden) {
        n_tensors += check_eval(golden, &mut context, &eval);
    }
    n_tensors
}

fn check_eval(golden: &str, context: &mut Context, eval: &Eval) -> usize {
    let batch = BatchToken::prompt(0, eval.n_past, &eval.tokens);
    let mut lines = Lines(TraceText::new(eval));
    let logits = context.decode_traced(&batch, &mut lines).unwrap().to_vec();
    let n_cells = context.len(0);
    let n_layer = context.model().hparams().n_layer;
    for il in 0..n_layer {
        let (k, v) = context.cache_f16(il, 0).unwrap();
        lines.0.cache('k', il, n_cells, &k);
        lines.0.cache('v', il, n_cells, &v);
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
