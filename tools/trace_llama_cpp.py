"""Writes a trace of llama.cpp: every F32 tensor of the graph, and what the KV cache holds.

    pip install llama-cpp-python==0.3.36 numpy==2.4.6
    python trace_llama_cpp.py MODEL.gguf -p "The capital of France is" --steps 3 -o theirs.safetensors
    lockstep trace MODEL.gguf --like theirs.safetensors --all -o ours.safetensors
    lockstep compare ours.safetensors theirs.safetensors

docs/trace-format.md describes the file. LLAMA_CPP_LIB_PATH names a folder with other builds of the libraries (of the
same version). Values go to disk as they come: memory does not grow with the trace.
"""

import argparse
import collections
import ctypes
import hashlib
import json
import os
import re

import llama_cpp
import numpy as np

PURE_VIEWS = {"RESHAPE", "VIEW", "PERMUTE", "TRANSPOSE"}
UNNAMED = re.compile(r"node_\d+")
CACHE = re.compile(r"cache_([kv])_l(\d+)")
F32, F16 = 0, 1
SIMD = ("SSE3", "SSSE3", "AVX", "F16C", "FMA", "NEON", "LLAMAFILE", "REPACK")

LIB = os.environ.get("LLAMA_CPP_LIB_PATH") or os.path.join(os.path.dirname(llama_cpp.__file__), "lib")
BASE = ctypes.CDLL(os.path.join(LIB, "libggml-base.so"))
BASE.ggml_op_desc.restype = ctypes.c_char_p
BASE.ggml_op_desc.argtypes = [ctypes.c_void_p]
BASE.ggml_backend_tensor_get.restype = None
BASE.ggml_backend_tensor_get.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t]
BASE.ggml_nbytes.restype = ctypes.c_size_t
BASE.ggml_nbytes.argtypes = [ctypes.c_void_p]


