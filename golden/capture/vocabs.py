"""Made-up vocabularies for the captures of tokens, by recipes that crates/tokenizer/tests/support follows too, so that
the tests need no file for them."""

import json
import struct

import common

STRINGS = common.GOLDEN / "tokens" / "strings.json"

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

SPACE = "\u2581"
BYTE_TOKENS = [f"<0x{b:02X}>" for b in range(256)]


class Tokens:
    """A list of tokens that grows."""

    def __init__(self):
        self.texts, self.types, self.scores, self.seen = [], [], [], set()

    def add(self, text, kind, score=0.0):
        self.texts.append(text)
        self.types.append(kind)
        self.scores.append(score)
        self.seen.add(text)

    def metadata(self, model, **more):
        return {
            "tokenizer.ggml.model": model,
            "tokenizer.ggml.tokens": self.texts,
            "tokenizer.ggml.token_type": self.types,
            "tokenizer.ggml.scores": self.scores,
            **{f"tokenizer.ggml.{key}": value for key, value in more.items()},
        }


def spaced_texts():
    """The texts of strings.json, not repeated, with SPACE in front and for spaces."""
    for entry in json.loads(STRINGS.read_text()):
        yield SPACE + entry.get("text", "").replace(" ", SPACE)


def fnv1a(data):
    h = 0x811C9DC5
    for byte in data:
        h = (h ^ byte) * 0x01000193 & 0xFFFFFFFF
    return h


def substrings(tokens):
    """Two thirds of the substrings of the texts, up to six characters, with hashes: many have equal scores."""
    for text in spaced_texts():
        for start in range(len(text)):
            for end in range(start + 1, min(start + 6, len(text)) + 1):
                piece = text[start:end]
                # The reference cuts token texts at a NUL. Of several tokens with one role it takes the first in the order
                # of a hash map: not here.
                if piece in tokens.seen or "\0" in piece or piece in (SPACE + "<PRE>", SPACE + "<SUF>", SPACE + "<MID>"):
                    continue
                tokens.seen.add(piece)
                h = fnv1a(piece.encode())
                if h % 3 != 0:
                    yield piece, h


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


