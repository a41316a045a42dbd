#!/usr/bin/env python3
"""Who is closer to the truth: the mean KL divergence of lockstep and of llama.cpp from exact arithmetic.

    ~/reference-n/bin/python bench/kl/run.py --native ~/reference-n/bin/python
    ... --models smollm2-q4_1,gemma3-270m          only these
    ... --chunks 10                                of more text: where four chunks show a difference, for instance
    ... --scalar ~/reference-r/bin/python          R itself instead of its twin; slow
    ... --only-r                                   column R of rows that are there; needs no llama.cpp, only numpy
    ... --report                                   only writes the report anew, from bench/kl/results.json

The truth is `--numerics oracle`: f64 throughout, nothing rounded but the weights. Compared with it are `fast`, llama.cpp's
native build N (golden/README.md has it) with each of repacking off and on, and flash attention off and on, of which the
closest counts, and its scalar build R. R's part is computed by `--numerics reference`, which golden tests hold to R bit for
bit. The text is golden/text, prompts of code, tables and several languages, and a chapter, and behind it the license; its
tokens are computed in chunks of 512, four unless told otherwise, and all rows of logits are compared.

Needs numpy, which the Python of a build of llama.cpp has, and half an hour on two cores. What was computed stays in the
folder --work, so that an interrupted run goes on where it was. Writes the table into bench/RESULTS.md, together with
what bench/peers/run.py measured.
"""

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path

import numpy as np
from divergence import kl_rows

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench" / "peers"))
import report  # noqa: E402
import run as peers  # noqa: E402

KL = ROOT / "bench" / "kl"
RESULTS = KL / "results.json"
N_CTX = 512
# Of N: weights repacked or not, flash attention or not.
NATIVE = {f"--repack {repack} -fa {'on' if flash else 'off'}": {"repack": bool(repack), "flash": bool(flash)}
          for repack in (0, 1) for flash in (0, 1)}


def models():
    """The real models of the speed table."""
    return {name: entry[:2] for name, entry in peers.models().items() if entry[1][0] != "synth"}


def text(work):
    """A file of the golden texts, and of the license, which changes as little."""
    prompts = json.loads((ROOT / "golden" / "text" / "prompts.json").read_text("utf-8"))
    parts = [*(p["text"] for p in prompts), (ROOT / "golden" / "text" / "rabbit-hole.txt").read_text("utf-8"),
             (ROOT / "LICENSE-APACHE").read_text("utf-8")]
    path = work / "text.txt"
    path.write_text("\n\n".join(part.strip("\n") for part in parts) + "\n", "utf-8")
    return path


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def lockstep_logits(options, path, numerics, out):
    """Writes the logits that lockstep computes."""
    partial = out.with_suffix(".partial.npy")
    partial.unlink(missing_ok=True)
    peers.call(options.lockstep, "perplexity", path, "-f", options.text, "-c", N_CTX, "--chunks", options.chunks,
               "-t", options.threads, "--numerics", numerics, "--logits", partial)
    os.replace(partial, out)
    return out


def peer(options, python, libs, job):
    """The rows of a build of llama.cpp."""
    env = {**os.environ, "LLAMA_CPP_LIB_PATH": str(libs)} if libs else os.environ
    job = {"text": str(options.text), "n_ctx": N_CTX, "n_chunk": options.chunks, "threads": options.threads, **job}
    return json.loads(peers.call(python, KL / "peer.py", json.dumps(job), env=env))


def lockstep_rows(options, name, path, numerics, truth):
    """The rows of lockstep."""
    logits = lockstep_logits(options, path, numerics, options.work / f"{name}-{numerics}.npy")
    rows = kl_rows(np.load(truth, mmap_mode="r"), np.load(logits, mmap_mode="r")).tolist()
    logits.unlink()
    return rows


