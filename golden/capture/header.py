"""Headers of GGUF files as the reference reads them: golden/snapshots/header/*.snap.

    python header.py NAME=FILE...        e.g. smollm2-q4_1=models/smollm2-q4_1.gguf
    python header.py --tensor-types      the geometry of every tensor type
    python header.py --mutants FILE      what the reference accepts of `mutants.bin`

Files that need no download are written by `cargo run -p golden --example hostile -- FOLDER`: t0, t1, t1-bpe,
every-type (which needs the golden of the tensor types first) and mutants.bin.

A line a pair, `kv KEY TYPE VALUE`: floats as hexadecimal and in decimal, texts in quotes (everything but printable
ASCII as \\u{...}, at most 60 characters, then length and hash), of arrays the number of elements, the SHA-256 of their
bytes (numbers little-endian, a bool one byte, a string its length as u64 and its bytes) and the first four.
A line a tensor, `tensor NAME TYPE [NE0,NE1,NE2,NE3]`: offset in the data section, size, SHA-256 of its bytes.
`written again` is the part before the data as the reference's own writer makes it.
"""

import argparse
import hashlib
import os
import struct

import common
import floats
import gguf

FORMATS = {"u8": "<B", "i8": "<b", "u16": "<H", "i16": "<h", "u32": "<I", "i32": "<i", "f32": "<f"}
FORMATS |= {"bool": "<?", "u64": "<Q", "i64": "<q", "f64": "<d"}
SHOWN_CHARS = 60
SHOWN_ELEMENTS = 4


def quoted(data):
    """A text, as described above."""
    text = data.decode()
    plain = [c if " " <= c <= "~" and c not in '"\\' else f"\\u{{{ord(c):x}}}" for c in text[:SHOWN_CHARS]]
    shown = '"' + "".join(plain) + '"'
    if len(text) <= SHOWN_CHARS:
        return shown
    return f"{shown}... {len(data)} bytes sha256={hashlib.sha256(data).hexdigest()}"


def scalar(type_name, value):
    """A value that is no array."""
    if type_name == "str":
        return quoted(value)
    if type_name == "bool":
        return str(value).lower()
    if type_name in ("f32", "f64"):
        return f"{floats.hex_float(value)} ({floats.sci(value)})"
    return str(value)


def encoded(type_name, value):
    """An element of an array as the hash sees it."""
    if type_name == "str":
        return struct.pack("<Q", len(value)) + value
    return struct.pack(FORMATS[type_name], value)


def array(type_name, items):
    """An array."""
    digest = hashlib.sha256(b"".join(encoded(type_name, item) for item in items)).hexdigest()
    shown = [scalar(type_name, item) for item in items[:SHOWN_ELEMENTS]]
    dots = ", ..." if len(items) > SHOWN_ELEMENTS else ""
    return f"{type_name} n={len(items)} sha256={digest} [{', '.join(shown)}{dots}]"


def lines(file):
    """The text of a snapshot."""
    version, alignment, offset = (file.call(f"get_{what}") for what in ("version", "alignment", "data_offset"))
    n_kv, n_tensors = file.call("get_n_kv"), file.call("get_n_tensors")
    yield f"version={version} alignment={alignment} n_kv={n_kv} n_tensors={n_tensors} data_offset={offset}"
    header = file.header_written_again()
    yield f"written again: {len(header)} bytes sha256={hashlib.sha256(header).hexdigest()}"
    for key, type_name, value in file.pairs():
        shown = array(*value) if type_name == "arr" else scalar(type_name, value)
        yield f"kv {quoted(key)} {type_name} {shown}"
    for name, type_name, ne, offset, data in file.tensors():
        shape = ",".join(str(n) for n in ne)
        digest = hashlib.sha256(data).hexdigest()
        yield f"tensor {quoted(name)} {type_name} [{shape}] offset={offset} size={len(data)} sha256={digest}"


def headers(models):
    for name, path in models:
        file = gguf.File(path)
        text = "\n".join(lines(file))
        file.close()
        info = common.provenance(model=name, model_sha256=common.sha256(path))
        print(common.write_snap("header", name, text, info).relative_to(common.GOLDEN))


def tensor_types():
    text = "\n".join(f"{id} {name}: {elems} elements in {size} bytes" for id, name, elems, size in gguf.tensor_types())
    info = common.provenance(what="ggml_type_name, ggml_blck_size, ggml_type_size of every tensor type")
    print(common.write_snap("header", "tensor-types", text, info).relative_to(common.GOLDEN))


def mutants(path):
    """One bit a file, the first file in the highest bit of the first digit: 1 where the reference accepts it."""
    with open(path, "rb") as f:
        corpus = f.read()
    files, at = [], 0
    while at < len(corpus):
        (size,) = struct.unpack_from("<I", corpus, at)
        files.append(corpus[at + 4 : at + 4 + size])
        at += 4 + size
    answers = ""
    while len(answers) < len(files):
        answers += answers_until_crash(files[len(answers) :])
    digits = "".join(f"{int(answers[i : i + 4].replace('x', '0'), 2):x}" for i in range(0, len(answers), 4))
    text = f"{len(files)} files sha256={hashlib.sha256(corpus).hexdigest()}\n{answers.count('1')} accepted\n"
    text += "\n".join(digits[i : i + 100] for i in range(0, len(digits), 100))
    info = common.provenance(what="which changed files gguf_init_from_buffer accepts", crashes=answers.count("x"))
    print(common.write_snap("header", "mutants", text, info).relative_to(common.GOLDEN))


def answers_until_crash(files):
    """A character a file, 1 if accepted; asked in a child process, whose death is an x and the end."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        for file in files:
            os.write(writing, b"1" if gguf.accepts(file) else b"0")
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answers = pipe.read().decode()
    status = os.waitpid(child, 0)[1]
    return answers if status == 0 else answers + "x"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="NAME=FILE", type=lambda text: text.split("=", 1))
    parser.add_argument("--tensor-types", action="store_true")
    parser.add_argument("--mutants", metavar="FILE")
    args = parser.parse_args()
    headers(args.models)
    if args.tensor_types:
        tensor_types()
    if args.mutants:
        mutants(args.mutants)


if __name__ == "__main__":
    main()
