"""Captures every F32 node of the reference's graph, the KV cache and the logits: a prompt and a few greedy steps.

    python trace.py --name smollm2-q4_1 --model MODEL.gguf --prompt "The capital of France is" --steps 3

writes golden/snapshots/trace/NAME/{prefill,step1,...}.snap and golden/snapshots/logits/NAME/....snap.
golden/src/trace.rs formats the same lines from an engine's own values.
"""

import argparse
import collections
import re

import numpy as np

import common
import floats
import reference

PURE_VIEWS = {"RESHAPE", "VIEW", "PERMUTE", "TRANSPOSE"}
# The result is the whole cache, of which the CACHE lines tell.
WRITES = {"SET_ROWS"}
UNNAMED = re.compile(r"node_\d+")
CACHE = re.compile(r"cache_([kv])_l(\d+)")


def node_name(raw):
    """A node's name; one that ggml numbered itself (`node_123`) is called `node`, for its number counts views too."""
    return "node" if UNNAMED.fullmatch(raw) else raw


class Recorder:
    """Receives nodes from the callback: a line for each, and where the cache tensors are."""

    def __init__(self, brief):
        self.brief = brief
        self.caches = {}
        self.start()

    def start(self):
        """Begins an evaluation."""
        self.lines = []
        self.stored = {}
        self.seen = collections.Counter()

    def __call__(self, address):
        tensor = reference.tensor_at(address)
        self._find_caches(address, tensor)
        op = reference.op_desc(address)
        if tensor.type != reference.GGML_TYPE_F32 or op in WRITES:
            return
        name = node_name(tensor.name.decode())
        values = reference.tensor_values(address, np.float32)
        # Views too: Q, K and V may be parts of one product.
        self.stored[name] = values
        if op in PURE_VIEWS:
            return
        self.lines.append(floats.node_line(op, name, self.seen[name], values, self.brief))
        self.seen[name] += 1

    def _find_caches(self, address, tensor):
        for candidate in (address, tensor.view_src, *tensor.src):
            while candidate:
                t = reference.tensor_at(candidate)
                if match := CACHE.fullmatch(t.name.decode()):
                    self.caches[int(match[2]), match[1]] = candidate
                candidate = t.view_src


def cache_rows(address, kind, n_cells):
    """The first cells of a cache tensor `[n_cells, width]`; asserts that the other cells were never written."""
    dtype = np.float32 if reference.tensor_at(address).type == reference.GGML_TYPE_F32 else np.float16
    raw = reference.tensor_values(address, dtype)[0]
    n_streams, size, width = raw.shape
    assert n_streams == 1
    rows = raw[0]
    if kind == "v":  # stored transposed: all cells of a channel one after the other
        rows = raw.reshape(width, size).T
    rows = np.ascontiguousarray(rows)
    assert not rows[n_cells:].view(np.uint8).any(), "cells beyond the sequence are not zero"
    return rows[:n_cells]


def cache_lines(recorder, n_cells):
    """A line for each layer's K and V, and a check of K against the node it was stored from."""
    lines = []
    for (il, kind), address in sorted(recorder.caches.items()):
        rows = cache_rows(address, kind, n_cells)
        stored = recorder.stored[f"{kind.upper()}cur-{il}"]
        stored = stored.reshape(-1, rows.shape[1])
        same = rows[n_cells - len(stored) :].view(np.uint8) == stored.astype(rows.dtype).view(np.uint8)
        assert same.all(), "cache layout"
        shape = floats.trimmed_shape(rows.shape)
        ty = {"float16": "f16", "float32": "f32"}[rows.dtype.name]
        first = ",".join(floats.hex_float(v) for v in np.ravel(rows)[:2])
        lines.append(f"CACHE cache_{kind}_l{il} {shape} {ty} sha256={floats.sha256(rows)} first={first}")
    return lines


def logits_text(tokens, n_past, logits):
    """Hash of all logits and the twenty highest."""
    lines = [f"tokens={','.join(map(str, tokens))} n_past={n_past}", f"n_vocab={len(logits)} sha256={floats.sha256(logits)}"]
    for i in reference.top_ids(logits, 20):
        lines.append(f"{i} {floats.hex_float(logits[i])} {floats.sci(logits[i])}")
    return "\n".join(lines)


def run(model, prompt, steps, recorder=None, n_threads=1, n_ctx=256, cache=("f16", "f16")):
    """Evaluates the prompt and greedy steps; yields (name, tokens, n_past, logits)."""
    context = reference.Context(model, n_ctx, recorder, n_threads, cache=cache)
    tokens = prompt
    for step in range(steps + 1):
        if recorder:
            recorder.start()
        n_past = context.n_past
        logits = context.eval(tokens)
        yield ("prefill" if step == 0 else f"step{step}"), tokens, n_past, logits
        best = reference.top_ids(logits, 2)
        assert logits[best[0]] != logits[best[1]], "equal logits: choose another prompt"
        tokens = [int(best[0])]
    context.close()


def check_invariance(model, prompt, steps):
    """Asserts that logits do not depend on tracing or on having two threads; says so."""
    runs = {
        "traced": [r[3] for r in run(model, prompt, steps, Recorder(True))],
        "untraced": [r[3] for r in run(model, prompt, steps)],
        "two threads": [r[3] for r in run(model, prompt, steps, n_threads=2)],
    }
    for name, logits in runs.items():
        same = all((a.view(np.uint32) == b.view(np.uint32)).all() for a, b in zip(logits, runs["traced"]))
        print(f"{name}: logits of {len(logits)} evaluations {'equal' if same else 'DIFFER'}")
        assert same, name


def capture(name, path, prompt, steps, brief, check=False, cache=("f16", "f16")):
    """Writes the snapshots of one model, with keys and values of the types `cache`."""
    model = reference.Model(path)
    ids = prompt if isinstance(prompt, list) else model.tokenize(prompt)
    if check:
        check_invariance(model, ids, steps)
    info = common.provenance(model=name, model_sha256=common.sha256(path), flags=reference.flags(*cache), n_threads=1)
    recorder = Recorder(brief)
    n_lines = 0
    for part, tokens, n_past, logits in run(model, ids, steps, recorder, cache=cache):
        caches = cache_lines(recorder, n_past + len(tokens))
        detail = "brief" if brief else "full"
        header = f"tokens={','.join(map(str, tokens))} n_past={n_past} detail={detail}"
        lines = [header, *recorder.lines, *caches]
        common.write_snap(f"trace/{name}", part, "\n".join(lines), info)
        common.write_snap(f"logits/{name}", part, logits_text(tokens, n_past, logits), info)
        n_lines += len(recorder.lines)
    print(f"{name}: {n_lines} nodes and {len(caches)} caches in {steps + 1} evaluations")
    model.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True, help="name of the snapshots")
    parser.add_argument("--model", required=True, help="GGUF file")
    prompt = parser.add_mutually_exclusive_group(required=True)
    prompt.add_argument("--prompt", help="text, tokenized by the reference")
    prompt.add_argument("--ids", help="token ids, comma-separated")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--full", action="store_true", help="mean, min, max and four values a line, not two values")
    parser.add_argument("--check", action="store_true", help="first assert that tracing and threads change no logit")
    args = parser.parse_args()
    prompt = args.prompt if args.ids is None else [int(i) for i in args.ids.split(",")]
    capture(args.name, args.model, prompt, args.steps, not args.full, args.check)


if __name__ == "__main__":
    main()
