//! Small vocabularies that llama.cpp loads: every byte has a token, the rest are letters put together.

use super::Vocab;
use gguf_parse::{GgufPlan, Value};

/// Token types of the `tokenizer.ggml.token_type` array.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const BYTE: i32 = 6;

/// SentencePiece's word boundary.
const SPACE: char = '\u{2581}';

impl Vocab {
    /// The fewest tokens this kind needs: the bytes and the special tokens.
    pub(super) fn min_tokens(self) -> usize {
        match self {
            Self::Spm => 3 + 256,
            Self::Bpe => 256 + 1,
        }
    }

    /// Adds the `tokenizer.ggml.*` keys for a vocabulary of `n_vocab` tokens, at least [`Self::min_tokens`].
    pub(super) fn describe(self, n_vocab: usize, plan: &mut GgufPlan) {
        match self {
            Self::Spm => describe_spm(n_vocab, plan),
            Self::Bpe => describe_bpe(n_vocab, plan),
        }
    }
}

/// `<unk> <s> </s>`, the bytes, then pieces with falling scores.
fn describe_spm(n_vocab: usize, plan: &mut GgufPlan) {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    let mut types = vec![UNKNOWN, CONTROL, CONTROL];
    let mut scores = vec![0.0; 3];
    for byte in 0..=u8::MAX {
        tokens.push(format!("<0x{byte:02X}>"));
        types.push(BYTE);
        scores.push(0.0);
    }
    let first = std::iter::once(SPACE).chain('a'..='z').collect();
    for (i, piece) in words(first).take(n_vocab - tokens.len()).enumerate() {
        tokens.push(piece);
        types.push(NORMAL);
        scores.push(-(i as f32));
    }
    plan.set("tokenizer.ggml.model", Value::Str("llama"));
    plan.set("tokenizer.ggml.pre", Value::Str("default"));
    put_tokens(&tokens, &types, plan);
    plan.set_f32s("tokenizer.ggml.scores", &scores);
    plan.set("tokenizer.ggml.bos_token_id", Value::U32(1));
    plan.set("tokenizer.ggml.eos_token_id", Value::U32(2));
    plan.set("tokenizer.ggml.unknown_token_id", Value::U32(0));
    plan.set("tokenizer.ggml.add_bos_token", Value::Bool(true));
    plan.set("tokenizer.ggml.add_eos_token", Value::Bool(false));
}

/// The bytes in GPT-2's printable disguise, merged words, and `<|endoftext|>` as the last token.
fn describe_bpe(n_vocab: usize, plan: &mut GgufPlan) {
    let mut tokens = byte_alphabet();
    let mut merges = Vec::new();
    let merged = words(('a'..='z').collect()).filter(|word| word.len() > 1);
    for word in merged.take(n_vocab - tokens.len() - 1) {
        let (left, right) = word.split_at(word.len() - 1);
        merges.push(format!("{left} {right}"));
        tokens.push(word);
    }
    let mut types = vec![NORMAL; tokens.len()];
    tokens.push("<|endoftext|>".to_owned());
    types.push(CONTROL);
    plan.set("tokenizer.ggml.model", Value::Str("gpt2"));
    plan.set("tokenizer.ggml.pre", Value::Str("qwen2"));
    put_tokens(&tokens, &types, plan);
    let merges: Vec<&str> = merges.iter().map(String::as_str).collect();
    plan.set_strs("tokenizer.ggml.merges", &merges);
    let last = u32::try_from(n_vocab - 1).unwrap_or(u32::MAX);
    plan.set("tokenizer.ggml.bos_token_id", Value::U32(last));
    plan.set("tokenizer.ggml.eos_token_id", Value::U32(last));
    plan.set("tokenizer.ggml.add_bos_token", Value::Bool(false));
}

fn put_tokens(tokens: &[String], types: &[i32], plan: &mut GgufPlan) {
    let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
    plan.set_strs("tokenizer.ggml.tokens", &tokens);
    plan.set_i32s("tokenizer.ggml.token_type", types);
}

/// All words over `a..z` by length, then by alphabet; the first character may be another (`first`). Every word's
/// beginning is an earlier word, so that merging letter by letter reaches all of them.
fn words(first: Vec<char>) -> impl Iterator<Item = String> {
    let mut length: Vec<String> = Vec::new();
    std::iter::from_fn(move || {
        length = if length.is_empty() {
            first.iter().map(char::to_string).collect()
        } else {
            length.iter().flat_map(|word| ('a'..='z').map(move |c| format!("{word}{c}"))).collect()
        };
        Some(length.clone())
    })
    .flatten()
}

/// GPT-2's character for each byte: printable bytes stand for themselves, the others for U+0100 and up, in order.
fn byte_alphabet() -> Vec<String> {
    let mut next = 0x100;
    (0..=u8::MAX)
        .map(|byte| {
            let printable = matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
            let code = if printable { u32::from(byte) } else { next };
            next += u32::from(!printable);
            char::from_u32(code).map(String::from).unwrap_or_default()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{byte_alphabet, words};
    use std::collections::HashSet;

    #[test]
    fn words_have_their_beginnings_before_them() {
        let mut seen = HashSet::new();
        for word in words(('a'..='z').collect()).take(20_000) {
            assert!(word.len() == 1 || seen.contains(&word[..word.len() - 1]), "{word}");
            assert!(seen.insert(word), "a word came twice");
        }
    }

    #[test]
    fn bytes_have_different_printable_characters() {
        let alphabet = byte_alphabet();
        assert_eq!(alphabet[usize::from(b' ')], "\u{120}");
        assert_eq!(alphabet[usize::from(b'\n')], "\u{10a}");
        assert_eq!(alphabet[0xad], "\u{143}");
        assert_eq!(alphabet.iter().collect::<HashSet<_>>().len(), 256);
    }
}
