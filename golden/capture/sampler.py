"""Captures the sampler goldens: candidate states after every stage, picks, and the libm they rest on.

    python golden/capture/sampler.py [--smollm2 FILE]

drives libllama's sampler API on synthetic logits; no model is needed. The cases are in
sampler_cases.txt. With SmolLM2 also what DRY makes of texts as sequence breakers, in its vocabulary
(dry_breakers.json).
"""

import argparse
import collections
import ctypes
import hashlib
import json
import pathlib

import llama_cpp
import numpy as np

import common
import tokens

CASES = pathlib.Path(__file__).with_name("sampler_cases.txt")
BREAKERS = CASES.with_name("dry_breakers.json")
CANDIDATE = np.dtype([("id", "<i4"), ("logit", "<f4"), ("p", "<f4")])
NEG_INF = np.float32(-np.inf)


# --- logits, made from a seed; crates/sampler/tests/golden.rs makes the same ---


def uniforms(seed, first, n):
    """splitmix64 outputs number `first` to `first + n - 1` of a seed, as f32 in [0, 1): their top 24 bits over 2^24."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + (np.arange(first, first + n, dtype=np.uint64) + np.uint64(1)) * np.uint64(
            0x9E3779B97F4A7C15
        )
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24)


def shaped(shape, choice, value):
    """A logit from two uniform numbers; f32 arithmetic throughout."""
    f = np.float32
    if shape == "flat":
        return value * f(2) - f(1)
    if shape == "bimodal":
        return np.where(choice < f(0.05), f(6) + value, value * f(2) - f(8))
    peaked = f(0.02) / (value + f(0.0005)) - f(5)
    if shape == "peaked":
        return peaked
    if shape == "banned":
        return np.where(choice < f(0.3), NEG_INF, peaked)
    raise ValueError(shape)


def logits(shape, n, seed):
    """The first `n` values of a shape that have not occurred before (-inf may repeat)."""
    words = uniforms(seed, 0, 4 * n + 64)
    values = shaped(shape, words[0::2], words[1::2])
    _, firsts = np.unique(values, return_index=True)
    new = np.zeros(len(values), bool)
    new[firsts] = True
    new |= values == NEG_INF
    values = values[new][:n]
    assert len(values) == n
    return values.astype(np.float32)


# --- the chain ---


def stages(case):
    """(name, sampler) of a case, in order."""
    get = lambda key, default: float(case.get(key, default))
    min_keep = int(case.get("min_keep", 0))
    seed = int(case.get("seed", 42))
    made = []
    if case.get("bias"):
        pairs = [pair.split(":") for pair in case["bias"].split(",")]
        biases = (llama_cpp.llama_logit_bias * len(pairs))(*[(int(i), float(b)) for i, b in pairs])
        made.append(("logit_bias", llama_cpp.llama_sampler_init_logit_bias(case["n"], len(pairs), biases)))
    make = {
        "penalties": lambda: llama_cpp.llama_sampler_init_penalties(
            case["n"], int(case.get("last_n", 0)), get("repeat", 1), get("freq", 0), get("present", 0)
        ),
        "dry": lambda: llama_cpp.llama_sampler_init_dry(
            None,
            get("dry_multiplier", 0),
            get("dry_base", 1.75),
            int(case.get("dry_allowed_length", 2)),
            int(case.get("dry_last_n", 64)),
            None,
            0,
        ),
        "top_n_sigma": lambda: llama_cpp.llama_sampler_init_top_n_sigma(get("top_n_sigma", -1)),
        "xtc": lambda: llama_cpp.llama_sampler_init_xtc(
            get("xtc_probability", 0), get("xtc_threshold", 0.1), min_keep, seed
        ),
        "top_k": lambda: llama_cpp.llama_sampler_init_top_k(int(case.get("top_k", 0))),
        "typ_p": lambda: llama_cpp.llama_sampler_init_typical(get("typ_p", 1), min_keep),
        "top_p": lambda: llama_cpp.llama_sampler_init_top_p(get("top_p", 1), min_keep),
        "min_p": lambda: llama_cpp.llama_sampler_init_min_p(get("min_p", 0), min_keep),
        "temperature": lambda: llama_cpp.llama_sampler_init_temp_ext(
            get("temp", 1), get("dynatemp_range", 0), get("dynatemp_exponent", 1)
        ),
    }
    made += [(name, make[name]()) for name in case["order"].split(",") if name not in ("", "adaptive_p")]
    made.append(draw(case, seed, get))
    # A sampler whose parameters turn it off is named with a question mark; it changes nothing.
    return [(name, s) for name, s in made if not llama_cpp.llama_sampler_name(s).startswith(b"?")]


def draw(case, seed, get):
    """The last sampler, which picks."""
    tau, eta = get("mirostat_tau", 5), get("mirostat_eta", 0.1)
    if case.get("mirostat") == "1":
        return "mirostat", llama_cpp.llama_sampler_init_mirostat(case["n"], seed, tau, eta, 100)
    if case.get("mirostat") == "2":
        return "mirostat", llama_cpp.llama_sampler_init_mirostat_v2(seed, tau, eta)
    if "adaptive_p" in case["order"].split(","):
        target, decay = get("adaptive_target", -1), get("adaptive_decay", 0.9)
        return "adaptive_p", llama_cpp.llama_sampler_init_adaptive_p(target, decay, seed)
    return "dist", llama_cpp.llama_sampler_init_dist(seed)


class Chain:
    """A case's chain, fed one vector of logits at a time."""

    def __init__(self, case):
        self.stages = stages(case)
        self.mirostat = Mirostat(case) if case.get("mirostat") == "1" else None
        for token in filter(None, case.get("accept", "").split(",")):
            self.accept(int(token))

    def accept(self, token):
        for _, sampler in self.stages:
            llama_cpp.llama_sampler_accept(sampler, token)

    def sample(self, values, show=lambda name, state, is_sorted: None):
        """Runs the stages on fresh candidates; returns the picked id, which it accepts."""
        items = np.zeros(len(values), CANDIDATE)
        items["id"] = np.arange(len(values))
        items["logit"] = values
        array = llama_cpp.llama_token_data_array(
            items.ctypes.data_as(llama_cpp.llama_token_data_p), len(values), -1, False
        )
        start = ctypes.addressof(array.data.contents)
        state = items
        for name, sampler in self.stages:
            before, was_sorted = state.copy(), array.sorted
            llama_cpp.llama_sampler_apply(sampler, ctypes.byref(array))
            # XTC moves the beginning.
            first, odd = divmod(ctypes.addressof(array.data.contents) - start, CANDIDATE.itemsize)
            assert odd == 0 and first >= 0
            state = items[first : first + array.size]
            refuse_ties(name, before, was_sorted, state, array.sorted)
            if self.mirostat and name == "mirostat":
                self.mirostat.follow(before["logit"], state, array.selected)
            # Adaptive-p bends the logits and leaves the flag as it was.
            is_sorted = array.sorted and bool(np.all(state["logit"][1:] <= state["logit"][:-1]))
            show(name, state, is_sorted)
        picked = int(state["id"][array.selected])
        self.accept(picked)
        return picked

    def free(self):
        for _, sampler in self.stages:
            llama_cpp.llama_sampler_free(sampler)


