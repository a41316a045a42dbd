//! Residual sums and the activation of the feed-forward block.

use crate::stats::{fit, nmse};
use crate::view::{Found, Rows, View};

/// What a side's sum at `name` is made of, if it can be told: which of the two terms.
pub(crate) fn residual(side: View<'_>, label: &str) -> Found<Option<&'static str>> {
    let (stream, term) = if label == "ffn_inp" {
        let term = match side.last_of(&side.name("attn_out"))? {
            Some(rows) => Some(rows),
            None => side.last_of(&side.name("attn_output"))?,
        };
        (side.stream()?, term)
    } else {
        (side.last_of(&side.name("ffn_inp"))?, side.last_of(&side.name("ffn_out"))?)
    };
    let (Some(stream), Some(term), Some(sum)) = (stream, term, side.last_of(&side.name(label))?)
    else {
        return Ok(None);
    };
    let n = sum.n_rows();
    let (stream, term) = (stream.last(n), term.last(n));
    if stream.x.len() != sum.x.len() || term.x.len() != sum.x.len() {
        return Ok(None);
    }
    let (of_term, of_stream) = (nmse(&term.x, &sum.x), nmse(&stream.x, &sum.x));
    Ok(Some(if of_term < 1e-9 {
        Some("the residual stream is not added: the sum is the block's output alone")
    } else if of_stream < 1e-9 {
        Some("the block's output is not added: the sum is the residual stream alone")
    } else {
        None
    }))
}

/// A name and the function.
type Activation = (&'static str, fn(f64) -> f64);

/// Activations that are told apart.
const ACTIVATIONS: [Activation; 6] = [
    ("SiLU", |x| x / (1.0 + (-x).exp())),
    ("GELU (tanh)", |x| {
        0.5 * x * (1.0 + (0.797_884_560_802_865_4 * x * (1.0 + 0.044_715 * x * x)).tanh())
    }),
    ("quick GELU", |x| x / (1.0 + (-1.702 * x).exp())),
    ("ReLU", |x| x.max(0.0)),
    ("squared ReLU", |x| x.max(0.0).powi(2)),
    ("no activation", |x| x),
];

/// The activation that a side's gated block applies, and what it leaves unexplained.
pub(crate) fn activation(side: View<'_>, label: &str) -> Found<(&'static str, f64)> {
    let (gate, up) = (side.last_of(&side.name("ffn_gate"))?, side.last_of(&side.name("ffn_up"))?);
    let (Some(gate), Some(up), Some(out)) = (gate, up, side.last_of(&side.name(label))?) else {
        return Ok(None);
    };
    if gate.x.len() != out.x.len() || up.x.len() != out.x.len() {
        return Ok(None);
    }
    let rest = |f: fn(f64) -> f64, x: &Rows, y: &Rows| {
        let wanted: Vec<f64> = x.x.iter().zip(&y.x).map(|(x, y)| f(*x) * y).collect();
        nmse(&wanted, &out.x)
    };
    let tried = ACTIVATIONS.into_iter().flat_map(|(name, f)| {
        let swapped = if name == "SiLU" { "SiLU of up instead of gate" } else { name };
        [(name, rest(f, &gate, &up)), (swapped, rest(f, &up, &gate))]
    });
    Ok(tried.min_by(|a, b| a.1.total_cmp(&b.1)))
}

/// The cap `c` with which `capped = c * tanh(x / c)`, if there is one.
pub(crate) fn softcap(x: &[f64], capped: &[f64]) -> Option<f64> {
    let largest = capped.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
    if largest == 0.0 || fit(capped, x).1 < 1e-9 {
        return None;
    }
    let rest = |c: f64| {
        let wanted: Vec<f64> = x.iter().map(|x| c * (x / c).tanh()).collect();
        nmse(&wanted, capped)
    };
    // The rest has one minimum: a search that narrows by the golden ratio, on a logarithmic scale.
    let (mut low, mut high) = (largest.ln(), (largest * 1e3).ln());
    for _ in 0..60 {
        let (p, q) = (high - 0.618 * (high - low), low + 0.618 * (high - low));
        if rest(p.exp()) < rest(q.exp()) { high = q } else { low = p }
    }
    let c = low.midpoint(high).exp();
    (rest(c) < 1e-4).then_some(c)
}
