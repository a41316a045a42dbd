#!/usr/bin/env python3
"""Measures lockstep beside llama.cpp, and if asked candle, on the same files, and writes bench/RESULTS.md.

    bench/peers/run.py                                      everything: an hour or two on two cores
    bench/peers/run.py --models smollm2-q4_0 --tests pp512,tg128 --rounds 1
    bench/peers/run.py --llama-bench PATH                   a llama-bench that is there already
    CC=clang CXX=clang++ bench/peers/run.py                 one that is built by another compiler
    bench/peers/run.py --candle                             candle, too
    bench/peers/run.py --note "with AMX, by clang 16"       said in the report beside this machine's name
    bench/peers/run.py --report                             only writes the report anew, from results.json

Each test runs A B A B …: lockstep, llama.cpp, lockstep, llama.cpp, so that what else the machine does hits both. A
ratio is that of two neighbors; reported are the median of the ratios and their range. llama.cpp runs with the flags
that suit the test best: all of `--repack 0/1` and `-fa off/on` are tried first, and those near the best stay in. Flags
with which it crashes are left out, and the report says so. (Built by gcc 12, b11434 crashes on CPUs with AMX where it
repacks; by clang 16 it does not.) Each kind of machine has tables of its own.
Only Python's standard library is used. Needs Rust; without --llama-bench also a C++ compiler, pip and ten minutes.
"""
import argparse
import itertools
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

import report

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / "bench" / "peers"
# The source package that the goldens come from, too.
LLAMA_CPP = "llama-cpp-python==0.3.36"
CMAKE_FLAGS = ["-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", "-DLLAMA_CURL=OFF", "-DLLAMA_BUILD_TESTS=OFF",
               "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_SERVER=OFF"]
FLAGS = [f"--repack {repack} -fa {fa}" for repack, fa in itertools.product("10", ["off", "on"])]
# Flags whose first run is within this of the best are measured in every round.
NEAR = 0.93

TESTS = ["pp512", "tg128"]
CONTEXT_TESTS = ["pp1024", "pp2048", "pp4096", "tg32", "tg32@d1024", "tg32@d2048", "tg32@d4096"]


def models():
    """Name -> (description, how to get it, its tests)."""
    table = {"smollm2-q4_1": ("SmolLM2-135M Q4_1", ("pull", "smollm2"), TESTS)}
    for ty in ["Q4_0", "Q4_K_M", "Q6_K", "Q8_0", "F16", "BF16"]:
        tests = TESTS + CONTEXT_TESTS if ty == "Q4_0" else TESTS
        table[f"smollm2-{ty.lower()}"] = (f"SmolLM2-135M {ty}", ("quantize", "smollm2", ty), tests)
    table["qwen2.5-coder-0.5b"] = ("Qwen2.5-Coder-0.5B Q4_K_M", ("pull", "qwen2.5-coder-0.5b"), TESTS)
    table["gemma3-270m"] = ("Gemma-3-270M Q4_K_M", ("pull", "gemma3-270m"), TESTS)
    for ty in ["Q4_0", "Q4_K_M", "Q6_K", "Q8_0"]:
        what = ("synth", "tinyllama-1.1b", ty)
        table[f"tinyllama-{ty.lower()}"] = (f"TinyLlama-1.1B shape {ty}, random weights", what, TESTS)
    return table


def say(text):
    print(text, file=sys.stderr, flush=True)


def call(*command, **more):
    """Runs a command; its standard output."""
    command = [str(part) for part in command]
    say("$ " + shlex.join(command))
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **more).stdout


def build_lockstep():
    call("cargo", "build", "--release", "-p", "lockstep", cwd=ROOT)
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "lockstep"


def build_llama_bench(work):
    """llama-bench for this machine, from the source package."""
    # Of each compiler a build of its own.
    folder = work / f"llama.cpp-{Path(os.environ.get('CXX', 'c++')).name}"
    binary = folder / "build" / "bin" / "llama-bench"
    if binary.exists():
        return binary
    venv = folder / "venv"
    call(sys.executable, "-m", "venv", venv)
    tools = venv / "bin"
    call(tools / "pip", "install", "-q", "cmake", "ninja", "scikit-build-core")
    # pip asks the package's build system for its metadata: it is the one installed just now.
    path = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    call(tools / "pip", "download", "-q", "--no-deps", "--no-build-isolation", "--no-binary", "llama-cpp-python",
         "-d", folder, LLAMA_CPP, env=path)
    archive = next(folder.glob("llama_cpp_python-*.tar.gz"))
    call("tar", "-xzf", archive, "-C", folder)
    source = folder / archive.name.removesuffix(".tar.gz") / "vendor" / "llama.cpp"
    call("cmake", "-S", source, "-B", folder / "build", "-G", "Ninja", *CMAKE_FLAGS, env=path)
    call("cmake", "--build", folder / "build", "--target", "llama-bench", env=path)
    return binary


