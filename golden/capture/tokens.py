"""Tokenization by llama.cpp: ids, text, pieces and roles of tokens, for real and for made-up vocabularies.

    python tokens.py --smollm2 FILE [--qwen2.5-coder-0.5b FILE] [--vocabs FOLDER] [--only NAME ...]

FOLDER holds the `ggml-vocab-*.gguf` of llama.cpp (`vendor/llama.cpp/models` of the source package of the reference).
The texts are those of golden/tokens/strings.json. The made-up vocabularies follow the recipes below, which
crates/tokenizer/tests follows too, so that the tests need no file for them.
"""

import argparse
import ctypes
import hashlib
import json
import pathlib
import struct
import sys
import tempfile

import common
import llama_cpp
import reference  # noqa: F401  (starts the library, silences it)

STRINGS = common.GOLDEN / "tokens" / "strings.json"

# Vocabularies of the source package whose pre-tokenizer lockstep has.
VOCABS = [
    "aquila",
    "baichuan",
    "command-r",
    "gpt-2",
    "gpt-neox",
    "llama-bpe",
    "llama-spm",
    "mpt",
    "phi-3",
    "qwen2",
    "qwen35",
    "refact",
    "starcoder",
]
PRES = ["default", "gpt-2", "smollm", "qwen2", "qwen35", "llama-bpe"]

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6


def read_strings():
    """(name, text) of every entry; broken UTF-8 is made whole with U+FFFD, as lockstep does before it tokenizes."""
    for entry in json.loads(STRINGS.read_text()):
        if "hex" in entry:
            text = bytes.fromhex(entry["hex"]).decode("utf-8", "replace")
        else:
            text = entry["text"] * entry.get("times", 1)
        yield entry["name"], text


class Vocab:
    """A vocabulary in the reference, loaded without weights."""

    def __init__(self, path):
        params = llama_cpp.llama_model_default_params()
        params.vocab_only = True
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
        if not self.model:
            raise SystemExit(f"cannot load {path}")
        self.vocab = llama_cpp.llama_model_get_vocab(self.model)
        self.n = llama_cpp.llama_vocab_n_tokens(self.vocab)

    def close(self):
        llama_cpp.llama_model_free(self.model)

    def encode(self, text, add_special, parse_special):
        data = text.encode()
        size = len(data) + 8
        ids = (llama_cpp.llama_token * size)()
        n = llama_cpp.llama_tokenize(self.vocab, data, len(data), ids, size, add_special, parse_special)
        assert n >= 0, n
        return ids[:n]

    def decode(self, ids, remove_special, unparse_special):
        tokens = (llama_cpp.llama_token * max(len(ids), 1))(*ids)
        size = 1 << 16
        while True:
            buffer = ctypes.create_string_buffer(size)
            n = llama_cpp.llama_detokenize(self.vocab, tokens, len(ids), buffer, size, remove_special, unparse_special)
            if n >= 0:
                return buffer.raw[:n].decode("utf-8", "replace")
            size = -n

    def piece(self, token, special):
        buffer = ctypes.create_string_buffer(1 << 16)
        n = llama_cpp.llama_token_to_piece(self.vocab, token, buffer, len(buffer), 0, special)
        assert n >= 0, n
        return buffer.raw[:n]

    def text(self, token):
        return llama_cpp.llama_vocab_get_text(self.vocab, token)


# Formatting. crates/tokenizer/tests/golden.rs writes the same lines.


def sha256_of_strings(items):
    """Over length (u32, little-endian) and bytes of each."""
    h = hashlib.sha256()
    for item in items:
        h.update(struct.pack("<I", len(item)))
        h.update(item)
    return h.hexdigest()


def show_ids(ids):
    """All of them, or of many the first, the last, their number and the SHA-256 of them as little-endian u32."""
    if not ids:
        return "none"
    words = [str(i) for i in ids]
    if len(ids) > 24:
        digest = hashlib.sha256(struct.pack(f"<{len(ids)}I", *ids)).hexdigest()
        words = [*words[:16], "...", *words[-2:], f"({len(ids)} ids, sha256 {digest})"]
    return " ".join(words)


def relation(ids, base):
    """`=` stands for `base`; one id may come before and after it."""
    if ids == base:
        return "="
    for before in (0, 1):
        after = len(ids) - before - len(base)
        if 0 <= after <= 1 and base and ids[before : before + len(base)] == base:
            return " ".join([*map(str, ids[:before]), "=", *map(str, ids[len(ids) - after :])])
    return show_ids(ids)


def escape(text):
    """As Rust's `str::escape_default`."""
    special = {"\t": "\\t", "\r": "\\r", "\n": "\\n", "'": "\\'", '"': '\\"', "\\": "\\\\"}
    return "".join(special.get(c) or (c if 0x20 <= ord(c) < 0x7F else f"\\u{{{ord(c):x}}}") for c in text)


