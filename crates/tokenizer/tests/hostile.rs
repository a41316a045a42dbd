//! Vocabularies made to do harm, rows V of the project's corpus: what is wrong with each, and the code and class of
//! the answer. Whatever the row, the answer is a value: no panic, no wait.

use gguf_parse::ErrorClass::{self, Malformed, Unsupported};
use gguf_parse::Gguf;
use golden::hostile::T1;
use tokenizer::{Special, Tokenizer, TokenizerError};

const MODEL: &str = "tokenizer.ggml.model";
const CHARSMAP: &str = "tokenizer.ggml.precompiled_charsmap";
const TOKENS: &str = "tokenizer.ggml.tokens";
const SCORES: &str = "tokenizer.ggml.scores";
const TYPES: &str = "tokenizer.ggml.token_type";
const MERGES: &str = "tokenizer.ggml.merges";

fn load(model: &T1) -> Result<Tokenizer, TokenizerError> {
    Tokenizer::from_metadata(Gguf::from_bytes(model.build())?.metadata())
}

/// T1 with one token's text changed.
fn with_token(id: usize, text: &[u8]) -> T1 {
    let mut tokens = T1::tokens();
    tokens[id] = text.to_vec();
    T1::new().set_strs(TOKENS, &tokens)
}

fn bpe_with_merges(merges: &[&str]) -> T1 {
    T1::bpe().set_strs(MERGES, merges)
}

/// T1 without byte tokens: only those that are accepted by `keep`.
fn with_bytes(keep: impl Fn(usize) -> bool) -> T1 {
    let mut tokens = T1::tokens();
    let mut types: Vec<i32> = (0..262).map(|id| [2, 3, 3].get(id).copied().unwrap_or(6)).collect();
    for (id, kind) in types.iter_mut().enumerate().skip(3) {
        if id >= 259 {
            *kind = 1;
        } else if !keep(id - 3) {
            *kind = 1;
            tokens[id] = format!("piece {id}").into_bytes();
        }
    }
    T1::new().set_strs(TOKENS, &tokens).set_i32s(TYPES, &types)
}

