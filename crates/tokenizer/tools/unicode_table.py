"""Writes the tables of Unicode 15.1: src/unicode_table.rs, the general category of every code point, and
src/fold_table.rs, lower case and the first characters of decompositions.

llama.cpp's tables are of that version, and a newer one would silently change token ids, so the version is
pinned here instead of following a crate. Needs a Python whose `unicodedata` is 15.1 (Python 3.13):

    python3.13 tools/unicode_table.py runs > src/unicode_table.rs
    python3.13 tools/unicode_table.py folds > src/fold_table.rs
    rustfmt src/unicode_table.rs src/fold_table.rs
"""

import sys
import unicodedata

# The discriminants of `Class` in src/unicode.rs.
CLASSES = {"L": 1, "N": 2, "M": 3, "P": 4, "S": 5}
OTHER, SPACE, CONTROL = 0, 6, 7
# White_Space of Unicode's PropList.txt.
WHITE_SPACE = {0x20, 0x85, 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000, *range(9, 14), *range(0x2000, 0x200B)}
SURROGATES = range(0xD800, 0xE000)
HEAD = "//! Written by tools/unicode_table.py from the Unicode Character Database 15.1.0. Do not edit."


def class_of(cp):
    category = unicodedata.category(chr(cp))
    if cp in WHITE_SPACE:
        return SPACE
    if category[0] == "C":
        return OTHER if category == "Cn" else CONTROL
    return CLASSES.get(category[0], OTHER)


def runs():
    print(HEAD)
    print()
    print("/// Where a run of code points of one class begins: `first code point << 3 | class`, ascending.")
    print("pub(crate) const RUNS: &[u32] = &[")
    last = None
    for cp in range(0x110000):
        if (k := class_of(cp)) != last:
            print(f"    {cp << 3 | k:#x},")
            last = k
    print("];")


def lower(cp):
    """The simple lower case of UnicodeData.txt: one character."""
    if cp == 0x130:
        return ord("i")
    full = chr(cp).lower()
    return ord(full) if len(full) == 1 else cp


def base(cp):
    return ord(unicodedata.normalize("NFD", chr(cp))[0])


def folds():
    chars = [cp for cp in range(0x110000) if cp not in SURROGATES]
    lower_runs, base_runs = [], []
    for cp in chars:
        delta = lower(cp) - cp
        if delta:
            if lower_runs:
                first, last, step, same = lower_runs[-1]
                if same == delta and (cp - last == step or (first == last and cp - last == 2)):
                    lower_runs[-1] = (first, cp, cp - last, same)
                    continue
            lower_runs.append((cp, cp, 1, delta))
    for cp in chars:
        if (to := base(cp)) != cp:
            if base_runs and base_runs[-1][1:] == (cp - 1, to):
                base_runs[-1] = (base_runs[-1][0], cp, to)
            else:
                base_runs.append((cp, cp, to))
    print(HEAD)
    print("//! A row of characters is two numbers: `first << 11 | number of others << 1 | whether only every second is meant`,")
    print("//! and what the first one becomes.")
    print()
    print("/// Lower case; the others of a row become what follows.")
    print_rows("LOWER", [(first, (last - first) // step, step, first + delta) for first, last, step, delta in lower_runs])
    print()
    print("/// The first character of the canonical decomposition, the same for a whole row.")
    print_rows("BASE", [(first, last - first, 1, to) for first, last, to in base_runs])


def print_rows(name, rows):
    print(f"pub(crate) const {name}: &[u32] = &[")
    for first, others, step, to in rows:
        assert others < 1 << 10 and step in (1, 2)
        print(f"    {first << 11 | others << 1 | (step == 2):#x}, {to:#x},")
    print("];")


if unicodedata.unidata_version != "15.1.0":
    sys.exit(f"this Python has Unicode {unicodedata.unidata_version}, not 15.1.0")
{"runs": runs, "folds": folds}[sys.argv[1]]()
