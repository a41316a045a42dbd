"""How far a build of llama.cpp is from given logits; run.py runs it with the Python of that build.

    python peer.py '{"model": FILE, "text": FILE, "n_ctx": 512, "n_chunk": 4, "truth": FILE.npy, "threads": 2,
                     "scalar": false, "repack": true, "flash": false}'

prints the KL divergence of each row, a JSON list. `truth` holds the logits of the text in chunks, as `lockstep
perplexity --logits` writes them: [n_chunk * (n_ctx - 1), n_vocab].
"""

import json
import pathlib
import sys

import llama_cpp
import numpy as np
from divergence import kl_rows


@llama_cpp.llama_log_callback
def silent(_level, _text, _user_data):
    pass


def load(job):
    """The model; without `repack`, weights are left as the file has them."""
    params = llama_cpp.llama_model_default_params()
    params.n_gpu_layers = 0
    params.use_extra_bufts = job["repack"] and not job["scalar"]
    model = llama_cpp.llama_model_load_from_file(job["model"].encode(), params)
    assert model, job["model"]
    return model


def context(model, job):
    """A context of one chunk. The scalar build runs as it does for the goldens."""
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = job["n_ctx"]
    params.n_seq_max = 1
    params.n_threads = params.n_threads_batch = job["threads"]
    params.flash_attn_type = int(job["flash"] and not job["scalar"])
    params.swa_full = True
    made = llama_cpp.llama_init_from_model(model, params)
    assert made, "no context"
    return made


def chunks(model, job):
    """The text's chunks as llama-perplexity makes them: each begins with BOS where texts do."""
    vocab = llama_cpp.llama_model_get_vocab(model)
    data = pathlib.Path(job["text"]).read_bytes()
    ids = (llama_cpp.llama_token * (len(data) + 8))()
    n = llama_cpp.llama_tokenize(vocab, data, len(data), ids, len(ids), True, False)
    assert n >= job["n_ctx"] * job["n_chunk"], f"{n} tokens"
    for i in range(job["n_chunk"]):
        tokens = ids[i * job["n_ctx"] : (i + 1) * job["n_ctx"]]
        if llama_cpp.llama_vocab_get_add_bos(vocab):
            tokens[0] = llama_cpp.llama_vocab_bos(vocab)
        yield tokens


def logits(ctx, tokens, n_vocab):
    """Logits behind all tokens but the last, [n_ctx - 1, n_vocab]."""
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(ctx), True)
    batch = llama_cpp.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for i, token in enumerate(tokens):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, i, 1, i + 1 < len(tokens)
        batch.seq_id[i][0] = 0
    status = llama_cpp.llama_decode(ctx, batch)
    llama_cpp.llama_batch_free(batch)
    assert status == 0, status
    return np.ctypeslib.as_array(llama_cpp.llama_get_logits(ctx), shape=(len(tokens) - 1, n_vocab))


def main():
    job = json.loads(sys.argv[1])
    llama_cpp.llama_log_set(silent, None)
    llama_cpp.llama_backend_init()
    model = load(job)
    ctx = context(model, job)
    n_vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    truth = np.load(job["truth"], mmap_mode="r")
    n_rows = job["n_ctx"] - 1
    assert truth.shape == (job["n_chunk"] * n_rows, n_vocab), truth.shape
    found = []
    for i, tokens in enumerate(chunks(model, job)):
        found += kl_rows(truth[i * n_rows : (i + 1) * n_rows], logits(ctx, tokens, n_vocab)).tolist()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
