//! Ids, texts, pieces and roles of tokens against llama.cpp, on the texts of golden/tokens/strings.json.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support {
    pub(crate) mod lines;
    pub(crate) mod made_up;
    pub(crate) mod strings;
}

use gguf_parse::Gguf;
use model_store::Store;
use std::path::Path;
use support::lines::check;
use support::made_up::{pairs_vocab, substrings_vocab, tokenizer_of};
use tokenizer::Tokenizer;

fn open(path: &Path) -> Tokenizer {
    Tokenizer::from_metadata(Gguf::open(path).unwrap().metadata()).unwrap()
}

fn of_registry(name: &str) -> Tokenizer {
    open(&Store::open().unwrap().resolve(name, &mut |_, _| {}).unwrap())
}

#[test]
fn smollm2() {
    check("smollm2", &of_registry("smollm2"));
}

#[test]
fn every_splitter_on_all_pairs_of_bytes() {
    for pre in ["default", "gpt-2", "smollm", "qwen2", "qwen35", "llama-bpe"] {
        check(&format!("pairs-{pre}"), &tokenizer_of(&pairs_vocab(pre)).unwrap());
    }
}

#[test]
fn spm_on_substrings() {
    check("substrings", &tokenizer_of(&substrings_vocab()).unwrap());
}
