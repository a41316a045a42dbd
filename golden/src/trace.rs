//! Lines of a traced evaluation, formatted as `golden/capture/trace.py` does, and what was evaluated.
//!
//! A test feeds an engine's nodes to a [`TraceText`] and hands the text to [`crate::check`] with stage
//! `trace/<model>`: every difference in a bit, a shape, a name or the order is a difference of lines.

use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt::Write;

/// How much of a node's values its line tells besides their hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// RMS, mean, minimum, maximum and the first four values.
    Full,
    /// RMS and the first two values.
    Brief,
}

/// One evaluation that was captured: what to feed an engine to repeat it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eval {
    /// Name of the snapshot: `prefill`, `step1`, …
    pub name: String,
    /// The tokens evaluated together.
    pub tokens: Vec<u32>,
    /// Tokens in the cache before.
    pub n_past: usize,
    /// Style of the lines.
    pub detail: Detail,
}

impl Eval {
    fn parse(name: String, header: &str) -> Option<Self> {
        let mut fields = header.split(' ').filter_map(|field| field.split_once('='));
        let mut field = |key| fields.next().filter(|(k, _)| *k == key).map(|(_, value)| value);
        let tokens =
            field("tokens")?.split(',').map(|id| id.parse().ok()).collect::<Option<_>>()?;
        let n_past = field("n_past")?.parse().ok()?;
        let detail = match field("detail")? {
            "full" => Detail::Full,
            "brief" => Detail::Brief,
            _ => return None,
        };
        Some(Self { name, tokens, n_past, detail })
    }
}

/// The captured evaluations of a model, in the order they were made.
///
/// # Panics
/// If there is no trace of this model, or a file of it is not of our form.
#[must_use]
#[expect(clippy::panic, reason = "a loader for tests: a broken golden is a failed test")]
pub fn evals(model: &str) -> Vec<Eval> {
    let folder = crate::root().join("snapshots/trace").join(model);
    let mut evals = Vec::new();
    for name in std::iter::once("prefill".to_owned()).chain((1..).map(|i| format!("step{i}"))) {
        let Ok(text) = std::fs::read_to_string(folder.join(format!("{name}.snap"))) else { break };
        let header = text.lines().find(|line| line.starts_with("tokens=")).unwrap_or_default();
        let eval = Eval::parse(name, header);
        evals.push(eval.unwrap_or_else(|| panic!("{}: not a trace: {header:?}", folder.display())));
    }
    assert!(!evals.is_empty(), "no trace of {model} in {}", folder.display());
    evals
}

/// The text of one evaluation, line by line in graph order.
#[derive(Debug, Clone)]
pub struct TraceText {
    detail: Detail,
    text: String,
    occurrences: HashMap<String, usize>,
    n_nodes: usize,
}

impl TraceText {
    /// A text that begins with what is evaluated.
    #[must_use]
    pub fn new(eval: &Eval) -> Self {
        let detail = match eval.detail {
            Detail::Full => "full",
            Detail::Brief => "brief",
        };
        let text = format!("{} detail={detail}\n", header(&eval.tokens, eval.n_past));
        Self { detail: eval.detail, text, occurrences: HashMap::new(), n_nodes: 0 }
    }

    /// Adds a node. Names may repeat; they are numbered here.
    pub fn node(
        &mut self,
        op: &str,
        name: &str,
        il: Option<usize>,
        shape: &[usize],
        values: &[f32],
    ) {
        let occurrence = self.occurrences.entry(layered(name, il)).or_default();
        self.text += &node_line(op, name, il, *occurrence, shape, values, self.detail);
        self.text.push('\n');
        *occurrence += 1;
        self.n_nodes += 1;
    }

    /// Adds a layer's K or V cache, `[n_cells, width]` as f16 bits, a token's row after the other.
    /// They come after all nodes: K then V, layer by layer.
    ///
    /// # Panics
    /// If `values` is no whole number of cells.
    pub fn cache(&mut self, kind: char, il: usize, n_cells: usize, values: &[u16]) {
        let sha256 = sha256_hex(values.iter().flat_map(|v| v.to_le_bytes()));
        let first = values.iter().take(2).map(|v| f16_to_f64(*v));
        self.cache_line((kind, il), [n_cells, values.len()], "f16", &sha256, first);
    }

    /// The same of a cache of f32.
    ///
    /// # Panics
    /// As [`Self::cache`].
    pub fn cache_f32(&mut self, kind: char, il: usize, n_cells: usize, values: &[f32]) {
        let sha256 = sha256_hex(values.iter().flat_map(|v| v.to_le_bytes()));
        let first = values.iter().take(2).map(|v| f64::from(*v));
        self.cache_line((kind, il), [n_cells, values.len()], "f32", &sha256, first);
    }

