"""Tokenization by llama.cpp: ids, text, pieces and roles of tokens, for real and for made-up vocabularies.

    python tokens.py --smollm2 FILE [--qwen2.5-coder-0.5b FILE] [--gemma3-270m FILE] [--vocabs FOLDER] [--only NAME ...]

FOLDER holds the `ggml-vocab-*.gguf` of llama.cpp (`vendor/llama.cpp/models` of the source package of the reference).
The texts are those of golden/tokens/strings.json; vocabs.py makes up vocabularies.
"""

import argparse
import ctypes
import hashlib
import json
import pathlib
import struct
import tempfile
import threading

import common
import llama_cpp
import reference  # noqa: F401  (starts the library, silences it)
import vocabs

# Vocabularies of the source package.
VOCABS = [
    "aquila",
    "baichuan",
    "bert-bge",
    "command-r",
    "deepseek-coder",
    "deepseek-llm",
    "falcon",
    "gemma-4",
    "gpt-2",
    "gpt-neox",
    "llama-bpe",
    "llama-spm",
    "mpt",
    "nomic-bert-moe",
    "phi-3",
    "qwen2",
    "qwen35",
    "refact",
    "starcoder",
]
# One name of each way of cutting text into words.
PRES = [
    "afmoe",
    "bloom",
    "chameleon",
    "deepseek-coder",
    "deepseek-llm",
    "deepseek-v3",
    "default",
    "exaone-moe",
    "falcon",
    "gpt-2",
    "gpt-4o",
    "granite-embed-multi-97m",
    "jais-2",
    "kimi-k2",
    "laguna",
    "llama-bpe",
    "minicpm5",
    "qwen2",
    "qwen35",
    "seed-coder",
    "smollm",
    "spark2_5",
    "superbpe",
    "tekken",
    "tiny_aya",
    "ufakzeka",
    "viking",
    "youtu",
]
# The other names.
PRES_TOO = """
    llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano mpt starcoder phi-2 jina-es jina-de gigachat
    jina-v2-es jina-v2-de a.x-4.0 mellum modern-bert gemma4 granite-embed-multi-311m sarvam-moe jina-v1-en jina-v2-code
    roberta-bpe refact command-r deepseek-r1-qwen kormo f2llmv2 stablelm2 olmo dbrx smaug-bpe poro-chat chatglm-bpe
    glm4 glm5 jais codeshell gpt3-finnish exaone exaone4 minerva-7b megrez llama4 kanana2 talkie cohere2moe trillion
    granite-docling bailingmoe bailingmoe2 llada-moe hunyuan hunyuan-dense hy_v4 joyai-llm grok-2 minimax-m2 solar-open
    mellum2
""".split()


def read_strings():
    """(name, text) of every entry; broken UTF-8 is made whole with U+FFFD, as lockstep does before it tokenizes."""
    for entry in json.loads(vocabs.STRINGS.read_text()):
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
        size = 4 * len(data) + 8
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
    """All of them, or of many the first, the last, their number and the SHA-256 of them as little-endian u32, of which
    half is enough."""
    if not ids:
        return "none"
    words = [str(i) for i in ids]
    if len(ids) > 14:
        words = [*words[:6], "...", words[-1], f"({len(ids)} ids, sha256 {sha256_of_ids(ids)})"]
    return " ".join(words)


def sha256_of_ids(ids):
    return hashlib.sha256(struct.pack(f"<{len(ids)}I", *ids)).hexdigest()[:32]


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
    if len(escaped) > 80:
        return f"sha256 {hashlib.sha256(text.encode()).hexdigest()[:32]} ({len(text)} characters)"
    return f'"{escaped}"'


def optional(token):
    return "none" if token < 0 else str(token)


def yes(value):
    return "true" if value else "false"


FIM = [getattr(llama_cpp, f"llama_vocab_fim_{role}") for role in ("pre", "suf", "mid", "pad", "rep", "sep")]


