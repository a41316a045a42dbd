"""Captures the tiny random models: `cargo` writes them from their seeds, trace.py does the rest.

    python tiny.py [--models DIR]

With --models the files are taken from there (as `cargo run --example tiny_models DIR` wrote them).
"""

import argparse
import pathlib
import subprocess
import tempfile

import common
import trace

# Bytes, pieces and special tokens of both vocabularies.
PROMPT = [1, 87, 300, 42, 5, 260, 199]
STEPS = 3

# Types of keys and values other than f16, and the models that are captured with them too.
CACHES = {
    "q8_0-gqa": [("f32", "f32"), ("f32", "f16"), ("f16", "f32")],
    "qwen2": [("f32", "f32")],
}


def write_models(folder):
    """Has the workspace's generator write all tiny models."""
    command = ["cargo", "run", "--quiet", "-p", "llama-model", "--example", "tiny_models", "--", str(folder)]
    subprocess.run(command, cwd=common.GOLDEN.parent, check=True)


def capture_all(folder):
    """Captures every model of a folder under the name `tiny-<file name>`, other caches than f16 behind that name."""
    for path in sorted(pathlib.Path(folder).glob("*.gguf")):
        trace.capture(f"tiny-{path.stem}", path, PROMPT, STEPS, brief=True)
        for cache in CACHES.get(path.stem, []):
            name = f"tiny-{path.stem}-k-{cache[0]}-v-{cache[1]}"
            trace.capture(name, path, PROMPT, STEPS, brief=True, cache=cache)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=pathlib.Path)
    args = parser.parse_args()
    if args.models:
        capture_all(args.models)
        return
    with tempfile.TemporaryDirectory() as folder:
        write_models(folder)
        capture_all(folder)


if __name__ == "__main__":
    main()
