"""GloVe."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trunkline.errors import ConfigError
from trunkline.registry import VECTORS
from trunkline.vectors.base import Method, Say, Vectors, finished, number, whole
from trunkline.vectors.corpus import Corpus

POWER = 0.75  # of f, and of the counts that unseen pairs are drawn by


@VECTORS.register("glove")
class GloVe(Method):
    """Weighted least squares on the logarithm of how often two words stand near each other.

        sum over pairs of   f(X) * (w_i . v_j + b_i + c_j - log X)^2,    f(X) = min(1, (X / x_max) ** 0.75)

    X counts a pair 1 / distance within `window` words of a sentence, both ways. AdaGrad at `lr`, every pair once an epoch,
    `batch` pairs a step; its squares start at 1 and gather those of lr * slope, as in the authors' program, not of the slope. A
    word's vector is w + v. Source: Pennington, Socher & Manning, EMNLP 2014, equations 8 and 9, and section 4.2.

    Departures. A step takes the sum over its pairs, where theirs takes pairs one by one. The biases start where two words meet
    as often as chance has it, exp(b_i + c_j) = X_i X_j / sum X, not at random. And `unseen`, 0 in the paper: where it is
    more, a pair is drawn for every pair seen, each word by X_i ** 0.75, and those of them that never meet cost

        unseen * f(X) * max(0, w_i . v_j + b_i + c_j - log X)^2,    X = 1 / window, the least that a pair seen can have

    In a small text, which pairs are missing says more than how often the others came. Source: the soft hinge of Swivel (Shazeer
    et al., arXiv:1602.02215), there smooth and over all pairs that never meet. `average`, 1 in the paper: the vectors are the
    mean of those after each of the last so many epochs, between which AdaGrad leaves them wandering. Source: Polyak & Juditsky,
    SIAM Journal on Control and Optimization 30(4), 1992.
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
        unseen: float = 0.0,
        average: int = 1,
    ) -> None:
        self.dim, self.window, self.epochs = whole("dim", dim), whole("window", window), whole("epochs", epochs)
        self.x_max, self.lr, self.batch = number("x_max", x_max), number("lr", lr), whole("batch", batch)
        self.unseen = number("unseen", unseen) if unseen else 0.0
        self.average = whole("average", average)
        if average > epochs:
            raise ConfigError(f"average: the last {average} epochs of {epochs}. At most all of them can be averaged.")

    def train(self, corpus: Corpus, *, seed: int, say: Say) -> Vectors:
        size = len(corpus.words)
        rows, columns, counts = pairs(corpus, self.window)
        say(f"{len(counts)} pairs of {size} words")
        goal = torch.from_numpy(np.log(counts).astype(np.float32))
        weight = torch.from_numpy(np.minimum(1.0, (counts / self.x_max) ** POWER).astype(np.float32))
        first, second = torch.from_numpy(rows), torch.from_numpy(columns)
        met = np.bincount(rows, weights=counts, minlength=size)
        fit = Fit.start(met, self.dim, self.lr, np.random.default_rng([seed, 0]))
        unseen = Unseen(rows * size + columns, met)
        least = 1 / self.window
        apart = self.unseen * min(1.0, (least / self.x_max) ** POWER)
        found = torch.zeros(size, self.dim)
        for epoch in range(self.epochs):
            rng = np.random.default_rng([seed, 1, epoch])
            total = 0.0
            for part in torch.from_numpy(rng.permutation(len(counts))).split(self.batch):
                total += fit.step(first[part], second[part], goal[part], weight[part])
                if apart:
                    fit.lower(*unseen.draw(len(part), rng), least, apart)
            if epoch >= self.epochs - self.average:
                found += fit.vectors() / self.average
            say(f"epoch {epoch + 1} of {self.epochs}: loss {total / len(counts):.4f}")
        return finished(corpus, found.numpy())


@dataclass(frozen=True)
class Fit:
    """The tables w and v [V, D + 1], the last column their bias, and AdaGrad's squares of each. Steps change them in place."""

    tables: tuple[Tensor, Tensor]
    squares: tuple[Tensor, Tensor]
    lr: float

    @classmethod
    def start(cls, met: np.ndarray, dim: int, lr: float, rng: np.random.Generator) -> Fit:
        """met [V]: how often a word stands near any other, at most 0 for a word that has none."""
        start = ((rng.random((2, len(met), dim + 1)) - 0.5) / dim).astype(np.float32)
        start[:, :, -1] = np.log(np.where(met > 0, met, 1.0)) - np.log(met.sum()) / 2
        first, second = torch.from_numpy(start)
        return cls((first, second), (torch.ones_like(first), torch.ones_like(second)), lr)

    def step(self, first: Tensor, second: Tensor, goal: Tensor, weight: Tensor) -> float:
        """One step on pairs [B]; the sum of their costs before it."""
        here, there = self._rows(first, second)
        off = _told(here, there) - goal
        self._descend(first, second, here, there, weight * off)
        return float((weight * off.square()).sum())

    def lower(self, first: Tensor, second: Tensor, least: float, weight: float) -> None:
        """One step on pairs that never meet: those told to do so more often than `least`."""
        here, there = self._rows(first, second)
        off = _told(here, there) - float(np.log(least))
        above = off > 0
        self._descend(first[above], second[above], here[above], there[above], weight * off[above])

    def vectors(self) -> Tensor:
        return (self.tables[0] + self.tables[1])[:, :-1]

    def _rows(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        # index_select takes a fifth of the time of an index in brackets.
        return self.tables[0].index_select(0, first), self.tables[1].index_select(0, second)  # [B, D + 1]

    def _descend(self, first: Tensor, second: Tensor, here: Tensor, there: Tensor, slope: Tensor) -> None:
        scale = self.lr * slope.unsqueeze(1)
        for table, squares, places, other in zip(self.tables, self.squares, (first, second), (there, here), strict=True):
            step = scale * torch.cat([other[:, :-1], torch.ones_like(scale)], 1)
            squares.index_add_(0, places, step.square())
            table.index_add_(0, places, step / squares.index_select(0, places).sqrt(), alpha=-1)


class Unseen:
    """Draws pairs of words that never meet. seen [P]: row * V + column of those that do, rising. met [V]: as Fit.start has it."""

    def __init__(self, seen: np.ndarray, met: np.ndarray) -> None:
        self.seen = seen
        share = np.cumsum(met**POWER)
        self.share = share / share[-1]

    def draw(self, number: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Of `number` pairs drawn, those that never meet."""
        first, second = np.searchsorted(self.share, rng.random((2, number)), side="right")
        keys = np.sort(first * len(self.share) + second)  # looked up in half the time
        place = np.searchsorted(self.seen, keys).clip(max=len(self.seen) - 1)
        never = self.seen[place] != keys
        first, second = np.divmod(keys[never], len(self.share))
        return torch.from_numpy(first), torch.from_numpy(second)


def _told(here: Tensor, there: Tensor) -> Tensor:
    """The logarithm of how often each pair is told to meet [B]."""
    return (here[:, :-1] * there[:, :-1]).sum(1) + here[:, -1] + there[:, -1]


def pairs(corpus: Corpus, window: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns [P] int64 and X [P] float64 of all pairs that stand within `window` words of each other, both ways; by row,
    then by column."""
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
