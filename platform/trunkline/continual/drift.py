"""Whether new rows are like those a model was trained on: five numbers, and a verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

DRAWS = 50


@dataclass(frozen=True)
class Sample:
    """Rows as they are compared. labels [n]: whatever stands for a row's target. lengths [n]: tokens.

    tokens: each row's ids, unknown: the id of unknown ones. vectors [n, D]: embeddings.
    """

    labels: np.ndarray
    tokens: Sequence[np.ndarray]
    vectors: np.ndarray
    unknown: int

    def take(self, rows: np.ndarray) -> Sample:
        return Sample(self.labels[rows], [self.tokens[row] for row in rows], self.vectors[rows], self.unknown)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Drift:
    """value: between old and new rows. usual: the largest of as many rows drawn from the old ones against the others."""

    name: str
    value: float
    usual: float

    @property
    def shifted(self) -> bool:
        return self.value > self.usual

    def told(self) -> dict[str, Any]:
        return {**asdict(self), "shifted": self.shifted}


def drift(old: Sample, new: Sample, seed: int = 0, draws: int = DRAWS) -> list[Drift]:
    """labels, lengths, vocabulary, unknown, embeddings: how far the new rows are, beside what chance gives among old ones.

    A number is called shifted when it is above every one of `draws` permutations of the old rows: a permutation test at the level
    1 / (draws + 1). Needs as many old rows as new ones, or compares fewer.
    """
    size = min(len(new), len(old) // 2)
    chance = np.random.default_rng(seed)
    picked = new.take(chance.permutation(len(new))[:size])
    usual: dict[str, float] = dict.fromkeys(MEASURES, 0.0)
    for _ in range(draws):
        order = chance.permutation(len(old))
        part, rest = old.take(order[:size]), old.take(order[size:])
        usual = {name: max(usual[name], measure(rest, part)) for name, measure in MEASURES.items()}
    return [Drift(name, measure(old, picked), usual[name]) for name, measure in MEASURES.items()]


def label_shift(old: Sample, new: Sample) -> float:
    """Total variation distance of the labels' shares, 0 to 1; of numbers, the Kolmogorov-Smirnov distance."""
    if np.issubdtype(old.labels.dtype, np.floating):
        return _ks(old.labels, new.labels)
    known, numbers = np.unique(np.concatenate([old.labels, new.labels]), return_inverse=True)
    return _total_variation(*(np.bincount(part, minlength=len(known)) for part in np.split(numbers, [len(old)])))


def length_shift(old: Sample, new: Sample) -> float:
    """Kolmogorov-Smirnov distance of the rows' numbers of tokens, 0 to 1."""
    return _ks(*(np.array([len(row) for row in own.tokens], float) for own in (old, new)))


def vocabulary_shift(old: Sample, new: Sample) -> float:
    """Jensen-Shannon divergence of the tokens' shares in bits, 0 to 1."""
    flat = [np.concatenate(list(own.tokens)) for own in (old, new)]
    size = int(max(part.max() for part in flat)) + 1
    p, q = (np.bincount(part, minlength=size) / len(part) for part in flat)
    middle = (p + q) / 2
    return float(sum((own[own > 0] * np.log2(own[own > 0] / middle[own > 0])).sum() for own in (p, q)) / 2)


def unknown_rate(old: Sample, new: Sample) -> float:
    """How much larger the share of unknown tokens is, 0 where it is not."""
    rates = [float((np.concatenate(list(own.tokens)) == own.unknown).mean()) for own in (old, new)]
    return max(0.0, rates[1] - rates[0])


def embedding_distance(old: Sample, new: Sample) -> float:
    """Distance of the mean vectors, in root mean square distances of an old row from its mean."""
    center = old.vectors.mean(0)
    spread = float(np.sqrt(np.square(old.vectors - center).sum(1).mean()))
    return float(np.linalg.norm(new.vectors.mean(0) - center)) / max(spread, 1e-12)


MEASURES: dict[str, Callable[[Sample, Sample], float]] = {
    "labels": label_shift,
    "lengths": length_shift,
    "vocabulary": vocabulary_shift,
    "unknown": unknown_rate,
    "embeddings": embedding_distance,
}


def _total_variation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a / a.sum() - b / b.sum()).sum() / 2)


def _ks(a: np.ndarray, b: np.ndarray) -> float:
    grid = np.sort(np.concatenate([a, b]))
    one, two = (np.searchsorted(np.sort(own), grid, side="right") / len(own) for own in (a, b))
    return float(np.abs(one - two).max())
