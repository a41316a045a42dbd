//! How long things took.
use crate::human;
use std::time::Duration;

/// How long things took.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Timings {
    pub(crate) load: Duration,
    pub(crate) n_prompt: usize,
    /// Tokens of the prompt that the context held already.
    pub(crate) n_reused: usize,
    pub(crate) prefill: Duration,
    /// Tokens after the first, which comes out of the prefill.
    pub(crate) n_decoded: usize,
    pub(crate) decode: Duration,
}

impl Timings {
    /// `load 0.08 s, prefill 5 tokens 210 tok/s, decode 63 tokens 85.1 tok/s, peak memory 180 MiB`.
    pub(crate) fn line(&self) -> String {
        let rate = |n, time: Duration| human::rate(n, time.as_secs_f64());
        let peak = peak_bytes().map(|n| format!(", peak memory {}", human::bytes(n)));
        let reused = match self.n_reused {
            0 => String::new(),
            n => format!(" (and {n} known)"),
        };
        format!(
            "load {:.2} s, prefill {} tokens{reused} {:.1} tok/s, decode {} tokens {:.1} tok/s{}",
            self.load.as_secs_f64(),
            self.n_prompt,
            rate(self.n_prompt, self.prefill),
            self.n_decoded,
            rate(self.n_decoded, self.decode),
            peak.unwrap_or_default(),
        )
    }
}

/// The most physical memory this process has had at once, where the system tells (Linux: VmHWM).
pub(crate) fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}