def measure(options, name, path):
    """Rows of KL divergence by who computed them."""
    # What is kept is of this text and model, of lockstep's binary, and of a peer's place.
    inputs = hashlib.sha256(f"{sha256(options.text)} {sha256(path)} {N_CTX} {options.chunks}".encode()).hexdigest()[:16]
    binary = sha256(options.lockstep)[:12]
    place = lambda *paths: hashlib.sha256(" ".join(map(str, paths)).encode()).hexdigest()[:12]
    truth = options.work / f"{name}-oracle-{binary}-{inputs}.npy"

    def kept(who, compute):
        file = options.work / f"{name}-{who}-{inputs}.json"
        if not file.exists():
            if not truth.exists():
                lockstep_logits(options, path, "oracle", truth)
            rows = compute()
            file.write_text(json.dumps(rows))
        return json.loads(file.read_text())

    job = {"model": str(path), "truth": str(truth)}
    scalar = {"scalar": True, "repack": False, "flash": False}
    ours = lambda numerics: kept(f"{numerics}-{binary}", lambda: lockstep_rows(options, name, path, numerics, truth))
    if options.only_r:
        rows = {"R": ours("reference")}
        truth.unlink(missing_ok=True)
        return rows
    rows = {"fast": ours("fast")}
    for flags, of in NATIVE.items():
        who = "n" + "".join(str(int(value)) for value in of.values())
        compute = lambda of=of: peer(options, options.native, options.native_libs, job | of | {"scalar": False})
        rows[flags] = kept(f"{who}-{place(options.native, options.native_libs)}", compute)
    if options.scalar:
        rows["R"] = kept(f"r-{place(options.scalar)}", lambda: peer(options, options.scalar, None, job | scalar))
    else:
        rows["R"] = ours("reference")
    truth.unlink(missing_ok=True)
    return rows


def interval(differences):
    """The 95 % interval of the mean of `differences`, by a bootstrap over tokens."""
    x, random = np.asarray(differences), np.random.default_rng(1)
    means = [x[random.integers(0, len(x), len(x))].mean() for _ in range(10_000)]
    return [float(np.quantile(means, q)) for q in (0.025, 0.975)]


def summarize(rows):
    """Means, and the difference between `fast` and the closest N."""
    means = {who: float(np.mean(found)) for who, found in rows.items()}
    best = min(NATIVE, key=means.get)
    return {"n_tokens": len(rows["fast"]), "mean": means, "native": best,
            "difference": interval(np.asarray(rows["fast"]) - np.asarray(rows[best]))}


def add_r(row, found, model):
    """Adds what is found of R to a row of the same tokens and weights."""
    if row is None or row["n_tokens"] != len(found) or row["model_sha256"] != model:
        raise SystemExit("no row of this model and this many tokens is there: it must be measured as a whole")
    row["mean"]["R"] = float(np.mean(found))
    peers.say(f"{row['description']}: R {row['mean']['R']}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=lambda names: names.split(","), help="of " + ", ".join(models()))
    parser.add_argument("--scalar", type=Path, help="the Python of build R; slow")
    parser.add_argument("--native", type=Path, help="the Python of build N")
    parser.add_argument("--native-libs", type=Path, help="a folder of N's libraries, if they are not in its Python")
    parser.add_argument("--chunks", type=int, default=4, help="of 512 tokens; there are about ten")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--lockstep", type=Path, help="a binary; else it is built")
    parser.add_argument("--work", type=Path, default=ROOT / "target" / "peers", help="models and logits; gigabytes")
    parser.add_argument("--only-r", action="store_true", help="only column R, of rows that are there")
    parser.add_argument("--report", action="store_true", help="only the report")
    return parser.parse_args()


def main():
    options = arguments()
    known = models()
    if unknown := [name for name in options.models or [] if name not in known]:
        raise SystemExit(f"no model is named {unknown[0]}; there are {', '.join(known)}")
    # What is not measured now stays from the run before.
    data = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if not options.report:
        if not options.native and not options.only_r:
            raise SystemExit("--native names the Python of build N")
        options.work.mkdir(parents=True, exist_ok=True)
        options.lockstep = options.lockstep or peers.build_lockstep()
        options.text = text(options.work)
        for name in options.models or known:
            description, how = known[name]
            path = peers.prepare(how, options.work, options.lockstep)
            rows = measure(options, name, path)
            if options.only_r:
                add_r(data.get(name), rows["R"], sha256(path))
            else:
                found = summarize(rows)
                peers.say(f"{name}: {found}")
                data[name] = found | {"description": description, "model_sha256": sha256(path), "lockstep": peers.commit()}
                data = {name: data[name] for name in known if name in data}
            RESULTS.write_text(json.dumps(data, indent=1) + "\n")
    report.rewrite(ROOT / "bench", list(peers.models()))


if __name__ == "__main__":
    main()
