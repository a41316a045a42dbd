//! What a run tells about itself: one line for people, one object for programs.
use super::generate::{End, Generation};
use crate::human;
use serde::Serialize;
use std::time::Duration;

/// How long things took.
#[derive(Debug, Default)]
pub(super) struct Timings {
    pub(super) load: Duration,
    pub(super) n_prompt: usize,
    pub(super) prefill: Duration,
    /// Tokens after the first, which comes out of the prefill.
    pub(super) n_decoded: usize,
    pub(super) decode: Duration,
}

impl Timings {
    /// `load 0.08 s, prefill 5 tokens 210 tok/s, decode 63 tokens 85.1 tok/s, peak memory 180 MiB`.
    pub(super) fn line(&self) -> String {
        let rate = |n, time: Duration| human::rate(n, time.as_secs_f64());
        let peak = peak_bytes().map(|n| format!(", peak memory {}", human::bytes(n)));
        format!(
            "load {:.2} s, prefill {} tokens {:.1} tok/s, decode {} tokens {:.1} tok/s{}",
            self.load.as_secs_f64(),
            self.n_prompt,
            rate(self.n_prompt, self.prefill),
            self.n_decoded,
            rate(self.n_decoded, self.decode),
            peak.unwrap_or_default(),
        )
    }
}

/// The object of `--json`.
#[derive(Debug, Serialize)]
pub(super) struct Report<'a> {
    prompt_ids: &'a [u32],
    ids: &'a [u32],
    text: &'a str,
    end: End,
    seed: u32,
    steps: &'a [Vec<(u32, f32)>],
    timings: TimingsReport,
}

#[derive(Debug, Serialize)]
struct TimingsReport {
    load_s: f64,
    prefill_tokens: usize,
    prefill_s: f64,
    prefill_tok_per_s: f64,
    decode_tokens: usize,
    decode_s: f64,
    decode_tok_per_s: f64,
    peak_bytes: Option<u64>,
}

impl<'a> Report<'a> {
    pub(super) fn new(
        prompt_ids: &'a [u32],
        generation: &'a Generation,
        seed: u32,
        timings: &Timings,
    ) -> Self {
        let (prefill_s, decode_s) = (timings.prefill.as_secs_f64(), timings.decode.as_secs_f64());
        let timings = TimingsReport {
            load_s: timings.load.as_secs_f64(),
            prefill_tokens: timings.n_prompt,
            prefill_s,
            prefill_tok_per_s: human::rate(timings.n_prompt, prefill_s),
            decode_tokens: timings.n_decoded,
            decode_s,
            decode_tok_per_s: human::rate(timings.n_decoded, decode_s),
            peak_bytes: peak_bytes(),
        };
        let Generation { ids, steps, text, end } = generation;
        Self { prompt_ids, ids, text, end: *end, seed, steps, timings }
    }
}

/// The most physical memory this process has had at once, where the system tells (Linux: VmHWM).
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}
