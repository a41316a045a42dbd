"""Every engine against every arithmetic of lockstep, on SmolLM2 in four types: what docs/trace-matrix.md shows.

    golden/capture/build_reference.sh R ~/reference-r
    golden/capture/build_reference.sh N ~/reference-n
    python3 -m venv ~/torch && ~/torch/bin/pip install (what tools/trace_transformers.py names)
    cargo build --release
    python3 tools/compare_matrix.py --scalar ~/reference-r/bin/python --native ~/reference-n/bin/python \
        --torch ~/torch/bin/python --work ~/traces -o docs/trace-matrix.md

Takes a few minutes and a gigabyte. --native-lib names the folder of build N's libraries instead, which the Python of
build R then loads. Ends with 1 if any comparison does; the table is written all the same.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TYPES = ("Q4_1", "Q4_0", "Q4_K_M", "Q6_K")
PROMPT = "The capital of France is Paris, and the capital of Italy is Rome. Once upon a"
STEPS = 3

# A, B, and the third trace from which the noise around B is measured; "" derives it.
PAIRS = [
    ("reference", "R", ""),
    ("fast", "R", ""),
    ("fast", "R", "N"),
    ("fast", "N", ""),
    ("fast", "N", "R"),
    ("reference", "N", ""),
    ("reference", "N", "transformers f32"),
    ("N", "R", ""),
    ("N", "R", "transformers f32"),
    ("fast", "transformers f32", ""),
    ("fast", "transformers f32", "R"),
    ("reference", "transformers f32", ""),
    ("reference", "transformers f32", "N"),
    ("oracle", "transformers f32", ""),
    ("oracle", "transformers f64", ""),
    ("oracle", "transformers f64", "transformers f32"),
]
# The pairs whose stages are shown one by one.
SHOWN = [
    ("fast", "R", "N"),
    ("fast", "N", "R"),
    ("reference", "N", "transformers f32"),
    ("fast", "transformers f32", "R"),
    ("reference", "transformers f32", "N"),
    ("oracle", "transformers f64", "transformers f32"),
]
STAGES = {
    "embedding": "embedding",
    "rms_norm": "RMSNorm",
    "projection": "Q/K/V projection",
    "rope": "RoPE",
    "kv_cache": "KV cache",
    "scores": "attention scores",
    "softmax": "softmax",
    "attention_output": "attention output",
    "residual": "residual stream",
    "ffn": "FFN",
    "output_norm": "output norm",
    "output_projection": "output projection",
}

HEAD = """\
# Traces of llama.cpp and transformers against lockstep