class Mirostat:
    """Follows mirostat 1 in double precision, to refuse what C++ leaves undefined: more tokens kept than an int counts."""

    def __init__(self, case):
        self.n_vocab, self.tau = case["n"], float(case.get("mirostat_tau", 5))
        self.eta, self.mu = float(case.get("mirostat_eta", 0.1)), 2 * self.tau

    def follow(self, logits, state, selected):
        p = np.sort(np.exp(logits.astype(np.float64) - np.max(logits)))[::-1][:100]
        if len(p) > 1 and p[1:].all():
            t = np.log(np.arange(2, len(p) + 1) / np.arange(1, len(p)))
            exponent = np.sum(t * np.log(p[:-1] / p[1:])) / np.sum(t * t)
            epsilon = exponent - 1
            mass = 1 - self.n_vocab**-epsilon
            if np.log2(epsilon * 2**self.mu / mass) / exponent > 30.9:
                raise SystemExit("mirostat keeps more tokens than an int counts")
        self.mu -= self.eta * (-np.log2(float(state["p"][selected])) - self.tau)


def refuse_ties(name, before, was_sorted, state, is_sorted):
    """Ties have no defined order in llama.cpp, so no golden may contain one where something is sorted."""
    if is_sorted and not was_sorted:
        # Those kept, and the first that was not; all that can be picked where more was sorted than is kept.
        n = np.count_nonzero(before["logit"] > NEG_INF) if name in ("xtc", "mirostat") else len(state) + 1
        highest = -np.sort(-before["logit"])[:n]
        if len(np.unique(highest)) != len(highest):
            raise SystemExit(f"{name} sorted equal logits")
    if name == "typ_p":
        ordered = before[np.argsort(-before["logit"].astype(np.float64))]["logit"]
        scores = typical_scores(ordered)
        if len(set(scores)) != len(scores) or not np.all(np.isfinite(scores)):
            raise SystemExit("equal or NaN scores in typ_p")


