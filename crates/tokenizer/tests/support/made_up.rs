//! Made-up vocabularies, by the recipes of golden/capture/tokens.py.

use super::strings::entries;
use gguf_parse::{Gguf, GgufPlan, Value};
use std::collections::HashSet;
use tokenizer::{Tokenizer, TokenizerError};

/// Values of `tokenizer.ggml.token_type`.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const BYTE: i32 = 6;

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
/// golden/capture/tokens.py.
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

/// Special tokens, all bytes, and two thirds of the substrings of the texts: `substrings_vocab` of
/// golden/capture/tokens.py.
pub(crate) fn substrings_vocab() -> GgufPlan {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    tokens.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
    tokens.extend(["<tool_call>", "  "].map(str::to_owned));
    let mut types = vec![UNKNOWN, CONTROL, CONTROL];
    types.extend([BYTE; 256]);
    types.extend([USER_DEFINED; 2]);
    let mut scores = vec![0.0; tokens.len()];
    let mut seen: HashSet<String> = tokens.iter().cloned().collect();
    for entry in entries() {
        let text = format!("▁{}", entry["text"].as_str().unwrap_or_default().replace(' ', "▁"));
        let chars: Vec<char> = text.chars().collect();
        for start in 0..chars.len() {
            for end in start + 1..=(start + 6).min(chars.len()) {
                let piece: String = chars[start..end].iter().collect();
                let two_of_a_role = matches!(piece.as_str(), "▁<PRE>" | "▁<SUF>" | "▁<MID>");
                if two_of_a_role || piece.contains('\0') || !seen.insert(piece.clone()) {
                    continue;
                }
                let hash = piece
                    .bytes()
                    .fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
                if hash % 3 != 0 {
                    tokens.push(piece);
                    types.push(NORMAL);
                    scores.push(-f32::from(u16::try_from((hash >> 8) % 500).unwrap()));
                }
            }
        }
    }
    let mut plan = GgufPlan::new();
    plan.set("tokenizer.ggml.model", Value::Str("llama"));
    plan.set_strs("tokenizer.ggml.tokens", &strs(&tokens));
    plan.set_i32s("tokenizer.ggml.token_type", &types);
    plan.set_f32s("tokenizer.ggml.scores", &scores);
    plan.set("tokenizer.ggml.add_eos_token", Value::Bool(true));
    plan
}

fn strs(items: &[String]) -> Vec<&str> {
    items.iter().map(String::as_str).collect()
}
