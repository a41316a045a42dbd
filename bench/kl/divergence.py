"""KL divergence of logits, row by row, in f64."""

import numpy as np


def log_soft_max(logits):
    """log softmax of each row, in f64."""
    x = logits.astype(np.float64)
    x -= x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def kl(truth, other):
    """How much the predictions `other` lack of `truth`: sum of p log(p / q), for each row of logits."""
    p, q = log_soft_max(truth), log_soft_max(other)
    return (np.exp(p) * (p - q)).sum(axis=-1)


def kl_rows(truth, other, step=64):
    """The same for arrays that need not fit into memory."""
    return np.concatenate([kl(truth[i : i + step], other[i : i + step]) for i in range(0, len(truth), step)])
