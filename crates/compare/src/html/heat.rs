//! Heat maps of attention weights and of RoPE's angles, where they were traced.

use super::escaped;
use crate::TraceError;
use crate::laws::rope::{rope, turn};
use crate::reader::TraceFile;
use crate::verdict::Comparison;
use crate::view::View;
use std::fmt::Write;

/// Rows and columns that are drawn at most.
const MAX: usize = 48;
const SIZE: f64 = 340.0;

/// A matrix to be drawn.
struct Map {
    title: String,
    rows: Vec<Vec<f64>>,
    /// The values of the two ends of the color scale.
    range: [f64; 2],
    /// Whether zero is in the middle.
    signed: bool,
}

/// The layers and evaluation worth showing: where the divergence is, else the first, the middle and the last.
fn places(found: &Comparison) -> Vec<(usize, usize)> {
    if let Some(place) = found.divergence.as_ref().and_then(|d| Some((d.eval, d.layer?))) {
        return vec![place];
    }
    let last = found.rows.iter().filter_map(|row| row.layer).max().unwrap_or(0);
    let mut layers = vec![0, last / 2, last];
    layers.dedup();
    layers.into_iter().map(|il| (0, il)).collect()
}

/// Weights of the softmax, mean of all heads, and their difference.
pub(super) fn attention(
    found: &Comparison,
    a: &TraceFile,
    b: &TraceFile,
    page: &mut String,
) -> Result<(), TraceError> {
    let mut drawn = false;
    for (eval, il) in places(found) {
        let mut maps = Vec::new();
        for file in [a, b] {
            let side = View { file, eval, il: Some(il) };
            let Some(weights) = side.node(&side.name("kq_soft_max"), 0)? else { continue };
            let n_tokens = side.n_tokens().max(1);
            let n_heads = (weights.n_rows() / n_tokens).max(1) as f64;
            let n_cells = (side.n_past() + n_tokens).min(weights.n_cols).min(MAX);
            let mut mean = vec![vec![0.0; n_cells]; n_tokens.min(MAX)];
            for (i, row) in weights.iter().enumerate() {
                let Some(sums) = mean.get_mut(i % n_tokens) else { continue };
                sums.iter_mut().zip(row).for_each(|(sum, w)| *sum += w / n_heads);
            }
            maps.push(mean);
        }
        if maps.len() < 2 {
            continue;
        }
        if !drawn {
            page.push_str("<h2>Attention weights</h2><p>Mean of all heads; a row is a token, a column the cell it looks at.</p>");
            drawn = true;
        }
        three(
            "attention",
            &format!("layer {il}, evaluation {eval}"),
            maps,
            |a, b| a - b,
            [0.0, 1.0],
            page,
        );
    }
    Ok(())
}

/// Angles by token and pair, recovered from what went into the rotation and came out.
pub(super) fn rope_maps(
    file: &TraceFile,
    eval: usize,
    il: usize,
    b: &TraceFile,
) -> Result<Option<Vec<Vec<f64>>>, TraceError> {
    let hparams = [&b.info().hparams, &file.info().hparams];
    let Some(size) = hparams.iter().find_map(|hp| hp.n_embd_head) else { return Ok(None) };
    let n_rot = hparams.iter().find_map(|hp| hp.n_rot).unwrap_or(size).min(size);
    let found = rope(View { file, eval, il: Some(il) }, "Qcur", size, n_rot)?;
    Ok(found.map(|rope| {
        rope.angles.into_iter().take(MAX).map(|row| row.into_iter().take(MAX).collect()).collect()
    }))
}

/// RoPE's angles on both sides, and their difference.
pub(super) fn rope_section(
    found: &Comparison,
    a: &TraceFile,
    b: &TraceFile,
    page: &mut String,
) -> Result<(), TraceError> {
    let place = places(found).into_iter().next();
    let Some((eval, il)) = place else { return Ok(()) };
    let maps = [rope_maps(a, eval, il, b)?, rope_maps(b, eval, il, b)?];
    let [Some(of_a), Some(of_b)] = maps else { return Ok(()) };
    page.push_str("<h2>RoPE</h2><p>The angle by which each pair of Q is rotated, recovered from before and after; a row is a token, a column a pair.</p>");
    let pi = std::f64::consts::PI;
    three(
        "rope",
        &format!("layer {il}, evaluation {eval}"),
        vec![of_a, of_b],
        turn,
        [-pi, pi],
        page,
    );
    Ok(())
}

/// A, B, and their difference.
fn three(
    plot: &str,
    what: &str,
    maps: Vec<Vec<Vec<f64>>>,
    difference: impl Fn(f64, f64) -> f64,
    range: [f64; 2],
    page: &mut String,
) {
    let pairs = maps[0].iter().zip(&maps[1]);
    let rows: Vec<Vec<f64>> =
        pairs.map(|(a, b)| a.iter().zip(b).map(|(a, b)| difference(*a, *b)).collect()).collect();
    let largest = rows.iter().flatten().fold(0.0_f64, |m, d| m.max(d.abs()));
    let scale = if largest == 0.0 { 1.0 } else { largest };
    let signed = range[0] < 0.0;
    for (side, rows) in ["A", "B"].into_iter().zip(maps) {
        draw(plot, &Map { title: format!("{side}: {what}"), rows, range, signed }, page);
    }
    let title = format!("A - B, at most {largest:.1e}");
    draw(plot, &Map { title, rows, range: [-scale, scale], signed: true }, page);
}

fn draw(plot: &str, map: &Map, page: &mut String) {
    let (n_rows, n_cols) = (map.rows.len().max(1), map.rows.first().map_or(1, Vec::len).max(1));
    let cell = SIZE / n_cols as f64;
    let height = (SIZE / n_rows as f64).min(cell).max(6.0);
    let _ = write!(
        page,
        "<svg class=\"heat\" data-plot=\"{plot}\" viewBox=\"0 0 {SIZE} {:.0}\"><text x=\"0\" y=\"12\">{}</text>",
        n_rows as f64 * height + 20.0,
        escaped(&map.title)
    );
    for (i, row) in map.rows.iter().enumerate() {
        for (j, value) in row.iter().enumerate() {
            let color = color(*value, map);
            let _ = write!(
                page,
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"#{color}\"><title>{i}, {j}: {value:.4e}</title></rect>",
                j as f64 * cell,
                18.0 + i as f64 * height,
                cell + 0.2,
                height + 0.2
            );
        }
    }
    let _ = write!(
        page,
        "<path class=\"frame\" d=\"M.5 18h{:.1}v{:.1}h-{0:.1}z\"/></svg>",
        SIZE - 1.0,
        n_rows as f64 * height
    );
}

/// From white to violet, or blue over white to red.
fn color(value: f64, map: &Map) -> String {
    let [low, high] = map.range;
    let share = ((value - low) / (high - low)).clamp(0.0, 1.0);
    let mix = |from: [f64; 3], to: [f64; 3], share: f64| {
        let mut hex = String::new();
        for (from, to) in from.into_iter().zip(to) {
            let _ = write!(hex, "{:02x}", quantized(from + (to - from) * share));
        }
        hex
    };
    let white = [255.0; 3];
    match (map.signed, value.is_finite()) {
        (_, false) => "000000".to_owned(),
        (true, _) if share < 0.5 => mix([29.0, 78.0, 216.0], white, share * 2.0),
        (true, _) => mix(white, [194.0, 65.0, 12.0], share * 2.0 - 1.0),
        _ => mix(white, [76.0, 29.0, 149.0], share.sqrt()),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 255")]
fn quantized(x: f64) -> u8 {
    x.round().clamp(0.0, 255.0) as u8
}
