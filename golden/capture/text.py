"""Captures greedy text: what the reference writes after each prompt of golden/text/prompts.json.

    python text.py --name smollm2-q4_1 --model MODEL.gguf              with the Python of build R
    python text.py --name smollm2-q4_1 --model MODEL.gguf --native     then with the Python of build N

`--steps` says how many tokens are generated: fewer with larger models.

The first writes golden/snapshots/text/NAME/PROMPT.snap: ids, text, and the two highest logits of every step. The second
feeds the same ids to the native build as its defaults have it, and writes golden/snapshots/text-native/NAME/PROMPT.snap:
how far apart those two logits are there. golden/src/text.rs reads both.
"""

import argparse
import json
import platform

import numpy as np

import common
import floats
import reference

N_STEPS = 64
NATIVE_THREADS = 2
BUILD_N = "llama-cpp-python 0.3.36 source package, Release, GGML_NATIVE=ON and all other defaults"


def prompts():
    """(name, text) of all prompts."""
    return [(p["name"], p["text"]) for p in json.loads((common.GOLDEN / "text" / "prompts.json").read_text("utf-8"))]


def context_size(n_prompt):
    """Room for prompt and answer, rounded up as the cache is."""
    return -(-(n_prompt + N_STEPS) // 256) * 256


def generate(model, ids, n_steps):
    """Greedy generation; returns [(id, logit, second id, second logit)] and whether it ended by itself."""
    context = reference.Context(model, context_size(len(ids)))
    steps, tokens = [], ids
    while len(steps) < n_steps:
        logits = context.eval(tokens)
        first, second = (int(i) for i in reference.top_ids(logits, 2))
        if logits[first] == logits[second]:
            raise SystemExit(f"equal logits at step {len(steps)}: choose another prompt")
        steps.append((first, logits[first], second, logits[second]))
        if model.is_eog(first):
            break
        tokens = [first]
    context.close()
    return steps, model.is_eog(steps[-1][0])


def gap_text(gap):
    """An exact difference of two logits, with its decimal value."""
    return f"{floats.hex_float(gap)} {floats.sci(gap)}"


def difference(a, b):
    """a - b of two float32, exact in float64 for logits of similar size."""
    return float(np.float64(a) - np.float64(b))


def text_of(model, steps):
    """(complete characters, bytes of an incomplete last one) of the generated text."""
    data = b"".join(model.piece(step[0]) for step in steps)
    for cut in range(4):
        try:
            return data[: len(data) - cut].decode("utf-8"), data[len(data) - cut :]
        except UnicodeDecodeError:
            continue
    raise SystemExit("the text is not UTF-8: choose another prompt")


def capture(name, path, n_steps):
    """Writes the snapshots of build R for one model."""
    model = reference.Model(path)
    info = common.provenance(model=name, model_sha256=common.sha256(path), flags=reference.FLAGS, n_threads=1)
    for prompt, text in prompts():
        ids = model.tokenize(text)
        steps, ended = generate(model, ids, n_steps)
        written, rest = text_of(model, steps)
        lines = [
            "prompt_ids=" + ",".join(map(str, ids)),
            "ids=" + ",".join(str(step[0]) for step in steps),
            f"end={'eog' if ended else 'length'}",
            f"text={json.dumps(written, ensure_ascii=False)}",
            f"rest={rest.hex()}",
        ]
        for i, (first, logit, second, below) in enumerate(steps):
            gap = gap_text(difference(logit, below))
            lines.append(f"{i} {first} {floats.hex_float(logit)} {second} {floats.hex_float(below)} gap={gap}")
        common.write_snap(f"text/{name}", prompt, "\n".join(lines), info)
        print(f"{name} {prompt}: {len(ids)} + {len(steps)} tokens, {written[:60]!r}")
    model.close()


def read_snapshot(name, prompt):
    """(prompt ids, [(id, second id, gap)]) of a snapshot of build R."""
    text = (common.GOLDEN / "snapshots" / "text" / name / f"{prompt}.snap").read_text("utf-8")
    lines = text.split("\n---\n", 1)[1].splitlines()
    ids = [int(i) for i in lines[0].removeprefix("prompt_ids=").split(",")]
    steps = [line.split(" ") for line in lines[5:]]
    return ids, [(int(s[1]), int(s[3]), float.fromhex(s[5].removeprefix("gap="))) for s in steps]


def cpu_model():
    """Name of this machine's processor: the native build depends on it."""
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        names = [line.split(":", 1)[1].strip() for line in f if line.startswith("model name")]
    return names[0] if names else platform.machine()


def capture_native(name, path):
    """Writes the snapshots of build N for one model."""
    model = reference.Model(path)
    info = common.provenance(
        reference=BUILD_N,
        build="N",
        cpu=cpu_model(),
        model=name,
        model_sha256=common.sha256(path),
        flags="defaults",
        n_threads=NATIVE_THREADS,
    )
    for prompt, _ in prompts():
        ids, steps = read_snapshot(name, prompt)
        context = reference.Context(model, context_size(len(ids)), n_threads=NATIVE_THREADS, native_defaults=True)
        lines, largest, tokens = [], (0.0, 0), ids
        for i, (first, second, gap) in enumerate(steps):
            logits = context.eval(tokens)
            native = difference(logits[first], logits[second])
            largest = max(largest, (abs(native - gap), i))
            best = int(reference.top_ids(logits, 1)[0])
            lines.append(f"{i} gap_n={gap_text(native)} gap_r={floats.hex_float(gap)} argmax={best}")
            tokens = [first]
        context.close()
        head = f"largest={gap_text(largest[0])} step={largest[1]}"
        common.write_snap(f"text-native/{name}", prompt, "\n".join([head, *lines]), info)
        others = sum(int(line.rsplit("=", 1)[1]) != step[0] for line, step in zip(lines, steps))
        print(f"{name} {prompt}: {head}, {others} of {len(steps)} steps with another argmax")
    model.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True, help="name of the snapshots")
    parser.add_argument("--model", required=True, help="GGUF file")
    parser.add_argument("--native", action="store_true", help="this is build N: measure how its gaps differ")
    parser.add_argument("--steps", type=int, default=N_STEPS, help="tokens to generate, if this is build R")
    args = parser.parse_args()
    if args.native:
        capture_native(args.name, args.model)
    else:
        capture(args.name, args.model, args.steps)


if __name__ == "__main__":
    main()