def build_candle():
    call("cargo", "build", "--release", cwd=PEERS / "candle")
    # Its own folder, whatever the environment says of ours: its flags differ.
    target = os.environ.get("CARGO_TARGET_DIR", PEERS / "candle" / "target")
    return Path(target) / "release" / "candle-peer"


def prepare(how, work, lockstep):
    """The path of a model."""
    verb, name, *ty = how
    if verb == "pull":
        return Path(call(lockstep, "pull", name).strip())
    path = work / "models" / f"{name}-{ty[0].lower()}.gguf"
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        return path
    if verb == "quantize":
        source = call(lockstep, "pull", name).strip()
        call(lockstep, "quantize", source, path, ty[0], "--allow-requantize")
    else:
        call(lockstep, "synth", "--shape", name, "--type", ty[0], "-o", path)
    return path


def parse(test):
    """`pp512` or `tg32@d4096` -> (tokens of a prompt, tokens generated, depth)."""
    name, _, depth = test.partition("@d")
    kind, n = name[:2], int(name[2:])
    if kind not in ("pp", "tg"):
        raise SystemExit(f"{test} is no test; must be like pp512, tg128 or tg32@d4096")
    return (n if kind == "pp" else 0, n if kind == "tg" else 0, int(depth or 0))


def repetitions(test, options):
    """Long tests need no repetitions beside the rounds."""
    if options.repetitions:
        return options.repetitions
    n_prompt, n_gen, depth = parse(test)
    return 1 if max(n_prompt, depth) > 1024 else 3


def test_flags(test):
    n_prompt, n_gen, depth = parse(test)
    return ["-p", n_prompt, "-n", n_gen, "-d", depth]


def run_lockstep(options, path, test):
    flags = [*test_flags(test), "-t", options.threads, "-r", repetitions(test, options), "-o", "json"]
    found = json.loads(call(*options.prefix, options.lockstep, "bench", "-m", path, *flags))
    result = found["results"][0]
    keys = ["of_peak", "of_read", "isa"]
    return {"rate": result["tok_per_s"], "samples": result["samples_tok_per_s"], **{k: result[k] for k in keys}}


def run_llama(options, path, test, flags):
    more = [*test_flags(test), "-t", options.threads, "-r", repetitions(test, options), "-o", "json"]
    result = json.loads(call(*options.prefix, options.llama_bench, "-m", path, *more, *flags.split()))[0]
    options.versions["llama.cpp"] = f"{LLAMA_CPP}, build {result['build_commit']}"
    return {"rate": statistics.median(result["samples_ts"]), "samples": result["samples_ts"]}


def run_candle(options, path):
    """One run measures both of its tests; None if candle cannot run the model."""
    environment = {**os.environ, "RAYON_NUM_THREADS": str(options.threads)}
    command = [*options.prefix, options.candle_peer, path, "--pp", 512, "--tg", 64, "--reps", 3]
    try:
        found = json.loads(call(*command, env=environment))
    except subprocess.CalledProcessError:
        say("candle does not run this model")
        return None
    return {"pp512": statistics.median(found["pp"]), "tg64": statistics.median(found["tg"])}


def measure_candle(options, name, path):
    """Rounds of lockstep and candle in turn."""
    rounds = []
    for i in range(options.rounds):
        ours = {test: run_lockstep(options, path, test)["rate"] for test in ("pp512", "tg64")}
        if (theirs := run_candle(options, path)) is None:
            return None
        rounds.append({"lockstep": ours, "candle": theirs})
        say(f"{name} round {i + 1}: {rounds[-1]}")
    return {"model": name, "rounds": rounds}


def run_flags(options, path, test, flags_to_run, crashed):
    """llama.cpp with each of these flags; those with which it crashes are left out."""
    found = {}
    for flags in flags_to_run:
        try:
            found[flags] = run_llama(options, path, test, flags)
        except subprocess.CalledProcessError as error:
            say(f"llama.cpp ends with status {error.returncode} with {flags}")
            crashed.add(flags)
    if not found:
        raise SystemExit(f"llama.cpp does not run {test} of {path} with any flags")
    return found


