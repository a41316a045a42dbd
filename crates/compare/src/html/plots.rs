//! Error by node, RMS by layer, likeliest tokens.

use super::escaped;
use crate::stage::Stage;
use crate::verdict::{Comparison, Row, TopTokens};
use std::fmt::Write;

/// Size of a plot, and its margins.
const W: f64 = 1060.0;
const H: f64 = 300.0;
const LEFT: f64 = 56.0;
const BOTTOM: f64 = 34.0;
const TOP: f64 = 22.0;

/// Evaluations that get a plot of their own.
const MAX_EVALS: usize = 8;
/// The smallest NMSE drawn: what is equal lies on the lower edge.
const LEAST: f64 = 1e-18;
/// The decade of `LEAST`.
const EQUAL: i32 = -18;

/// Classes of nodes with a color of their own, and what the key calls them.
const GROUPS: &[(&str, &str)] = &[
    ("norms", "norms"),
    ("qkv", "Q, K, V, RoPE, cache"),
    ("attention", "attention"),
    ("ffn", "FFN"),
    ("stream", "embedding, residual stream, output"),
];

fn group_of(stage: Stage) -> &'static str {
    match stage {
        Stage::RmsNorm | Stage::OutputNorm => "norms",
        Stage::Projection | Stage::Rope | Stage::KvCache => "qkv",
        Stage::Scores | Stage::Softmax | Stage::AttentionOutput => "attention",
        Stage::Ffn => "ffn",
        _ => "stream",
    }
}

/// A logarithmic axis in whole decades.
struct Decades {
    low: i32,
    high: i32,
}

impl Decades {
    fn of(values: impl Iterator<Item = f64>, least: f64) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|v| v.is_finite()) {
            let log = value.max(least).log10();
            low = low.min(log);
            high = high.max(log);
        }
        if low > high {
            (low, high) = (-1.0, 0.0);
        }
        #[expect(clippy::cast_possible_truncation, reason = "decades of finite numbers")]
        let (low, high) = (low.floor() as i32, high.ceil() as i32);
        Self { low, high: high.max(low + 1) }
    }

    fn y(&self, value: f64) -> f64 {
        let log = if value.is_finite() { value.max(1e-300).log10() } else { f64::from(self.high) };
        let share = (log - f64::from(self.low)) / f64::from(self.high - self.low);
        H - BOTTOM - share.clamp(0.0, 1.0) * (H - BOTTOM - TOP)
    }

    fn draw(&self, page: &mut String) {
        let step = usize::try_from((self.high - self.low + 7) / 8).unwrap_or(1).max(1);
        for decade in (self.low..=self.high).step_by(step) {
            let y = self.y(10.0_f64.powi(decade));
            let name = if decade == EQUAL { "equal".to_owned() } else { format!("1e{decade}") };
            let _ = write!(
                page,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{W}\"/><text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>",
                LEFT - 6.0,
                y + 4.0
            );
        }
    }
}

fn open(page: &mut String, plot: &str, height: f64, points: &[(f64, String)]) {
    let points: Vec<(f64, &str)> =
        points.iter().map(|(x, text)| ((x * 10.0).round() / 10.0, text.as_str())).collect();
    let json = serde_json::to_string(&points).unwrap_or_default();
    let _ = write!(
        page,
        "<svg data-plot=\"{plot}\" viewBox=\"0 0 {W} {height}\" data-points=\"{}\">",
        escaped(&json)
    );
}

fn line(page: &mut String, class: &str, points: impl Iterator<Item = (f64, f64)>) {
    let _ = write!(page, "<path class=\"{class}\" d=\"");
    for (i, (x, y)) in points.enumerate() {
        let _ = write!(page, "{}{x:.1} {y:.1}", if i == 0 { 'M' } else { 'L' });
    }
    page.push_str("\"/>");
}

/// NMSE of every node, with the floor.
pub(super) fn errors(found: &Comparison, page: &mut String) {
    page.push_str("<h2>Error by node</h2><p>NMSE of each node in the order of the graph; dashed: what is noise. Equal bits lie on the lower edge.</p><p>");
    for (group, what) in GROUPS {
        let _ = write!(page, "<b class=\"key {group}\">{what}</b> ");
    }
    page.push_str("</p>");
    let n_evals = found.rows.last().map_or(0, |row| row.eval + 1);
    let first = found.divergence.as_ref().map_or(0, |d| d.eval);
    for eval in (0..n_evals).filter(|eval| *eval < MAX_EVALS || *eval == first) {
        let rows: Vec<&Row> = found.rows.iter().filter(|row| row.eval == eval).collect();
        if !rows.is_empty() {
            errors_of(eval, &rows, found, page);
        }
    }
}