    fn cache_line(
        &mut self,
        (kind, il): (char, usize),
        [n_cells, n]: [usize; 2],
        ty: &str,
        sha256: &str,
        first: impl Iterator<Item = f64>,
    ) {
        assert_eq!(n % n_cells, 0, "a cache has whole cells");
        let shape = trimmed_shape(&[n_cells, n / n_cells]);
        let first = first.map(hex_float).collect::<Vec<_>>().join(",");
        self.text +=
            &format!("CACHE cache_{kind}_l{il} {shape} {ty} sha256={sha256} first={first}\n");
    }

    /// Nodes added so far.
    #[must_use]
    pub fn n_nodes(&self) -> usize {
        self.n_nodes
    }

    /// The text, as [`crate::check`] wants it.
    #[must_use]
    pub fn finish(self) -> String {
        self.text
    }
}

/// A node's line. `shape` is outermost first; `occurrence` counts earlier nodes of the same name and layer.
/// A node that llama.cpp leaves unnamed is called `node`, without a layer.
#[must_use]
pub fn node_line(
    op: &str,
    name: &str,
    il: Option<usize>,
    occurrence: usize,
    shape: &[usize],
    values: &[f32],
    detail: Detail,
) -> String {
    let name = layered(name, il);
    let shape = trimmed_shape(shape);
    let sha256 = sha256_f32(values);
    let Stats { rms, mean, min, max } = Stats::of(values);
    let n_first = if detail == Detail::Brief { 2 } else { 4 };
    let first: Vec<String> =
        values.iter().take(n_first).map(|&v| hex_float(f64::from(v))).collect();
    let mut line = format!("{op} {name} #{occurrence} {shape} sha256={sha256} rms={}", sci(rms));
    if detail == Detail::Full {
        let (mean, min, max) = (sci(mean), sci(min), sci(max));
        line += &format!(" mean={mean} min={min} max={max}");
    }
    line + " first=" + &first.join(",")
}

/// The text of a `logits/<model>` snapshot: the hash of all logits and the twenty highest, lower id first where equal.
#[must_use]
pub fn logits_text(tokens: &[u32], n_past: usize, logits: &[f32]) -> String {
    let mut ids: Vec<usize> = (0..logits.len()).collect();
    ids.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
    let mut text = header(tokens, n_past);
    text += &format!("\nn_vocab={} sha256={}\n", logits.len(), sha256_f32(logits));
    for id in ids.into_iter().take(20) {
        let value = f64::from(logits[id]);
        text += &format!("{id} {} {}\n", hex_float(value), sci(value));
    }
    text
}

fn header(tokens: &[u32], n_past: usize) -> String {
    let tokens: Vec<String> = tokens.iter().map(u32::to_string).collect();
    format!("tokens={} n_past={n_past}", tokens.join(","))
}

/// ggml puts a note behind the names it derives: `Vcur-0 (cont)`.
fn layered(name: &str, il: Option<usize>) -> String {
    let Some(il) = il else { return name.to_owned() };
    name.split_once(' ')
        .map_or_else(|| format!("{name}-{il}"), |(name, note)| format!("{name}-{il} {note}"))
}

/// `[5,576]`, without outermost ones.
fn trimmed_shape(shape: &[usize]) -> String {
    let ones = shape.iter().take_while(|&&n| n == 1).count().min(shape.len().saturating_sub(1));
    let dims: Vec<String> = shape[ones..].iter().map(usize::to_string).collect();
    format!("[{}]", dims.join(","))
}

/// SHA-256 of the little-endian bytes of `values`, hex.
#[must_use]
pub fn sha256_f32(values: &[f32]) -> String {
    sha256_hex(values.iter().flat_map(|v| v.to_le_bytes()))
}