# --- libm, for the ties above and for its own golden ---

LIBM = ctypes.CDLL("libm.so.6")
for function, n_args in (("expf", 1), ("logf", 1), ("log2f", 1), ("powf", 2)):
    getattr(LIBM, function).restype = ctypes.c_float
    getattr(LIBM, function).argtypes = [ctypes.c_float] * n_args


def typical_scores(sorted_logits):
    f = np.float32
    p = [f(LIBM.expf(float(l - sorted_logits[0]))) for l in sorted_logits]
    total = f(0)
    for x in p:
        total = f(total + x)
    p = [f(x / total) for x in p]
    logs = [f(LIBM.logf(float(x))) for x in p]
    entropy = f(0)
    for x, log in zip(p, logs):
        entropy = f(entropy + f(-x * log))
    return [abs(f(-log - entropy)) for log in logs]


# (name, function of a float, first bits, last bits, step); golden.rs has the same table.
LIBM_RANGES = [
    ("expf x<=0", lambda x: LIBM.expf(x), 0x80000000, 0xC2D20000, 2203),
    ("expf x>=0", lambda x: LIBM.expf(x), 0x00000000, 0x42B20000, 2203),
    ("logf", lambda x: LIBM.logf(x), 0x00000001, 0x7F7FFFFF, 4211),
    ("log2f", lambda x: LIBM.log2f(x), 0x00000001, 0x7F7FFFFF, 4211),
    ("powf y=-0.7", lambda x: LIBM.powf(x, -0.7), 0x30000000, 0x4F900000, 1009),
    ("powf x=2", lambda x: LIBM.powf(2.0, x), 0x3C000000, 0x42F00000, 1009),
    ("powf y=0.5", lambda x: LIBM.powf(x, 0.5), 0x30000000, 0x3F900000, 1009),
    ("powf y=1.7", lambda x: LIBM.powf(x, 1.7), 0x30000000, 0x3F900000, 1009),
    ("powf y=3", lambda x: LIBM.powf(x, 3.0), 0x30000000, 0x3F900000, 1009),
]


