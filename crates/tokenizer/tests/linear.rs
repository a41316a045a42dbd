//! Row V17: texts that make tokenizers slow. A megabyte takes under a second, ten take not much more than ten times
//! as long, whatever it is.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support {
    pub(crate) mod made_up;
    pub(crate) mod strings;
}

use gguf_parse::{Gguf, GgufPlan, Value};
use model_store::Store;
use std::hint::black_box;
use std::time::{Duration, Instant};
use support::made_up;
use support::made_up::{PRES, pairs_vocab, tokenizer_of};
use tokenizer::{Special, Tokenizer};

const MIB: usize = 1 << 20;

/// The texts of row V17: a repetition of each fills the text.
const V17: &[(&str, &str)] =
    &[("a", "a"), ("spaces", " "), ("accents", "\u{301}"), ("newlines", "\n")];

/// And some more.
const MORE: &[(&str, &str)] = &[
    ("sentencepiece spaces", "▁"),
    ("apostrophes", "'"),
    ("digits", "7"),
    ("space a", " a"),
    ("newline space", "\n "),
    ("cut special token", "<|im_"),
    ("special tokens", "<|im_end|>"),
    ("ideographs", "中"),
    ("emoji", "\u{1f600}\u{200d}"),
];

fn time(tok: &Tokenizer, pattern: &str, n_mib: usize) -> Duration {
    let text = pattern.repeat(n_mib * MIB / pattern.len());
    let start = Instant::now();
    black_box(tok.encode(&text, true, Special::Parse));
    start.elapsed()
}

/// Whether a measurement stays below a limit; one of three is enough, since other work on the machine makes single
/// ones longer.
fn one_of_three_below(
    limit: Duration,
    measure: impl Fn() -> Duration,
) -> Result<(), Vec<Duration>> {
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let took = measure();
        if took < limit {
            return Ok(());
        }
        seen.push(took);
    }
    Err(seen)
}

/// One megabyte of each text.
fn under_a_second(name: &str, tok: &Tokenizer) {
    for (what, pattern) in V17.iter().chain(MORE) {
        let result = one_of_three_below(Duration::from_secs(1), || time(tok, pattern, 1));
        assert_eq!(result, Ok(()), "{name}: 1 MiB of {what} took a second or more");
    }
}

/// Ten megabytes of the worst. Quadratic time would be 100 times as long as one takes; the bound leaves room for
/// caches, which hold one megabyte's work and not ten's.
fn hardly_more_than_ten_times(name: &str, tok: &Tokenizer) {
    for (what, pattern) in V17 {
        let one = time(tok, pattern, 1).max(Duration::from_millis(5));
        let result = one_of_three_below(30 * one, || time(tok, pattern, 10));
        assert_eq!(result, Ok(()), "{name}: 1 MiB of {what} took {one:?}");
    }
}

/// One test, so that nothing else of it runs beside what is timed.
#[test]
fn time_is_linear_in_the_text() {
    let path = Store::open().unwrap().resolve("smollm2", &mut |_, _| {}).unwrap();
    let smollm2 = Tokenizer::from_metadata(Gguf::open(&path).unwrap().metadata()).unwrap();
    under_a_second("smollm2", &smollm2);
    hardly_more_than_ten_times("smollm2", &smollm2);
    for (name, plan) in [
        ("spm", made_up::substrings_vocab()),
        ("wpm", made_up::wordpieces_vocab(true)),
        ("ugm", made_up::unigram_vocab(true)),
        ("rwkv", made_up::rwkv_vocab()),
        ("plamo2", made_up::plamo2_vocab()),
        ("characters", made_up::characters_vocab("gemma4", "default")),
        ("whitespace", made_up::characters_vocab("whitespace", "whitespace")),
        ("hybriddna", made_up::characters_vocab("hybriddna", "sarvam-moe")),
    ] {
        let tok = tokenizer_of(&plan).unwrap();
        under_a_second(name, &tok);
        hardly_more_than_ten_times(name, &tok);
    }
    for pre in PRES {
        under_a_second(pre, &tokenizer_of(&pairs_vocab(pre)).unwrap());
    }
    under_a_second("nested", &nested_special_tokens());
}

/// User-defined tokens of 1 to 400 times the same letter: hundreds of matches begin at every byte.
fn nested_special_tokens() -> Tokenizer {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    tokens.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
    tokens.extend((1..=400).map(|n| "a".repeat(n)));
    let mut types = vec![2, 3, 3];
    types.extend([6; 256]);
    types.extend([4; 400]);
    let mut plan = GgufPlan::new();
    plan.set("tokenizer.ggml.model", Value::Str("llama"));
    plan.set_strs("tokenizer.ggml.tokens", &tokens.iter().map(String::as_str).collect::<Vec<_>>());
    plan.set_i32s("tokenizer.ggml.token_type", &types);
    let tok = tokenizer_of(&plan).unwrap();
    assert_eq!(
        tok.encode(&"a".repeat(1000), false, Special::AsText),
        [658, 658, 458],
        "longest first"
    );
    tok
}
