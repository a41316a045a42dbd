"""Which type each tensor gets in a file of each type: golden/snapshots/quantize/mixes.snap.

    python mixes.py

Asks llama_quant_compute_types about models that exist by name only. A line is a tensor of every layer, `*` for the layer
number, with the types from the first layer to the last, `q4_K*3` meaning three times q4_K. The twin of `MODELS` and
`tensors` is in crates/llama-model/src/quantize/mix_tests.rs.
"""

import ctypes
import os

import llama_cpp

import common
from quantize_files import FILE_TYPES

LIB = os.path.join(os.path.dirname(llama_cpp.__file__), "lib")
BASE = ctypes.CDLL(os.path.join(LIB, "libggml-base.so"))
LLAMA = ctypes.CDLL(os.path.join(LIB, "libllama.so"))

# (name, architecture, layers, n_embd, n_ff, heads, heads of K and V, experts, tensors of a layer, others)
ATTN = "attn_k attn_norm attn_output attn_q attn_v"
DENSE = f"{ATTN} ffn_down ffn_gate ffn_norm ffn_up"
MOE = f"{ATTN} ffn_down_exps ffn_gate_exps ffn_gate_inp ffn_norm ffn_up_exps"
FUSED = "attn_norm attn_output attn_qkv ffn_down ffn_norm ffn_up"
ENDS = "output output_norm token_embd"
RARE = "attn_kv_b attn_rel_b ffn_down.0 ffn_down.1 indexer.k_proj shortconv.conv ssm_conv1d time_mix_w1 time_mix_key"
MODELS = [
    ("7B", "llama", 32, 4096, 11008, 32, 32, 0, DENSE, ENDS),
    ("70B", "llama", 80, 8192, 28672, 64, 8, 0, DENSE, ENDS),
    ("65B", "llama", 80, 8192, 22016, 64, 64, 0, DENSE, ENDS),
    ("135M tied", "llama", 30, 576, 1536, 9, 3, 0, DENSE, "output_norm token_embd"),
    ("one layer", "llama", 1, 256, 512, 8, 4, 0, DENSE, "rope_freqs output_norm token_embd"),
    ("odd width", "llama", 5, 80, 144, 4, 4, 0, DENSE, ENDS),
    ("8 experts", "llama", 32, 4096, 14336, 32, 8, 8, MOE, ENDS),
    ("16 experts", "llama", 12, 2048, 4096, 16, 4, 16, MOE, ENDS),
    ("8 experts, split", "llama", 9, 4096, 14336, 32, 8, 8, f"{ATTN} ffn_down.0 ffn_down.1 ffn_gate.0 ffn_up.0", ENDS),
    ("falcon", "falcon", 32, 4544, 18176, 71, 1, 0, FUSED, ENDS),
    ("falcon wide", "falcon", 60, 8192, 32768, 128, 8, 0, FUSED, ENDS),
    ("qwen2", "qwen2", 24, 896, 4864, 14, 2, 0, DENSE, "output_norm token_embd"),
    ("phi3", "phi3", 40, 5120, 17920, 40, 10, 0, FUSED, ENDS),
    ("rare names", "bert", 7, 512, 1024, 8, 8, 0, RARE, f"position_embd per_layer_token_embd token_embd token_types"),
]


class Description(ctypes.Structure):
    _fields_ = [
        ("architecture", ctypes.c_char_p),
        *[(n, ctypes.c_uint32) for n in ("embd", "ff", "layer", "head", "head_kv", "expert", "head_k", "head_v")],
    ]


class InitParams(ctypes.Structure):
    _fields_ = [("mem_size", ctypes.c_size_t), ("mem_buffer", ctypes.c_void_p), ("no_alloc", ctypes.c_bool)]


def function(library, name, restype, *argtypes):
    f = getattr(library, name)
    f.restype, f.argtypes = restype, argtypes
    return f


P, SIZE = ctypes.c_void_p, ctypes.c_size_t
ggml_init = function(BASE, "ggml_init", P, InitParams)
ggml_free = function(BASE, "ggml_free", None, P)
ggml_new_tensor_3d = function(BASE, "ggml_new_tensor_3d", P, P, ctypes.c_int, *[ctypes.c_int64] * 3)
ggml_set_name = function(BASE, "ggml_set_name", P, P, ctypes.c_char_p)
ggml_type_name = function(BASE, "ggml_type_name", ctypes.c_char_p, ctypes.c_int)
model_from_metadata = function(LLAMA, "_Z31llama_quant_model_from_metadataPK22llama_quant_model_desc", P, P)
quant_init = function(LLAMA, "_Z16llama_quant_initPK11llama_modelPK27llama_model_quantize_params", P, P, P)
quant_free = function(LLAMA, "_Z16llama_quant_freeP19quantize_state_impl", None, P)
compute_types = function(
    LLAMA,
    "_Z25llama_quant_compute_typesP19quantize_state_impl11llama_ftypePP11ggml_tensorP9ggml_typem",
    None, P, ctypes.c_int, P, P, SIZE,
)


def tensors(model):
    """(name, shape innermost first) of all tensors, those of no layer first, then layer by layer."""
    _, _, n_layer, n_embd, n_ff, _, _, n_expert, layer, ends = model
    names = [f"{name}.weight" for name in ends.split()]
    names += [f"blk.{il}.{name}.weight" for il in range(n_layer) for name in layer.split()]
    for name in names:
        n_cols = n_ff if "ffn_down" in name else n_embd
        if "norm" in name or "rope_freqs" in name:
            yield name, (n_cols, 1, 1)
        else:
            yield name, (n_cols, 96, n_expert if "_exps" in name else 1)


def types(model, ftype):
    """(name, type) of all tensors, which are F32 before, in a file of this type."""
    _, architecture, n_layer, n_embd, n_ff, n_head, n_head_kv, n_expert, _, _ = model
    description = Description(
        architecture.encode(), n_embd, n_ff, n_layer, n_head, n_head_kv, n_expert, n_embd // n_head, n_embd // n_head
    )
    table = list(tensors(model))
    ctx = ggml_init(InitParams(512 * (len(table) + 16), None, True))
    pointers = (P * len(table))()
    for i, (name, shape) in enumerate(table):
        pointers[i] = ggml_set_name(ggml_new_tensor_3d(ctx, 0, *shape), name.encode())
    mock = model_from_metadata(ctypes.byref(description))
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = ftype
    state = quant_init(mock, ctypes.byref(params))
    result = (ctypes.c_int * len(table))()
    compute_types(state, ftype, pointers, result, len(table))
    quant_free(state)
    llama_cpp.llama_model_free(mock)
    ggml_free(ctx)
    return [(name, ggml_type_name(t).decode()) for (name, _), t in zip(table, result)]


def lines(pairs):
    """A line for each name, layers together."""
    rows = {}
    for name, type_name in pairs:
        parts = name.split(".")
        key = ".".join(["blk", "*", *parts[2:]]) if parts[0] == "blk" else name
        runs = rows.setdefault(key, [])
        if runs and runs[-1][0] == type_name:
            runs[-1][1] += 1
        else:
            runs.append([type_name, 1])
    for key, runs in rows.items():
        yield f"  {key}: " + " ".join(t if n == 1 else f"{t}*{n}" for t, n in runs)


def main():
    text = []
    for model in MODELS:
        for name, ftype in FILE_TYPES:
            text.append(f"{model[0]} as {name}")
            text += lines(types(model, ftype))
    common.write_snap("quantize", "mixes", "\n".join(text), common.provenance(function="llama_quant_compute_types"))


if __name__ == "__main__":
    main()
