"""Turns results.json, and what bench/kl/run.py found, into RESULTS.md and plots. Standard library only."""
import json
import statistics
from html import escape
from pathlib import Path

KL = Path(__file__).resolve().parents[1] / "kl" / "results.json"

OURS, THEIRS, GRID, INK = "#2a6fb0", "#c2571a", "#d8d8d8", "#222222"


def summarize(result):
    """The numbers of one test: medians, and the ratios of neighbors."""
    rounds = result["rounds"]
    flags = best_flags(rounds)
    ratios = [r["lockstep"]["rate"] / max(run["rate"] for run in r["llama.cpp"].values()) for r in rounds]
    return {
        "ours": statistics.median(r["lockstep"]["rate"] for r in rounds),
        "theirs": statistics.median(r["llama.cpp"][flags]["rate"] for r in rounds),
        "flags": flags,
        "ratio": statistics.median(ratios),
        "low": min(ratios),
        "high": max(ratios),
        "of_peak": median_or_none(r["lockstep"]["of_peak"] for r in rounds),
        "of_read": median_or_none(r["lockstep"]["of_read"] for r in rounds),
    }


def best_flags(rounds):
    """Those with the highest median, of those that every round has."""
    median = lambda flags: statistics.median(r["llama.cpp"][flags]["rate"] for r in rounds)
    return max((flags for flags in rounds[0]["llama.cpp"] if all(flags in r["llama.cpp"] for r in rounds)), key=median)


def median_or_none(values):
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def percent(share):
    return "–" if share is None else f"{share:.0%}"


# What a family and model of CPU is called.
CORES = {(25, 1): "Zen 3", (25, 17): "Zen 4", (26, 2): "Zen 5", (6, 207): "Emerald Rapids", (6, 143): "Sapphire Rapids"}


def key(machine):
    """What tells machines apart in results.json."""
    return f"{machine['cpu']}, family {machine['family']}, model {machine['model']}, {machine['cores']} cores"


def slug(machine):
    """The same in the name of a file."""
    return "-".join("".join(c if c.isalnum() else " " for c in key(machine).lower()).split())


def rewrite(folder, order):
    """Writes the report anew from the file of raw numbers."""
    write(json.loads((folder / "results.json").read_text()), order, folder)


def write(machines, order, folder):
    if not any(data["results"] or data["candle"] for data in machines.values()):
        raise SystemExit("nothing has been measured yet")
    lines = [
        "# Speed beside llama.cpp", "",
        "Written by `bench/peers/run.py`; raw numbers in `results.json`. Tokens per second. `pp512` reads a prompt of",
        "512 tokens, `tg128` generates 128, `@d4096` begins behind 4096 tokens. llama.cpp runs with the best of",
        "`--repack 0/1` and `-fa off/on` for each test. A ratio above 1 means that lockstep is faster; it is the median",
        "over pairs of runs next to each other in time, with the lowest and the highest.",
        "`of peak`: the time the matrices would take at the machine's multiply peak, as a share of lockstep's. `of read`:",
        "what generation reads of weights and cache, as a share of the read bandwidth.",
    ]
    for data in machines.values():
        lines += of_machine(data, order, folder)
    if KL.exists():
        lines += kl_table(json.loads(KL.read_text()).values())
    (folder / "RESULTS.md").write_text("\n".join(lines) + "\n")


def of_machine(data, order, folder):
    """The tables of one machine; its plots go into files."""
    machine = data["machine"]
    name = CORES.get((machine["family"], machine["model"]), f"family {machine['family']}, model {machine['model']}")
    lines = ["", f"## {machine['cpu']} ({name})"]
    results = sorted(data["results"].values(), key=lambda r: order.index(r["model"]))
    rows = [(r, summarize(r)) for r in results]
    lines += ["", about(data)]
    if rows:
        lines += ["", *table(rows)]
        (folder / f"ratio-{slug(machine)}.svg").write_text(ratio_plot(rows))
        lines += ["", f"![ratio by model](ratio-{slug(machine)}.svg)"]
    if curves := context_curves(rows):
        (folder / f"context-{slug(machine)}.svg").write_text(context_plot(curves))
        lines += ["", f"![tokens per second against context length](context-{slug(machine)}.svg)"]
    if data["candle"]:
        lines += candle_table(sorted(data["candle"].values(), key=lambda c: order.index(c["model"])))
    return lines