fn errors_of(eval: usize, rows: &[&Row], found: &Comparison, page: &mut String) {
    let axis = Decades::of(rows.iter().flat_map(|row| [row.stats.nmse, row.floor]), LEAST);
    let x = |i: usize| LEFT + (i as f64 + 0.5) / rows.len() as f64 * (W - LEFT);
    let points: Vec<(f64, String)> = rows
        .iter()
        .enumerate()
        .map(|(i, row)| (x(i), format!("{} NMSE {:.2e}", row.node(), row.stats.nmse)))
        .collect();
    open(page, "errors", H, &points);
    axis.draw(page);
    layer_marks(rows, x, page);
    if rows.iter().any(|row| row.floor > 0.0) {
        line(page, "floor", rows.iter().enumerate().map(|(i, row)| (x(i), axis.y(row.floor))));
    }
    for (group, _) in GROUPS {
        let of_group = || rows.iter().enumerate().filter(|(_, row)| group_of(row.stage) == *group);
        if of_group().next().is_some() {
            let _ = write!(page, "<path class=\"dots {group}\" d=\"");
            for (i, row) in of_group() {
                let _ = write!(page, "M{:.1} {:.1}h0", x(i), axis.y(row.stats.nmse));
            }
            page.push_str("\"/>");
        }
    }
    let first = found.divergence.as_ref().filter(|d| d.eval == eval);
    if let Some((i, first)) = first
        .and_then(|d| Some((rows.iter().position(|row| row.diverged && row.node() == d.node)?, d)))
    {
        let x = x(i);
        let anchor = if x > W / 2.0 { "end" } else { "start" };
        let _ = write!(
            page,
            "<path class=\"first\" d=\"M{x:.1} {TOP}V{}\"/><text class=\"flag\" x=\"{x:.1}\" y=\"14\" text-anchor=\"{anchor}\">first divergence: {} ({})</text>",
            H - BOTTOM,
            escaped(&first.node),
            first.stage.name()
        );
    }
    let _ =
        write!(page, "<text x=\"{LEFT}\" y=\"{}\">evaluation {eval}, layers</text></svg>", H - 4.0);
}

/// Where layers begin.
fn layer_marks(rows: &[&Row], x: impl Fn(usize) -> f64, page: &mut String) {
    let n_layer = rows.iter().filter_map(|row| row.layer).max().map_or(1, |il| il + 1);
    let step = n_layer.div_ceil(16);
    let mut next = 0;
    for (i, row) in rows.iter().enumerate() {
        if row.layer.is_some_and(|il| il >= next) {
            if next % step == 0 {
                let _ = write!(
                    page,
                    "<path class=\"grid\" d=\"M{0:.1} {TOP}V{1}\"/><text x=\"{0:.1}\" y=\"{2:.0}\">{next}</text>",
                    x(i),
                    H - BOTTOM,
                    H - BOTTOM + 13.0
                );
            }
            next += 1;
        }
    }
}

/// RMS of the residual stream behind each layer.
pub(super) fn rms(found: &Comparison, page: &mut String) {
    let rows: Vec<&Row> = found
        .rows
        .iter()
        .filter(|r| r.eval == 0 && (r.name.starts_with("l_out") || r.stage == Stage::Embedding))
        .collect();
    if rows.is_empty() {
        return;
    }
    page.push_str("<h2>RMS by layer</h2><p>Root mean square of the residual stream behind each layer: <b class=\"A\">A</b>, <b class=\"B\">B</b>.</p>");
    let axis = Decades::of(rows.iter().flat_map(|row| row.stats.rms), 1e-12);
    let x = |i: usize| LEFT + (i as f64 + 0.5) / rows.len() as f64 * (W - LEFT);
    let points: Vec<(f64, String)> = rows
        .iter()
        .enumerate()
        .map(|(i, r)| {
            (x(i), format!("{} RMS A {:.4} B {:.4}", r.name, r.stats.rms[0], r.stats.rms[1]))
        })
        .collect();
    open(page, "rms", H, &points);
    axis.draw(page);
    layer_marks(&rows, x, page);
    for (side, class) in [(1, "pb"), (0, "pa")] {
        let width = if side == 1 { 5.0 } else { 1.8 };
        let _ = write!(
            page,
            "<g stroke-width=\"{width}\" stroke-opacity=\"{}\">",
            if side == 1 { 0.45 } else { 1.0 }
        );
        line(page, class, rows.iter().enumerate().map(|(i, r)| (x(i), axis.y(r.stats.rms[side]))));
        page.push_str("</g>");
    }
    let _ = write!(page, "<text x=\"{LEFT}\" y=\"{}\">layer</text></svg>", H - 4.0);
}

/// The likeliest tokens of both sides, side by side.
pub(super) fn logits(found: &Comparison, page: &mut String) {
    if found.tops.is_empty() {
        return;
    }
    page.push_str("<h2>Likeliest tokens</h2><p>The highest logits behind each evaluation: <b class=\"A\">A</b> on the left, <b class=\"B\">B</b> on the right. Beside each bar the id and its logit.</p>");
    for top in found.tops.iter().take(MAX_EVALS) {
        logits_of(top, page);
    }
}

fn logits_of(top: &TopTokens, page: &mut String) {
    let all = || top.top.iter().flatten().map(|(_, logit)| *logit).filter(|l| l.is_finite());
    let (low, high) =
        (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    let (row, n) = (15.0, top.top[0].len().max(top.top[1].len()));
    let half = (W - LEFT) / 2.0;
    let length = |logit: f64| 30.0 + (logit - low) / (high - low).max(1e-9) * (half - 130.0);
    let points: Vec<(f64, String)> = Vec::from([(0.0, format!("evaluation {}", top.eval))]);
    let height = n as f64 * row + 24.0;
    open(page, "logits", height, &points);
    let _ = write!(page, "<text x=\"0\" y=\"14\">eval {}</text>", top.eval);
    for (side, class) in [(0, "fa"), (1, "fb")] {
        let x = LEFT + half * side as f64;
        for (i, (id, logit)) in top.top[side].iter().enumerate() {
            let y = 4.0 + i as f64 * row;
            let w = if logit.is_finite() { length(*logit) } else { 0.0 };
            let _ = write!(
                page,
                "<rect class=\"{class}\" x=\"{x:.0}\" y=\"{y:.0}\" width=\"{w:.1}\" height=\"{:.0}\" opacity=\".75\"/><text x=\"{:.1}\" y=\"{:.0}\">{id}: {logit:.3}</text>",
                row - 3.0,
                x + w + 5.0,
                y + 10.0
            );
        }
    }
    page.push_str("</svg>");
}
