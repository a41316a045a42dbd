"""Single operations of the reference library on seeded inputs: golden/snapshots/ops/.

    python golden/capture/ops.py [family ...]

needs no model. Inputs come from `Stream`, of which crates/kernels/src/reference/tests/stream.rs is the twin: a test
draws the same inputs, computes, and formats the same lines (floats.py).
"""

import ctypes
import hashlib
import os
import sys

import llama_cpp
import numpy as np

from common import provenance, write_snap
from floats import hex_float, node_line

LIB = os.path.join(os.path.dirname(llama_cpp.__file__), "lib")
BASE = ctypes.CDLL(os.path.join(LIB, "libggml-base.so"))
CPU = ctypes.CDLL(os.path.join(LIB, "libggml-cpu.so"))
LIBM = ctypes.CDLL("libm.so.6")

# name -> (id, elements, bytes, offsets of f16 scales in a block)
TYPES = {
    "f32": (0, 1, 4, ()),
    "f16": (1, 1, 2, ()),
    "bf16": (30, 1, 2, ()),
    "q4_0": (2, 32, 18, (0,)),
    "q4_1": (3, 32, 20, (0, 2)),
    "q5_0": (6, 32, 22, (0,)),
    "q5_1": (7, 32, 24, (0, 2)),
    "q8_0": (8, 32, 34, (0,)),
    "q8_1": (9, 32, 36, (0, 2)),
    "q2_K": (10, 256, 84, (80, 82)),
    "q3_K": (11, 256, 110, (108,)),
    "q4_K": (12, 256, 144, (0, 2)),
    "q5_K": (13, 256, 176, (0, 2)),
    "q6_K": (14, 256, 210, (208,)),
    "q8_K": (15, 256, 292, ()),
    "iq4_nl": (20, 32, 18, (0,)),
    "iq4_xs": (23, 256, 136, (0,)),
    "mxfp4": (39, 32, 17, ()),
}
NAMES = {row[0]: name for name, row in TYPES.items()}
WEIGHTS = [name for name in TYPES if name not in ("q8_1", "q8_K")]


