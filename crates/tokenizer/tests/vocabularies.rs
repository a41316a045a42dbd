//! The second tier: the vocabularies that come with llama.cpp, and larger models, against llama.cpp.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support {
    pub(crate) mod lines;
    pub(crate) mod strings;
    pub(crate) mod vocab_files;
}

use gguf_parse::Gguf;
use std::path::Path;
use support::{lines::check, vocab_files};
use tokenizer::Tokenizer;

fn check_file(name: &str, path: &Path) {
    check(name, &Tokenizer::from_metadata(Gguf::open(path).unwrap().metadata()).unwrap());
}

macro_rules! vocabularies {
    ($($test:ident = $name:literal;)*) => { $(
        #[test]
        fn $test() {
            check_file($name, &vocab_files::fetch($name));
        }
    )* };
}

vocabularies! {
    aquila = "aquila";
    baichuan = "baichuan";
    bert_bge = "bert-bge";
    command_r = "command-r";
    deepseek_coder = "deepseek-coder";
    deepseek_llm = "deepseek-llm";
    falcon = "falcon";
    gemma_4 = "gemma-4";
    gpt_2 = "gpt-2";
    gpt_neox = "gpt-neox";
    llama_bpe = "llama-bpe";
    llama_spm = "llama-spm";
    mpt = "mpt";
    nomic_bert_moe = "nomic-bert-moe";
    phi_3 = "phi-3";
    qwen2 = "qwen2";
    qwen35 = "qwen35";
    refact = "refact";
    starcoder = "starcoder";
}

fn check_model(name: &str) {
    let store = model_store::Store::open().unwrap();
    check_file(name, &store.resolve(name, &mut |_, _| {}).unwrap());
}

#[test]
fn qwen2_5_coder() {
    check_model("qwen2.5-coder-0.5b");
}

#[test]
fn gemma3_270m() {
    check_model("gemma3-270m");
}