def measure(options, name, path, test):
    """All rounds of one test."""
    crashed = set()
    first = run_flags(options, path, test, FLAGS, crashed)
    best = max(run["rate"] for run in first.values())
    chosen = [flags for flags, run in first.items() if run["rate"] >= NEAR * best]
    rounds = []
    for i in range(options.rounds):
        ours = run_lockstep(options, path, test)
        theirs = run_flags(options, path, test, chosen, crashed)
        rounds.append({"lockstep": ours, "llama.cpp": theirs})
        rates = ", ".join(f"{flags}: {run['rate']:.1f}" for flags, run in theirs.items())
        say(f"{name} {test} round {i + 1}: lockstep {ours['rate']:.1f}, llama.cpp {rates}")
    return {"model": name, "test": test, "first": first, "rounds": rounds, "crashed": sorted(crashed)}


def about(options, description):
    """What a result is of, beside its numbers."""
    return {"description": description, "threads": options.threads, "versions": dict(options.versions)}


def machine():
    """What the numbers depend on."""
    cpu = platform.processor() or platform.machine()
    info = {"cpu": cpu, "family": None, "model": None, "cores": os.cpu_count()}
    try:
        text = Path("/proc/cpuinfo").read_text()
        entry = lambda name: next(value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())
                                  if key.strip() == name)
        info["cpu"] = entry("model name")
        # Names are often those of a whole series.
        info["family"], info["model"] = int(entry("cpu family")), int(entry("model"))
        flags = next(line for line in text.splitlines() if line.startswith("flags")).split()
        wanted = ["avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8"]
        info["features"] = [flag for flag in wanted if flag in flags]
    except (OSError, StopIteration, ValueError):
        pass
    return info


def commit():
    try:
        return call("git", "describe", "--always", "--dirty", cwd=ROOT).strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    split = lambda text: text.split(",")
    parser.add_argument("--models", type=split, help="of " + ", ".join(models()))
    parser.add_argument("--tests", type=split, help="like pp512,tg128,tg32@d4096, or none; each model's own by default")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repetitions", type=int, help="within a round; 3, or 1 for long tests")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--lockstep", type=Path, help="a binary; else it is built")
    parser.add_argument("--llama-bench", type=Path, help="a binary; else it is built")
    parser.add_argument("--candle", action="store_true", help="also candle (bench/peers/candle)")
    parser.add_argument("--note", help="goes beside this machine's name in the report")
    parser.add_argument("--prefix", type=shlex.split, default=[], help="goes before every measured command")
    parser.add_argument("--work", type=Path, default=ROOT / "target" / "peers", help="models and builds; gigabytes")
    parser.add_argument("--out", type=Path, default=ROOT / "bench", help="where the report goes")
    parser.add_argument("--report", action="store_true", help="only the report")
    return parser.parse_args()


def main():
    options = arguments()
    known = models()
    names = options.models or list(known)
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"no model is named {unknown[0]}; there are {', '.join(known)}")
    if options.tests == ["none"]:
        options.tests = []
    for test in options.tests or []:
        parse(test)
    options.out.mkdir(parents=True, exist_ok=True)
    raw = options.out / "results.json"
    # What is not measured now stays from the run before.
    machines = json.loads(raw.read_text()) if raw.exists() else {}
    if not options.report:
        options.work.mkdir(parents=True, exist_ok=True)
        options.lockstep = options.lockstep or build_lockstep()
        if options.tests != []:
            options.llama_bench = options.llama_bench or build_llama_bench(options.work)
        options.candle_peer = build_candle() if options.candle else None
        options.versions = {"lockstep": commit()}
        here = machine()
        data = machines.setdefault(report.key(here), {"machine": here, "note": "", "results": {}, "candle": {}})
        if options.note is not None:
            data["note"] = options.note
        for name in names:
            description, how, tests = known[name]
            path = prepare(how, options.work, options.lockstep)
            for test in tests if options.tests is None else options.tests:
                result = measure(options, name, path, test)
                data["results"][f"{name} {test}"] = result | about(options, description)
                raw.write_text(json.dumps(machines, indent=1) + "\n")
            # Of its other architectures candle has no model that reads these files.
            if options.candle and not name.startswith(("qwen", "gemma")):
                data["candle"].pop(name, None)
                if (found := measure_candle(options, name, path)) is not None:
                    data["candle"][name] = found | about(options, description)
            raw.write_text(json.dumps(machines, indent=1) + "\n")
    report.write(machines, list(known), options.out)


if __name__ == "__main__":
    main()
