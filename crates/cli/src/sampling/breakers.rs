//! Texts at which DRY takes a repetition as ended, as tokens of a vocabulary.
use crate::errors::CliError;
use sampler::DryBreaker;
use std::collections::BTreeSet;
use tokenizer::{Special, Tokenizer};

/// Bytes of a breaker that llama.cpp takes at most.
const MAX_BYTES: usize = 40;
/// Tokens that are compared behind the first one of a breaker.
const MAX_TAIL: usize = 20;

/// Refuses what is no breaker.
pub(super) fn check(breakers: &[String]) -> Result<(), CliError> {
    match breakers.iter().find(|text| text.is_empty() || text.len() > MAX_BYTES) {
        None => Ok(()),
        Some(text) => Err(CliError::usage(format!(
            "--dry-sequence-breaker has {} bytes; must have 1 to {MAX_BYTES} (none: no breaker at all)",
            text.len()
        ))),
    }
}

/// Every way in which tokens can spell a breaker: one token that holds it, or one that ends with its beginning and
/// the tokens of the rest.
pub(super) fn of(breakers: &[String], tokenizer: &Tokenizer) -> Vec<DryBreaker> {
    let mut found = BTreeSet::new();
    let ids = 0..u32::try_from(tokenizer.n_vocab()).unwrap_or(u32::MAX);
    for id in ids {
        let word = tokenizer.decode_bytes(&[id], false, true);
        for breaker in breakers {
            let text = breaker.as_bytes();
            if word.windows(text.len()).any(|part| part == text) {
                found.insert((id, Vec::new()));
                continue;
            }
            for rest in rests(&word, text) {
                let rest = String::from_utf8_lossy(rest);
                let mut tail = tokenizer.encode(&rest, false, Special::AsText);
                tail.truncate(MAX_TAIL);
                found.insert((id, tail));
            }
        }
    }
    found.into_iter().map(|(head, tail)| DryBreaker { head, tail }).collect()
}

/// What is left of `text` where the end of `word` is its beginning.
fn rests<'t>(word: &[u8], text: &'t [u8]) -> impl Iterator<Item = &'t [u8]> {
    let cuts = (1..text.len()).filter_map(|at| text.split_at_checked(at));
    cuts.filter(|(start, _)| word.ends_with(start)).map(|(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model;
    use sampler::{Params, Sampler, Stage};
    use serde::Deserialize;
    use std::fmt::Write;

    #[derive(Deserialize)]
    struct Case {
        name: String,
        breakers: Vec<String>,
        text: String,
    }

    /// As `breakers_text` of golden/capture/sampler.py.
    fn text(case: &Case, tokenizer: &Tokenizer) -> String {
        let params = Params {
            dry_multiplier: 1.0,
            dry_base: 2.0,
            dry_allowed_length: 0,
            dry_penalty_last_n: 1000,
            dry_breakers: of(&case.breakers, tokenizer),
            order: vec![Stage::Dry],
            ..Params::default()
        };
        let mut sampler = Sampler::new(params, tokenizer.n_vocab()).unwrap();
        let ids = tokenizer.encode(&case.text, false, Special::AsText);
        ids.iter().for_each(|id| sampler.accept(*id));
        let mut lines = format!("{}: {ids:?}\n", case.name);
        let zeros = vec![0.0; tokenizer.n_vocab()];
        let mut show = |stage: &str, candidates: &sampler::Candidates| {
            for c in candidates.iter().filter(|c| stage == "dry" && c.logit != 0.0) {
                writeln!(lines, "  {} {}", c.id, c.logit).unwrap();
            }
        };
        sampler.sample_traced(&zeros, &mut show).unwrap();
        lines
    }

    #[test]
    fn what_is_penalized_between_breakers() {
        let path = model::resolve("smollm2".as_ref()).unwrap();
        let tokenizer = model::tokenizer(&path, &model::open(&path).unwrap()).unwrap();
        let cases = golden::root().join("capture/dry_breakers.json");
        let cases: Vec<Case> = serde_json::from_slice(&std::fs::read(cases).unwrap()).unwrap();
        let texts: String = cases.iter().map(|case| text(case, &tokenizer)).collect();
        golden::check("sampler", "dry_breakers", &texts);
    }

    #[test]
    fn breakers_have_a_length() {
        check(&["\n".to_owned(), "x".repeat(40)]).unwrap();
        for bad in [[String::new()], ["x".repeat(41)]] {
            assert!(check(&bad).is_err(), "{bad:?}");
        }
    }
}