def substrings_vocab():
    """SPM: special tokens, all bytes, substrings."""
    tokens = Tokens()
    for text, kind in [("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)]:
        tokens.add(text, kind)
    for text in BYTE_TOKENS:
        tokens.add(text, BYTE)
    for text in ["<tool_call>", "  "]:
        tokens.add(text, USER_DEFINED)
    for piece, h in substrings(tokens):
        tokens.add(piece, NORMAL, -float((h >> 8) % 500))
    return tokens.metadata("llama", add_eos_token=True)


def wordpieces_vocab(lowercase):
    """WPM: special tokens, substrings."""
    tokens = Tokens()
    for text in ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]:
        tokens.add(text, CONTROL)
    for piece, h in substrings(tokens):
        if h % 11 != 0:
            tokens.add(piece, NORMAL)
    more = {} if lowercase else {"normalizer.lowercase": False}
    return tokens.metadata(
        "bert", unknown_token_id=1, bos_token_id=2, seperator_token_id=3, padding_token_id=0, mask_token_id=4, **more
    )


# What the made-up map of characters replaces.
REPLACED = [
    ("\ufb01", "fi"),
    ("\uff21", "A"),
    ("\uff22\uff23", "BC"),
    ("\u3000", " "),
    ("\t", " "),
    ("\n", " "),
    ("\xbd", "1\u20442"),
    ("e\u0301", "\xe9"),
    ("\xad", ""),
    ("\u2026", "..."),
    ("\u200b", " "),
    ("'s", "'S"),
]


def charsmap():
    """SentencePiece's map of characters, as a double array in which every state has 256 entries for itself."""
    replacements, states, ends = b"", {b"": 1}, {}
    for key, to in REPLACED:
        data = key.encode()
        for n in range(1, len(data) + 1):
            states.setdefault(data[:n], len(states) + 1)
        ends[data] = len(replacements)
        replacements += to.encode() + b"\0"
    entries = [0] * (256 * (len(states) + 1))
    entries[0] = 256 << 10
    for key, number in states.items():
        if key:
            at = 256 * states[key[:-1]] + key[-1]
            entries[at] = (at ^ 256 * number) << 10 | (key in ends) << 8 | key[-1]
        if key in ends:
            entries[256 * number] = 1 << 31 | ends[key]
    return struct.pack("<I", 4 * len(entries)) + struct.pack(f"<{len(entries)}I", *entries) + replacements


def unigram_vocab(spaces):
    """UGM: special tokens, substrings, some of them reserved; `spaces`: with a map of characters and tidy spaces."""
    tokens = Tokens()
    for text, kind in [("<pad>", CONTROL), ("</s>", CONTROL), ("<unk>", UNKNOWN)]:
        tokens.add(text, kind)
    for text in ["<tool_call>", "<tool_", "\u2192"]:
        tokens.add(text, USER_DEFINED)
    for piece, h in substrings(tokens):
        tokens.add(piece, UNUSED if h % 17 == 0 else NORMAL, -float((h >> 8) % 500) / 32)
    more = {}
    if spaces:
        more = {"precompiled_charsmap": charsmap(), "add_space_prefix": True, "remove_extra_whitespaces": True}
    return tokens.metadata("t5", **more)


def escaped(data, whole):
    """Bytes as Python would write them; characters beyond ASCII as they are if `whole`."""
    if whole:
        return "".join(escaped(c.encode(), False) if c < "\x7f" else c for c in data.decode())
    return "".join(chr(b) if 0x20 <= b < 0x7F and b not in b"\\'\"" else f"\\x{b:02x}" for b in data)


def rwkv_vocab():
    """RWKV: all bytes, then substrings, written in one way or another."""
    tokens = Tokens()
    tokens.add("<s>", CONTROL)
    for b in range(256):
        tokens.add(f"\\x{b:02x}", NORMAL)
    for text in ["\\n\\n", "\\t", "\\r\\n", "a\\'s"]:
        tokens.add(text, NORMAL)
    written = set(tokens.texts)
    for piece, h in list(substrings(tokens)):
        text = escaped(piece.replace(SPACE, " ").encode(), h & 1024)
        if text not in written:
            written.add(text)
            tokens.add(text, NORMAL)
    return tokens.metadata("rwkv")


def plamo2_vocab():
    """PLaMo-2: special tokens, all bytes, substrings."""
    tokens = Tokens()
    for text, kind in [("unk", UNKNOWN), ("bos", CONTROL), ("eos", CONTROL), ("pad", CONTROL)]:
        tokens.add(f"<|plamo:{text}|>", kind)
    for text in BYTE_TOKENS:
        tokens.add(text, BYTE)
    tokens.add("[PAD1]", UNUSED, -1000.0)
    written = set(tokens.texts)
    for piece, h in list(substrings(tokens)):
        piece = piece.replace(SPACE, " ")
        if piece not in written:
            written.add(piece)
            tokens.add(piece, NORMAL, -float((h >> 8) % 500) / 64)
    return tokens.metadata("plamo2")


def characters_vocab(model, pre, **more):
    """BPE of characters: special tokens, bytes, seven of eight characters, many of their pairs in scrambled order, and
    line feeds."""
    tokens = Tokens()
    for text, kind in [("<unk>", UNKNOWN), ("<bos>", CONTROL), ("<eos>", CONTROL), ("<dna>", CONTROL)]:
        tokens.add(text, kind)
    for text in ["</dna>", "<oov>"]:
        tokens.add(text, NORMAL)
    if model == "hybriddna":
        for i in range(0, 4096, 5):
            tokens.add("".join("ACGT"[i >> 2 * n & 3] for n in range(6)) + "\ue000", NORMAL)
    for text in BYTE_TOKENS:
        tokens.add(text, BYTE)
    texts = list(spaced_texts())
    kept = sorted({c for text in texts for c in text if c != "\0" and fnv1a(c.encode()) % 8 != 0})
    for c in kept:
        tokens.add(c, NORMAL)
    pairs = {left + right for text in texts for left, right in zip(text, text[1:]) if "\n" not in left + right}
    pairs = [pair for pair in pairs if pair[0] in tokens.seen and pair[1] in tokens.seen]
    hashes = sorted((fnv1a(pair.encode()), pair) for pair in pairs if fnv1a(pair.encode()) % 4 != 0)
    merges = []
    for _, pair in hashes:
        if pair not in tokens.seen:
            tokens.add(pair, NORMAL)
            merges.append(f"{pair[0]} {pair[1]}")
    for n in (2, 3, 5):
        tokens.add("\n" * n, NORMAL)
    ids = {"bos_token_id": 1, "eos_token_id": 2, "unknown_token_id": 0}
    return tokens.metadata(model, pre=pre, merges=merges, **ids, **more)


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


def fates_vocab(lowercase):
    """WPM: every byte a token of its own, and SPACE: shows what becomes of characters."""
    special = ["<unk>", "<bos>", "<sep>", "<pad>", SPACE]
    tokens = special + [bytes([b]) for b in range(1, 256)]
    return {
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.normalizer.lowercase": lowercase,
    }


def encode_value(value):
    """Type and value as GGUF stores them; bytes are an array of u8."""
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, bytes):
        return struct.pack("<IIQ", 9, 0, len(value)) + value
    if isinstance(value, str):
        data = value.encode()
        return struct.pack("<IQ", 8, len(data)) + data
    kind = {str: 8, bytes: 8, int: 5, float: 6}[type(value[0])]
    head = struct.pack("<IIQ", 9, kind, len(value))
    if kind == 8:
        encoded = [item if isinstance(item, bytes) else item.encode() for item in value]
        return head + b"".join(struct.pack("<Q", len(item)) + item for item in encoded)
    return head + struct.pack(f"<{len(value)}{'i' if kind == 5 else 'f'}", *value)


def write_gguf(file, pairs):
    """Writes a GGUF file of metadata only."""
    pairs = {"general.architecture": "llama", **pairs}
    file.write(b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs)))
    for key, value in pairs.items():
        file.write(struct.pack("<Q", len(key)) + key.encode() + encode_value(value))
    file.flush()
