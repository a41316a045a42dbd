//! Greedy text of the golden prompts beside llama.cpp's.
//!
//! llama.cpp's ids are fed in, all at once: results do not depend on batches (`invariance.rs`), so an engine whose
//! highest logit is llama.cpp's next id at every step writes its text, token by token.

use super::{context_of, load};
use golden::text::{GoldenText, Step, golden_text, native_gaps, prompts};
use llama_model::{BatchToken, Model, Numerics};
use std::path::Path;
use std::sync::Arc;
use tokenizer::Tokenizer;

/// The logits behind the prompt and behind each id but the last, `[n_steps, n_vocab]`.
fn logits(model: &Arc<Model>, golden: &GoldenText) -> Vec<f32> {
    let ids: Vec<u32> = golden.prompt_ids.iter().chain(&golden.ids).copied().collect();
    let mut batch = BatchToken::prompt(0, 0, &ids[..ids.len() - 1]);
    batch[golden.prompt_ids.len() - 1..].iter_mut().for_each(|t| t.output = true);
    let logits = context_of(model, 1024).decode(&batch).unwrap().to_vec();
    let n_steps = golden.ids.len();
    assert_eq!(logits.len(), n_steps * model.hparams().n_vocab, "logits of every step");
    logits
}

/// Compares what `Reference` computes of a model: ids, and the two highest logits of every step, bit for bit.
pub(crate) fn check_reference(name: &str, path: &Path) {
    let model = load(path, Numerics::Reference);
    for prompt in prompts() {
        let golden = golden_text(name, &prompt.name);
        let logits = logits(&model, &golden);
        let steps = logits.chunks_exact(model.hparams().n_vocab);
        let steps: Vec<Step> = steps.map(|row| Step::of(row).unwrap()).collect();
        let ids: Vec<u32> = steps.iter().map(|s| s.id).collect();
        assert_eq!(ids, golden.ids, "{name}, {}", prompt.name);
        for (i, (step, (second, gap))) in steps.iter().zip(&golden.gaps).enumerate() {
            let found = (step.second, step.gap());
            assert_eq!(found, (*second, *gap), "{name}, {}, step {i}", prompt.name);
        }
    }
}

/// One step of `Fast` beside llama.cpp's two builds.
struct Compared {
    /// Prompt and step, for messages.
    place: String,
    /// What `Fast` chose, and what build R chose.
    ids: (u32, u32),
    /// How far R's choice is above R's second, in R, in the native build, in `Fast`.
    gaps: [f64; 3],
}

fn compare(model: &Arc<Model>, name: &str) -> Vec<Compared> {
    let n_vocab = model.hparams().n_vocab;
    let mut all = Vec::new();
    for prompt in prompts() {
        let golden = golden_text(name, &prompt.name);
        let native = native_gaps(name, &prompt.name);
        for (i, row) in logits(model, &golden).chunks_exact(n_vocab).enumerate() {
            let (id, (second, gap)) = (golden.ids[i], golden.gaps[i]);
            let fast = f64::from(row[id as usize]) - f64::from(row[second as usize]);
            all.push(Compared {
                place: format!("{}, step {i}", prompt.name),
                ids: (Step::of(row).unwrap().id, id),
                gaps: [gap, native[i], fast],
            });
        }
    }
    all
}

