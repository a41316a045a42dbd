//! What a golden says of a vocabulary.

use super::strings::entries;
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use tokenizer::{Special, Tokenizer};

/// (name, text) of every entry of strings.json; broken UTF-8 is made whole with U+FFFD.
pub(crate) fn texts() -> Vec<(String, String)> {
    let text_of = |entry: &Json| match entry["hex"].as_str() {
        Some(hex) => {
            let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
            let bytes: Vec<u8> = digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        }
        None => {
            let times = entry["times"].as_u64().unwrap_or(1);
            entry["text"].as_str().unwrap().repeat(usize::try_from(times).unwrap())
        }
    };
    entries()
        .iter()
        .map(|entry| (entry["name"].as_str().unwrap().to_owned(), text_of(entry)))
        .collect()
}

/// The golden, and what must hold for every vocabulary besides.
pub(crate) fn check(name: &str, tok: &Tokenizer) {
    golden::check("tokens", name, &describe(tok));
    streaming_gives_the_same_text(tok);
}

/// A decoder's output is all pieces in one, with what is no UTF-8 replaced, and it never splits a character.
fn streaming_gives_the_same_text(tok: &Tokenizer) {
    for (name, text) in texts() {
        let ids = tok.encode(&text, true, Special::Parse);
        for render_special in [false, true] {
            let mut decoder = tok.continuing_decoder().render_special(render_special);
            let mut streamed = String::new();
            for &id in &ids {
                streamed.push_str(decoder.push(id));
            }
            streamed.push_str(decoder.finish());
            let bytes: Vec<u8> =
                ids.iter().flat_map(|&id| tok.piece(id, render_special)).copied().collect();
            assert_eq!(streamed, String::from_utf8_lossy(&bytes), "{name}");
        }
    }
}

/// The golden text of a vocabulary; `describe` of golden/capture/tokens.py writes the same lines.
pub(crate) fn describe(tok: &Tokenizer) -> String {
    let ids: Vec<u32> = (0..u32::try_from(tok.n_vocab()).unwrap()).collect();
    let optional = |id: Option<u32>| id.map_or("none".to_owned(), |id| id.to_string());
    let control: Vec<u32> = ids.iter().copied().filter(|&id| tok.is_control(id)).collect();
    let mut out = String::new();
    let line = |out: &mut String, what: &str, value: &str| {
        if value != "=" {
            writeln!(out, "{what}: {value}").unwrap();
        }
    };
    line(&mut out, "tokens", &tok.n_vocab().to_string());
    line(&mut out, "bos", &format!("{}, added: {}", optional(tok.bos()), tok.add_bos()));
    line(&mut out, "eos", &format!("{}, added: {}", optional(tok.eos()), tok.add_eos()));
    let special = tok.special_ids();
    line(&mut out, "sep", &format!("{}, added: {}", optional(special.sep), tok.add_sep()));
    let pad_mask = [special.pad, special.mask];
    line(&mut out, "pad, mask", &pad_mask.map(optional).join(" "));
    let fim = [
        special.fim_pre,
        special.fim_suf,
        special.fim_mid,
        special.fim_pad,
        special.fim_rep,
        special.fim_sep,
    ];
    line(&mut out, "fim", &fim.map(optional).join(" "));
    line(&mut out, "end of generation", &show_ids(&tok.eog_ids().collect::<Vec<_>>()));
    line(&mut out, "control", &show_ids(&control));
    line(&mut out, "texts", &sha256_of_strings(ids.iter().map(|&id| tok.text(id).as_bytes())));
    line(&mut out, "pieces", &sha256_of_strings(ids.iter().map(|&id| tok.piece(id, true))));
    line(&mut out, "pieces shown", &sha256_of_strings(ids.iter().map(|&id| tok.piece(id, false))));
    for (name, text) in texts() {
        let parse = tok.encode(&text, false, Special::Parse);
        let full = tok.encode(&text, true, Special::Parse);
        let as_text = tok.encode(&text, false, Special::AsText);
        let full_text = tok.encode(&text, true, Special::AsText);
        writeln!(out, "\n[{name}]").unwrap();
        line(&mut out, "parse", &show_ids(&parse));
        line(&mut out, "parse, add", &relation(&full, &parse));
        line(&mut out, "text", &relation(&as_text, &parse));
        line(&mut out, "text, add", &relation(&full_text, &as_text));
        line(&mut out, "decoded", &show_text(&tok.decode(&parse, false, true), &text));
        line(&mut out, "decoded, removed", &show_text(&tok.decode(&full, true, false), &text));
    }
    out
}

/// SHA-256 over length (u32, little-endian) and bytes of each.
fn sha256_of_strings<'a>(items: impl Iterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for item in items {
        hash.update(u32::try_from(item.len()).unwrap().to_le_bytes());
        hash.update(item);
    }
    format!("sha256 {}", hex(&hash.finalize()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").unwrap();
        out
    })
}

fn join(ids: &[u32]) -> String {
    ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ")
}

/// All ids, or of many the first, the last, their number and the SHA-256 of them as little-endian u32, of which half is
/// enough.
fn show_ids(ids: &[u32]) -> String {
    let n = ids.len();
    if n == 0 {
        return "none".into();
    }
    if n <= 14 {
        return join(ids);
    }
    let digest = sha256_of_ids(ids);
    format!("{} ... {} ({n} ids, sha256 {digest})", join(&ids[..6]), ids[n - 1])
}

pub(crate) fn sha256_of_ids(ids: &[u32]) -> String {
    let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    short_sha256(&bytes)
}

pub(crate) fn short_sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes)[..16])
}

/// `=` stands for `base`; one id may come before and after it.
fn relation(ids: &[u32], base: &[u32]) -> String {
    if ids == base {
        return "=".into();
    }
    for before in [0, 1] {
        let Some(after) = ids.len().checked_sub(before + base.len()) else { continue };
        if after <= 1 && !base.is_empty() && ids[before..].starts_with(base) {
            let parts = [join(&ids[..before]), "=".into(), join(&ids[ids.len() - after..])];
            return parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
        }
    }
    show_ids(ids)
}

/// `=` if it is the original; long ones as SHA-256.
fn show_text(text: &str, original: &str) -> String {
    if text == original {
        return "=".into();
    }
    let escaped = text.escape_default().to_string();
    if escaped.len() > 80 {
        let digest = short_sha256(text.as_bytes());
        return format!("sha256 {digest} ({} characters)", text.chars().count());
    }
    format!("\"{escaped}\"")
}
