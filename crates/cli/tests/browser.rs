//! The report of `lockstep compare` in a real browser: every plot is laid out and has its data, the page fits, and
//! values appear on hovering. `cargo test` leaves this file out, because it needs Chromium;
//! `cargo test -p lockstep --test browser` runs it, and so does .ci/run where there is one.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests: a failed unwrap is a failed test")]

mod common;

use common::{arg, run, smollm2};
use compare::{TraceFile, Values, Writer};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Sixteen tokens.
const IDS: &str = "504,3575,282,4649,314,7042,30,198,504,3575,282,2034,314,2034,28,284";
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// Asks the browser, for each plot: its size on the page, how many marks it draws that can be seen, in how many colors,
/// and what hovering over it says. One line each, in an element of its own.
const PROBE: &str = r##"<script>
const seen = node => {
  const box = node.getBoundingClientRect(), style = getComputedStyle(node);
  return box.width + box.height > 0 && (style.fill !== "none" || style.stroke !== "none") && style.display !== "none";
};
const lines = [...document.querySelectorAll("svg[data-plot]")].map(svg => {
  const box = svg.getBoundingClientRect();
  let marks = 0, inside = true;
  const colors = new Set();
  for (const node of svg.querySelectorAll("rect, path.dots, path.pa, path.pb")) {
    if (!seen(node)) continue;
    const own = node.getBoundingClientRect(), style = getComputedStyle(node);
    inside &&= own.left >= box.left - 2 && own.right <= box.right + 2 && own.top >= box.top - 2 && own.bottom <= box.bottom + 2;
    marks += node.tagName === "rect" ? 1 : node.getAttribute("d").match(/[ML]/g).length;
    colors.add(node.tagName === "rect" ? style.fill : style.stroke);
  }
  let says = "";
  if (svg.dataset.points) {
    svg.dispatchEvent(new MouseEvent("mousemove", {clientX: box.left + box.width / 2, clientY: box.top + 5}));
    if (seen(tip)) says = tip.textContent;
  }
  return [svg.dataset.plot, Math.round(box.width), Math.round(box.height), marks, colors.size, inside, says].join("|");
});
const wide = document.documentElement.scrollWidth > innerWidth;
const out = document.createElement("pre");
out.id = "probe";
out.textContent = [...lines, "page|" + wide + "|" + document.querySelectorAll(".flag").length].join("\n");
document.body.append(out);
</script>"##;

/// A plot as the browser shows it.
#[derive(Debug)]
struct Plot {
    width: u32,
    height: u32,
    n_marks: usize,
    n_colors: usize,
    inside: bool,
    says: String,
}

/// A browser, or the end of the test.
fn browser() -> &'static str {
    let works = |name: &&&str| Command::new(name).arg("--version").output().is_ok();
    BROWSERS.iter().find(works).unwrap_or_else(|| panic!("none of {BROWSERS:?} is installed"))
}

/// Lays out a page and returns what the probe found: plots by kind, whether the page is wider than the window, and how
/// many divergences are flagged.
fn laid_out(page: &Path, folder: &Path) -> (BTreeMap<String, Vec<Plot>>, bool, usize) {
    let probed = folder.join("probed.html");
    let html = std::fs::read_to_string(page).unwrap();
    std::fs::write(&probed, html.replace("</body>", &format!("{PROBE}</body>"))).unwrap();
    let profile = format!("--user-data-dir={}", arg(&folder.join("profile")));
    let flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1200,1600"];
    let output = Command::new(browser())
        .args(flags)
        .args([&profile, "--dump-dom", &format!("file://{}", arg(&probed))])
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let probe = dom.split("<pre id=\"probe\">").nth(1).unwrap_or_else(|| panic!("{stderr}\n{dom}"));
    let mut plots: BTreeMap<String, Vec<Plot>> = BTreeMap::new();
    let (mut wide, mut n_flags) = (true, 0);
    for line in probe.split("</pre>").next().unwrap().lines() {
        let parts: Vec<&str> = line.split('|').collect();
        if let ["page", is_wide, flags] = parts[..] {
            (wide, n_flags) = (is_wide == "true", flags.parse().unwrap());
            continue;
        }
        let [name, width, height, n_marks, n_colors, inside, says] = parts[..] else {
            panic!("{line}");
        };
        plots.entry(name.to_owned()).or_default().push(Plot {
            width: width.parse().unwrap(),
            height: height.parse().unwrap(),
            n_marks: n_marks.parse().unwrap(),
            n_colors: n_colors.parse().unwrap(),
            inside: inside == "true",
            says: says.to_owned(),
        });
    }
    (plots, wide, n_flags)
}

