"""Writes src/unicode_table.rs: the general category of every code point, in Unicode 15.1.

llama.cpp's tables are of that version, and a newer one would silently change token ids, so the version is
pinned here instead of following a crate. Needs a Python whose `unicodedata` is 15.1 (Python 3.13):

    python3.13 tools/unicode_table.py > src/unicode_table.rs && rustfmt src/unicode_table.rs
"""

import sys
import unicodedata

# The discriminants of `Class` in src/unicode.rs.
CLASSES = {"L": 1, "N": 2, "M": 3, "P": 4, "S": 5}
OTHER, SPACE = 0, 6
# White_Space of Unicode's PropList.txt.
WHITE_SPACE = {0x20, 0x85, 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000, *range(9, 14), *range(0x2000, 0x200B)}


def class_of(cp):
    if cp in WHITE_SPACE:
        return SPACE
    return CLASSES.get(unicodedata.category(chr(cp))[0], OTHER)


if unicodedata.unidata_version != "15.1.0":
    sys.exit(f"this Python has Unicode {unicodedata.unidata_version}, not 15.1.0")

print("//! Written by tools/unicode_table.py from the Unicode Character Database 15.1.0. Do not edit.")
print()
print("/// Where a run of code points of one class begins: `first code point << 3 | class`, ascending.")
print("pub(crate) const RUNS: &[u32] = &[")
last = None
for cp in range(0x110000):
    if (k := class_of(cp)) != last:
        print(f"    {cp << 3 | k:#x},")
        last = k
print("];")
