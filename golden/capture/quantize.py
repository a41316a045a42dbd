"""All of golden/snapshots/{quantize,activations}/*.snap.

    python quantize.py [SMOLLM2.gguf]

Quantized blocks, of weights and of activations: inputs are seeded rows of every kind that a quantizer may meet; per kind
the first block in hex and the hash of all. Then what mixes.py and, with a model, quantize_files.py capture.
"""

import hashlib
import pathlib
import sys

import numpy as np

import blocks
import common
import mixes
import quantize_files


def from_bits(bits):
    return bits.astype(np.uint32).view(np.float32)


def cases():
    """(name, f32 input); every length is a multiple of 256. The twin in Rust is `inputs::cases`."""
    f32, n = np.float32, 1 << 16
    index = np.arange(n, dtype=np.uint64)
    bits = (blocks.splitmix64(9, n) >> np.uint64(32)).astype(np.uint32)
    yield "bell", blocks.bell(1, 4 * n) * f32(0.02)
    yield "uniform", blocks.uniform(2, 4 * n) * f32(2.0) - f32(1.0)
    yield "positive", blocks.uniform(3, n) + f32(0.5)
    yield "negative", -blocks.uniform(4, n) - f32(0.25)
    yield "heavy tails", blocks.bell(5, n) * blocks.bell(6, n) * blocks.bell(7, n)
    yield "outliers", blocks.bell(8, n) * np.where(index % 97 == 0, f32(300.0), f32(0.01))
    yield "sparse", np.where(index % 61 == 7, blocks.bell(10, n), f32(0.0))
    yield "halves", (blocks.splitmix64(11, n) % np.uint64(511)).astype(f32) * f32(0.5) - f32(127.5)
    yield "two values", np.where(blocks.splitmix64(12, n) & np.uint64(1) == 0, f32(-0.75), f32(0.75))
    for name, scale in [("1e5", 1e5), ("1e30", 1e30), ("1e38", 1e38), ("1e-3", 1e-3), ("1e-7", 1e-7)]:
        yield f"bell times {name}", blocks.bell(13, n) * f32(scale)
    for name, scale in [("1e-15", 1e-15), ("1e-30", 1e-30), ("1e-38", 1e-38)]:
        yield f"bell times {name}", blocks.bell(13, n) * f32(scale)
    yield "subnormal", from_bits(bits & np.uint32(0x807FFFFF))
    yield "any finite", from_bits(np.where(bits & 0x7F800000 == 0x7F800000, bits ^ np.uint32(0x40000000), bits))
    yield "zeros", np.zeros(256, dtype=f32)
    yield "negative zeros", np.full(256, -0.0, dtype=f32)
    for value in (1.0, -0.3, 127.0, 1e-8, 1e-40, 65504.0, 3e38):
        yield f"constant {value}", np.full(256, value, dtype=f32)
    yield "ramp", np.arange(256, dtype=f32) * f32(0.125) - f32(16.0)


def line(name, data, size):
    digest = hashlib.sha256(data.tobytes()).hexdigest()
    first = data[:size].tobytes().hex()
    return f"{name}: {data.size // size} blocks, sha256 {digest}, first {first}"


def main():
    inputs = list(cases())
    sources = [f"{name}: {x.size} elements, sha256 {hashlib.sha256(x.tobytes()).hexdigest()}" for name, x in inputs]
    common.write_snap("quantize", "inputs", "\n".join(sources), common.provenance(function="golden/capture/quantize.py"))
    for type_name in blocks.QUANTIZED_TO:
        size = blocks.FORMATS[type_name][2]
        lines = [line(name, blocks.quantize(type_name, x), size) for name, x in inputs]
        common.write_snap("quantize", type_name, "\n".join(lines), common.provenance(function="ggml_quantize_chunk"))
    for type_name, (elems, size, function) in blocks.ACTIVATIONS.items():
        lines = []
        for name, x in inputs:
            out = np.zeros(x.size // elems * size, dtype=np.uint8)
            blocks.call(function, x, out, x.size)
            lines.append(line(name, out, size))
        common.write_snap("activations", type_name, "\n".join(lines), common.provenance(function=function))
    mixes.main()
    if len(sys.argv) > 1:
        quantize_files.capture(pathlib.Path(sys.argv[1]), None)


if __name__ == "__main__":
    main()