def describe(vocab):
    """The snapshot of one vocabulary. Of each text, lines that would only say `=` are left out."""
    v, ids = vocab.vocab, range(vocab.n)
    eog = [i for i in ids if llama_cpp.llama_vocab_is_eog(v, i)]
    control = [i for i in ids if llama_cpp.llama_vocab_is_control(v, i)]
    lines = [
        f"tokens: {vocab.n}",
        f"bos: {optional(llama_cpp.llama_vocab_bos(v))}, added: {yes(llama_cpp.llama_vocab_get_add_bos(v))}",
        f"eos: {optional(llama_cpp.llama_vocab_eos(v))}, added: {yes(llama_cpp.llama_vocab_get_add_eos(v))}",
        f"sep: {optional(llama_cpp.llama_vocab_sep(v))}, added: {yes(llama_cpp.llama_vocab_get_add_sep(v))}",
        f"pad, mask: {optional(llama_cpp.llama_vocab_pad(v))} {optional(llama_cpp.llama_vocab_mask(v))}",
        f"fim: {' '.join(optional(get(v)) for get in FIM)}",
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


def load_made_up(pairs):
    """Loads metadata that is not in a file."""
    with tempfile.NamedTemporaryFile(suffix=".gguf") as file:
        vocabs.write_gguf(file, pairs)
        return Vocab(file.name)


# The classes of all characters, read off tokenizations.


def ends_merged(vocab, char, follower, followers):
    """Whether `char` and `follower` are in one word."""
    merged = 256 + 256 * followers.index(follower) + char.encode()[-1]
    return merged in vocab.encode(char + follower, False, False)


def punctuation(chars):
    """Which characters `default` isolates as punctuation: those that stay in one word with a dot."""
    vocab = load_made_up(vocabs.probe_vocab("default", "."))
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
    vocab = load_made_up(vocabs.probe_vocab("gpt-2", followers))
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
    return wrap(runs)


def wrap(words):
    """Lines of up to 110 characters."""
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + 1 + len(word) > 110:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return "\n".join(lines)


# What WPM makes of all characters.


def fates(lowercase):
    """Runs of characters of one fate between `x` and `y`: `-` dropped, `_` white space, `!` a word of its own, `=` kept,
    otherwise what it becomes."""
    vocab = load_made_up(vocabs.fates_vocab(lowercase))
    n_special = 5

    def fate(char):
        ids = vocab.encode(f"x{char}y", False, False)
        assert all(i >= n_special - 1 for i in ids), char
        data = b"".join(b"\n" if i == n_special - 1 else bytes([i - n_special + 1]) for i in ids)
        words = data.decode().split("\n")[1:]
        if words == ["xy"]:
            return "-"
        if words == ["x", "y"]:
            return "_"
        shown = (words[0][1:-1] if len(words) == 1 else words[1]) if len(words) in (1, 3) else None
        assert shown, (char, words)
        changed = "" if shown == char else "+".join(f"{ord(c):x}" for c in shown)
        return ("!" + changed) if len(words) == 3 else (changed or "=")

    runs = []
    last = None
    for c in range(0x110000):
        # SPACE marks the beginnings of words.
        if 0xD800 <= c < 0xE000 or chr(c) in ("x", "y", vocabs.SPACE):
            continue
        if (kind := fate(chr(c))) != last:
            runs.append(f"{c:x}{kind}")
            last = kind
    vocab.close()
    return wrap(runs)


# What goes with the names of pre-tokenizers.


def pre_tokenizers():
    """A line for each name: what it adds to texts, and the SHA-256 of ids and decoded text of every tenth string."""
    lines = []
    texts = [text for _, text in read_strings()][::10]
    for pre in sorted([*PRES, *PRES_TOO]):
        made = load_made_up(vocabs.pairs_vocab(pre))
        v = made.vocab
        bos, eos = (optional(get(v)) for get in (llama_cpp.llama_vocab_bos, llama_cpp.llama_vocab_eos))
        adds = [llama_cpp.llama_vocab_get_add_bos, llama_cpp.llama_vocab_get_add_eos, llama_cpp.llama_vocab_get_add_sep]
        added = [name for name, get in zip(("bos", "eos", "sep"), adds) if get(v)]
        ids, decoded = [], ""
        for text in texts:
            these = made.encode(text, True, False)
            ids += these
            decoded += made.decode(these, False, False)
        digest = hashlib.sha256(decoded.encode()).hexdigest()[:32]
        lines.append(
            f"{pre}: {bos} {eos}, adds {' '.join(added) or 'nothing'}, "
            f"{len(ids)} ids {sha256_of_ids(ids)}, decoded {digest}"
        )
        made.close()
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smollm2", type=pathlib.Path)
    parser.add_argument("--qwen2.5-coder-0.5b", dest="qwen_coder", type=pathlib.Path)
    parser.add_argument("--gemma3-270m", dest="gemma", type=pathlib.Path)
    parser.add_argument("--vocabs", type=pathlib.Path)
    parser.add_argument("--only", nargs="*", help="names of snapshots")
    args = parser.parse_args()

    strings = {"strings_sha256": common.sha256(vocabs.STRINGS)}
    jobs = {
        "unicode_classes": (classes, {}),
        "wpm_characters": (lambda: fates(True), {}),
        "wpm_characters_cased": (lambda: fates(False), {}),
        "pre_tokenizers": (pre_tokenizers, strings),
    }
    made_up = {f"pairs-{pre}": (vocabs.pairs_vocab, [pre]) for pre in PRES} | {
        "substrings": (vocabs.substrings_vocab, []),
        "wpm": (vocabs.wordpieces_vocab, [True]),
        "wpm-cased": (vocabs.wordpieces_vocab, [False]),
        "ugm": (vocabs.unigram_vocab, [False]),
        "ugm-spaces": (vocabs.unigram_vocab, [True]),
        "rwkv": (vocabs.rwkv_vocab, []),
        "plamo2": (vocabs.plamo2_vocab, []),
        "characters-gemma4": (vocabs.characters_vocab, ["gemma4", "default"]),
        "characters-sarvam-moe": (vocabs.characters_vocab, ["gpt2", "sarvam-moe"]),
        "characters-whitespace": (vocabs.characters_vocab, ["whitespace", "whitespace"]),
        "characters-hybriddna": (vocabs.characters_vocab, ["hybriddna", "sarvam-moe"]),
    }
    for name, (recipe, args_of_it) in made_up.items():
        jobs[name] = (lambda recipe=recipe, given=args_of_it: load_made_up(recipe(*given)), strings)
    files = {"smollm2": args.smollm2, "qwen2.5-coder-0.5b": args.qwen_coder, "gemma3-270m": args.gemma}
    if args.vocabs:
        files |= {name: args.vocabs / f"ggml-vocab-{name}.gguf" for name in VOCABS}
    for name, path in files.items():
        if path:
            info = {**strings, "model_sha256": common.sha256(path)}
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
    # The reference's regular expressions recurse for every character.
    threading.stack_size(1 << 30)
    thread = threading.Thread(target=main)
    thread.start()
    thread.join()
