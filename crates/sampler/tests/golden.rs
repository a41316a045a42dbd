//! Candidate states after every stage, and picks, against llama.cpp's (golden/capture/sampler.py).
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use sampler::{Candidates, Params, Sampler, Stage};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::fmt::Write;

/// Every snapshot has its test.
macro_rules! snapshots {
    ($($name:ident)*) => {
        const SNAPSHOTS: &[&str] = &[$(stringify!($name)),*];
        $(#[test] fn $name() { check(stringify!($name)); })*
    };
}
snapshots!(
    top_k top_p min_p typ_p temperature dynatemp penalties logit_bias chain picks_default picks_other
    top_n_sigma xtc dry mirostat mirostat_v2 adaptive_p picks_new
);

#[test]
fn every_case_is_in_a_tested_snapshot() {
    let found: HashSet<_> = cases().into_iter().map(|case| case.snapshot).collect();
    let tested: HashSet<_> = SNAPSHOTS.iter().map(ToString::to_string).collect();
    assert_eq!(found, tested, "of sampler_cases.txt, and of this file");
}

/// One line of golden/capture/sampler_cases.txt, which describes the format.
struct Case {
    line: String,
    snapshot: String,
    shape: String,
    n_vocab: usize,
    logit_seed: u64,
    settings: Vec<(String, String)>,
}

fn cases() -> Vec<Case> {
    let text = std::fs::read_to_string(golden::root().join("capture/sampler_cases.txt")).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.split_whitespace().map(String::from);
            let mut next = || words.next().unwrap();
            Case {
                line: line.to_owned(),
                snapshot: next(),
                shape: next(),
                n_vocab: next().parse().unwrap(),
                logit_seed: next().parse().unwrap(),
                settings: words.map(setting).collect(),
            }
        })
        .collect()
}

fn setting(word: String) -> (String, String) {
    let (key, value) = word.split_once('=').unwrap();
    (key.to_owned(), value.to_owned())
}

impl Case {
    fn get(&self, key: &str) -> Option<&str> {
        self.settings.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    fn number<T: std::str::FromStr<Err: std::fmt::Debug>>(&self, key: &str, default: T) -> T {
        self.get(key).map_or(default, |value| value.parse().unwrap())
    }

    /// The comma-separated parts of a setting.
    fn list(&self, key: &str) -> impl Iterator<Item = &str> {
        self.get(key).into_iter().flat_map(|list| list.split(',')).filter(|part| !part.is_empty())
    }

    fn params(&self) -> Params {
        let bias = |pair: &str| {
            let (id, bias) = pair.split_once(':').unwrap();
            (id.parse().unwrap(), bias.parse().unwrap())
        };
        Params {
            seed: self.number("seed", 42),
            temp: self.number("temp", 1.0),
            dynatemp_range: self.number("dynatemp_range", 0.0),
            dynatemp_exponent: self.number("dynatemp_exponent", 1.0),
            top_k: self.number("top_k", 0),
            top_p: self.number("top_p", 1.0),
            min_p: self.number("min_p", 0.0),
            typical_p: self.number("typ_p", 1.0),
            penalty_last_n: self.number("last_n", 0),
            penalty_repeat: self.number("repeat", 1.0),
            penalty_freq: self.number("freq", 0.0),
            penalty_present: self.number("present", 0.0),
            dry_multiplier: self.number("dry_multiplier", 0.0),
            dry_base: self.number("dry_base", 1.75),
            dry_allowed_length: self.number("dry_allowed_length", 2),
            dry_penalty_last_n: self.number("dry_last_n", 64),
            top_n_sigma: self.number("top_n_sigma", -1.0),
            xtc_probability: self.number("xtc_probability", 0.0),
            xtc_threshold: self.number("xtc_threshold", 0.1),
            mirostat: self.number("mirostat", 0),
            mirostat_tau: self.number("mirostat_tau", 5.0),
            mirostat_eta: self.number("mirostat_eta", 0.1),
            adaptive_target: self.number("adaptive_target", -1.0),
            adaptive_decay: self.number("adaptive_decay", 0.9),
            min_keep: self.number("min_keep", 0),
            logit_bias: self.list("bias").map(bias).collect(),
            order: self.list("order").map(|name| Stage::from_name(name).unwrap()).collect(),
            ..Params::default()
        }
    }

    fn sampler(&self, params: Params) -> Sampler {
        let mut sampler = Sampler::new(params, self.n_vocab).unwrap();
        self.list("accept").for_each(|id| sampler.accept(id.parse().unwrap()));
        sampler
    }

    /// As `case_text` of the capture script.
    fn text(&self) -> String {
        let mut text = format!("# {}\n", self.line);
        let Some(draws) = self.get("draws") else {
            let logits = logits(&self.shape, self.n_vocab, self.logit_seed);
            let mut show = |stage: &str, c: &Candidates| text.push_str(&state_text(stage, c));
            let picked = self.sampler(self.params()).sample_traced(&logits, &mut show).unwrap();
            return format!("{text}picked {picked}\n");
        };
        let seeds = self.logit_seed..self.logit_seed + draws.parse::<u64>().unwrap();
        let vectors: Vec<_> = seeds.map(|s| logits(&self.shape, self.n_vocab, s)).collect();
        for seed in 0..self.number("seeds", 0) {
            let mut sampler = self.sampler(Params { seed, ..self.params() });
            write!(text, "seed {seed}:").unwrap();
            for logits in &vectors {
                write!(text, " {}", sampler.sample(logits).unwrap()).unwrap();
            }
            text.push('\n');
        }
        text
    }
}

fn check(snapshot: &str) {
    let cases = cases().into_iter().filter(|case| case.snapshot == snapshot);
    let texts: Vec<_> = cases.map(|case| case.text()).collect();
    golden::check("sampler", snapshot, &texts.join("\n"));
}

/// As `state_text` of the capture script.
fn state_text(stage: &str, candidates: &Candidates) -> String {
    let mut hash = Sha256::new();
    let mut rows = String::new();
    for (at, c) in candidates.iter().enumerate() {
        for word in [c.id, c.logit.to_bits(), c.p.to_bits()] {
            hash.update(word.to_le_bytes());
        }
        if at < 16 {
            let (logit, p) = (c.logit.to_bits(), c.p.to_bits());
            writeln!(
                rows,
                "  {at:2} id {:5} logit {logit:08x} {:.6} p {p:08x} {:.6}",
                c.id, c.logit, c.p
            )
            .unwrap();
        }
    }
    let hash: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let sorted = if candidates.is_sorted() { "sorted" } else { "unsorted" };
    format!("after {stage}: {} candidates, {sorted}, sha256 {hash}\n{rows}", candidates.len())
}

/// As `logits` of the capture script: splitmix64 to f32, shaped, no value twice.
fn logits(shape: &str, n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut uniform = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 40) as f32 / (1 << 24) as f32
    };
    let mut seen = HashSet::new();
    let mut logits = Vec::with_capacity(n);
    while logits.len() < n {
        let (choice, value) = (uniform(), uniform());
        let peaked = 0.02 / (value + 0.0005) - 5.0;
        let logit = match shape {
            "flat" => value * 2.0 - 1.0,
            "bimodal" if choice < 0.05 => 6.0 + value,
            "bimodal" => value * 2.0 - 8.0,
            "banned" if choice < 0.3 => f32::NEG_INFINITY,
            "peaked" | "banned" => peaked,
            other => panic!("no shape {other}"),
        };
        if seen.insert(logit.to_bits()) || logit == f32::NEG_INFINITY {
            logits.push(logit);
        }
    }
    logits
}
