"""Metrics of how vectors lie on the sphere: near to what belongs to them, far from all else."""

from __future__ import annotations

import numpy as np

from trunkline.metrics.base import Metric
from trunkline.metrics.retrieval import CHUNK_ROWS
from trunkline.registry import METRICS


@METRICS.register("alignment")
class Alignment(Metric):
    """Mean over the rows of || query - candidate || ** 2: 0 where what belongs together is one, at most 4.

    query, candidate [n, D] float32 of unit length. Source: Wang & Isola, arXiv:2005.10242, section 4.1, with alpha = 2.
    """

    needs = frozenset({"query", "candidate"})
    higher_is_better = False
    best = 0.0

    def value(self, *, query: np.ndarray, candidate: np.ndarray) -> float:
        return float(np.mean(((query.astype(np.float64) - candidate) ** 2).sum(axis=1)))


@METRICS.register("uniformity")
class Uniformity(Metric):
    """log of the mean over pairs of exp(-2 || x - y || ** 2), of the queries and of the candidates; the mean of the two.

    0 where all vectors are one. Every two different texts of the split are a pair, one that stands twice counts once; 0 where
    there is but one text. query, candidate [n, D] float32 of unit length; key, query_key [n] int64: hashes of their text. The
    work grows with n squared. Source: Wang & Isola, arXiv:2005.10242, section 4.1, with t = 2. best: -4, which vectors at right
    angles reach; a few vectors can get a little below.
    """

    needs = frozenset({"query", "candidate", "key", "query_key"})
    higher_is_better = False
    best = -4.0
    most_draws = 0  # a row drawn twice would be a pair with itself, at no distance

    def value(self, *, query: np.ndarray, candidate: np.ndarray, key: np.ndarray, query_key: np.ndarray) -> float:
        return float(np.mean([_spread(query, query_key), _spread(candidate, key)]))


def _spread(vectors: np.ndarray, key: np.ndarray) -> float:
    _, first = np.unique(key, return_index=True)
    points = vectors[first].astype(np.float64)
    count = len(points)
    if count == 1:
        return 0.0
    norms, total = (points**2).sum(axis=1), 0.0
    for start in range(0, count, CHUNK_ROWS):
        rows = points[start : start + CHUNK_ROWS]
        squared = norms[start : start + CHUNK_ROWS, None] + norms - 2 * rows @ points.T
        near = np.exp(-2 * np.maximum(squared, 0.0))
        total += float(near.sum() - near[np.arange(len(rows)), start + np.arange(len(rows))].sum())
    return float(np.log(total / (count * (count - 1))))