def libm_text():
    lines = []
    for name, function, first, last, step in LIBM_RANGES:
        inputs = np.arange(first, last + 1, step, dtype=np.uint64).astype(np.uint32).view(np.float32)
        outputs = np.array([function(float(x)) for x in inputs], np.float32)
        digest = hashlib.sha256(outputs.astype("<f4").tobytes()).hexdigest()
        lines.append(f"{name}: {len(inputs)} inputs, bits {first:08x} to {last:08x} by {step}, sha256 {digest}")
        for at in range(0, len(inputs), len(inputs) // 8):
            x, y = inputs[at : at + 1], outputs[at : at + 1]
            lines.append(f"  {x.view(np.uint32)[0]:08x} -> {y.view(np.uint32)[0]:08x}")
    return "\n".join(lines)


# --- text ---


def state_text(name, state, is_sorted):
    """A state: how many, the first 16 with exact bits, and the hash of all (id, logit, p as 32-bit words)."""
    digest = hashlib.sha256(state.tobytes()).hexdigest()
    lines = [f"after {name}: {len(state)} candidates, {'sorted' if is_sorted else 'unsorted'}, sha256 {digest}"]
    for at, row in enumerate(state[:16]):
        logit_bits, p_bits = row["logit"].view(np.uint32), row["p"].view(np.uint32)
        lines.append(
            f"  {at:2} id {row['id']:5} logit {logit_bits:08x} {row['logit']:.6f} p {p_bits:08x} {row['p']:.6f}"
        )
    return "\n".join(lines)


def case_text(line, case):
    lines = [f"# {line}"]
    if "draws" not in case:
        chain = Chain(case)
        show = lambda *state: lines.append(state_text(*state))
        picked = chain.sample(logits(case["shape"], case["n"], case["logit_seed"]), show)
        lines.append(f"picked {picked}")
        chain.free()
        return "\n".join(lines)
    draws = int(case["draws"])
    vectors = [logits(case["shape"], case["n"], case["logit_seed"] + draw) for draw in range(draws)]
    for seed in range(int(case["seeds"])):
        chain = Chain({**case, "seed": seed})
        lines.append(f"seed {seed}: " + " ".join(str(chain.sample(values)) for values in vectors))
        chain.free()
    return "\n".join(lines)


def breakers_text(case, vocab):
    """What DRY takes from the logits of which tokens behind a text, all logits being 0."""
    breakers = [text.encode() for text in case["breakers"]]
    assert all(0 < len(text) <= 40 for text in breakers)
    sampler = llama_cpp.llama_sampler_init_dry(
        vocab.vocab, 1.0, 2.0, 0, 1000, (ctypes.c_char_p * len(breakers))(*breakers), len(breakers)
    )
    ids = vocab.encode(case["text"], False, False)
    for token in ids:
        llama_cpp.llama_sampler_accept(sampler, token)
    items = np.zeros(vocab.n, CANDIDATE)
    items["id"] = np.arange(vocab.n)
    array = llama_cpp.llama_token_data_array(items.ctypes.data_as(llama_cpp.llama_token_data_p), vocab.n, -1, False)
    llama_cpp.llama_sampler_apply(sampler, ctypes.byref(array))
    llama_cpp.llama_sampler_free(sampler)
    lines = [f"{case['name']}: {ids}"]
    # The penalties are whole numbers: powers of 2.
    lines += [f"  {row['id']} {int(row['logit'])}" for row in items[items["logit"] != 0]]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smollm2", type=pathlib.Path, metavar="FILE")
    args = parser.parse_args()
    if args.smollm2:
        vocab = tokens.Vocab(args.smollm2)
        text = "\n".join(breakers_text(case, vocab) for case in json.loads(BREAKERS.read_text()))
        vocab.close()
        info = common.provenance(
            script="sampler.py", model="smollm2-q4_1", model_sha256=common.sha256(args.smollm2)
        )
        print(common.write_snap("sampler", "dry_breakers", text, info))
    texts = collections.defaultdict(list)
    for line in CASES.read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        snapshot, shape, n, logit_seed, *settings = line.split()
        case = {"shape": shape, "n": int(n), "logit_seed": int(logit_seed)}
        case.update(setting.split("=", 1) for setting in settings)
        texts[snapshot].append(case_text(line, case))
    info = common.provenance(script="sampler.py", cases=common.sha256(CASES))
    for snapshot, parts in texts.items():
        print(common.write_snap("sampler", snapshot, "\n\n".join(parts), info))
    print(common.write_snap("sampler", "libm", libm_text(), info))


if __name__ == "__main__":
    main()