#[test]
fn refused() {
    let spm = T1::new;
    let n_minus_1 = [0.0; 261];
    let no_string: [&str; 0] = [];
    let rows: [(&str, T1, &str, ErrorClass); 44] = [
        ("V01", spm().set_u32("tokenizer.ggml.bos_token_id", 1_000_000), "E-TOKENID", Malformed),
        ("V02", spm().set_u32("tokenizer.ggml.eos_token_id", u32::MAX), "E-TOKENID", Malformed),
        ("V02 eot", spm().set_u32("tokenizer.ggml.eot_token_id", 262), "E-TOKENID", Malformed),
        ("V02 type", spm().set_str("tokenizer.ggml.eos_token_id", "2"), "E-KEYTYPE", Malformed),
        ("V03", spm().set_f32s(SCORES, &n_minus_1), "E-VOCAB", Malformed),
        ("V04", spm().set_u8s(SCORES, &[0; 262]), "E-KEYTYPE", Malformed),
        ("V04 scalar", spm().set_f32(SCORES, 1.0), "E-KEYTYPE", Malformed),
        ("V04 NaN", spm().set_f32s(SCORES, &[f32::NAN; 262]), "E-VOCAB", Malformed),
        ("V05", spm().set_i32s(TYPES, &[1; 261]), "E-VOCAB", Malformed),
        ("V05 type", spm().set_u32s(TYPES, &[1; 262]), "E-KEYTYPE", Malformed),
        ("V06", spm().set_strs(TOKENS, &["<unk>"]), "E-TOKENID", Malformed),
        ("V08", spm().set_strs(TOKENS, &no_string), "E-VOCAB", Malformed),
        ("V08 missing", spm().remove(TOKENS), "E-KEY", Malformed),
        ("V08 type", spm().set_i32s(TOKENS, &[1; 262]), "E-KEYTYPE", Malformed),
        ("V10", with_token(260, b"a\xff"), "E-UTF8", Malformed),
        ("V11", with_bytes(|_| false), "E-VOCAB", Malformed),
        ("V12 sign", with_token(3, b"<0x-1>"), "E-VOCAB", Malformed),
        ("V12 letters", with_token(258, b"<0xZZ>"), "E-VOCAB", Malformed),
        ("V12 short", with_token(70, b"<0"), "E-VOCAB", Malformed),
        ("V13", with_token(261, &vec![b'a'; 16 << 20]), "E-STRLEN", Malformed),
        ("V13 64 KiB", with_token(261, &vec![b'a'; 1 << 16]), "E-STRLEN", Malformed),
        ("V14 no space", bpe_with_merges(&["a b", "abc"]), "E-MERGE", Malformed),
        ("V14 empty", bpe_with_merges(&[""]), "E-MERGE", Malformed),
        ("V14 unknown part", bpe_with_merges(&["ab xyz"]), "E-MERGE", Malformed),
        ("V14 unknown result", bpe_with_merges(&["b a"]), "E-MERGE", Malformed),
        ("V14 itself", bpe_with_merges(&["ab "]), "E-MERGE", Malformed),
        ("V14 too many", bpe_with_merges(&["a b"; 40]), "E-MERGE", Malformed),
        ("V14 missing", T1::bpe().remove(MERGES), "E-KEY", Malformed),
        ("V14 type", T1::bpe().set_i32s(MERGES, &[1, 2]), "E-KEYTYPE", Malformed),
        ("V15", charsmap(&[1, 2, 3]), "E-VOCAB", Malformed),
        ("V15 short", charsmap(&[8, 0, 0, 0, 0, 0, 0, 0, 0]), "E-VOCAB", Malformed),
        ("V15 no replacements", charsmap(&[0, 0, 0, 0]), "E-VOCAB", Malformed),
        ("V15 no end", charsmap(&[0, 0, 0, 0, b'a']), "E-VOCAB", Malformed),
        ("V15 out", charsmap(&[4, 0, 0, 0, 0, 0, 4, 0, 0]), "E-VOCAB", Malformed),
        ("V15 out later", charsmap(&one_string(2000, 0)), "E-VOCAB", Malformed),
        ("V15 past the end", charsmap(&one_string(2, 1)), "E-VOCAB", Malformed),
        ("V15 type", spm().set_str(MODEL, "t5").set_i32s(CHARSMAP, &[1]), "E-KEYTYPE", Malformed),
        (
            "UGM long token",
            with_token(261, &[b'a'; 2000]).set_str(MODEL, "t5"),
            "E-STRLEN",
            Malformed,
        ),
        ("WPM without unknown", few_tokens("bert"), "E-TOKENID", Malformed),
        ("UGM without unknown", few_tokens("t5"), "E-TOKENID", Malformed),
        ("PLaMo-2", with_bytes(|byte| byte < 128).set_str(MODEL, "plamo2"), "E-VOCAB", Malformed),
        ("none", spm().set_str(MODEL, "no_vocab"), "E-TOKENIZER", Unsupported),
        ("V16", T1::bpe().set_str("tokenizer.ggml.pre", "no-such-thing"), "E-PRE", Unsupported),
        ("no BOS to add", no_bos(), "E-TOKENID", Malformed),
    ];
    for (id, model, code, class) in rows {
        let error = load(&model).map(|_| ()).expect_err(id);
        assert_eq!((error.code(), error.class()), (code, class), "{id}: {error}");
        assert!(error.to_string().len() < 200, "{id}: {error}");
    }
}

/// A unigram vocabulary with a map of characters.
fn charsmap(bytes: &[u8]) -> T1 {
    T1::new().set_str(MODEL, "t5").set_u8s(CHARSMAP, bytes)
}

