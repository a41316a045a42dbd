//! A comparison as text for a terminal.

use crate::format::TraceInfo;
use crate::reader::TraceFile;
use crate::verdict::{Comparison, Divergence, Row, Side};
use std::fmt::Write;

/// How many rows are shown before and behind the divergence.
const AROUND: usize = 6;

/// A comparison for people: the verdict, a table, the likeliest tokens. The table has the ends of the layers and what
/// is around the divergence; `full` shows every node.
#[must_use]
pub fn text(found: &Comparison, a: &TraceFile, b: &TraceFile, full: bool) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(out, "A: {}\nB: {}", who(a.info()), who(b.info()));
    let _ = writeln!(out, "noise floor: {}", found.floor.describe());
    for note in &found.notes {
        let _ = writeln!(out, "note: {note}");
    }
    let [only_a, only_b] = found.n_unmatched;
    if only_a + only_b > 0 {
        let _ = writeln!(
            out,
            "not compared: {only_a} nodes of A, {only_b} of B, which the other side has not"
        );
    }
    out.push('\n');
    out.push_str(&verdict(found));
    out.push('\n');
    table(found, full, &mut out);
    tops(found, &mut out);
    out
}

fn who(info: &TraceInfo) -> String {
    let arithmetic = match info.arithmetic.as_str() {
        "" => String::new(),
        arithmetic => format!(" ({arithmetic})"),
    };
    let named = |before: &str, text: &str| match text {
        "" => String::new(),
        text => format!("{before}{text}"),
    };
    let (version, model) = (named(" ", &info.engine_version), named(", ", &info.model));
    format!("{}{version}{arithmetic}{model}", info.engine)
}

/// The verdict in a few lines.
#[must_use]
pub fn verdict(found: &Comparison) -> String {
    let n = found.rows.len();
    let Some(first) = &found.divergence else {
        let n_evals = found.rows.last().map_or(0, |row| row.eval + 1);
        let worst = found.rows.iter().map(|row| row.stats.nmse).fold(0.0, f64::max);
        let same = if worst == 0.0 {
            "; every bit is the same".to_owned()
        } else {
            format!("; the largest NMSE is {worst:.2e}")
        };
        return format!("in lockstep: {n} nodes of {n_evals} evaluations agree{same}\n");
    };
    let mut out = String::new();
    let layer = first.layer.map(|il| format!(", layer {il}")).unwrap_or_default();
    let node = if first.node.is_empty() { String::new() } else { format!(" ({})", first.node) };
    let _ =
        writeln!(out, "diverged in evaluation {}{layer}: {}{node}", first.eval, first.stage.name());
    if let Some(row) = found.rows.iter().find(|row| row.diverged) {
        let _ = writeln!(out, "  NMSE {:.2e}, noise here is {:.2e}", row.stats.nmse, row.floor);
    }
    details(first, &mut out);
    out
}

fn details(first: &Divergence, out: &mut String) {
    let _ = writeln!(out, "  how: {}", first.kind.describe());
    for text in &first.findings {
        let _ = writeln!(out, "  found: {text}");
    }
    if let Some((name, ty)) = &first.tensor {
        let ty = ty.as_ref().map(|ty| format!(" ({ty})")).unwrap_or_default();
        let _ = writeln!(out, "  tensor: {name}{ty}");
    }
    let _ = writeln!(out, "  next: {}", first.next);
    match first.further_from_oracle {
        Some(Side::A) => out.push_str("  oracle: A is further from it here\n"),
        Some(Side::B) => out.push_str("  oracle: B is further from it here\n"),
        None => {}
    }
}

fn table(found: &Comparison, full: bool, out: &mut String) {
    let first = found.rows.iter().position(|row| row.diverged);
    let shown = |(i, row): &(usize, &Row)| {
        let near = first.is_some_and(|first| i.abs_diff(first) <= AROUND);
        let end = row.layer.is_none() && !row.name.starts_with("node") && row.name != "norm";
        full || near || (row.name.starts_with("l_out") || end) && row.eval == 0
    };
    let has_oracle = found.rows.iter().any(|row| row.oracle.is_some());
    let _ = write!(
        out,
        "{:<5} {:<18} {:>9} {:>9} {:>11} {:>10} {:>10} {:>11} {:>11}",
        "eval", "node", "NMSE", "max error", "cosine", "RMS A", "RMS B", "mean A", "mean B"
    );
    out.push_str(if has_oracle { "  A-oracle  B-oracle\n" } else { "\n" });
    for (i, row) in found.rows.iter().enumerate().filter(shown) {
        let s = &row.stats;
        let mark = if Some(i) == first { " <- first divergence" } else { "" };
        let _ = write!(
            out,
            "{:<5} {:<18} {:>9.2e} {:>9.2e} {:>11.8} {:>10.4} {:>10.4} {:>11.3e} {:>11.3e}",
            row.eval,
            row.node(),
            s.nmse,
            s.max_error,
            s.cosine,
            s.rms[0],
            s.rms[1],
            s.mean[0],
            s.mean[1]
        );
        if let Some([a, b]) = row.oracle {
            let _ = write!(out, "  {a:>8.2e}  {b:>8.2e}");
        }
        let _ = writeln!(out, "{mark}");
    }
}

fn tops(found: &Comparison, out: &mut String) {
    for top in &found.tops {
        let [a, b] = [0, 1].map(|side| top.top[side].first().copied().unwrap_or_default());
        let _ = writeln!(
            out,
            "evaluation {}: A's likeliest token is {} ({:.3}), on B of rank {}; B's is {} ({:.3}), on A of rank {}",
            top.eval, a.0, a.1, top.rank_on_other[0], b.0, b.1, top.rank_on_other[1]
        );
    }
}
