//! Made-up vocabularies, by the recipes of golden/capture/vocabs.py.

use super::strings::entries;
use gguf_parse::{Gguf, GgufPlan, Value};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use tokenizer::{Tokenizer, TokenizerError};

/// Values of `tokenizer.ggml.token_type`.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

/// What SentencePiece writes for a space.
const SPACE: &str = "▁";

/// One name of each way of cutting text into words.
pub(crate) const PRES: &[&str] = &[
    "afmoe",
    "bloom",
    "chameleon",
    "deepseek-coder",
    "deepseek-llm",
    "deepseek-v3",
    "default",
    "exaone-moe",
    "falcon",
    "gpt-2",
    "gpt-4o",
    "granite-embed-multi-97m",
    "jais-2",
    "kimi-k2",
    "laguna",
    "llama-bpe",
    "minicpm5",
    "qwen2",
    "qwen35",
    "seed-coder",
    "smollm",
    "spark2_5",
    "superbpe",
    "tekken",
    "tiny_aya",
    "ufakzeka",
    "viking",
    "youtu",
];

/// The tokenizer of the metadata in `plan`.
pub(crate) fn tokenizer_of(plan: &GgufPlan) -> Result<Tokenizer, TokenizerError> {
    let gguf = Gguf::from_bytes(plan.to_bytes(&[])?)?;
    Tokenizer::from_metadata(gguf.metadata())
}

/// The character that byte-level BPE writes for each byte.
fn byte_alphabet() -> Vec<String> {
    let mut others = 0x100..;
    (0..=255u8)
        .map(|byte| match byte {
            0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => char::from(byte).to_string(),
            _ => char::from_u32(others.next().unwrap()).unwrap().to_string(),
        })
        .collect()
}

/// All bytes, all pairs of bytes in a scrambled order, and some special tokens: `pairs_vocab` of
/// golden/capture/vocabs.py.
pub(crate) fn pairs_vocab(pre: &str) -> GgufPlan {
    let alphabet = byte_alphabet();
    let pairs: Vec<(&str, &str)> = (0..65536usize)
        .map(|i| i * 40503 % 65536)
        .map(|p| (alphabet[p >> 8].as_str(), alphabet[p & 255].as_str()))
        .collect();
    let special = [
        ("<|im_start|>", CONTROL),
        ("<|im_end|>", CONTROL),
        ("<|endoftext|>", NORMAL),
        ("<unk>", UNKNOWN),
        ("  ", USER_DEFINED),
        ("    ", USER_DEFINED),
        ("\n\n", USER_DEFINED),
        ("<tool_call>", USER_DEFINED),
        ("|><|", USER_DEFINED),
    ];
    let mut tokens: Vec<String> = alphabet.clone();
    tokens.extend(pairs.iter().map(|(left, right)| format!("{left}{right}")));
    tokens.extend(special.iter().map(|(text, _)| (*text).to_owned()));
    let mut types = vec![NORMAL; 256 + 65536];
    types.extend(special.iter().map(|(_, kind)| kind));
    let merges: Vec<String> = pairs.iter().map(|(left, right)| format!("{left} {right}")).collect();

    let mut plan = GgufPlan::new();
    plan.set("tokenizer.ggml.model", Value::Str("gpt2"));
    plan.set("tokenizer.ggml.pre", Value::Str(pre));
    plan.set_strs("tokenizer.ggml.tokens", &strs(&tokens));
    plan.set_i32s("tokenizer.ggml.token_type", &types);
    plan.set_strs("tokenizer.ggml.merges", &strs(&merges));
    plan.set("tokenizer.ggml.bos_token_id", Value::U32(256 + 65536));
    plan
}

/// A list of tokens that grows.
#[derive(Default)]
struct Tokens {
    texts: Vec<String>,
    types: Vec<i32>,
    scores: Vec<f32>,
    seen: HashSet<String>,
}