/// `Fast` computes in another order, so where two tokens are nearly equal it may choose the other: only where R's gap
/// is below the largest change of a gap from R to the native build, over all steps of the model, and rarely: at most at
/// 3 % of the steps.
///
/// Of a model with many small gaps that would be more than llama.cpp keeps. If the changes `d` from R to the native build
/// came at other steps than they did, R's gap `g` would be overcome at a step with the probability `p` = share of the `d`
/// below `-g`, and at the sum of all `p` steps on average, with the variance of the sum of `p (1 - p)`. Where this
/// average is above 3 %, it is the bar, and twice the deviation. (Gemma-3-270M: 4.7 %, and 3.5 % in the native build.)
///
/// That alone would let a sloppy `Fast` pass on texts without near ties. So its gaps must not be further from R's
/// than the native build's are: the difference of the mean squares, step by step, is not above zero by more than
/// chance explains (a bootstrap over the same steps). Returns what was found.
pub(crate) fn check_fast(name: &str, path: &Path) -> String {
    let model = load(path, Numerics::Fast);
    let steps = compare(&model, name);
    let noise = steps.iter().map(|s| (s.gaps[1] - s.gaps[0]).abs()).fold(0.0, f64::max);
    let others: Vec<&Compared> = steps.iter().filter(|s| s.ids.0 != s.ids.1).collect();
    let (n_ties, n_steps) = (others.len(), steps.len());
    let squares = |i: usize| steps.iter().map(move |s| (s.gaps[i] - s.gaps[0]).powi(2));
    let rms = |i| (squares(i).sum::<f64>() / n_steps as f64).sqrt();
    let found = format!(
        "Fast, {name}: {n_ties} of {n_steps} steps are near ties that went the other way; gaps change by {:.3} rms, \
         native {:.3}",
        rms(2),
        rms(1)
    );
    for Compared { place, ids: (id, want), gaps: [gap, ..] } in &others {
        assert!(
            *gap < noise,
            "{name}, {place}: {id} for {want}; llama.cpp's gap is {gap}, its builds differ by {noise}"
        );
    }
    let allowed = allowed_ties(&steps);
    assert!(n_ties as f64 <= allowed, "more than {allowed:.1} exceptions: {found}");
    let excess: Vec<f64> = squares(2).zip(squares(1)).map(|(fast, n)| fast - n).collect();
    let low = bootstrap_low(&excess);
    assert!(low <= 0.0, "gaps change more than native ones, by {low} at least: {found}");
    found
}

/// At how many steps `Fast` may choose another token.
fn allowed_ties(steps: &[Compared]) -> f64 {
    let (n, bar) = (steps.len() as f64, steps.len() as f64 * 0.03);
    let overcome = |gap: f64| steps.iter().filter(|s| gap + s.gaps[1] - s.gaps[0] < 0.0).count();
    let p: Vec<f64> = steps.iter().map(|s| overcome(s.gaps[0]) as f64 / n).collect();
    let (mean, variance) = (p.iter().sum::<f64>(), p.iter().map(|p| p * (1.0 - p)).sum::<f64>());
    if mean > bar { mean + 2.0 * variance.sqrt() } else { bar }
}

/// The lower end of the 95 % interval of the mean of `values`, from 2,000 resamples.
fn bootstrap_low(values: &[f64]) -> f64 {
    let mut seed = 1_u64;
    let mut index = || {
        // Knuth's MMIX generator: its high bits are random enough to choose steps.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % values.len()
    };
    let mut mean = || (0..values.len()).map(|_| values[index()]).sum::<f64>() / values.len() as f64;
    let mut means: Vec<f64> = (0..2000).map(|_| mean()).collect();
    means.sort_by(f64::total_cmp);
    means[50]
}

/// The prompts' ids, and the text of the generated ids.
pub(crate) fn check_ids(name: &str, path: &Path) {
    let gguf = gguf_parse::Gguf::open(path).unwrap();
    let tokenizer = Tokenizer::from_metadata(gguf.metadata()).unwrap();
    for prompt in prompts() {
        let golden = golden_text(name, &prompt.name);
        let ids = tokenizer.encode(&prompt.text, true, tokenizer::Special::Parse);
        assert_eq!(ids, golden.prompt_ids, "{name}, {}", prompt.name);
        let mut decoder = tokenizer.continuing_decoder();
        let ids = golden.ids.iter().filter(|id| !tokenizer.is_eog(**id));
        let text: String = ids.map(|id| decoder.push(*id).to_owned()).collect();
        let quoted = serde_json::Value::from(text).to_string();
        assert_eq!(quoted, golden.quoted_text, "{name}, {}", prompt.name);
    }
}
