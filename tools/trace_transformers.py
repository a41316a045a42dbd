"""Writes a trace of Hugging Face transformers running a GGUF file: PyTorch on the CPU, in f32 or f64.

    pip install torch==2.15.0 transformers==5.24.0 accelerate==1.15.0 gguf==0.19.0 numpy==2.4.6
    python trace_transformers.py MODEL.gguf -p "The capital of France is" --steps 3 -o theirs.safetensors
    lockstep trace MODEL.gguf --like theirs.safetensors --all -o ours.safetensors
    lockstep compare ours.safetensors theirs.safetensors

docs/trace-format.md describes the file. transformers takes the file's weights out of their blocks and rounds no
activations: it is a second opinion on what the weights mean, not on llama.cpp's rounding. Everything written was
computed by transformers itself; hooks on its modules and on its calls of PyTorch only look on. Names are llama.cpp's:

- GGUF has the rows of Q and K of a Llama in the order of neighboring pairs, transformers puts them back into halves:
  Qcur, Kcur and cache_k are written in GGUF's order, so that they compare equal. Scores do not depend on it.
- In the last layer all rows are there, where llama.cpp keeps only those of the output.
- With --dtype f64 transformers still computes norms, the softmax and RoPE's angles in f32.

Made for Llama, and tried on it; Mistral and Qwen2 are let through untried. Values go to disk as they come: memory does not grow with the trace.
"""

import argparse
import collections
import hashlib
import json
import os

import numpy as np
import torch
import transformers
from torch.overrides import TorchFunctionMode

# Whether GGUF holds the rows of Q and K permuted, by transformers' name of the architecture.
PERMUTED = {"llama": True, "mistral": True, "qwen2": False}
DTYPES = {"f32": torch.float32, "f64": torch.float64}


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

    def skip(self, name):
        """A node that llama.cpp has and this engine does not."""
        self.seen[name] += 1

    def node(self, name, op, tensor):
        """`tensor` begins with a dimension of one, the batch."""
        array = tensor.detach()[0].contiguous().numpy()
        node = f"{name}#{self.seen[name]}"
        self.seen[name] += 1
        data = array.tobytes()
        dtype = {2: "F16", 4: "F32", 8: "F64"}[array.itemsize]
        offsets = [self.n_bytes, self.n_bytes + len(data)]
        entry = {"dtype": dtype, "shape": list(array.shape), "data_offsets": offsets}
        self.header[f"{len(self.evals) - 1}/{node}"] = entry
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


class Recorder(TorchFunctionMode):
    """Sees every call of PyTorch, and by hooks which module it is made in."""

    def __init__(self, model, writer):
        super().__init__()
        self.model, self.writer = model, writer
        self.permuted = PERMUTED[model.config.model_type]
        # The norm that is computing, with its node's name; the layer whose attention is.
        self.norm, self.attention = None, None
        self.hook(model)

    def hook(self, model):
        base = model.model
        base.embed_tokens.register_forward_hook(self.writes("embd", "GET_ROWS"))
        for il, layer in enumerate(base.layers):
            attn, mlp = layer.self_attn, layer.mlp
            layer.post_attention_layernorm.register_forward_pre_hook(self.writes_input(f"ffn_inp-{il}", "ADD"))
            self.hook_norm(layer.input_layernorm, f"norm-{il}", f"attn_norm-{il}")
            self.hook_norm(layer.post_attention_layernorm, f"norm-{il}", f"ffn_norm-{il}")
            attn.register_forward_pre_hook(self.begins_attention(il))
            for proj, name in [(attn.q_proj, "Qcur"), (attn.k_proj, "Kcur"), (attn.v_proj, "Vcur")]:
                rows = proj.out_features // attn.head_dim if name != "Vcur" else 0
                proj.register_forward_hook(self.writes_projection(f"{name}-{il}", rows))
            attn.o_proj.register_forward_pre_hook(self.writes_input(f"kqv_out-{il}", "CONT"))
            attn.o_proj.register_forward_hook(self.writes(f"attn_out-{il}", "MUL_MAT"))
            mlp.gate_proj.register_forward_hook(self.writes(f"ffn_gate-{il}", "MUL_MAT"))
            mlp.up_proj.register_forward_hook(self.writes(f"ffn_up-{il}", "MUL_MAT"))
            mlp.down_proj.register_forward_pre_hook(self.writes_input(f"ffn_swiglu-{il}", "SWIGLU"))
            mlp.down_proj.register_forward_hook(self.writes(f"ffn_out-{il}", "MUL_MAT"))
            layer.register_forward_hook(self.writes(f"l_out-{il}", "ADD"))
        self.hook_norm(base.norm, "norm", "result_norm")
        model.lm_head.register_forward_hook(self.writes("result_output", "MUL_MAT"))

    def writes(self, name, op):
        return lambda _module, _args, output: self.writer.node(name, op, output)

    def writes_input(self, name, op):
        return lambda _module, args: self.writer.node(name, op, args[0])

    def hook_norm(self, module, name, weighted):
        def begin(module, _args):
            self.norm = module.weight, name

        def end(_module, _args, output):
            self.norm = None
            self.writer.node(weighted, "MUL", output)

        module.register_forward_pre_hook(begin)
        module.register_forward_hook(end)

    def writes_projection(self, name, n_head):
        """`n_head`: as many heads have their rows permuted in GGUF."""

        def write(module, _args, output):
            if module.bias is not None:
                self.writer.skip(name)  # the product, which is not to be had without the bias
            op = "MUL_MAT" if module.bias is None else "ADD"
            if n_head:
                output = self.neighbors(output.unflatten(-1, (n_head, -1))).flatten(-2)
            self.writer.node(name, op, output)

        return write

    def begins_attention(self, il):
        def begin(_module, _args):
            self.attention = il

        return begin

    def neighbors(self, heads):
        """GGUF's order of the elements of Q's and K's heads, the last dimension."""
        if not self.permuted:
            return heads
        return heads.unflatten(-1, (2, -1)).transpose(-1, -2).flatten(-2)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        if self.norm and func in (torch.Tensor.mul, torch.Tensor.__mul__) and args[0] is self.norm[0]:
            self.writer.node(self.norm[1], "RMS_NORM", args[1])
        elif self.attention is not None and func in (torch.matmul, torch.nn.functional.softmax):
            self.attends(func, args, output)
        return output

    def attends(self, func, args, output):
        """Two products with a softmax between them. Heads come first, then tokens."""
        il, write = self.attention, self.writer.node
        if func is torch.nn.functional.softmax:
            write(f"kq_soft_max-{il}", "SOFT_MAX", output)
        elif f"kq-{il}" not in self.writer.seen:
            q, k = args[0], args[1].transpose(-1, -2)
            group = q.shape[1] // self.model.config.num_key_value_heads
            k = k[:, ::group, -q.shape[2] :]
            for name, heads in (("Qcur", q), ("Kcur", k)):
                write(f"{name}-{il}", "ROPE", self.neighbors(heads.transpose(1, 2)))
            write(f"kq-{il}", "MUL_MAT", output)
        else:
            write(f"kqv-{il}", "MUL_MAT", output)
            self.attention = None

    def caches(self, cache):
        """What the cache holds, one position a row."""
        for il, layer in enumerate(cache.layers):
            for kind, heads in (("k", self.neighbors(layer.keys)), ("v", layer.values)):
                self.writer.node(f"cache_{kind}_l{il}", "", heads.transpose(1, 2).flatten(-2))


