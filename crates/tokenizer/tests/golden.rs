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
use support::lines::{check, sha256_of_ids, short_sha256, texts};
use support::made_up;
use support::made_up::{PRES, pairs_vocab, tokenizer_of};
use tokenizer::{Special, Tokenizer};

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
    for pre in PRES {
        check(&format!("pairs-{pre}"), &tokenizer_of(&pairs_vocab(pre)).unwrap());
    }
}

/// What goes with each name that llama.cpp knows. (But for `whitespace`: there the reference ends the process at a
/// space. Its own model, below, never shows it one.)
#[test]
fn every_name_of_a_pre_tokenizer() {
    let golden = golden::load("tokens", "pre_tokenizers");
    let names: Vec<&str> =
        golden.lines().filter_map(|line| Some(line.split_once(':')?.0)).collect();
    assert_eq!(names.len(), 90, "names");
    let lines: Vec<String> = names.iter().map(|pre| describe_pre(pre)).collect();
    golden::check("tokens", "pre_tokenizers", &lines.join("\n"));
}

/// `pre_tokenizers` of golden/capture/tokens.py writes the same line.
fn describe_pre(pre: &str) -> String {
    let tok = tokenizer_of(&pairs_vocab(pre)).unwrap();
    let optional = |id: Option<u32>| id.map_or("none".to_owned(), |id| id.to_string());
    let adds = [("bos", tok.add_bos()), ("eos", tok.add_eos()), ("sep", tok.add_sep())];
    let adds: Vec<&str> = adds.iter().filter(|(_, added)| *added).map(|(name, _)| *name).collect();
    let adds = if adds.is_empty() { "nothing".to_owned() } else { adds.join(" ") };
    let mut ids = Vec::new();
    let mut decoded = String::new();
    for (_, text) in texts().iter().step_by(10) {
        let these = tok.encode(text, true, Special::AsText);
        decoded += &tok.decode(&these, false, false);
        ids.extend(these);
    }
    format!(
        "{pre}: {} {}, adds {adds}, {} ids {}, decoded {}",
        optional(tok.bos()),
        optional(tok.eos()),
        ids.len(),
        sha256_of_ids(&ids),
        short_sha256(decoded.as_bytes())
    )
}

#[test]
fn spm_on_substrings() {
    check("substrings", &tokenizer_of(&made_up::substrings_vocab()).unwrap());
}

#[test]
fn wpm_on_substrings() {
    check("wpm", &tokenizer_of(&made_up::wordpieces_vocab(true)).unwrap());
    check("wpm-cased", &tokenizer_of(&made_up::wordpieces_vocab(false)).unwrap());
}

#[test]
fn ugm_on_substrings() {
    check("ugm", &tokenizer_of(&made_up::unigram_vocab(false)).unwrap());
    check("ugm-spaces", &tokenizer_of(&made_up::unigram_vocab(true)).unwrap());
}

#[test]
fn rwkv_on_substrings() {
    check("rwkv", &tokenizer_of(&made_up::rwkv_vocab()).unwrap());
}

#[test]
fn plamo2_on_substrings() {
    check("plamo2", &tokenizer_of(&made_up::plamo2_vocab()).unwrap());
}

#[test]
fn bpe_of_characters() {
    for (name, model, pre) in [
        ("gemma4", "gemma4", "default"),
        ("sarvam-moe", "gpt2", "sarvam-moe"),
        ("whitespace", "whitespace", "whitespace"),
        ("hybriddna", "hybriddna", "sarvam-moe"),
    ] {
        let tok = tokenizer_of(&made_up::characters_vocab(model, pre)).unwrap();
        check(&format!("characters-{name}"), &tok);
    }
}