impl Tokens {
    fn add(&mut self, text: &str, kind: i32, score: f32) {
        self.texts.push(text.to_owned());
        self.types.push(kind);
        self.scores.push(score);
        self.seen.insert(text.to_owned());
    }

    fn add_all(&mut self, tokens: &[(&str, i32)]) {
        tokens.iter().for_each(|&(text, kind)| self.add(text, kind, 0.0));
    }

    fn add_bytes(&mut self) {
        (0..256).for_each(|byte| self.add(&format!("<0x{byte:02X}>"), BYTE, 0.0));
    }

    /// Two thirds of the substrings of the texts, up to six characters, with hashes: many have equal scores.
    fn substrings(&mut self) -> Vec<(String, u32)> {
        let mut pieces = Vec::new();
        for text in spaced_texts() {
            let chars: Vec<char> = text.chars().collect();
            for start in 0..chars.len() {
                for end in start + 1..=(start + 6).min(chars.len()) {
                    let piece: String = chars[start..end].iter().collect();
                    let two_of_a_role = matches!(piece.as_str(), "▁<PRE>" | "▁<SUF>" | "▁<MID>");
                    if two_of_a_role || piece.contains('\0') || !self.seen.insert(piece.clone()) {
                        continue;
                    }
                    let hash = fnv1a(&piece);
                    if !hash.is_multiple_of(3) {
                        pieces.push((piece, hash));
                    }
                }
            }
        }
        pieces
    }

    fn plan(&self, model: &str) -> GgufPlan {
        let mut plan = GgufPlan::new();
        plan.set("tokenizer.ggml.model", Value::Str(model));
        plan.set_strs("tokenizer.ggml.tokens", &strs(&self.texts));
        plan.set_i32s("tokenizer.ggml.token_type", &self.types);
        plan.set_f32s("tokenizer.ggml.scores", &self.scores);
        plan
    }
}

/// The texts of strings.json, not repeated, with [`SPACE`] in front and for spaces.
fn spaced_texts() -> Vec<String> {
    let spaced = |text: &str| format!("{SPACE}{}", text.replace(' ', SPACE));
    entries().iter().map(|entry| spaced(entry["text"].as_str().unwrap_or_default())).collect()
}

fn fnv1a(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193))
}

/// A score out of 500, made of a hash.
fn score(hash: u32) -> f32 {
    -f32::from(u16::try_from((hash >> 8) % 500).unwrap())
}

