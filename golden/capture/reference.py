"""The reference library through its ctypes API: models, evaluation with a callback, greedy decoding.

Everything here runs as golden/README.md fixes it: flash attention off, F16 KV cache (unless said otherwise), full-size
sliding-window cache, one thread unless said otherwise, and a micro-batch that holds the whole prompt.
"""

import ctypes
import os

import llama_cpp
import numpy as np


def flags(type_k="f16", type_v="f16"):
    """How contexts are made, for the snapshots' `info`."""
    return f"flash_attn=off type_k={type_k} type_v={type_v} swa_full=true n_seq_max=1 n_ubatch=n_batch>=prompt"


FLAGS = flags()

_LIB = os.path.join(os.path.dirname(llama_cpp.__file__), "lib")
_BASE = ctypes.CDLL(os.path.join(_LIB, "libggml-base.so"))
_BASE.ggml_op_desc.restype = ctypes.c_char_p
_BASE.ggml_op_desc.argtypes = [ctypes.c_void_p]
_BASE.ggml_backend_tensor_get.restype = None
_BASE.ggml_backend_tensor_get.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t]
_BASE.ggml_nbytes.restype = ctypes.c_size_t
_BASE.ggml_nbytes.argtypes = [ctypes.c_void_p]

GGML_TYPE_F32 = 0
GGML_TYPE_F16 = 1
CACHE_TYPES = {"f32": GGML_TYPE_F32, "f16": GGML_TYPE_F16}


class GgmlTensor(ctypes.Structure):
    """Mirror of `struct ggml_tensor` of the pinned version; pointers to tensors are plain addresses."""

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


@llama_cpp.llama_log_callback
def _silent(_level, _text, _user_data):
    pass


if not os.environ.get("REFERENCE_LOG"):
    llama_cpp.llama_log_set(_silent, None)
llama_cpp.llama_backend_init()


def tensor_at(address):
    """The `GgmlTensor` at an address."""
    return ctypes.cast(address, ctypes.POINTER(GgmlTensor)).contents


def op_desc(address):
    """ggml's name of a node's operation; for unary and gated operations that of the function (`SWIGLU`)."""
    return _BASE.ggml_op_desc(address).decode()


def tensor_values(address, dtype):
    """The elements of a tensor in logical order, shape `[outermost, ..., innermost]`, whatever its strides."""
    t = tensor_at(address)
    raw = np.empty(_BASE.ggml_nbytes(address), dtype=np.uint8)
    _BASE.ggml_backend_tensor_get(address, raw.ctypes.data, 0, raw.nbytes)
    shape = tuple(reversed(t.ne[:]))
    strides = tuple(reversed(t.nb[:]))
    return np.ascontiguousarray(np.ndarray(shape, dtype=dtype, buffer=raw, strides=strides))


class Model:
    """A model file, loaded."""

    def __init__(self, path):
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = 0
        self.ptr = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
        if not self.ptr:
            raise SystemExit(f"the reference cannot load {os.path.basename(path)}; REFERENCE_LOG=1 shows why")
        self.vocab = llama_cpp.llama_model_get_vocab(self.ptr)
        self.n_vocab = llama_cpp.llama_vocab_n_tokens(self.vocab)

    def tokenize(self, text):
        """Token ids of a text, special tokens added and parsed."""
        data = text.encode()
        ids = (llama_cpp.llama_token * (len(data) + 8))()
        n = llama_cpp.llama_tokenize(self.vocab, data, len(data), ids, len(ids), True, True)
        if n < 0:
            raise SystemExit("tokenizing failed")
        return list(ids[:n])

    def piece(self, token):
        """The bytes of a token as text shows them; special tokens are empty."""
        buffer = ctypes.create_string_buffer(256)
        n = llama_cpp.llama_token_to_piece(self.vocab, token, buffer, len(buffer), 0, False)
        if n < 0:
            raise SystemExit(f"piece of token {token} is too long")
        return buffer.raw[:n]

    def is_eog(self, token):
        """Whether generation ends at this token."""
        return bool(llama_cpp.llama_vocab_is_eog(self.vocab, token))

    def close(self):
        """Frees the model."""
        llama_cpp.llama_model_free(self.ptr)


class Context:
    """A context of a model. `on_node(address)` is called for every node, in graph order, after it was computed."""

    def __init__(self, model, n_ctx, on_node=None, n_threads=1, native_defaults=False, cache=("f16", "f16")):
        self.model = model
        self.n_past = 0
        self._error = None
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = n_ctx
        params.n_threads = params.n_threads_batch = n_threads
        if not native_defaults:
            params.n_batch = params.n_ubatch = n_ctx
            params.n_seq_max = 1
            params.flash_attn_type = 0
            params.type_k, params.type_v = (CACHE_TYPES[ty] for ty in cache)
            params.swa_full = True
        if on_node:
            self._callback = llama_cpp.ggml_backend_sched_eval_callback(self._wrap(on_node))
            params.cb_eval = self._callback
        self.ptr = llama_cpp.llama_init_from_model(model.ptr, params)
        if not self.ptr:
            raise SystemExit("the reference cannot make a context; REFERENCE_LOG=1 shows why")

    def _wrap(self, on_node):
        def callback(address, ask, _user_data):
            if not ask:
                try:
                    on_node(address)
                except BaseException as error:  # an exception cannot cross the C frames: kept and raised by eval
                    self._error = error
                    return False
            return True

        return callback

    def eval(self, tokens):
        """Evaluates tokens at the next positions; returns the logits of the last one as float32."""
        batch = llama_cpp.llama_batch_init(len(tokens), 0, 1)
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i] = token
            batch.pos[i] = self.n_past + i
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = 0
            batch.logits[i] = i + 1 == len(tokens)
        status = llama_cpp.llama_decode(self.ptr, batch)
        llama_cpp.llama_batch_free(batch)
        if self._error:
            raise self._error
        if status != 0:
            raise SystemExit(f"evaluation failed with status {status}")
        self.n_past += len(tokens)
        logits = llama_cpp.llama_get_logits_ith(self.ptr, -1)
        return np.ctypeslib.as_array(logits, shape=(self.model.n_vocab,)).copy()

    def close(self):
        """Frees the context."""
        llama_cpp.llama_free(self.ptr)


def top_ids(logits, k):
    """Ids of the `k` highest logits, highest first, lower id first where equal."""
    return np.lexsort((np.arange(len(logits)), -logits.astype(np.float64)))[:k]