/// A trace as an engine would write it that scales K a little too large in layer 3.
fn faulty(right: &TraceFile, path: &Path) {
    let mut writer = Writer::create(path, right.nodes().len()).unwrap();
    let mut eval = usize::MAX;
    for node in right.nodes() {
        if node.eval != eval {
            eval = node.eval;
            let info = &right.info().evals[eval];
            writer.begin_eval(info.n_past, &info.tokens);
        }
        let mut values = right.values(node).unwrap();
        if node.layer().is_some_and(|il| il >= 3) {
            values.iter_mut().enumerate().for_each(|(i, x)| *x *= 1.2 + (i % 7) as f64 * 0.01);
        }
        let op = node.op.as_deref().unwrap_or_default();
        writer.node(&node.name, op, &node.shape, Values::F64(&values)).unwrap();
    }
    let mut info = right.info().clone();
    (info.engine, info.arithmetic) = ("faulty".to_owned(), String::new());
    writer.finish(info).unwrap();
}

fn trace(folder: &Path, name: &str, args: &[&str]) -> PathBuf {
    let path = folder.join(format!("{name}.safetensors"));
    let model = smollm2();
    run(&[&["trace", arg(&model), "-o", arg(&path), "--all"], args].concat()).expect_success();
    path
}

/// The page of A against B, with the status that `compare` has to end with.
fn report(folder: &Path, a: &Path, b: &Path, status: i32) -> PathBuf {
    let page = folder.join("report.html");
    let outcome = run(&["compare", arg(a), arg(b), "--html", arg(&page)]);
    assert_eq!(outcome.status, Some(status), "{outcome:?}");
    let n_bytes = page.metadata().unwrap().len();
    assert!(n_bytes < 2_000_000, "{n_bytes} bytes");
    println!("{n_bytes} bytes");
    page
}

/// Thirty layers, sixteen tokens and a step: one engine twice, and one that is wrong from layer 3 on.
#[test]
fn every_plot_has_data_in_a_browser() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let right = trace(folder, "right", &["--ids", IDS, "--steps", "1", "--numerics", "reference"]);
    let wrong = folder.join("wrong.safetensors");
    faulty(&TraceFile::open(&right).unwrap(), &wrong);
    for (a, status, n_maps) in [(&right, 0, 3), (&wrong, 1, 1)] {
        let (plots, wide, n_flags) = laid_out(&report(folder, a, &right, status), folder);
        assert!(!wide, "the page is wider than the window");
        assert_eq!(n_flags, usize::from(status == 1), "the first divergence is marked");
        let kinds: Vec<(&str, usize)> =
            plots.iter().map(|(k, of)| (k.as_str(), of.len())).collect();
        // Maps of A, of B, and of their difference.
        let wanted =
            [("attention", 3 * n_maps), ("errors", 2), ("logits", 2), ("rms", 1), ("rope", 3)];
        assert_eq!(kinds, wanted);
        for (kind, plot) in plots.iter().flat_map(|(kind, of)| of.iter().map(move |p| (kind, p))) {
            let (n_marks, n_colors, width) = match kind.as_str() {
                // Every node, in the colors of the five groups.
                "errors" => (606 + 60, 5, 1000),
                // Both sides behind the embedding and thirty layers.
                "rms" => (2 * 31, 2, 1000),
                "logits" => (20, 2, 1000),
                "attention" => (16 * 16, 1, 300),
                _ => (16 * 32, 1, 300),
            };
            assert_eq!(plot.n_marks, n_marks, "{kind}: {plot:?}");
            assert!(plot.n_colors >= n_colors, "{kind}: {plot:?}");
            assert!(plot.width >= width && plot.height > 100, "{kind}: {plot:?}");
            assert!(plot.inside, "{kind}: {plot:?}");
            let hovers = ["errors", "rms", "logits"].contains(&kind.as_str());
            assert_eq!(hovers, !plot.says.is_empty(), "{kind}: {plot:?}");
        }
        // The maps of the sides are pictures, not one color.
        for kind in ["attention", "rope"] {
            assert!(plots[kind].iter().filter(|p| p.n_colors > 20).count() >= 2, "{plots:?}");
        }
    }
}