/// SPM.
pub(crate) fn substrings_vocab() -> GgufPlan {
    let mut tokens = Tokens::default();
    tokens.add_all(&[("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)]);
    tokens.add_bytes();
    tokens.add_all(&[("<tool_call>", USER_DEFINED), ("  ", USER_DEFINED)]);
    for (piece, hash) in tokens.substrings() {
        tokens.add(&piece, NORMAL, score(hash));
    }
    let mut plan = tokens.plan("llama");
    plan.set("tokenizer.ggml.add_eos_token", Value::Bool(true));
    plan
}

/// WPM.
pub(crate) fn wordpieces_vocab(lowercase: bool) -> GgufPlan {
    let mut tokens = Tokens::default();
    tokens.add_all(&["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(|text| (text, CONTROL)));
    for (piece, hash) in tokens.substrings() {
        if !hash.is_multiple_of(11) {
            tokens.add(&piece, NORMAL, 0.0);
        }
    }
    let mut plan = tokens.plan("bert");
    for (role, id) in [("unknown", 1), ("bos", 2), ("seperator", 3), ("padding", 0), ("mask", 4)] {
        plan.set(&format!("tokenizer.ggml.{role}_token_id"), Value::U32(id));
    }
    if !lowercase {
        plan.set("tokenizer.ggml.normalizer.lowercase", Value::Bool(false));
    }
    plan
}

/// What the made-up map of characters replaces.
const REPLACED: &[(&str, &str)] = &[
    ("\u{fb01}", "fi"),
    ("\u{ff21}", "A"),
    ("\u{ff22}\u{ff23}", "BC"),
    ("\u{3000}", " "),
    ("\t", " "),
    ("\n", " "),
    ("\u{bd}", "1\u{2044}2"),
    ("e\u{301}", "\u{e9}"),
    ("\u{ad}", ""),
    ("\u{2026}", "..."),
    ("\u{200b}", " "),
    ("'s", "'S"),
];

/// SentencePiece's map of characters, as a double array in which every state has 256 entries for itself.
fn charsmap() -> Vec<u8> {
    let mut replacements = Vec::new();
    let mut states: BTreeMap<&[u8], usize> = BTreeMap::from([(&b""[..], 1)]);
    let mut ends = BTreeMap::new();
    for (key, to) in REPLACED {
        for n in 1..=key.len() {
            let number = states.len() + 1;
            states.entry(&key.as_bytes()[..n]).or_insert(number);
        }
        ends.insert(key.as_bytes(), replacements.len());
        replacements.extend([to.as_bytes(), b"\0"].concat());
    }
    let mut entries = vec![0_u32; 256 * (states.len() + 1)];
    entries[0] = 256 << 10;
    let entry = |n: usize| u32::try_from(n).unwrap();
    for (key, number) in &states {
        let end = ends.get(key);
        if let Some((&byte, parent)) = key.split_last() {
            let at = 256 * states[parent] + usize::from(byte);
            let base = entry(at ^ (256 * number));
            entries[at] = base << 10 | u32::from(end.is_some()) << 8 | u32::from(byte);
        }
        if let Some(&end) = end {
            entries[256 * number] = 1 << 31 | entry(end);
        }
    }
    let array: Vec<u8> = entries.iter().flat_map(|entry| entry.to_le_bytes()).collect();
    [&entry(array.len()).to_le_bytes(), array.as_slice(), &replacements].concat()
}

/// UGM; `spaces`: with a map of characters and tidy spaces.
pub(crate) fn unigram_vocab(spaces: bool) -> GgufPlan {
    let mut tokens = Tokens::default();
    tokens.add_all(&[("<pad>", CONTROL), ("</s>", CONTROL), ("<unk>", UNKNOWN)]);
    tokens.add_all(&["<tool_call>", "<tool_", "\u{2192}"].map(|text| (text, USER_DEFINED)));
    for (piece, hash) in tokens.substrings() {
        let kind = if hash.is_multiple_of(17) { UNUSED } else { NORMAL };
        tokens.add(&piece, kind, score(hash) / 32.0);
    }
    let mut plan = tokens.plan("t5");
    if spaces {
        plan.set_u8s("tokenizer.ggml.precompiled_charsmap", &charsmap());
        plan.set("tokenizer.ggml.add_space_prefix", Value::Bool(true));
        plan.set("tokenizer.ggml.remove_extra_whitespaces", Value::Bool(true));
    }
    plan
}

/// Text as Python would write its bytes; characters beyond ASCII as they are if `whole`.
fn escaped(text: &str, whole: bool) -> String {
    let byte = |byte: u8| match byte {
        b'\\' | b'\'' | b'"' => format!("\\x{byte:02x}"),
        0x20..0x7f => char::from(byte).to_string(),
        _ => format!("\\x{byte:02x}"),
    };
    let escaped = |c: char| {
        if whole && c >= '\x7f' {
            return c.to_string();
        }
        c.encode_utf8(&mut [0; 4]).bytes().map(byte).collect()
    };
    text.chars().map(escaped).collect()
}

/// RWKV.
pub(crate) fn rwkv_vocab() -> GgufPlan {
    let mut tokens = Tokens::default();
    tokens.add("<s>", CONTROL, 0.0);
    (0..256).for_each(|byte| tokens.add(&format!("\\x{byte:02x}"), NORMAL, 0.0));
    tokens.add_all(&[r"\n\n", r"\t", r"\r\n", r"a\'s"].map(|text| (text, NORMAL)));
    let mut written: HashSet<String> = tokens.texts.iter().cloned().collect();
    for (piece, hash) in tokens.substrings() {
        let text = escaped(&piece.replace(SPACE, " "), hash & 1024 != 0);
        if written.insert(text.clone()) {
            tokens.add(&text, NORMAL, 0.0);
        }
    }
    tokens.plan("rwkv")
}

/// PLaMo-2.
pub(crate) fn plamo2_vocab() -> GgufPlan {
    let mut tokens = Tokens::default();
    for (text, kind) in [("unk", UNKNOWN), ("bos", CONTROL), ("eos", CONTROL), ("pad", CONTROL)] {
        tokens.add(&format!("<|plamo:{text}|>"), kind, 0.0);
    }
    tokens.add_bytes();
    tokens.add("[PAD1]", UNUSED, -1000.0);
    let mut written: HashSet<String> = tokens.texts.iter().cloned().collect();
    for (piece, hash) in tokens.substrings() {
        let piece = piece.replace(SPACE, " ");
        if written.insert(piece.clone()) {
            tokens.add(&piece, NORMAL, score(hash) / 64.0);
        }
    }
    tokens.plan("plamo2")
}

/// BPE of characters.
pub(crate) fn characters_vocab(model: &str, pre: &str) -> GgufPlan {
    let mut tokens = Tokens::default();
    tokens.add_all(&[
        ("<unk>", UNKNOWN),
        ("<bos>", CONTROL),
        ("<eos>", CONTROL),
        ("<dna>", CONTROL),
    ]);
    tokens.add_all(&[("</dna>", NORMAL), ("<oov>", NORMAL)]);
    if model == "hybriddna" {
        for i in (0..4096).step_by(5) {
            let bases: String = (0..6).map(|n| ['A', 'C', 'G', 'T'][i >> (2 * n) & 3]).collect();
            tokens.add(&format!("{bases}\u{e000}"), NORMAL, 0.0);
        }
    }
    tokens.add_bytes();
    let texts = spaced_texts();
    let kept = |c: &char| *c != '\0' && !fnv1a(&c.to_string()).is_multiple_of(8);
    let chars: BTreeSet<char> = texts.iter().flat_map(|text| text.chars()).filter(kept).collect();
    chars.iter().for_each(|c| tokens.add(&c.to_string(), NORMAL, 0.0));
    let mut pairs: BTreeSet<(u32, String)> = BTreeSet::new();
    for text in &texts {
        for (left, right) in text.chars().zip(text.chars().skip(1)) {
            let pair = format!("{left}{right}");
            let known = [left, right].iter().all(|c| tokens.seen.contains(&c.to_string()));
            if known && !pair.contains('\n') && !fnv1a(&pair).is_multiple_of(4) {
                pairs.insert((fnv1a(&pair), pair));
            }
        }
    }
    let mut merges = Vec::new();
    for (_, pair) in pairs {
        if !tokens.seen.contains(&pair) {
            tokens.add(&pair, NORMAL, 0.0);
            let first = pair.chars().next().unwrap();
            merges.push(format!("{first} {}", &pair[first.len_utf8()..]));
        }
    }
    [2, 3, 5].iter().for_each(|&n| tokens.add(&"\n".repeat(n), NORMAL, 0.0));
    let mut plan = tokens.plan(model);
    plan.set("tokenizer.ggml.pre", Value::Str(pre));
    plan.set_strs("tokenizer.ggml.merges", &strs(&merges));
    for (role, id) in [("bos", 1), ("eos", 2), ("unknown", 0)] {
        plan.set(&format!("tokenizer.ggml.{role}_token_id"), Value::U32(id));
    }
    plan
}

fn strs(items: &[String]) -> Vec<&str> {
    items.iter().map(String::as_str).collect()
}