class Stream:
    """splitmix64, seeded with the 64-bit FNV-1a hash of a name."""

    def __init__(self, name):
        seed = 0xCBF29CE484222325
        for byte in name.encode():
            seed = (seed ^ byte) * 0x100000001B3 % (1 << 64)
        self.state = np.uint64(seed)

    def words(self, n):
        """The next n 64-bit words."""
        with np.errstate(over="ignore"):
            z = self.state + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
            if n:
                self.state = z[-1]
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            return z ^ (z >> np.uint64(31))

    def floats(self, *shape):
        """f32 between -128 and 128 of very different sizes: 24-bit fractions of [-1, 1) times 2^-8 to 2^7."""
        words = self.words(2 * int(np.prod(shape))).reshape(-1, 2)
        unit = ((words[:, 0] >> np.uint64(40)).astype(np.float32) - np.float32(1 << 23)) / np.float32(1 << 23)
        return np.ldexp(unit, (words[:, 1] % np.uint64(16)).astype(np.int32) - 8).reshape(shape)

    def blocks(self, ty, n, loud=False):
        """n blocks of random bytes, whose scales are then drawn so that they are finite and not tiny.

        Loud ones have codes of one sign, so that their integer sums are large and the order of factors shows.
        """
        _, _, n_bytes, scales = TYPES[ty]
        out = []
        for _ in range(n):
            block = bytearray(self.words(-(-n_bytes // 8)).tobytes()[:n_bytes])
            if loud:
                block = bytearray((b & 31 | 96) if ty.startswith("q8") else b & 17 for b in block)
            for at in scales:
                block[at : at + 2] = self._f16()
            if ty == "f32" or ty == "q8_K":
                block[:4] = self._f32()
            if ty == "q8_K":
                for at in range(260, 292, 2):
                    block[at : at + 2] = (int(self.words(1)[0]) % 4065 - 2032).to_bytes(2, "little", signed=True)
            if ty == "mxfp4":
                block[0] = 120 + int(self.words(1)[0]) % 8  # a power of two from 2^-8 on
            if ty == "f16":
                block[:] = self._f16()
            if ty == "bf16":
                block[:] = self._f32()[2:]
            out.append(bytes(block))
        return b"".join(out)

    def _f16(self):
        r = int(self.words(1)[0])
        return ((r & 0x83FF) | (8 + (r >> 16) % 8) << 10).to_bytes(2, "little")

    def _f32(self):
        r = int(self.words(1)[0])
        return ((r & 0x807FFFFF) | (120 + (r >> 32) % 8) << 23).to_bytes(4, "little")


class InitParams(ctypes.Structure):
    """struct ggml_init_params."""

    _fields_ = [("mem_size", ctypes.c_size_t), ("mem_buffer", ctypes.c_void_p), ("no_alloc", ctypes.c_bool)]


class TypeTraits(ctypes.Structure):
    """struct ggml_type_traits_cpu."""

    _fields_ = [
        ("from_float", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)),
        (
            "vec_dot",
            ctypes.CFUNCTYPE(
                None,
                ctypes.c_int,
                ctypes.c_void_p,
                ctypes.c_size_t,
                ctypes.c_void_p,
                ctypes.c_size_t,
                ctypes.c_void_p,
                ctypes.c_size_t,
                ctypes.c_int,
            ),
        ),
        ("vec_dot_type", ctypes.c_int),
        ("nrows", ctypes.c_int64),
    ]


CPU.ggml_get_type_traits_cpu.restype = ctypes.POINTER(TypeTraits)
BASE.ggml_init.argtypes = [InitParams]
BASE.ggml_get_data.restype = ctypes.c_void_p
for _name in (
    "init new_graph new_tensor_4d add mul scale scale_bias silu gelu gelu_quick relu tanh swiglu_split geglu_split "
    "rms_norm norm soft_max_ext rope_ext mul_mat get_rows"
).split():
    getattr(BASE, f"ggml_{_name}").restype = ctypes.c_void_p
CPU.ggml_cpu_init()


def traits(ty):
    """The CPU functions of a type."""
    return CPU.ggml_get_type_traits_cpu(TYPES[ty][0]).contents


class Graph:
    """A graph of one operation. Arrays go in with shape `[outermost, ..., innermost]`."""

    def __init__(self):
        self.ctx = ctypes.c_void_p(BASE.ggml_init(InitParams(64 << 20, None, False)))

    def tensor(self, data, ty="f32", shape=None):
        """A tensor holding an array (of f32 or i32), or the blocks of a quantized type."""
        raw = data if isinstance(data, bytes) else np.ascontiguousarray(data).tobytes()
        shape = shape or data.shape
        dims = [ctypes.c_int64(n) for n in (list(reversed(shape)) + [1, 1, 1])[:4]]
        ty_id = 26 if ty == "i32" else TYPES[ty][0]
        t = ctypes.c_void_p(BASE.ggml_new_tensor_4d(self.ctx, ty_id, *dims))
        ctypes.memmove(BASE.ggml_get_data(t), raw, len(raw))
        return t

    def run(self, name, shape, *args):
        """The f32 result of `ggml_<name>`, which has this shape."""
        args = [ctypes.c_float(a) if isinstance(a, float) else a for a in args]
        out = ctypes.c_void_p(getattr(BASE, f"ggml_{name}")(self.ctx, *args))
        graph = ctypes.c_void_p(BASE.ggml_new_graph(self.ctx))
        BASE.ggml_build_forward_expand(graph, out)
        if CPU.ggml_graph_compute_with_ctx(self.ctx, graph, 1) != 0:
            raise SystemExit(f"ggml_{name} failed")
        data = ctypes.string_at(BASE.ggml_get_data(out), 4 * int(np.prod(shape)))
        BASE.ggml_free(self.ctx)
        return np.frombuffer(data, dtype=np.float32).reshape(shape)


def line(op, name, values):
    """A node's line, of an array of f32."""
    return node_line(op, name, 0, np.asarray(values, dtype=np.float32), False)


def bytes_line(op, name, data):
    """A line of bytes: how many, their hash, the first of them."""
    return f"{op} {name} bytes={len(data)} sha256={hashlib.sha256(data).hexdigest()} first={data[:36].hex()}"


def vec_dot(ty, w, a):
    """One dot product of two rows of blocks."""
    out = ctypes.c_float()
    n = len(w) // TYPES[ty][2] * TYPES[ty][1]
    traits(ty).vec_dot(n, ctypes.addressof(out), 0, w, 0, a, 0, 1)
    return out.value


def family_vec_dot():
    """Dot products of rows of random blocks, 1 to 20 blocks long, then 50 rows of 3 blocks; then of loud blocks."""
    for ty in WEIGHTS:
        act = NAMES[traits(ty).vec_dot_type]
        assert traits(ty).nrows == 1, "one row at a time"
        stream = Stream(f"vec_dot {ty}")
        lengths = [*range(1, 21)] + [100 if TYPES[ty][1] == 1 else 3] * 50
        for kind in ("mixed", "loud"):
            loud = kind == "loud"
            dots = [vec_dot(ty, stream.blocks(ty, n, loud), stream.blocks(act, n, loud)) for n in lengths]
            yield line("VEC_DOT", f"{ty}*{act},{kind}", dots)


def tricky_floats(stream, n):
    """Floats for quantizers: random ones, then a block each of zeros, of ties, and of very small values."""
    ties = np.arange(n, dtype=np.float32) % 64 - np.float32(31.5)
    return np.concatenate([stream.floats(4 * n), np.zeros(n, np.float32), ties, ties * np.float32(2.0**-120)])


def family_quantize():
    """Activations converted for the dot products."""
    for ty in ("f16", "bf16", "q8_0", "q8_1", "q8_K"):
        x = tricky_floats(Stream(f"quantize {ty}"), 256)
        n_elems, n_bytes = TYPES[ty][1:3]
        out = ctypes.create_string_buffer(len(x) // n_elems * n_bytes)
        traits(ty).from_float(x.ctypes.data, ctypes.addressof(out), len(x))
        yield bytes_line("QUANTIZE", ty, out.raw)


def family_mul_mat():
    """Matrix products of 7 rows of 512 weights with 3 tokens."""
    for ty in WEIGHTS:
        stream = Stream(f"mul_mat {ty}")
        g = Graph()
        w = g.tensor(stream.blocks(ty, 7 * 512 // TYPES[ty][1]), ty, (7, 512))
        yield line("MUL_MAT", ty, g.run("mul_mat", (3, 7), w, g.tensor(stream.floats(3, 512))))


def family_get_rows():
    """Rows 4, 0 and 2 of a table with 5 rows of 256 columns."""
    for ty in WEIGHTS:
        g = Graph()
        w = g.tensor(Stream(f"get_rows {ty}").blocks(ty, 5 * 256 // TYPES[ty][1]), ty, (5, 256))
        ids = g.tensor(np.array([4, 0, 2], np.int32), "i32")
        yield line("GET_ROWS", ty, g.run("get_rows", (3, 256), w, ids))


def family_norm():
    """RMSNorm and LayerNorm of 2 rows."""
    for op in ("rms_norm", "norm"):
        for n in (1, 2, 3, 4, 7, 64, 576, 577):
            for eps in ("1e-5", "1e-6", "0"):
                if op == "norm" and n == 1 and eps == "0":
                    continue  # 0 / 0
                name = f"n={n},eps={eps}"
                g = Graph()
                x = g.tensor(Stream(f"{op} {name}").floats(2, n))
                yield line(op.upper(), name, g.run(op, (2, n), x, float(eps)))


def family_soft_max():
    """Softmax of 3 rows, without and with a mask."""
    for n in (1, 2, 3, 4, 5, 6, 7, 8, 31, 256, 259):
        for scale in ("1", "0.125"):
            for masked in (False, True):
                name = f"n={n},scale={scale},{'mask' if masked else 'plain'}"
                stream = Stream(f"soft_max {name}")
                g = Graph()
                x = g.tensor(stream.floats(3, n))
                mask = None
                if masked:
                    kinds = np.array([0, 0, -1.5, -np.inf], np.float32)
                    values = kinds[(stream.words(3 * n) % np.uint64(4)).astype(int)].reshape(3, n)
                    values[:, 0] = 0
                    mask = g.tensor(values)
                yield line("SOFT_MAX", name, g.run("soft_max_ext", (3, n), x, mask, float(scale), 0.0))


def family_elementwise():
    """Sums, products and activations of rows; then activations over wide ranges."""
    for n in (1, 2, 3, 4, 5, 6, 7, 8, 100, 1023):
        for op in ("add", "mul", "swiglu_split", "geglu_split"):
            stream = Stream(f"{op} n={n}")
            g = Graph()
            a = g.tensor(stream.floats(2, n))
            yield line(op.upper(), f"n={n}", g.run(op, (2, n), a, g.tensor(stream.floats(2, n))))
        for op in ("silu", "gelu", "gelu_quick", "relu", "tanh"):
            g = Graph()
            x = g.tensor(Stream(f"{op} n={n}").floats(2, n))
            yield line(op.upper(), f"n={n}", g.run(op, (2, n), x))
        for op, args in (("scale", (0.3,)), ("scale_bias", (0.3, -0.7))):
            g = Graph()
            x = g.tensor(Stream(f"{op} n={n}").floats(2, n))
            yield line(op.upper(), f"n={n}", g.run(op, (2, n), x, *args))
    sweep = np.arange(-57344, 57344, dtype=np.float32) / np.float32(512)
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
    halves = halves[np.isfinite(halves)]
    for op, name, x in (
        ("silu", "-112..112", sweep),
        ("tanh", "-112..112", sweep),
        ("gelu", "every-f16", halves),
        ("gelu_quick", "every-f16", halves),
    ):
        g = Graph()
        yield line(op.upper(), name, g.run(op, x.shape, g.tensor(x)))


# name: (n_embd_head, n_rot, freq_base, freq_scale, ext_factor, attn_factor, n_ctx_orig, with factors)
ROPES = {
    "plain": (64, 64, 10000.0, 1.0, 0.0, 1.0, 4096, False),
    "partial": (80, 32, 10000.0, 1.0, 0.0, 1.0, 4096, False),
    "linear": (64, 64, 500000.0, 0.25, 0.0, 1.0, 4096, False),
    "factors": (128, 128, 500000.0, 1.0, 0.0, 1.0, 8192, True),
    "yarn": (128, 128, 10000.0, 0.125, 1.0, 1.0, 4096, False),
    "yarn-narrow": (128, 128, 10000.0, 0.067, 1.0, 1.0, 6, False),
    "yarn-wide": (64, 64, 3.0, 0.25, 1.0, 1.0, 300, False),
    "yarn-half": (96, 96, 1000000.0, 0.3, 0.5, 1.2, 32768, True),
}
POSITIONS = (0, 1, 2, 7, 100, 4095, 131071)


def family_rope():
    """Rotations of 3 heads at several positions."""
    for kind, (n, n_rot, base, scale, ext, attn, n_ctx, factors) in ROPES.items():
        for mode in ("norm", "neox"):
            stream = Stream(f"rope {kind},{mode}")
            g = Graph()
            x = g.tensor(stream.floats(len(POSITIONS), 3, n))
            pos = g.tensor(np.array(POSITIONS, np.int32), "i32")
            divisors = g.tensor(1 + np.abs(stream.floats(n_rot // 2))) if factors else None
            args = (n_rot, 2 if mode == "neox" else 0, n_ctx, base, scale, ext, attn, 32.0, 1.0)
            shape = (len(POSITIONS), 3, n)
            yield line("ROPE", f"{kind},{mode}", g.run("rope_ext", shape, x, pos, divisors, *args))


def family_f16():
    """Conversions: a million f32 spread over all bit patterns, and every f16."""
    x = (np.arange(1 << 20, dtype=np.uint32) * np.uint32(4099)).view(np.float32)
    for name in ("fp16", "bf16"):
        out = np.empty(len(x), np.uint16)
        getattr(CPU, f"ggml_cpu_fp32_to_{name}")(
            ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(out.ctypes.data), ctypes.c_int64(len(x))
        )
        yield bytes_line("FROM_F32", name, out.tobytes())
    h = np.arange(1 << 16, dtype=np.uint16)
    out = np.empty(len(h), np.float32)
    CPU.ggml_cpu_fp16_to_fp32(
        ctypes.c_void_p(h.ctypes.data), ctypes.c_void_p(out.ctypes.data), ctypes.c_int64(len(h))
    )
    yield bytes_line("TO_F32", "fp16", out.tobytes())


def libm(name, *columns):
    """A function of the C library, applied to each row of arguments."""
    f = getattr(LIBM, name)
    f.restype = ctypes.c_float
    f.argtypes = [ctypes.c_float] * len(columns)
    return np.array([f(*row) for row in zip(*(c.tolist() for c in columns))], np.float32)


def bit_range(low, high, n):
    """n floats whose bit patterns go evenly from one positive float to another."""
    low, high = (int(np.float32(v).view(np.uint32)) for v in (low, high))
    return (low + (high - low) * np.arange(n, dtype=np.uint64) // np.uint64(n)).astype(np.uint32).view(np.float32)


def both_signs(x):
    """Positive floats, then the same negative."""
    return np.concatenate([x, -x])


def family_libm():
    """The C library's functions that the reference calls, as this machine's computes them."""
    wide = both_signs(bit_range(2.0**-20, 2.0**20, 1 << 16))
    narrow = both_signs(bit_range(2.0**-20, 96.0, 1 << 16))
    positive = bit_range(2.0**-100, 2.0**100, 1 << 17)
    n_rot = np.arange(2, 514, 2, dtype=np.float32)
    bases = np.repeat(np.array([10000, 500000, 1e6, 2, 0.5, 10, 160000, 1e7], np.float32), len(n_rot))
    exponents = np.tile(np.float32(-2) / n_rot, 8)
    for name, columns in (
        ("sinf", (wide,)),
        ("cosf", (wide,)),
        ("expf", (narrow,)),
        ("tanhf", (narrow,)),
        ("logf", (positive,)),
        ("powf", (bases, exponents)),
    ):
        yield line("LIBM", name, libm(name, *columns))
        few = [c[:: len(c) // 32] for c in columns]
        for row, y in zip(zip(*few), libm(name, *few)):
            yield f"  {name}({', '.join(map(hex_float, row))}) = {hex_float(y)}"


FAMILIES = {name.removeprefix("family_"): f for name, f in globals().items() if name.startswith("family_")}


def main():
    for name in sys.argv[1:] or FAMILIES:
        family = FAMILIES[name]
        path = write_snap("ops", name, "\n".join(family()), provenance(what=family.__doc__))
        print(path.relative_to(path.parents[3]))


if __name__ == "__main__":
    main()
