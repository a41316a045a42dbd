"""What the capture scripts share: the reference library, provenance, and writing insta snapshots.

Run every script with the Python of the reference build (golden/README.md says how it is made).
"""

import hashlib
import json
import pathlib
import platform

GOLDEN = pathlib.Path(__file__).resolve().parent.parent

BUILD_R = (
    "llama-cpp-python 0.3.36 source package, Release, GGML_NATIVE=OFF GGML_SSE42=OFF GGML_AVX=OFF GGML_AVX2=OFF "
    "GGML_BMI2=OFF GGML_FMA=OFF GGML_F16C=OFF GGML_CPU_REPACK=OFF GGML_LLAMAFILE=OFF GGML_OPENMP=OFF -ffp-contract=off"
)


def sha256(path):
    """SHA-256 of a file, hex."""
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while chunk := f.read(1 << 20):
            h.update(chunk)
    return h.hexdigest()


def provenance(**extra):
    """What a snapshot's `info` says of where it comes from."""
    return {"reference": BUILD_R, "build": "R", "libc": "-".join(platform.libc_ver()), **extra}


def write_snap(stage, name, text, info):
    """Writes golden/snapshots/<stage>/<name>.snap in insta's format, as insta would read it back."""
    path = GOLDEN / "snapshots" / stage / f"{name}.snap"
    path.parent.mkdir(parents=True, exist_ok=True)
    body = text if text.endswith("\n") else text + "\n"
    path.write_text(f"---\nsource: golden/capture\ninfo: {json.dumps(info, sort_keys=True)}\n---\n{body}", newline="\n")
    return path
