"""Text of floating-point values, the same in Python as in golden/src/trace.rs."""

import hashlib

import numpy as np


def hex_float(value):
    """C99 hexadecimal text of a value, without trailing zeros: `0x1.8p+1`, `-0x0p+0`, `inf`, `nan`."""
    text = float(value).hex()
    if "x" not in text:
        return "nan" if "n" in text and "i" not in text else text
    mantissa, exponent = text.split("p")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}p{exponent}"


def sci(value):
    """Decimal text with ten significant digits; zero never has a sign."""
    return f"{float(value) + 0.0:.9e}"


def sha256(array):
    """SHA-256 of an array's bytes in logical order, little-endian."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def stats(array):
    """(rms, mean, min, max) in float64: sums go from the first element to the last, one after the other."""
    x = np.ravel(array).astype(np.float64)
    n = float(len(x))
    rms = np.sqrt(np.cumsum(x * x)[-1] / n)
    return rms, np.cumsum(x)[-1] / n, x.min(), x.max()


def trimmed_shape(shape):
    """Shape without outermost ones: `[1, 1, 5, 576]` is `[5,576]`."""
    dims = list(shape)
    while len(dims) > 1 and dims[0] == 1:
        dims.pop(0)
    return "[" + ",".join(str(d) for d in dims) + "]"


def node_line(op, name, occurrence, array, brief):
    """The line of a node; `brief` leaves out mean, minimum, maximum and two of the four first values."""
    rms, mean, low, high = stats(array)
    first = ",".join(hex_float(v) for v in np.ravel(array)[: 2 if brief else 4])
    head = f"{op} {name} #{occurrence} {trimmed_shape(array.shape)} sha256={sha256(array)} rms={sci(rms)}"
    if brief:
        return f"{head} first={first}"
    return f"{head} mean={sci(mean)} min={sci(low)} max={sci(high)} first={first}"