fn sha256_hex(bytes: impl Iterator<Item = u8>) -> String {
    let bytes: Vec<u8> = bytes.collect();
    Sha256::digest(bytes).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// What a reader sees of values. Sums are taken in f64 from the first element to the last.
struct Stats {
    rms: f64,
    mean: f64,
    min: f64,
    max: f64,
}

impl Stats {
    fn of(values: &[f32]) -> Self {
        let wide = || values.iter().map(|&v| f64::from(v));
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^53 values")]
        let n = values.len() as f64;
        let extreme = |pick: fn(f64, f64) -> f64| {
            let pick =
                |a: f64, b: f64| if a.is_nan() || b.is_nan() { f64::NAN } else { pick(a, b) };
            wide().reduce(pick).unwrap_or(f64::NAN)
        };
        Self {
            rms: (wide().map(|v| v * v).fold(0.0, |sum, v| sum + v) / n).sqrt(),
            mean: wide().fold(0.0, |sum, v| sum + v) / n,
            min: extreme(f64::min),
            max: extreme(f64::max),
        }
    }
}

/// C99 hexadecimal text without trailing zeros: `0x1.8p+1`, `-0x0p+0`, `inf`, `nan`.
#[must_use]
pub fn hex_float(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    let sign = if value.is_sign_negative() { "-" } else { "" };
    if value.is_infinite() {
        return format!("{sign}inf");
    }
    let bits = value.to_bits();
    let (biased, fraction) = ((bits >> 52) & 0x7ff, bits & ((1 << 52) - 1));
    let (lead, exponent) = match (biased, fraction) {
        (0, 0) => (0, 0),
        (0, _) => (0, -1022),
        _ => (1, i64::try_from(biased).unwrap_or(0) - 1023),
    };
    let digits = format!("{fraction:013x}");
    let digits = digits.trim_end_matches('0');
    let point = if digits.is_empty() { "" } else { "." };
    format!("{sign}0x{lead}{point}{digits}p{exponent:+}")
}

/// Ten significant digits as C's `%.9e`; zero never has a sign.
#[must_use]
pub fn sci(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    let text = format!("{:.9e}", value + 0.0);
    let Some((digits, exponent)) = text.split_once('e') else { return text };
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{exponent:0>2}")
}

fn f16_to_f64(bits: u16) -> f64 {
    let sign = if bits >> 15 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from((bits >> 10) & 0x1f), f64::from(bits & 0x3ff) / 1024.0);
    sign * match exponent {
        0 => fraction * 2f64.powi(-14),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction) * 2f64.powi(exponent - 15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same generator as in `golden/capture/trace_format.py`.
    fn noise(n: usize, seed: u32, mask: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f32::from_bits(state & mask)
        };
        (0..n).map(|_| next()).collect()
    }

    #[test]
    fn lines_are_those_of_python() {
        let special = [
            0.0,
            -0.0,
            1.0,
            -1.5,
            1e-45,
            -1.175_494_2e-38,
            3.402_823_5e38,
            0.1,
            -16_777_216.0,
            2.5e-7,
        ];
        let cases: [(&str, Vec<usize>, Vec<f32>); 8] = [
            ("ones", vec![1, 1, 2, 3], vec![1.0; 6]),
            ("special", vec![2, 5], special.to_vec()),
            ("negative_zeros", vec![3], vec![-0.0; 3]),
            ("scalar", vec![1, 1], vec![-0.1]),
            ("noise", vec![1, 4, 150], noise(600, 1, 0xBFFF_FFFF)),
            ("subnormal", vec![1, 1, 1, 64], noise(64, 2, 0x807F_FFFF)),
            ("infinite", vec![4], vec![1.0, f32::INFINITY, f32::NEG_INFINITY, 2.0]),
            ("nan", vec![3], vec![1.0, f32::NAN, 3.0]),
        ];
        let mut lines = Vec::new();
        for detail in [Detail::Full, Detail::Brief] {
            for (i, (name, shape, values)) in cases.iter().enumerate() {
                lines.push(node_line("OP", name, None, i, shape, values, detail));
            }
        }
        crate::check("trace-format", "lines", &lines.join("\n"));
    }

    #[test]
    fn repeated_names_are_numbered_by_layer() {
        let eval = Eval { name: "x".into(), tokens: vec![1, 2], n_past: 3, detail: Detail::Brief };
        let mut text = TraceText::new(&eval);
        text.node("MUL_MAT", "Qcur", Some(0), &[2, 1], &[1.0, 2.0]);
        text.node("ROPE", "Qcur", Some(0), &[2, 1], &[1.0, 2.0]);
        text.node("MUL_MAT", "Qcur", Some(1), &[2, 1], &[1.0, 2.0]);
        text.node("MUL", "result_norm", None, &[2, 1], &[1.0, 2.0]);
        assert_eq!(text.n_nodes(), 4);
        text.cache('k', 0, 2, &[0x3c00, 0xc000, 0x0001, 0x7c00]);
        let text = text.finish();
        let heads: Vec<&str> =
            text.lines().map(|line| line.split(" sha").next().unwrap()).collect();
        let want = [
            "tokens=1,2 n_past=3 detail=brief",
            "MUL_MAT Qcur-0 #0 [2,1]",
            "ROPE Qcur-0 #1 [2,1]",
            "MUL_MAT Qcur-1 #0 [2,1]",
            "MUL result_norm #0 [2,1]",
            "CACHE cache_k_l0 [2,2] f16",
        ];
        assert_eq!(heads, want);
        assert!(text.ends_with("first=0x1p+0,-0x1p+1\n"), "{text}");
    }

    #[test]
    fn captured_evaluations_follow_each_other() {
        let evals = evals("smollm2-q4_1");
        assert_eq!(evals[0].tokens, [504, 3575, 282, 4649, 314], "the prompt");
        let mut n_past = 0;
        for eval in &evals {
            assert_eq!(eval.n_past, n_past, "{}", eval.name);
            n_past += eval.tokens.len();
        }
        assert_eq!(evals.len(), 4, "prefill and three steps");
    }

    #[test]
    fn equal_logits_are_listed_by_id() {
        let text = logits_text(&[7], 0, &[1.0, 3.0, 3.0, -0.5]);
        let ids: Vec<&str> =
            text.lines().skip(2).map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(ids, ["1", "2", "0", "3"]);
    }
}