Written by `tools/compare_matrix.py`, captured once; no test repeats it. {model}, requantized by
`lockstep quantize` (byte-identical to llama.cpp's), a prompt of {n_prompt} tokens and {steps} steps, every node of the
graph and the cache. R is llama.cpp's scalar build, N its native one (`golden/README.md`), both of
{llama}; transformers is {transformers}, on the CPU. `fast`, `reference` and `oracle` are lockstep's
arithmetics.

Every comparison is made with the noise floor that `lockstep compare` would take by itself, and, where *noise from*
names a trace, with the floor measured: what that third trace differs from B by. *Of its floor* is the node that comes
closest to its floor: 1 would be a divergence. *Exact* means that both sides promise the same bits, so that the floor is
zero.

The floor that is derived holds no margin for a product whose terms cancel: V of layer 0 is small, and an engine that
rounds activations comes close to it against one that does not. Measured, it is far away. So where a third engine is at
hand, measure.
"""


def run(*command, env=None, ok=(0,)):
    print("+", *(str(c) for c in command), file=sys.stderr, flush=True)
    done = subprocess.run([str(c) for c in command], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode not in ok:
        raise SystemExit(f"{command[0]} ended with {done.returncode}: {done.stderr.decode()[-2000:]}")
    return done


def models(args):
    """Files by type. Each appears under its name when it is whole."""
    found = {}
    for ty in TYPES:
        path = args.work / f"smollm2-{ty.lower()}.gguf"
        if ty == "Q4_1":
            path = pathlib.Path(run(args.lockstep, "pull", "smollm2").stdout.decode().strip())
        elif not path.exists():
            run(args.lockstep, "quantize", "smollm2", path, ty, "--allow-requantize")
        found[ty] = path
    return found


def traces(args, ty, model):
    """Paths of all traces of a model; those that are there are taken as they are."""
    path = {name: args.work / f"{ty}-{name.replace(' ', '-')}.safetensors" for pair in PAIRS for name in pair[:2]}
    like = ("--like", path["R"])

    def trace(name, *command, env=None):
        if not path[name].exists():
            run(*command, "-o", path[name], env=env)

    llama, torch = ROOT / "tools/trace_llama_cpp.py", ROOT / "tools/trace_transformers.py"
    trace("R", args.scalar, llama, model, "-p", PROMPT, "--steps", STEPS)
    native = dict(os.environ, LLAMA_CPP_LIB_PATH=str(args.native_lib)) if args.native_lib else None
    trace("N", args.native or args.scalar, llama, model, *like, env=native)
    for dtype in ("f32", "f64"):
        trace(f"transformers {dtype}", args.torch, torch, model, *like, "--dtype", dtype)
    for numerics in ("fast", "reference", "oracle"):
        trace(numerics, args.lockstep, "trace", model, *like, "--all", "--numerics", numerics)
    return path


def metadata(path):
    with open(path, "rb") as f:
        return json.loads(f.read(int.from_bytes(f.read(8), "little")))["__metadata__"]


def compare(args, path, pair):
    a, b, noise = pair
    extra = ("--noise", path[noise]) if noise else ()
    done = run(args.lockstep, "compare", path[a], path[b], "--json", *extra, ok=(0, 1))
    if done.returncode == 1:
        print(f"{pair}: {json.loads(done.stdout)['divergence']}", file=sys.stderr)
    return done.returncode, json.loads(done.stdout)


def number(x):
    return "0" if x == 0 else f"{x:.1e}".replace("e-0", "e-")


def summary(found, pair):
    status, result = found
    rows, (a, b, noise) = result["rows"], pair
    worst = max(rows, key=lambda r: r["nmse"])
    nearest = max(rows, key=lambda r: r["nmse"] / r["floor"] if r["floor"] else 0)
    share = "exact"
    if result["floor"] != "exact":
        share = f"{nearest['nmse'] / nearest['floor']:.2f} `{nearest['name']}#{nearest['occurrence']}`"
    nodes = len({(r["eval"], r["name"], r["occurrence"]) for r in rows})
    where = f" `{worst['name']}#{worst['occurrence']}`" if worst["nmse"] else ""
    return f"| {a} | {b} | {noise or '-'} | {status} | {nodes} | {number(worst['nmse'])}{where} | {share} |"


def stages(results):
    worst = [{} for _ in SHOWN]
    for pair, of_stage in zip(SHOWN, worst):
        for row in results[pair][1]["rows"]:
            of_stage[row["stage"]] = max(of_stage.get(row["stage"], 0), row["nmse"])
    unknown = {stage for of_stage in worst for stage in of_stage} - STAGES.keys() - {"other"}
    if unknown:
        raise SystemExit(f"stages without a name: {unknown}")
    yield "| worst NMSE | " + " | ".join(f"{a} / {b}" for a, b, _ in SHOWN) + " |"
    yield "|---|" + "---:|" * len(SHOWN)
    for stage, name in STAGES.items():
        cells = (number(of_stage[stage]) if stage in of_stage else "-" for of_stage in worst)
        yield f"| {name} | " + " | ".join(cells) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lockstep", type=pathlib.Path, default=ROOT / "target/release/lockstep")
    parser.add_argument("--scalar", required=True, help="the Python of build R")
    native = parser.add_mutually_exclusive_group(required=True)
    native.add_argument("--native", help="the Python of build N")
    native.add_argument("--native-lib", type=pathlib.Path, help="the folder of build N's libraries")
    parser.add_argument("--torch", required=True, help="the Python with torch and transformers")
    parser.add_argument("--work", type=pathlib.Path, required=True, help="a folder for models and traces")
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)

    lines, diverged = [], 0
    for ty, model in models(args).items():
        path = traces(args, ty, model)
        results = {pair: compare(args, path, pair) for pair in PAIRS}
        diverged += sum(status for status, _ in results.values())
        if not lines:
            hf = metadata(path["transformers f64"])["engine_version"]
            evals = json.loads(metadata(path["R"])["evals"])
            head = HEAD.format(
                model="SmolLM2-135M-Instruct",
                n_prompt=len(evals[0]["tokens"]),
                steps=STEPS,
                llama=metadata(path["R"])["engine_version"],
                transformers=re.sub(r"\+\w+", "", hf),
            )
            lines.append(head)
        lines += [f"## {ty}", "", "| A | B | noise from | exit | nodes | largest NMSE | of its floor |"]
        lines += ["|---|---|---|---:|---:|---|---|", *(summary(results[pair], pair) for pair in PAIRS), ""]
        lines += [*stages(results), ""]
    total = len(PAIRS) * len(TYPES)
    lines.append(f"{total - diverged} of {total} in lockstep.")
    args.output.write_text("\n".join(lines) + "\n")
    return int(diverged > 0)


if __name__ == "__main__":
    sys.exit(main())
