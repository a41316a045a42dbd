//! A comparison as one page that needs nothing else: plots in SVG, values on hovering by a few lines of script.

mod heat;
mod plots;

use crate::TraceError;
use crate::reader::TraceFile;
use crate::text;
use crate::verdict::Comparison;
use std::fmt::Write;

/// The page.
///
/// # Errors
/// A trace that can no longer be read.
pub fn html(found: &Comparison, a: &TraceFile, b: &TraceFile) -> Result<String, TraceError> {
    let mut page = String::from(HEAD);
    let state = if found.in_lockstep { "lockstep" } else { "diverged" };
    // Writing to a string cannot fail.
    let _ = write!(page, "<h1>{}</h1>", if found.in_lockstep { "In lockstep" } else { "Diverged" });
    let _ = write!(page, "<pre class=\"verdict {state}\">{}</pre>", escaped(&text::verdict(found)));
    page.push_str("<table class=\"who\"><tr><th></th><th>engine</th><th>arithmetic</th><th>model</th><th>flags</th></tr>");
    for (side, info) in [("A", a.info()), ("B", b.info())] {
        let engine = format!("{} {}", info.engine, info.engine_version);
        let _ = write!(page, "<tr><th class=\"{side}\">{side}</th>");
        for text in [&engine, &info.arithmetic, &info.model, &info.flags] {
            let _ = write!(page, "<td>{}</td>", escaped(text));
        }
        page.push_str("</tr>");
    }
    let _ = write!(page, "</table><p>Noise floor: {}.", found.floor.describe());
    for note in &found.notes {
        let _ = write!(page, " Note: {}.", escaped(note));
    }
    page.push_str("</p>");
    plots::errors(found, &mut page);
    plots::rms(found, &mut page);
    plots::logits(found, &mut page);
    heat::attention(found, a, b, &mut page)?;
    heat::rope_section(found, a, b, &mut page)?;
    page.push_str(SCRIPT);
    Ok(page)
}

/// Text that cannot become markup.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() && c != '\n' => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

const HEAD: &str = r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>lockstep compare</title>
<meta name="viewport" content="width=device-width">
<style>
:root { --a: #c2410c; --b: #1d4ed8; --ink: #1f2937; --faint: #9ca3af; --grid: #e5e7eb; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); max-width: 1100px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin: 0 0 .5rem; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .2rem; }
p { margin: .3rem 0; color: #4b5563; } pre { overflow-x: auto; padding: .8rem 1rem; border-left: 4px solid; background: #f9fafb; white-space: pre-wrap; }
.lockstep { border-color: #15803d; } .diverged { border-color: #b91c1c; }
.who { border-collapse: collapse; font-size: 13px; } .who td, .who th { padding: .15rem .7rem .15rem 0; text-align: left; vertical-align: top; }
.A { color: var(--a); } .B { color: var(--b); }
svg { display: block; width: 100%; height: auto; } svg.heat { display: inline-block; width: 31%; margin-right: 1.5%; vertical-align: top; }
text { font: 11px system-ui, sans-serif; fill: #4b5563; } .grid { stroke: var(--grid); } .axis { stroke: var(--faint); }
.pa { stroke: var(--a); fill: none; } .pb { stroke: var(--b); fill: none; } .fa { fill: var(--a); } .fb { fill: var(--b); }
.floor { stroke: #15803d; fill: none; stroke-dasharray: 4 3; } .dots { stroke-width: 3.4; stroke-linecap: round; fill: none; } .key { font-weight: 400; margin-right: 1rem; white-space: nowrap; }
.key::before { content: ""; display: inline-block; width: .6em; height: .6em; border-radius: 50%; background: currentColor; margin-right: .35em; }
.norms { stroke: #0891b2; color: #0891b2; } .qkv { stroke: #c026d3; color: #c026d3; } .attention { stroke: #6d28d9; color: #6d28d9; }
.ffn { stroke: #d97706; color: #d97706; } .stream { stroke: #1f2937; color: #1f2937; } .frame { stroke: var(--faint); fill: none; }
.first { stroke: #b91c1c; stroke-width: 1.5; } .flag { fill: #b91c1c; font-weight: 600; }
#tip { position: fixed; display: none; background: #111827; color: #fff; font: 12px/1.4 ui-monospace, monospace; padding: .3rem .6rem; border-radius: 4px; pointer-events: none; white-space: pre; }
</style></head><body>
"#;

/// Values on hovering. Each plot carries its points as JSON: [x, text].
const SCRIPT: &str = r#"<div id="tip"></div><script>
const tip = document.getElementById("tip");
for (const svg of document.querySelectorAll("svg[data-points]")) {
  const points = JSON.parse(svg.dataset.points), width = svg.viewBox.baseVal.width;
  svg.addEventListener("mousemove", e => {
    const box = svg.getBoundingClientRect(), x = (e.clientX - box.left) / box.width * width;
    let best = points[0];
    for (const p of points) if (Math.abs(p[0] - x) < Math.abs(best[0] - x)) best = p;
    tip.textContent = best[1]; tip.style.display = "block";
    tip.style.left = Math.min(e.clientX + 14, innerWidth - 320) + "px"; tip.style.top = e.clientY + 14 + "px";
  });
  svg.addEventListener("mouseleave", () => tip.style.display = "none");
}
</script></body></html>
"#;
