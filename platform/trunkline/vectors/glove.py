"""GloVe."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from trunkline.registry import VECTORS
from trunkline.vectors.base import Method, Say, Vectors, finished, number, whole
from trunkline.vectors.corpus import Corpus


@VECTORS.register("glove")
class GloVe(Method):
    """Weighted least squares on the logarithm of how often two words stand near each other.

        sum over pairs of   f(X) * (w_i . v_j + b_i + c_j - log X)^2,    f(X) = min(1, (X / x_max) ** 0.75)

    X counts a pair 1 / distance within `window` words of a sentence, both ways. AdaGrad at `lr`, every pair once an epoch,
    `batch` pairs a step. A word's vector is w + v. Source: Pennington, Socher & Manning, EMNLP 2014, equations 8 and 9, and
    section 4.2. Departure: a step takes the sum over its pairs, where theirs takes pairs one by one.
    """

    def __init__(
        self,
        *,
        dim: int = 100,
        window: int = 5,
        epochs: int = 15,
        x_max: float = 100.0,
        lr: float = 0.05,
        batch: int = 1024,
    ) -> None:
        self.dim, self.window, self.epochs = whole("dim", dim), whole("window", window), whole("epochs", epochs)
        self.x_max, self.lr, self.batch = number("x_max", x_max), number("lr", lr), whole("batch", batch)

    def train(self, corpus: Corpus, *, seed: int, say: Say) -> Vectors:
        size = len(corpus.words)
        rows, columns, counts = pairs(corpus, self.window)
        say(f"{len(counts)} pairs of {size} words")
        goal = torch.from_numpy(np.log(counts).astype(np.float32))
        weight = torch.from_numpy(np.minimum(1.0, (counts / self.x_max) ** 0.75).astype(np.float32))
        first, second = torch.from_numpy(rows), torch.from_numpy(columns)
        rng = np.random.default_rng([seed, 0])
        # The last column is the bias; squares start at 1, as in the authors' program.
        start = ((rng.random((2, size, self.dim + 1)) - 0.5) / self.dim).astype(np.float32)
        tables, squares = list(torch.from_numpy(start)), [torch.ones(size, self.dim + 1) for _ in range(2)]
        for epoch in range(self.epochs):
            order = torch.from_numpy(np.random.default_rng([seed, 1, epoch]).permutation(len(counts)))
            total = 0.0
            for part in order.split(self.batch):
                total += self._step(tables, squares, (first[part], second[part]), goal[part], weight[part])
            say(f"epoch {epoch + 1} of {self.epochs}: loss {total / len(counts):.4f}")
        return finished(corpus, (tables[0] + tables[1])[:, :-1].numpy())

    def _step(
        self, tables: list[Tensor], squares: list[Tensor], places: tuple[Tensor, Tensor], goal: Tensor, weight: Tensor
    ) -> float:
        here, there = tables[0][places[0]], tables[1][places[1]]  # [B, D + 1]
        off = (here[:, :-1] * there[:, :-1]).sum(1) + here[:, -1] + there[:, -1] - goal
        scale = (weight * off).unsqueeze(1)
        for side, other in ((0, there), (1, here)):
            slope = scale * torch.cat([other[:, :-1], torch.ones_like(scale)], 1)
            squares[side].index_add_(0, places[side], slope.square())
            tables[side].index_add_(0, places[side], slope / squares[side][places[side]].sqrt(), alpha=-self.lr)
        return float((weight * off.square()).sum())


def pairs(corpus: Corpus, window: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns [P] int64 and X [P] float64 of all pairs that stand within `window` words of each other, both ways."""
    size = len(corpus.words)
    keys: np.ndarray = np.empty(0, np.int64)
    counts: np.ndarray = np.empty(0)
    for distance in range(1, window + 1):
        near = np.flatnonzero(corpus.sentence[distance:] == corpus.sentence[:-distance])
        one, two = corpus.ids[near].astype(np.int64), corpus.ids[near + distance].astype(np.int64)
        found, times = np.unique(np.concatenate([one * size + two, two * size + one]), return_counts=True)
        keys, place = np.unique(np.concatenate([keys, found]), return_inverse=True)
        counts = np.bincount(place, weights=np.concatenate([counts, times / distance]), minlength=len(keys))
    return keys // size, keys % size, counts
