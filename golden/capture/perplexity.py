"""Captures what llama-perplexity computes of golden/text/rabbit-hole.txt: perplexity, the file of log-probabilities, and
the divergence of another model from it.

    python perplexity.py --tool LLAMA_PERPLEXITY --base-name smollm2-q4_1 --base BASE.gguf \
        --name smollm2-q4_0 --model MODEL.gguf

The tool is that of build R (build_perplexity.sh makes it). Writes golden/snapshots/perplexity/BASE-NAME.snap and
golden/snapshots/perplexity/NAME.snap.
"""

import argparse
import pathlib
import re
import subprocess
import tempfile

import common

TEXT = common.GOLDEN / "text" / "rabbit-hole.txt"
# 126 tokens are scored: llama-perplexity does no statistics on fewer than 100.
N_CTX, N_CHUNKS = 128, 2
# The micro-batch holds a chunk, and there is one chunk at a time.
FLAGS = f"-c {N_CTX} -b {N_CTX} --chunks {N_CHUNKS} -t 1 -fa off --no-warmup"


def run(tool, model, *more):
    """What the tool prints, its log included."""
    command = [tool, "-m", model, *FLAGS.split(), *more]
    return subprocess.run([str(part) for part in command], check=True, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT).stdout


def perplexity_lines(tool, model, base):
    """The estimates after each chunk and at the end; `base` is written."""
    out = run(tool, model, "-f", TEXT, "--kl-divergence-base", base)
    chunks = re.findall(r"\[\d+\][\d.]+", out)
    final = re.search(r"Final estimate: .*", out)
    assert len(chunks) == N_CHUNKS and final, out
    return [*chunks, final.group(), f"base bytes={base.stat().st_size} sha256={common.sha256(base)}"]


def divergence_lines(tool, model, base):
    """The statistics of a model beside the base's."""
    out = run(tool, model, "--kl-divergence-base", base, "--kl-divergence")
    start = out.index("====== Perplexity statistics")
    end = out.index("\n", out.index("Same top p:"))
    return out[start:end].splitlines()


def write(name, model, lines):
    info = common.provenance(model=name, model_sha256=common.sha256(model), flags=FLAGS, n_threads=1,
                             text_sha256=common.sha256(TEXT))
    print(common.write_snap("perplexity", name, "\n".join(lines), info))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", type=pathlib.Path, required=True, help="llama-perplexity of build R")
    parser.add_argument("--base-name", required=True, help="name of the base's snapshot")
    parser.add_argument("--base", required=True, help="GGUF file that the other is compared with")
    parser.add_argument("--name", required=True, help="name of the other's snapshot")
    parser.add_argument("--model", required=True, help="its GGUF file")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base = pathlib.Path(folder) / "base.kld"
        write(args.base_name, args.base, perplexity_lines(args.tool, args.base, base))
        write(args.name, args.model, divergence_lines(args.tool, args.model, base))


if __name__ == "__main__":
    main()