def show_text(text, original):
    """`=` if it is the original; long ones as SHA-256."""
    if text == original:
        return "="
    escaped = escape(text)
    if len(escaped) > 160:
        return f"sha256 {hashlib.sha256(text.encode()).hexdigest()} ({len(text)} characters)"
    return f'"{escaped}"'


def optional(token):
    return "none" if token < 0 else str(token)


def yes(value):
    return "true" if value else "false"


def describe(vocab):
    """The snapshot of one vocabulary. Of each text, lines that would only say `=` are left out."""
    v, ids = vocab.vocab, range(vocab.n)
    eog = [i for i in ids if llama_cpp.llama_vocab_is_eog(v, i)]
    control = [i for i in ids if llama_cpp.llama_vocab_is_control(v, i)]
    lines = [
        f"tokens: {vocab.n}",
        f"bos: {optional(llama_cpp.llama_vocab_bos(v))}, added: {yes(llama_cpp.llama_vocab_get_add_bos(v))}",
        f"eos: {optional(llama_cpp.llama_vocab_eos(v))}, added: {yes(llama_cpp.llama_vocab_get_add_eos(v))}",
        f"end of generation: {show_ids(eog)}",
        f"control: {show_ids(control)}",
        f"texts: sha256 {sha256_of_strings(vocab.text(i) for i in ids)}",
        f"pieces: sha256 {sha256_of_strings(vocab.piece(i, True) for i in ids)}",
        f"pieces shown: sha256 {sha256_of_strings(vocab.piece(i, False) for i in ids)}",
    ]
    for name, text in read_strings():
        parse = vocab.encode(text, False, True)
        full = vocab.encode(text, True, True)
        as_text = vocab.encode(text, False, False)
        shown = {
            "parse": show_ids(parse),
            "parse, add": relation(full, parse),
            "text": relation(as_text, parse),
            "text, add": relation(vocab.encode(text, True, False), as_text),
            "decoded": show_text(vocab.decode(parse, False, True), text),
            "decoded, removed": show_text(vocab.decode(full, True, False), text),
        }
        lines += ["", f"[{name}]", *(f"{what}: {value}" for what, value in shown.items() if value != "=")]
    return "\n".join(lines)


# Made-up vocabularies.


def byte_alphabet():
    """The character that byte-level BPE writes for each byte."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in plain]
    return [chr(b) if b in plain else chr(0x100 + others.index(b)) for b in range(256)]


def pairs_vocab(pre):
    """All bytes, all pairs of bytes in a scrambled order, and some special tokens: shows where words end."""
    alphabet = byte_alphabet()
    scrambled = [(i * 40503) % 65536 for i in range(65536)]
    pairs = [(alphabet[p >> 8], alphabet[p & 255]) for p in scrambled]
    special = [
        ("<|im_start|>", CONTROL),
        ("<|im_end|>", CONTROL),
        ("<|endoftext|>", NORMAL),
        ("<unk>", UNKNOWN),
        ("  ", USER_DEFINED),
        ("    ", USER_DEFINED),
        ("\n\n", USER_DEFINED),
        ("<tool_call>", USER_DEFINED),
        ("|><|", USER_DEFINED),
    ]
    tokens = alphabet + [left + right for left, right in pairs] + [text for text, _ in special]
    types = [NORMAL] * (256 + 65536) + [kind for _, kind in special]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": [f"{left} {right}" for left, right in pairs],
        "tokenizer.ggml.bos_token_id": 256 + 65536,
    }


def fnv1a(data):
    h = 0x811C9DC5
    for byte in data:
        h = (h ^ byte) * 0x01000193 & 0xFFFFFFFF
    return h


def substrings_vocab():
    """Special tokens, all bytes, and two thirds of the substrings of the texts, many of them with equal scores."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), "<tool_call>", "  "]
    types = [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, USER_DEFINED, USER_DEFINED]
    scores = [0.0] * len(tokens)
    seen = set(tokens)
    for entry in json.loads(STRINGS.read_text()):
        text = "\u2581" + entry.get("text", "").replace(" ", "\u2581")
        for start in range(len(text)):
            for end in range(start + 1, min(start + 6, len(text)) + 1):
                piece = text[start:end]
                # The reference cuts token texts at a NUL. Of several tokens with one role it takes the first in the order
                # of a hash map: not here.
                if piece in seen or "\0" in piece or piece in ("\u2581<PRE>", "\u2581<SUF>", "\u2581<MID>"):
                    continue
                seen.add(piece)
                h = fnv1a(piece.encode())
                if h % 3 != 0:
                    tokens.append(piece)
                    types.append(NORMAL)
                    scores.append(-float((h >> 8) % 500))
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.scores": scores,
        "tokenizer.ggml.add_eos_token": True,
    }


