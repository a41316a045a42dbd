"""How fast lockstep and llama.cpp turn a megabyte of text into ids, with each vocabulary of a folder.

    PYTHON_OF_BUILD_N bench/tokenize/run.py FOLDER [TEXT]

FOLDER holds the `ggml-vocab-*.gguf` of llama.cpp; the Python is that of the reference build N (golden/README.md), one
thread each, the best of several. TEXT is a file of UTF-8, repeated if it is shorter than a megabyte; mixed.txt if there
is none. Prints a table in Markdown; fails if the numbers of ids differ.
"""

import pathlib
import subprocess
import sys
import time

import llama_cpp

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent


@llama_cpp.llama_log_callback
def silent(_level, _text, _user_data):
    pass


def reference_ms(path, data):
    params = llama_cpp.llama_model_default_params()
    params.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
    vocab = llama_cpp.llama_model_get_vocab(model)
    ids = (llama_cpp.llama_token * (2 * len(data)))()
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        n = llama_cpp.llama_tokenize(vocab, data, len(data), ids, len(ids), False, True)
        best = min(best, time.perf_counter() - start)
    llama_cpp.llama_model_free(model)
    return best * 1e3, n


def main():
    llama_cpp.llama_log_set(silent, None)
    paths = sorted(pathlib.Path(sys.argv[1]).resolve().glob("*.gguf"))
    text_path = pathlib.Path(sys.argv[2]).resolve() if len(sys.argv) > 2 else HERE / "mixed.txt"
    bench = ["cargo", "bench", "--quiet", "-p", "tokenizer", "--bench", "encode", "--"]
    command = [*bench, f"--text={text_path}", *map(str, paths)]
    out = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    ours = {line.split("\t")[0]: line.split("\t")[1:] for line in out.splitlines() if "\t" in line}
    text = text_path.read_bytes()
    data = text * max(1, (1 << 20) // len(text))
    print("| vocabulary | lockstep, ms | llama.cpp, ms | ratio |")
    print("|---|---|---|---|")
    for path in paths:
        ms, n = (f(x) for f, x in zip((float, int), ours[str(path)]))
        reference, n_reference = reference_ms(path, data)
        assert n == n_reference, (path.name, n, n_reference)
        name = path.stem.removeprefix("ggml-vocab-")
        print(f"| {name} | {ms:.1f} | {reference:.0f} | {reference / ms:.1f} |", flush=True)


if __name__ == "__main__":
    main()