def evals_of(path):
    """The evaluations of another trace."""
    with open(path, "rb") as f:
        header = json.loads(f.read(int.from_bytes(f.read(8), "little")))
    return [(e["n_past"], e["tokens"]) for e in json.loads(header["__metadata__"]["evals"])]


def plan(args, folder, name):
    """Evaluations as (positions before, ids); ids are `None` for the most likely token behind the one before."""
    if args.like:
        return evals_of(args.like)
    if args.ids is not None:
        ids = [int(i) for i in args.ids.split(",")]
    else:
        ids = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=name)(args.prompt)["input_ids"]
    return [(0, ids)] + [(len(ids) + i, None) for i in range(args.steps)]


def load(folder, name, dtype):
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=name, dtype=torch.float32, attn_implementation="eager"
    )
    if model.config.model_type not in PERMUTED:
        raise SystemExit(f"{model.config.model_type} is none of {', '.join(PERMUTED)}")
    return model.to(dtype).eval()


def hparams(config):
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return {
        "n_head": config.num_attention_heads,
        "n_head_kv": config.num_key_value_heads,
        "n_embd_head": size,
        "n_rot": size,
        "norm_rms_eps": config.rms_norm_eps,
        "rope_freq_base": config.rope_parameters["rope_theta"],
    }


def sha256(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    prompt = parser.add_mutually_exclusive_group(required=True)
    prompt.add_argument("-p", "--prompt", help="split into ids by transformers' tokenizer of the same file")
    prompt.add_argument("--ids", help="token ids, comma-separated")
    prompt.add_argument("--like", metavar="TRACE", help="evaluate what another trace evaluated, prompt and steps")
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--steps", type=int, default=0, help="greedy steps behind the prompt")
    parser.add_argument("--dtype", choices=DTYPES, default="f32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--header-bytes", type=int, help="what to set aside for the header")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    folder, name = os.path.split(os.path.abspath(args.model))
    evals = plan(args, folder, name)
    model = load(folder, name, DTYPES[args.dtype])
    reserved = args.header_bytes or len(evals) * (model.config.num_hidden_layers * 32 + 16) * 112 + 65536
    writer = TraceWriter(args.output, reserved)
    recorder = Recorder(model, writer)
    cache = transformers.DynamicCache(config=model.config)
    for n_past, tokens in evals:
        tokens = tokens or [next_token]
        if n_past < cache.get_seq_length():
            cache.crop(n_past)
        writer.begin_eval(n_past, tokens)
        with torch.no_grad(), recorder:
            output = model(torch.tensor([tokens]), cache=cache, logits_to_keep=1)
        recorder.caches(cache)
        next_token = int(output.logits[0, -1].argmax())

    writer.finish(
        engine="transformers",
        engine_version=f"{transformers.__version__}, torch {torch.__version__}",
        arithmetic=f"torch-{args.dtype}",
        activations="exact",
        flags=f"dtype={args.dtype} attn_implementation=eager threads={args.threads}",
        model=name,
        model_sha256=sha256(args.model),
        prompt=args.prompt or "",
        hparams=json.dumps(hparams(model.config)),
    )


if __name__ == "__main__":
    main()