/// A map of one string, the byte 1: the entry after it leads to entry `next`, which says that the replacement is at
/// byte `value` of a list that has only the byte 0.
fn one_string(next: u32, value: u32) -> Vec<u8> {
    let mut entries = [0_u32; 256];
    entries[1] = (1 ^ next) << 10 | 1 << 8 | 1;
    if let Some(entry) = entries.get_mut(next as usize) {
        *entry = 1 << 31 | value;
    }
    let array: Vec<u8> = entries.iter().flat_map(|entry| entry.to_le_bytes()).collect();
    [&1024_u32.to_le_bytes()[..], &array, &[0]].concat()
}

/// Texts grow with their replacements.
#[test]
fn replacements_are_short() {
    let map = |n| {
        let list = [vec![b'a'; n], vec![0]].concat();
        load(&charsmap(&[one_string(2, 0).split_last().unwrap().1, &list].concat()))
    };
    assert!(map(256).is_ok(), "256 bytes");
    let error = map(257).map(|_| ()).expect_err("257 bytes");
    assert_eq!((error.code(), error.class()), ("E-VOCAB", Malformed), "{error}");
    assert!(error.to_string().contains("a replacement of it has more than 256 bytes"), "{error}");
}

fn few_tokens(model: &str) -> T1 {
    let few = T1::new().set_str(MODEL, model).set_strs(TOKENS, &["a", "b"]);
    ["bos", "eos", "unknown"]
        .iter()
        .fold(few, |few, role| few.remove(&format!("tokenizer.ggml.{role}_token_id")))
}

#[test]
fn a_map_of_characters_that_never_ends_is_followed_for_a_while() {
    // Each `a` leads back to where it came from.
    let mut entries = [0_u32; 256];
    entries[usize::from(b'a')] = u32::from(b'a') << 10 | u32::from(b'a');
    let array: Vec<u8> = entries.iter().flat_map(|entry| entry.to_le_bytes()).collect();
    let tok = load(&charsmap(&[&1024_u32.to_le_bytes()[..], &array, &[0]].concat())).unwrap();
    let start = std::time::Instant::now();
    assert_eq!(tok.encode(&"a".repeat(1 << 16), false, Special::Parse), vec![260; 1 << 16]);
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}

fn no_bos() -> T1 {
    let model = T1::bpe()
        .set_str("tokenizer.ggml.pre", "chatglm-bpe")
        .remove("tokenizer.ggml.bos_token_id");
    model.set_bool("tokenizer.ggml.add_bos_token", true)
}

#[test]
fn what_is_not_supported_is_named() {
    let message = |key: &str| load(&T1::bpe().set_str(key, "frobnicate")).unwrap_err().to_string();
    assert!(message("tokenizer.ggml.pre").contains("frobnicate"));
    assert!(message("tokenizer.ggml.model").contains("frobnicate"));
}

#[test]
fn ten_million_merges_are_refused_unread() {
    let one = [3_u64.to_le_bytes().as_slice(), b"a b"].concat();
    let n = 10_000_000;
    let error = load(&T1::bpe().set_array(MERGES, 8, n as u64, &one.repeat(n))).unwrap_err();
    assert_eq!((error.code(), error.class()), ("E-MERGE", Malformed), "{error}");
}

