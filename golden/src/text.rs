//! Greedy text of the golden prompts: what llama.cpp wrote, and how sure it was.

use crate::trace::{hex_float, sci};
use serde::Deserialize;
use std::fmt::Write;

/// A prompt of `golden/text/prompts.json`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Prompt {
    /// Name of its snapshots.
    pub name: String,
    /// The text; special tokens in it are parsed.
    pub text: String,
}

/// One generated token: the two highest logits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Token with the highest logit, which was generated.
    pub id: u32,
    /// Its logit.
    pub logit: f32,
    /// Token with the second highest logit.
    pub second: u32,
    /// Its logit.
    pub second_logit: f32,
}

impl Step {
    /// The two highest of `logits`, the lower id first where equal; `None` if there are fewer than two.
    #[must_use]
    pub fn of(logits: &[f32]) -> Option<Self> {
        let mut best: [Option<(u32, f32)>; 2] = [None; 2];
        for (id, &logit) in (0..).zip(logits) {
            if best[0].is_none_or(|(_, highest)| logit > highest) {
                best = [Some((id, logit)), best[0]];
            } else if best[1].is_none_or(|(_, second)| logit > second) {
                best[1] = Some((id, logit));
            }
        }
        let [(id, logit), (second, second_logit)] = [best[0]?, best[1]?];
        Some(Self { id, logit, second, second_logit })
    }

    /// How far the first is above the second.
    #[must_use]
    pub fn gap(&self) -> f64 {
        f64::from(self.logit) - f64::from(self.second_logit)
    }
}

/// What was generated after a prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    /// Ids of the prompt, special tokens included.
    pub prompt_ids: Vec<u32>,
    /// Every step; the last may be an end-of-generation token.
    pub steps: Vec<Step>,
    /// Whether an end-of-generation token ended it, not the limit of tokens.
    pub ended: bool,
    /// Bytes of the generated text.
    pub text: Vec<u8>,
}

impl Generation {
    /// The text of a `text/<model>` snapshot, for [`crate::check`].
    #[must_use]
    pub fn snapshot(&self) -> String {
        let complete = std::str::from_utf8(&self.text).map_or_else(|e| e.valid_up_to(), str::len);
        let (text, rest) = self.text.split_at(complete);
        let ids: Vec<u32> = self.steps.iter().map(|step| step.id).collect();
        let mut out = format!("prompt_ids={}\nids={}\n", join(&self.prompt_ids), join(&ids));
        let end = if self.ended { "eog" } else { "length" };
        let quoted = serde_json::Value::from(String::from_utf8_lossy(text));
        out += &format!("end={end}\ntext={quoted}\nrest=");
        for byte in rest {
            let _ = write!(out, "{byte:02x}");
        }
        out.push('\n');
        for (i, step) in self.steps.iter().enumerate() {
            let (logit, below) =
                (hex_float(f64::from(step.logit)), hex_float(f64::from(step.second_logit)));
            let gap = format!("{} {}", hex_float(step.gap()), sci(step.gap()));
            out += &format!("{i} {} {logit} {} {below} gap={gap}\n", step.id, step.second);
        }
        out
    }
}

fn join(ids: &[u32]) -> String {
    let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
    ids.join(",")
}

/// The golden prompts, shortest first.
///
/// # Panics
/// If the file is missing or broken.
#[must_use]
#[expect(clippy::expect_used, reason = "a loader for tests: a broken golden is a failed test")]
pub fn prompts() -> Vec<Prompt> {
    let path = crate::root().join("text/prompts.json");
    let text = std::fs::read_to_string(path).expect("golden/text/prompts.json can be read");
    serde_json::from_str(&text).expect("golden/text/prompts.json is a list of prompts")
}

/// Ids that llama.cpp's build R generated: the prompt's, and its own.
#[derive(Debug, Clone, PartialEq)]
pub struct GoldenText {
    /// Ids of the prompt.
    pub prompt_ids: Vec<u32>,
    /// Ids generated.
    pub ids: Vec<u32>,
    /// The text as JSON quotes it, complete characters only.
    pub quoted_text: String,
    /// At each step, the second highest id and how far the first was above it.
    pub gaps: Vec<(u32, f64)>,
}

/// The golden generation of `model` after the prompt called `prompt`.
///
/// # Panics
/// If there is none, or it is not of our form.
#[must_use]
#[expect(clippy::panic, reason = "a loader for tests: a broken golden is a failed test")]
pub fn golden_text(model: &str, prompt: &str) -> GoldenText {
    parse(&body("text", model, prompt))
        .unwrap_or_else(|| panic!("text/{model}/{prompt}.snap is not of our form"))
}

/// What the gaps of [`golden_text`] are in the native build when it is fed the same ids: the logit of the token that
/// build R chose minus that of R's second, at each step.
///
/// # Panics
/// If they were not captured, or are not of our form.
#[must_use]
#[expect(clippy::panic, reason = "a loader for tests: a broken golden is a failed test")]
pub fn native_gaps(model: &str, prompt: &str) -> Vec<f64> {
    parse_native(&body("text-native", model, prompt))
        .unwrap_or_else(|| panic!("text-native/{model}/{prompt}.snap is not of our form"))
}

fn parse_native(native: &str) -> Option<Vec<f64>> {
    let mut lines = native.lines();
    lines.next()?.strip_prefix("largest=")?;
    lines.map(|line| parse_hex_float(line.split(' ').nth(1)?.strip_prefix("gap_n=")?)).collect()
}

