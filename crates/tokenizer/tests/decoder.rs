//! Streaming: characters are never split, and the leading space of SPM goes where it should.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use gguf_parse::Gguf;
use golden::hostile::T1;
use tokenizer::{Decoder, Special, Tokenizer};

/// T1: `<unk>`, `<s>`, `</s>`, 256 bytes, then `▁`, `a`, `▁a`.
fn t1() -> Tokenizer {
    let gguf = Gguf::from_bytes(T1::new().build()).expect("T1 is a valid file");
    Tokenizer::from_metadata(gguf.metadata()).expect("T1 has a valid vocabulary")
}

const SPACE_A: u32 = 261;

fn byte(byte: u8) -> u32 {
    3 + u32::from(byte)
}

/// What comes of each byte in turn, and at the end.
fn stream(decoder: &mut Decoder<'_>, bytes: &[u8]) -> Vec<String> {
    let mut out: Vec<String> = bytes.iter().map(|&b| decoder.push(byte(b)).to_owned()).collect();
    out.push(decoder.finish().to_owned());
    out
}

#[test]
fn the_first_space_of_a_text_is_dropped_but_not_that_of_a_continuation() {
    let tok = t1();
    let mut decoder = tok.decoder();
    assert_eq!(decoder.push(SPACE_A), "a");
    assert_eq!(decoder.push(SPACE_A), " a");
    assert_eq!(tok.continuing_decoder().push(SPACE_A), " a");
    assert_eq!(tok.decode(&[SPACE_A, SPACE_A], false, false), "a a");
    // As llama.cpp: only the very first token loses its space, be it a hidden one.
    assert_eq!(tok.decode(&[1, SPACE_A], false, false), " a");
    assert_eq!(tok.decode(&[1, SPACE_A], true, false), " a");
}

#[test]
fn control_tokens_are_hidden_unless_asked_for() {
    let tok = t1();
    assert_eq!(tok.decoder().push(2), "");
    assert_eq!(tok.decoder().render_special(true).push(2), "</s>");
    assert_eq!(tok.decode(&[1, 2], false, true), "<s></s>");
}

#[test]
fn characters_come_whole() {
    let tok = t1();
    let mut decoder = tok.decoder();
    assert_eq!(stream(&mut decoder, "é".as_bytes()), ["", "é", ""]);
    assert_eq!(stream(&mut decoder, "\u{1f600}b".as_bytes()), ["", "", "", "\u{1f600}", "b", ""]);
    let ids = tok.encode("你好", false, Special::Parse);
    let text: String = ids.iter().map(|&id| decoder.push(id).to_owned()).collect();
    assert_eq!(text, " 你好", "a second text in the same stream keeps its space");
}

#[test]
fn what_is_no_character_is_replaced_once_it_cannot_become_one() {
    let tok = t1();
    let replaced = "\u{fffd}";
    let cases: [(&[u8], &[&str]); 6] = [
        (b"\xff", &[replaced, ""]),
        (b"\xe4", &["", replaced]),
        (b"\xf0\x9f\x98", &["", "", "", replaced]),
        (b"\xe4a", &["", "\u{fffd}a", ""]),
        (b"\xe4\xbd\xe4\xbd\xa0", &["", "", replaced, "", "你", ""]),
        (b"\xc0\x80", &[replaced, replaced, ""]),
    ];
    for (bytes, expected) in cases {
        let streamed = stream(&mut tok.decoder(), bytes);
        assert_eq!(streamed, expected, "{bytes:x?}");
        assert_eq!(streamed.concat(), String::from_utf8_lossy(bytes), "{bytes:x?}");
    }
}