#[test]
fn accepted_with_a_warning() {
    // V09: of two tokens with one text the first is used; both can be decoded.
    let duplicate = load(&with_token(261, b"a")).unwrap();
    assert!(
        duplicate.warnings().iter().any(|w| w.contains("text of an earlier one")),
        "{:?}",
        duplicate.warnings()
    );
    assert_eq!(duplicate.encode("a", false, Special::Parse), [259, 260]);
    assert_eq!(duplicate.decode(&[259, 260, 261], false, false), "aa");

    // Converters write 2^32 - 1 for "none".
    let no_padding = load(&T1::new().set_u32("tokenizer.ggml.unknown_token_id", u32::MAX)).unwrap();
    assert!(
        no_padding.warnings().iter().any(|w| w.contains("unknown_token_id")),
        "{:?}",
        no_padding.warnings()
    );

    // Some bytes are missing: the unknown token stands in.
    let few_bytes = load(&with_bytes(|byte| byte < 128)).unwrap();
    assert!(
        few_bytes.warnings().iter().any(|w| w.contains("128 of 256")),
        "{:?}",
        few_bytes.warnings()
    );
    assert_eq!(few_bytes.encode("é!", false, Special::Parse), [259, 0, 0, 3 + 0x21]);

    let no_pre = load(&T1::bpe().remove("tokenizer.ggml.pre")).unwrap();
    assert_eq!(no_pre.pre_name(), "default");
    assert!(
        no_pre.warnings().iter().any(|w| w.contains("tokenizer.ggml.pre is missing")),
        "{:?}",
        no_pre.warnings()
    );

    // V07: one token more than the embedding has rows; the tokenizer alone cannot know.
    let mut tokens = T1::tokens();
    tokens.push(b"more".to_vec());
    let model = T1::new().set_strs(TOKENS, &tokens).remove(SCORES).remove(TYPES);
    assert_eq!(load(&model).unwrap().n_vocab(), 263);
}

#[test]
fn ids_out_of_range_have_no_text() {
    let tok = load(&T1::new()).unwrap();
    assert_eq!(tok.warnings(), <[String; 0]>::default());
    for id in [262, u32::MAX] {
        assert_eq!(tok.piece(id, true), b"");
        assert_eq!(tok.text(id), "");
        assert!(!tok.is_eog(id) && !tok.is_control(id));
    }
    assert_eq!(tok.decode(&[u32::MAX, 260, 262], true, true), "a");
}

#[test]
fn tokens_missing_for_bytes_of_byte_level_bpe_vanish_as_in_llama_cpp() {
    let model = T1::bpe();
    let whole = load(&model).unwrap();
    assert_eq!(whole.encode("ab!", false, Special::Parse), [256, 33]);
    let mut types = [1; 262];
    types[261] = 3;
    let alphabet = (0..256).map(|id| whole.text(id).to_owned());
    let tokens: Vec<String> =
        alphabet.map(|text| if text == "!" { "gone".into() } else { text }).collect();
    let rest = ["ab", "abc", "Ġa", "Ġab", "<|start|>", "<|endoftext|>"].map(str::to_owned);
    let model = model.set_strs(TOKENS, &[tokens, rest.to_vec()].concat()).set_i32s(TYPES, &types);
    assert_eq!(load(&model).unwrap().encode("ab!", false, Special::Parse), [256]);
}

#[test]
fn a_tokenizer_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>(_: &T) {}
    let tok = load(&T1::new()).unwrap();
    shared(&tok);
    let ids = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..2).map(|_| scope.spawn(|| tok.encode("a a", true, Special::Parse))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(ids[0], ids[1]);
    assert_eq!(ids[0], [1, 261, 261]);
}

/// llama.cpp takes the markers of gpt-oss in any text, so that its parser of answers sees them. In a chat, users must
/// not be able to write them.
#[test]
fn users_cannot_write_the_markers_of_a_format() {
    let tokenizer = load(&with_token(261, b"<|start|>")).unwrap();
    let text = "<|start|>a<|start|>";
    let marker = 261;
    for special in [Special::Parse, Special::AsText] {
        let n = tokenizer.encode(text, false, special).iter().filter(|id| **id == marker).count();
        assert_eq!(n, 2, "{special:?}");
    }
    let typed = [(9, text.len())].map(|(start, end)| start..end);
    let ids = tokenizer.encode_chat(text, false, &typed);
    assert_eq!(ids.first(), Some(&marker), "the template's");
    assert_eq!(ids.iter().filter(|id| **id == marker).count(), 1, "not the user's: {ids:?}");
}
