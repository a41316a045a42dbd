"""Seeded inputs for the block formats, and libggml-base's functions on them.

The generator is splitmix64 (Steele, Lea, Flood 2014), counted from a seed; crates/dequant/tests/golden/inputs.rs is its
twin in Rust.
"""

import ctypes
import os

import llama_cpp
import numpy as np

BASE = ctypes.CDLL(os.path.join(os.path.dirname(llama_cpp.__file__), "lib", "libggml-base.so"))
BASE.ggml_quantize_chunk.restype = ctypes.c_size_t
BASE.ggml_quantize_chunk.argtypes = [
    ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p,
]

# name: (id in the file format, elements, bytes, offsets of the F16 scales, function that dequantizes)
# The scale of mxfp4 is one byte; what is swept as an F16 takes the first two codes along.
FORMATS = {
    "f32": (0, 1, 4, (), None),
    "f16": (1, 1, 2, (0,), "ggml_fp16_to_fp32_row"),
    "bf16": (30, 1, 2, (0,), "ggml_bf16_to_fp32_row"),
    "q4_0": (2, 32, 18, (0,), "dequantize_row_q4_0"),
    "q4_1": (3, 32, 20, (0, 2), "dequantize_row_q4_1"),
    "q5_0": (6, 32, 22, (0,), "dequantize_row_q5_0"),
    "q5_1": (7, 32, 24, (0, 2), "dequantize_row_q5_1"),
    "q8_0": (8, 32, 34, (0,), "dequantize_row_q8_0"),
    "q2_K": (10, 256, 84, (80, 82), "dequantize_row_q2_K"),
    "q3_K": (11, 256, 110, (108,), "dequantize_row_q3_K"),
    "q4_K": (12, 256, 144, (0, 2), "dequantize_row_q4_K"),
    "q5_K": (13, 256, 176, (0, 2), "dequantize_row_q5_K"),
    "q6_K": (14, 256, 210, (208,), "dequantize_row_q6_K"),
    "iq4_nl": (20, 32, 18, (0,), "dequantize_row_iq4_nl"),
    "iq4_xs": (23, 256, 136, (0,), "dequantize_row_iq4_xs"),
    "mxfp4": (39, 32, 17, (0,), "dequantize_row_mxfp4"),
}
QUANTIZED_TO = ["f16", "bf16", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q4_K", "q5_K", "q6_K"]
# name: (elements, bytes, function)
ACTIVATIONS = {
    "q8_0": (32, 34, "quantize_row_q8_0_ref"),
    "q8_1": (32, 36, "quantize_row_q8_1_ref"),
    "q8_K": (256, 292, "quantize_row_q8_K_ref"),
}


def splitmix64(seed, n):
    """The first `n` outputs of the generator with this seed, as uint64."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def random_bytes(seed, n):
    """`n` bytes: the outputs, little-endian, one after the other."""
    return splitmix64(seed, (n + 7) // 8).astype("<u8").view(np.uint8)[:n]


def uniform(seed, n):
    """`n` f32 in [0, 1): the upper 24 bits of an output, divided by 2^24."""
    return (splitmix64(seed, n) >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def bell(seed, n):
    """`n` f32 near a normal distribution, mean 0, within ±2: the sum of an output's four 16-bit fields, centered."""
    fields = splitmix64(seed, n).astype("<u8").view("<u2").reshape(n, 4).astype(np.int64)
    return (fields.sum(axis=1) - 131070).astype(np.float32) * np.float32(2.0**-16)


def call(function, source, target, n):
    """`void function(const source *, target *, int64_t n)`."""
    f = getattr(BASE, function)
    f.restype = None
    f.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    f(source.ctypes.data, target.ctypes.data, n)


def dequantize(name, data):
    """Blocks (bytes) as f32."""
    _, elems, size, _, function = FORMATS[name]
    if function is None:
        return data.view(np.float32)
    out = np.empty(data.size // size * elems, dtype=np.float32)
    call(function, np.ascontiguousarray(data), out, out.size)
    return out


def quantize(name, x):
    """f32 as blocks (bytes), no importance matrix, rows of 256 elements."""
    type_id, elems, size, _, _ = FORMATS[name]
    out = np.zeros(x.size // elems * size, dtype=np.uint8)
    written = BASE.ggml_quantize_chunk(type_id, x.ctypes.data, out.ctypes.data, 0, x.size // 256, 256, None)
    assert written == out.size
    return out