def about(data):
    """What was measured on what."""
    machine, versions = data["machine"], {}
    results = [*data["results"].values(), *data["candle"].values()]
    for result in results:
        for name, version in result["versions"].items():
            versions.setdefault(name, set()).add(version)
    several = lambda numbers: "/".join(map(str, sorted(set(numbers))))
    sentences = [f"{machine['cores']} cores ({', '.join(machine.get('features', []))}), "
                 f"{several(r['threads'] for r in results)} threads, "
                 f"{several(len(r['rounds']) for r in results)} pairs of runs",
                 *(f"{name}: {', '.join(sorted(found))}" for name, found in versions.items())]
    if data["note"]:
        sentences.append(data["note"])
    for result in data["results"].values():
        if result["crashed"]:
            flags = ", ".join(f"`{flags}`" for flags in result["crashed"])
            sentences.append(f"llama.cpp crashes in {result['test']} of {result['description']} with {flags}")
    return "; ".join(sentences) + "."


def table(rows):
    lines = [
        "| model | test | lockstep | llama.cpp | its flags | ratio | range | of peak | of read |",
        "|---|---|---:|---:|---|---:|---:|---:|---:|",
    ]
    for result, s in rows:
        lines.append(
            f"| {result['description']} | {result['test']} | {s['ours']:.1f} | {s['theirs']:.1f} | `{s['flags']}` "
            f"| **{s['ratio']:.2f}** | {s['low']:.2f}–{s['high']:.2f} | {percent(s['of_peak'])} "
            f"| {percent(s['of_read'])} |")
    return lines


def candle_table(results):
    """Beside candle, in the same turns."""
    lines = ["", "Beside candle, version and build as in `bench/peers/candle`: compiled for the machine it runs on.", "",
             "| model | test | lockstep | candle | ratio | range |", "|---|---|---:|---:|---:|---:|"]
    for result in results:
        for test in ("pp512", "tg64"):
            pairs = [(r["lockstep"][test], r["candle"][test]) for r in result["rounds"]]
            ratios = [ours / theirs for ours, theirs in pairs]
            ours, theirs = (statistics.median(rates) for rates in zip(*pairs))
            lines.append(f"| {result['description']} | {test} | {ours:.1f} | {theirs:.1f} "
                         f"| **{statistics.median(ratios):.2f}** | {min(ratios):.2f}–{max(ratios):.2f} |")
    return lines


def kl_table(results):
    """Who is closer to exact arithmetic."""
    lines = [
        "", "## Distance from exact arithmetic", "",
        "Written by `bench/kl/run.py`. Mean KL divergence, in units of 1e-6, of the predictions for each token of a text from",
        "those of `--numerics oracle` (f64, nothing rounded but the weights). N is llama.cpp's native build with the flags that",
        "are closest, R its scalar build, computed by `--numerics reference`, which equals it bit for bit. `fast − N` is the",
        "difference, with its 95 % interval (paired bootstrap over the tokens): below zero lockstep is closer, around zero",
        "neither is. Where four chunks of 512 tokens showed a difference, ten were taken.", "",
        "| model | tokens | fast | N | its flags | R | fast − N |",
        "|---|---:|---:|---:|---|---:|---:|",
    ]
    micro = lambda kl: "–" if kl is None else f"{kl * 1e6:.3g}" if kl * 1e6 < 1000 else f"{kl * 1e6:.0f}"
    for r in results:
        fast, native, scalar = (r["mean"].get(who) for who in ("fast", r["native"], "R"))
        low, high = (f"{x * 1e6:+.3g}" for x in r["difference"])
        lines.append(f"| {r['description']} | {r['n_tokens']} | {micro(fast)} | {micro(native)} | `{r['native']}` "
                     f"| {micro(scalar)} | {low} to {high} |")
    return lines


def svg(width, height, parts):
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12" fill="{INK}">')
    return "\n".join([head, f'<rect width="{width}" height="{height}" fill="white"/>', *parts, "</svg>"]) + "\n"


def label(x, y, words, anchor="start", more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{escape(words)}</text>'


def line(x1, y1, x2, y2, color=GRID, width=1):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}" stroke-width="{width}"/>'