class Tensor(ctypes.Structure):
    """`struct ggml_tensor` of the pinned version."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("buffer", ctypes.c_void_p),
        ("ne", ctypes.c_int64 * 4),
        ("nb", ctypes.c_size_t * 4),
        ("op", ctypes.c_int),
        ("op_params", ctypes.c_int32 * 16),
        ("flags", ctypes.c_int32),
        ("src", ctypes.c_void_p * 10),
        ("view_src", ctypes.c_void_p),
        ("view_offs", ctypes.c_size_t),
        ("data", ctypes.c_void_p),
        ("name", ctypes.c_char * 64),
        ("extra", ctypes.c_void_p),
        ("padding", ctypes.c_char * 8),
    ]


def tensor_at(address):
    return ctypes.cast(address, ctypes.POINTER(Tensor)).contents


def values_of(address, dtype):
    """The elements in logical order, outermost dimension first, whatever the strides."""
    t = tensor_at(address)
    raw = np.empty(BASE.ggml_nbytes(address), dtype=np.uint8)
    BASE.ggml_backend_tensor_get(address, raw.ctypes.data, 0, raw.nbytes)
    shape, strides = tuple(reversed(t.ne[:])), tuple(reversed(t.nb[:]))
    return np.ascontiguousarray(np.ndarray(shape, dtype=dtype, buffer=raw, strides=strides))


class TraceWriter:
    """A trace on its way to disk. The header is padded with spaces to what was set aside for it."""

    def __init__(self, path, reserved):
        self.path, self.reserved = path, reserved
        self.file = open(path + ".part", "wb")
        self.file.seek(8 + reserved)
        self.header, self.evals, self.ops, self.n_bytes = {}, [], {}, 0

    def begin_eval(self, n_past, tokens):
        self.evals.append({"n_past": n_past, "tokens": [int(t) for t in tokens]})
        self.seen = collections.Counter()

    def node(self, name, op, array):
        shape = list(array.shape)
        while len(shape) > 1 and shape[0] == 1:
            shape.pop(0)
        node = f"{name}#{self.seen[name]}"
        self.seen[name] += 1
        data = array.tobytes()
        dtype = {2: "F16", 4: "F32", 8: "F64"}[array.itemsize]
        offsets = [self.n_bytes, self.n_bytes + len(data)]
        self.header[f"{len(self.evals) - 1}/{node}"] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        self.file.write(data)
        self.n_bytes += len(data)
        if op:
            self.ops[node] = op

    def finish(self, **metadata):
        metadata.update(format="lockstep-trace", version="1", evals=json.dumps(self.evals), ops=json.dumps(self.ops))
        header = json.dumps({"__metadata__": metadata, **self.header}).encode()
        if len(header) > self.reserved:
            raise SystemExit(f"the header needs {len(header)} bytes: call with --header-bytes {len(header)}")
        self.file.seek(0)
        self.file.write(self.reserved.to_bytes(8, "little") + header.ljust(self.reserved))
        self.file.close()
        os.replace(self.path + ".part", self.path)


class Recorder:
    """Receives nodes from the callback."""

    def __init__(self, writer):
        self.writer, self.caches, self.error = writer, {}, None

    def __call__(self, address, ask, _user_data):
        if not ask:
            try:
                self.node(address)
            except BaseException as error:  # an exception cannot cross the C frames
                self.error = error
                return False
        return True

    def node(self, address):
        t = tensor_at(address)
        for candidate in (address, t.view_src, *t.src):
            while candidate:
                found = tensor_at(candidate)
                if match := CACHE.fullmatch(found.name.decode()):
                    self.caches[int(match[2]), match[1]] = candidate
                candidate = found.view_src
        op = BASE.ggml_op_desc(address).decode()
        if t.type == F32 and op not in PURE_VIEWS:
            name = t.name.decode()
            self.writer.node("node" if UNNAMED.fullmatch(name) else name, op, values_of(address, np.float32))

    def cache(self, n_cells, flash_attn):
        """The cells in use, one token's row after the other. V is stored transposed unless flash attention is on."""
        for (il, kind), address in sorted(self.caches.items()):
            if tensor_at(address).type != F16:
                continue
            rows = values_of(address, np.float16)[0][0]
            if kind == "v" and not flash_attn:
                rows = rows.reshape(rows.shape[1], rows.shape[0]).T
            self.writer.node(f"cache_{kind}_l{il}", "", np.ascontiguousarray(rows[:n_cells]))


def greedy(logits):
    """The most likely id, the lowest of equals."""
    return int(np.argmax(logits))


def evaluate(context, tokens, n_past):
    """The logits of the last token."""
    batch = llama_cpp.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for i, token in enumerate(tokens):
        batch.token[i], batch.pos[i] = token, n_past + i
        batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
        batch.logits[i] = i + 1 == len(tokens)
    status = llama_cpp.llama_decode(context, batch)
    llama_cpp.llama_batch_free(batch)
    return status, llama_cpp.llama_get_logits_ith(context, -1)


def tokenize(vocab, text):
    data = text.encode()
    ids = (llama_cpp.llama_token * (len(data) + 8))()
    n = llama_cpp.llama_tokenize(vocab, data, len(data), ids, len(ids), True, True)
    if n < 1:
        raise SystemExit("the prompt has no tokens")
    return list(ids[:n])


def hparams(model):
    """What the file says of these, as far as it does."""

    def value(key, kind):
        text = ctypes.create_string_buffer(128)
        n = llama_cpp.llama_model_meta_val_str(model, key.encode(), text, len(text))
        return kind(text.value.decode()) if n > 0 else None

    arch = value("general.architecture", str)
    n_head = llama_cpp.llama_model_n_head(model)
    size = value(f"{arch}.attention.key_length", int) or llama_cpp.llama_model_n_embd(model) // n_head
    known = {
        "n_head": n_head,
        "n_head_kv": llama_cpp.llama_model_n_head_kv(model),
        "n_embd_head": size,
        "n_rot": value(f"{arch}.rope.dimension_count", int) or size,
        "norm_rms_eps": value(f"{arch}.attention.layer_norm_rms_epsilon", float),
        "rope_freq_base": value(f"{arch}.rope.freq_base", float),
    }
    return {key: found for key, found in known.items() if found is not None}