def probe_vocab(pre, followers):
    """All bytes, and every byte merged with each of `followers`: shows whether they are in one word."""
    alphabet = byte_alphabet()
    pairs = [(left, alphabet[ord(right)]) for right in followers for left in alphabet]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": alphabet + [left + right for left, right in pairs],
        "tokenizer.ggml.merges": [f"{left} {right}" for left, right in pairs],
    }


def encode_value(value):
    """Type and value as GGUF stores them."""
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, str):
        data = value.encode()
        return struct.pack("<IQ", 8, len(data)) + data
    kind = {str: 8, int: 5, float: 6}[type(value[0])]
    head = struct.pack("<IIQ", 9, kind, len(value))
    if kind == 8:
        encoded = [item.encode() for item in value]
        return head + b"".join(struct.pack("<Q", len(item)) + item for item in encoded)
    return head + struct.pack(f"<{len(value)}{'i' if kind == 5 else 'f'}", *value)


def load_made_up(pairs):
    """Loads metadata that is not in a file."""
    pairs = {"general.architecture": "llama", **pairs}
    with tempfile.NamedTemporaryFile(suffix=".gguf") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs)))
        for key, value in pairs.items():
            file.write(struct.pack("<Q", len(key)) + key.encode() + encode_value(value))
        file.flush()
        return Vocab(file.name)


# The classes of all characters, read off tokenizations.


def ends_merged(vocab, char, follower, followers):
    """Whether `char` and `follower` are in one word."""
    merged = 256 + 256 * followers.index(follower) + char.encode()[-1]
    return merged in vocab.encode(char + follower, False, False)


def punctuation(chars):
    """Which characters `default` isolates as punctuation: those that stay in one word with a dot."""
    vocab = load_made_up(probe_vocab("default", "."))
    found = set()
    # The expressions of `default` are compiled in every call, so that many characters go into one.
    for start in range(0, len(chars), 4096):
        part = chars[start : start + 4096]
        ids = iter(vocab.encode("".join(f"{c}.\n" for c in part), False, False))
        for c in part:
            data = c.encode()
            got = [next(ids) for _ in data]
            assert got[:-1] == list(data[:-1]), (c, got)
            if got[-1] == 256 + data[-1]:
                found.add(c)
            else:
                assert got[-1] == data[-1] and next(ids) == ord("."), (c, got)
            assert next(ids) == ord("\n"), c
        assert next(ids, None) is None
    vocab.close()
    return found


def classes():
    """Runs of characters of one class: L letter, N number, P punctuation, W white space, o other."""
    followers = "a1!\n"
    chars = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    isolated = punctuation(chars)
    vocab = load_made_up(probe_vocab("gpt-2", followers))
    runs = []
    last = None
    for c in chars:
        joins = [ends_merged(vocab, c, follower, followers) for follower in followers]
        if joins[3]:
            kind = "W"
        else:
            assert sum(joins) == 1, (c, joins)
            kind = "LNo"[joins.index(True)]
        if c in isolated:
            assert kind == "o", c
            kind = "P"
        if kind != last:
            runs.append(f"{ord(c):x}{kind}")
            last = kind
    vocab.close()
    lines = [""]
    for run in runs:
        if lines[-1] and len(lines[-1]) + 1 + len(run) > 110:
            lines.append("")
        lines[-1] += f" {run}" if lines[-1] else run
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smollm2", type=pathlib.Path)
    parser.add_argument("--qwen2.5-coder-0.5b", dest="qwen_coder", type=pathlib.Path)
    parser.add_argument("--vocabs", type=pathlib.Path)
    parser.add_argument("--only", nargs="*", help="names of snapshots")
    args = parser.parse_args()

    strings = common.sha256(STRINGS)
    jobs = {"unicode_classes": (classes, {})}
    for pre in PRES:
        jobs[f"pairs-{pre}"] = (lambda pre=pre: load_made_up(pairs_vocab(pre)), {"strings_sha256": strings})
    jobs["substrings"] = (lambda: load_made_up(substrings_vocab()), {"strings_sha256": strings})
    files = {"smollm2": args.smollm2, "qwen2.5-coder-0.5b": args.qwen_coder}
    if args.vocabs:
        files |= {name: args.vocabs / f"ggml-vocab-{name}.gguf" for name in VOCABS}
    for name, path in files.items():
        if path:
            info = {"strings_sha256": strings, "model_sha256": common.sha256(path)}
            jobs[name] = (lambda path=path: Vocab(path), info)

    for name, (make, info) in jobs.items():
        if args.only and name not in args.only:
            continue
        made = make()
        if isinstance(made, Vocab):
            text = describe(made)
            made.close()
        else:
            text = made
        print(common.write_snap("tokens", name, text, common.provenance(**info)).name, flush=True)


if __name__ == "__main__":
    sys.exit(main())
