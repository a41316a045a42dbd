"""Dequantized blocks of every format: golden/snapshots/dequant/*.snap.

    python dequant.py

For every F16 scale a block has, all 65,536 of its values meet four payloads: every other byte 00, ff, 55 (but then a
second scale is 0.1) or random. The hash is over the f32 of the whole sweep, every NaN written as 0x7fc00000 first, because the payload that arithmetic
gives a NaN is the processor's choice. Then four random blocks with all their values.
"""

import hashlib

import numpy as np

import blocks
import common
import floats

CHUNK = 4096


def sweep(name, offset, payload, seed):
    """(sha256, NaN count) of all values of the scale at `offset`."""
    _, _, size, scales, _ = blocks.FORMATS[name]
    data = np.empty((65536, size), dtype=np.uint8)
    if payload == "random":
        data[:] = blocks.random_bytes(seed, data.size).reshape(data.shape)
    else:
        data[:] = int(payload, 16)
        for other in scales:
            data[:, other : other + 2] = [0x66, 0x2E]
    data[:, offset : offset + 2] = np.arange(65536, dtype="<u2").view(np.uint8).reshape(-1, 2)
    h, n_nan = hashlib.sha256(), 0
    for i in range(0, 65536, CHUNK):
        x = blocks.dequantize(name, data[i : i + CHUNK].reshape(-1))
        bits = x.view(np.uint32).copy()
        nan = np.isnan(x)
        bits[nan] = 0x7FC00000
        n_nan += int(nan.sum())
        h.update(bits.astype("<u4").tobytes())
    return h.hexdigest(), n_nan


def examples(name, seed):
    """Four random blocks (for the float types: 64 numbers), scales with exponents from 2^-14 to 2^-7."""
    _, elems, size, scales, _ = blocks.FORMATS[name]
    n = 4 if elems > 1 else 64
    data = blocks.random_bytes(seed, n * size).reshape(n, size).copy()
    if elems > 1:
        for offset in scales:
            data[:, offset + 1] &= 0x9F
    for block in data:
        values = " ".join(floats.hex_float(v) for v in blocks.dequantize(name, block))
        yield f"{block.tobytes().hex()} -> {values}"


def main():
    for i, (name, (_, elems, size, scales, _)) in enumerate(blocks.FORMATS.items()):
        lines = [f"{name}: {elems} elements in {size} bytes"]
        for offset in scales:
            for j, payload in enumerate(["00", "ff", "55", "random"] if elems > 1 else ["00"]):
                digest, n_nan = sweep(name, offset, payload, seed=1000 * i + 10 * offset + j)
                lines.append(f"scale at byte {offset}, payload {payload}: {n_nan} NaN, sha256 {digest}")
        lines += examples(name, seed=1000 * i + 999)
        path = common.write_snap("dequant", name, "\n".join(lines), common.provenance(function=str(blocks.FORMATS[name][4])))
        print(path.relative_to(common.GOLDEN))


if __name__ == "__main__":
    main()