def evals_of(path):
    """The evaluations of another trace."""
    with open(path, "rb") as f:
        header = json.loads(f.read(int.from_bytes(f.read(8), "little")))
    return [(e["n_past"], e["tokens"]) for e in json.loads(header["__metadata__"]["evals"])]


def plan(args, vocab):
    """Evaluations as (positions before, ids); ids are `None` for the most likely token behind the one before."""
    if args.like:
        return evals_of(args.like)
    ids = tokenize(vocab, args.prompt) if args.ids is None else [int(i) for i in args.ids.split(",")]
    return [(0, ids)] + [(len(ids) + i, None) for i in range(args.steps)]


def sha256(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while chunk := f.read(1 << 20):
            h.update(chunk)
    return h.hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    prompt = parser.add_mutually_exclusive_group(required=True)
    prompt.add_argument("-p", "--prompt")
    prompt.add_argument("--ids", help="token ids, comma-separated")
    prompt.add_argument("--like", metavar="TRACE", help="evaluate what another trace evaluated, prompt and steps")
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--steps", type=int, default=0, help="greedy steps behind the prompt")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--flash-attn", action="store_true")
    parser.add_argument("--header-bytes", type=int, help="what to set aside for the header")
    args = parser.parse_args()

    llama_cpp.llama_backend_init()
    params = llama_cpp.llama_model_default_params()
    params.n_gpu_layers = 0
    model = llama_cpp.llama_model_load_from_file(args.model.encode(), params)
    if not model:
        raise SystemExit("llama.cpp cannot load this file")
    vocab = llama_cpp.llama_model_get_vocab(model)
    evals = plan(args, vocab)

    n_layer = llama_cpp.llama_model_n_layer(model)
    reserved = args.header_bytes or len(evals) * (n_layer * 32 + 16) * 112 + 65536
    writer = TraceWriter(args.output, reserved)
    recorder = Recorder(writer)
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = max(256, *(n_past + len(ids or [0]) for n_past, ids in evals))
    params.n_threads = params.n_threads_batch = args.threads
    params.n_seq_max = 1
    params.flash_attn_type = int(args.flash_attn)
    params.swa_full = True
    callback = llama_cpp.ggml_backend_sched_eval_callback(recorder)
    params.cb_eval = callback
    context = llama_cpp.llama_init_from_model(model, params)
    if not context:
        raise SystemExit("llama.cpp cannot make a context")

    for n_past, tokens in evals:
        tokens = tokens or [next_token]
        llama_cpp.llama_memory_seq_rm(llama_cpp.llama_get_memory(context), 0, n_past, -1)
        writer.begin_eval(n_past, tokens)
        status, logits = evaluate(context, tokens, n_past)
        if recorder.error:
            raise recorder.error
        if status != 0:
            raise SystemExit(f"evaluation failed with status {status}")
        recorder.cache(n_past + len(tokens), args.flash_attn)
        next_token = greedy(np.ctypeslib.as_array(logits, shape=(llama_cpp.llama_vocab_n_tokens(vocab),)))

    system = llama_cpp.llama_print_system_info().decode()
    scalar = not args.flash_attn and not any(f"{name} = 1" in system for name in SIMD)
    writer.finish(
        engine="llama.cpp",
        engine_version=f"llama-cpp-python {llama_cpp.__version__}",
        # The scalar build has the same bits everywhere; any other is only like itself.
        arithmetic="ggml-scalar" if scalar else "ggml-native",
        flags=f"flash_attn={'on' if args.flash_attn else 'off'} type_k=f16 type_v=f16 threads={args.threads} {system}",
        model=os.path.basename(args.model),
        model_sha256=sha256(args.model),
        prompt=args.prompt or "",
        hparams=json.dumps(hparams(model)),
    )


if __name__ == "__main__":
    main()
