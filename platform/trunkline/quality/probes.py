"""Linear probes: what a logistic regression reads out of frozen vectors."""

from __future__ import annotations

import numpy as np
from scipy import optimize

ROUNDS = 200


def probe(train: np.ndarray, labels: np.ndarray, asked: np.ndarray, *, num_labels: int, decay: float = 1e-3) -> np.ndarray:
    """Logits [m, C] for `asked` [m, D] of a multinomial logistic regression on `train` [n, D] with labels [n] in 0..C-1.

        minimise  mean over rows of -log softmax(W x + b)[label]  +  decay / 2 * ||W||^2

    Entries are first brought to mean 0 and deviation 1 over the training rows. By L-BFGS, to the same minimum every time.
    Source: Alain & Bengio, arXiv:1610.01644, section 3.
    """
    mean, deviation = train.mean(axis=0, dtype=np.float64), train.std(axis=0, dtype=np.float64)
    scale = np.where(deviation > 0, deviation, 1.0)
    known, rest = (train - mean) / scale, (asked - mean) / scale
    size, width = known.shape
    wanted = np.zeros((size, num_labels))
    wanted[np.arange(size), labels] = 1.0

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        table = flat.reshape(width + 1, num_labels)
        logits = known @ table[:-1] + table[-1]
        logits -= logits.max(axis=1, keepdims=True)
        grown = np.exp(logits)
        total = grown.sum(axis=1, keepdims=True)
        value = float((np.log(total[:, 0]) - (logits * wanted).sum(axis=1)).mean() + decay / 2 * (table[:-1] ** 2).sum())
        slope = (grown / total - wanted) / size
        return value, np.concatenate([known.T @ slope + decay * table[:-1], slope.sum(axis=0)[None]]).ravel()

    found = optimize.minimize(loss, np.zeros((width + 1) * num_labels), jac=True, method="L-BFGS-B", options={"maxiter": ROUNDS})
    table = found.x.reshape(width + 1, num_labels)
    logits: np.ndarray = rest @ table[:-1] + table[-1]
    return logits