#[expect(clippy::panic, reason = "a loader for tests: a missing golden is a failed test")]
fn body(stage: &str, model: &str, prompt: &str) -> String {
    let path = crate::root().join(format!("snapshots/{stage}/{model}/{prompt}.snap"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.split_once("\n---\n").map_or_else(String::new, |(_, body)| body.to_owned())
}

fn parse(text: &str) -> Option<GoldenText> {
    let mut lines = text.lines();
    let mut field = |key: &str| lines.next()?.strip_prefix(key)?.strip_prefix('=');
    let prompt_ids = split_ids(field("prompt_ids")?)?;
    let ids = split_ids(field("ids")?)?;
    field("end")?;
    let quoted_text = field("text")?.to_owned();
    field("rest")?;
    let gaps = lines.map(|line| {
        let mut words = line.split(' ').skip(3);
        let second = words.next()?.parse().ok()?;
        let gap = parse_hex_float(words.nth(1)?.strip_prefix("gap=")?)?;
        Some((second, gap))
    });
    let gaps = gaps.collect::<Option<Vec<_>>>()?;
    let golden = GoldenText { prompt_ids, ids, quoted_text, gaps };
    (golden.gaps.len() == golden.ids.len()).then_some(golden)
}

fn split_ids(text: &str) -> Option<Vec<u32>> {
    text.split(',').map(|id| id.parse().ok()).collect()
}

/// The value of a finite number that [`hex_float`] wrote.
#[must_use]
pub fn parse_hex_float(text: &str) -> Option<f64> {
    let (sign, digits) = text.strip_prefix('-').map_or((1.0, text), |magnitude| (-1.0, magnitude));
    let (mantissa, exponent) = digits.strip_prefix("0x")?.split_once('p')?;
    let (lead, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let bits = u64::from_str_radix(&format!("{lead}{fraction}"), 16).ok()?;
    let exponent = exponent.parse::<i32>().ok()? - 4 * i32::try_from(fraction.len()).ok()?;
    Some(sign * bits as f64 * 2f64.powi(exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODELS: [&str; 6] = [
        "smollm2-q4_1",
        "smollm2-q4_0",
        "smollm2-q4_k_m",
        "smollm2-q6_k",
        "qwen2.5-coder-0.5b",
        "gemma3-270m",
    ];

    #[test]
    fn hex_floats_are_read_back() {
        for value in [0.0, -0.0, 1.0, -1.5, 0.1, 1e-30, 123_456_789.0, f64::from(f32::MIN_POSITIVE)]
        {
            let text = hex_float(value);
            assert_eq!(parse_hex_float(&text).map(f64::to_bits), Some(value.to_bits()), "{text}");
        }
        for text in ["", "inf", "0x1", "1.5", "0xp+1"] {
            assert_eq!(parse_hex_float(text), None, "{text}");
        }
    }

    #[test]
    fn the_two_highest_logits() {
        let step = Step::of(&[0.5, 3.0, -1.0, 3.0, 2.0]).unwrap();
        assert_eq!((step.id, step.second, step.gap()), (1, 3, 0.0));
        let step = Step::of(&[2.0, 1.0, 5.0]).unwrap();
        assert_eq!((step.id, step.second, step.gap()), (2, 0, 3.0));
        assert_eq!(Step::of(&[1.0]), None);
    }

    #[test]
    fn snapshots_are_written_as_they_are_read() {
        let step = Step { id: 7, logit: 1.5, second: 9, second_logit: 1.25 };
        let text = "a \"b\"\n\u{7f}é".as_bytes();
        let text = [text, &[0xe2, 0x82]].concat();
        let generation =
            Generation { prompt_ids: vec![1, 2], steps: vec![step], ended: true, text };
        let written = generation.snapshot();
        let want = "prompt_ids=1,2\nids=7\nend=eog\ntext=\"a \\\"b\\\"\\n\u{7f}é\"\nrest=e282\n\
            0 7 0x1.8p+0 9 0x1.4p+0 gap=0x1p-2 2.500000000e-01\n";
        assert_eq!(written, want);
        let golden = parse(&written).unwrap();
        assert_eq!(golden.gaps, [(9, 0.25)]);
        let native =
            "largest=0x1p-3 1.25e-01 step=0\n0 gap_n=-0x1p-3 -1.25e-01 gap_r=0x0p+0 argmax=3\n";
        assert_eq!(parse_native(native), Some(vec![-0.125]));
        assert_eq!(parse_native("0 gap_n=0x1p-3\n"), None);
        assert_eq!(golden.ids, [7]);
    }

    #[test]
    fn every_prompt_has_a_golden_in_every_type() {
        let prompts = prompts();
        assert_eq!(prompts.len(), 10, "prompts");
        assert_eq!(prompts[0].text, "Hello");
        for model in MODELS {
            for prompt in &prompts {
                let golden = golden_text(model, &prompt.name);
                assert!((1..=64).contains(&golden.ids.len()), "{model} {}", prompt.name);
                assert!(golden.gaps.iter().all(|(_, gap)| *gap > 0.0), "{model} {}", prompt.name);
                let native = native_gaps(model, &prompt.name);
                assert_eq!(native.len(), golden.ids.len(), "{model} {}", prompt.name);
            }
        }
    }
}
