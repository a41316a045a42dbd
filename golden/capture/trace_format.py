"""Lines about made-up values, by which golden/src/trace.rs proves that it formats as Python does.

    python trace_format.py

writes golden/snapshots/trace-format/lines.snap.
"""

import numpy as np

import common
import floats


def noise(n, seed, mask):
    """`n` floats whose bits come from a linear congruential generator; `mask` clears exponent bits."""
    bits, state = [], seed
    for _ in range(n):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        bits.append(state & mask)
    return np.array(bits, dtype=np.uint32).view(np.float32)


def main():
    special = [0.0, -0.0, 1.0, -1.5, 1e-45, -1.1754942e-38, 3.4028235e38, 0.1, -16777216.0, 2.5e-7]
    cases = [
        ("ones", np.ones((1, 1, 2, 3), dtype=np.float32)),
        ("special", np.array(special, dtype=np.float32).reshape(2, 5)),
        ("negative_zeros", np.full(3, -0.0, dtype=np.float32)),
        ("scalar", np.array([[-0.1]], dtype=np.float32)),
        ("noise", noise(600, 1, 0xBFFFFFFF).reshape(1, 4, 150)),
        ("subnormal", noise(64, 2, 0x807FFFFF).reshape(1, 1, 1, 64)),
        ("infinite", np.array([1.0, np.inf, -np.inf, 2.0], dtype=np.float32)),
        ("nan", np.array([1.0, np.nan, 3.0], dtype=np.float32)),
    ]
    lines = []
    with np.errstate(invalid="ignore"):
        for brief in (False, True):
            for i, (name, values) in enumerate(cases):
                lines.append(floats.node_line("OP", name, i, values, brief))
    common.write_snap("trace-format", "lines", "\n".join(lines), {"reference": "golden/capture/floats.py", "build": "-"})


if __name__ == "__main__":
    main()