def ratio_plot(rows):
    """A bar for each test that every model has, with the range of its pairs."""
    rows = [(r, s) for r, s in rows if r["test"] in ("pp512", "tg128")] or rows
    left, right, step, top = 290, 40, 20, 50
    width, height = 820, top + step * len(rows) + 30
    most = max(1.2, max(s["high"] for _, s in rows)) * 1.05
    x = lambda ratio: left + ratio / most * (width - left - right)
    tick = next(t for t in (0.25, 0.5, 1, 2, 5, 10, 50) if most / t <= 10)
    parts = [label(10, 20, "Speed relative to llama.cpp (median of pairs; the thin line is their range)", "start",
                   'font-weight="bold"')]
    for i in range(int(most / tick) + 1):
        parts += [line(x(i * tick), top - 8, x(i * tick), height - 26), label(x(i * tick), height - 10, f"{i * tick:g}", "middle")]
    for i, (result, s) in enumerate(rows):
        y = top + i * step
        name = f"{result['description'].replace(', random weights', '')} {result['test']}"
        color = OURS if result["test"].startswith("pp") else "#6aa84f"
        parts += [label(left - 8, y + 10, name, "end", 'font-size="11"'),
                  f'<rect x="{left}" y="{y}" width="{x(s["ratio"]) - left:.1f}" height="13" fill="{color}"/>',
                  line(x(s["low"]), y + 6.5, x(s["high"]), y + 6.5, INK, 1.5),
                  label(x(s["high"]) + 4, y + 10, f"{s['ratio']:.2f}", "start", 'font-size="11"')]
    parts.append(line(x(1), top - 8, x(1), height - 26, THEIRS, 2))
    parts.append(label(x(1), top - 12, "llama.cpp", "middle", f'font-size="11" fill="{THEIRS}"'))
    return svg(width, height, parts)


def context_curves(rows):
    """(model, kind) -> [(context length, ours, theirs)], of the model with the most lengths."""
    curves = {}
    # Of two generations at one depth the shorter counts, which is nearer to that depth: it comes last.
    for result, s in sorted(rows, key=lambda row: -int(row[0]["test"].partition("@d")[0][2:])):
        name, _, depth = result["test"].partition("@d")
        kind, n = name[:2], int(name[2:])
        # A prompt's length is what it fills; a generation's, what it finds.
        at = n if kind == "pp" else int(depth or 0)
        key = (result["description"], "prompt" if kind == "pp" else "generation")
        curves.setdefault(key, {})[at] = (s["ours"], s["theirs"])
    curves = {key: sorted((at, *rates) for at, rates in points.items()) for key, points in curves.items()}
    return {key: points for key, points in curves.items() if len(points) > 1}


def context_plot(curves):
    """Two panels: prompts by length, generation by depth."""
    parts = [label(10, 20, "Tokens per second against context length", "start", 'font-weight="bold"')]
    width, height, panel = 820, 340, 400
    for i, kind in enumerate(["prompt", "generation"]):
        found = [(key, points) for key, points in curves.items() if key[1] == kind]
        if not found:
            continue
        (description, _), points = max(found, key=lambda f: len(f[1]))
        parts += panel_of(i * panel + 55, panel - 80, height, points, f"{description}: {kind}")
    for i, (name, color) in enumerate([("lockstep", OURS), ("llama.cpp", THEIRS)]):
        parts += [line(560 + i * 120, 16, 585 + i * 120, 16, color, 3), label(590 + i * 120, 20, name)]
    return svg(width, height, parts)


def panel_of(left, width, height, points, title):
    top, bottom = 60, height - 40
    most_x = max(at for at, *_ in points)
    most_y = max(max(rates) for _, *rates in points) * 1.1
    x = lambda at: left + at / most_x * width
    y = lambda rate: bottom - rate / most_y * (bottom - top)
    parts = [label(left, top - 12, title, "start", 'font-size="11"')]
    magnitude = 10 ** (len(str(int(most_y))) - 1)
    tick = next(t for t in (magnitude / 5, magnitude / 2, magnitude, magnitude * 2) if most_y / t <= 8)
    for i in range(int(most_y / tick) + 1):
        parts += [line(left, y(i * tick), left + width, y(i * tick)),
                  label(left - 6, y(i * tick) + 4, f"{i * tick:g}", "end", 'font-size="11"')]
    for at, *_ in points:
        parts.append(label(x(at), bottom + 16, str(at), "middle", 'font-size="11"'))
    for i, color in [(1, OURS), (2, THEIRS)]:
        path = " ".join(f"{x(p[0]):.1f},{y(p[i]):.1f}" for p in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2.5"/>')
        parts += [f'<circle cx="{x(p[0]):.1f}" cy="{y(p[i]):.1f}" r="3.5" fill="{color}"/>' for p in points]
    return parts
