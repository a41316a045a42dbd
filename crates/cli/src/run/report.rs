//! What a run tells about itself to programs.
use crate::{
    generate::{End, Generation, Timings, peak_bytes},
    human,
};
use serde::Serialize;

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
        text: &'a str,
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
        let Generation { ids, steps, end } = generation;
        Self { prompt_ids, ids, text, end: *end, seed, steps, timings }
    }
}
