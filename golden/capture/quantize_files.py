"""Whole files as llama_model_quantize makes them: golden/snapshots/quantize/{smollm2,tiny}.snap.

    python quantize_files.py SMOLLM2.gguf [--models DIR]

Every file type from the SmolLM2 file, and from each of the tiny random models (which `cargo` writes, or which
--models finds already written): size and SHA-256 of the whole file.
"""

import argparse
import ctypes
import os
import pathlib
import tempfile

import llama_cpp

import common
import tiny

FILE_TYPES = [
    ("F32", llama_cpp.LLAMA_FTYPE_ALL_F32),
    ("F16", llama_cpp.LLAMA_FTYPE_MOSTLY_F16),
    ("BF16", llama_cpp.LLAMA_FTYPE_MOSTLY_BF16),
    ("Q8_0", llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0),
    ("Q6_K", llama_cpp.LLAMA_FTYPE_MOSTLY_Q6_K),
    ("Q5_K_M", llama_cpp.LLAMA_FTYPE_MOSTLY_Q5_K_M),
    ("Q4_K_M", llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M),
    ("Q4_0", llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0),
    ("IQ4_NL", llama_cpp.LLAMA_FTYPE_MOSTLY_IQ4_NL),
    ("IQ4_XS", llama_cpp.LLAMA_FTYPE_MOSTLY_IQ4_XS),
]


@llama_cpp.llama_log_callback
def _silent(_level, _text, _user_data):
    pass


if not os.environ.get("REFERENCE_LOG"):
    llama_cpp.llama_log_set(_silent, None)


def quantize(source, target, ftype):
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = ftype
    params.allow_requantize = True
    status = llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(params))
    if status != 0:
        raise SystemExit(f"llama_model_quantize failed with status {status}; REFERENCE_LOG=1 shows why")


def lines(source):
    """A line for each file type."""
    with tempfile.TemporaryDirectory() as folder:
        for name, ftype in FILE_TYPES:
            target = pathlib.Path(folder) / "model.gguf"
            quantize(source, target, ftype)
            yield f"{name}: {target.stat().st_size} bytes, sha256 {common.sha256(target)}"
            target.unlink()


def write(name, text, **extra):
    info = common.provenance(function="llama_model_quantize, allow_requantize", **extra)
    print(common.write_snap("quantize", name, "\n".join(text), info).relative_to(common.GOLDEN))


def capture_tiny(folder):
    text = []
    for path in sorted(pathlib.Path(folder).glob("*.gguf"), key=lambda path: path.stem):
        text += [f"{path.stem}: sha256 {common.sha256(path)}", *(f"  {line}" for line in lines(path))]
    write("tiny", text, models="crates/llama-model/examples/tiny_models.rs")


def capture(smollm2, models):
    """Both snapshots; the tiny models are written first unless a folder of them is given."""
    write("smollm2", lines(smollm2), model="smollm2-q4_1", model_sha256=common.sha256(smollm2))
    if models:
        capture_tiny(models)
        return
    with tempfile.TemporaryDirectory() as folder:
        tiny.write_models(folder)
        capture_tiny(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("smollm2", type=pathlib.Path)
    parser.add_argument("--models", type=pathlib.Path)
    args = parser.parse_args()
    capture(args.smollm2, args.models)


if __name__ == "__main__":
    main()
