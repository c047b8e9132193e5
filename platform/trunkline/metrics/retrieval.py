"""Metrics of retrieval: how high the right candidate stands among a fixed number of others."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np

from trunkline.errors import ConfigError
from trunkline.metrics.base import Metric
from trunkline.registry import METRICS, Count

CHUNK_ROWS = 256


def _mix(value: np.ndarray) -> np.ndarray:
    """splitmix64 of uint64 values. Source: Steele, Lea & Flood, OOPSLA 2014, figure 17."""
    with np.errstate(over="ignore"):
        value = value + np.uint64(0x9E3779B97F4A7C15)
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return value ^ (value >> np.uint64(31))


def draw(keys: np.ndarray, pool: np.ndarray, count: int) -> np.ndarray:
    """`count` different numbers below each row's pool size, a function of its key alone: [n, count] int64.

    keys [n] uint64, pool [n] int64 >= 0. A smaller pool is taken whole and filled up with -1.
    Source: Floyd's sampling, Bentley & Floyd, CACM 30 (1987): one pass, no rejection.
    """
    taken = np.full((len(keys), count), -1, np.int64)
    size = np.minimum(pool, count)
    for step in range(count):
        last = pool - size + step
        number = (_mix(keys ^ _mix(np.full_like(keys, step))) % np.maximum(last + 1, 1).astype(np.uint64)).astype(np.int64)
        repeated = (taken[:, :step] == number[:, None]).any(axis=1)
        taken[:, step] = np.where(step < size, np.where(repeated, last, number), -1)
    return taken


def _right_answers(query_key: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The right candidates of each query text: (query of each row [n], flat candidates ascending, start per query [q+1])."""
    _, query = np.unique(query_key, return_inverse=True)
    pairs = np.unique(np.stack([query, own], axis=1), axis=0)
    return query, pairs[:, 1], np.searchsorted(pairs[:, 0], np.arange(query.max() + 2))


def others(key: np.ndarray, query_key: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The wrong candidates every row is ranked against.

    Returns (first row of each distinct candidate [u], own candidate of each row [n], others [n, count], -1 where the split
    has no more). Other right answers to the same query are never among them.
    """
    _, first, own = np.unique(key, return_index=True, return_inverse=True)
    query, right, starts = _right_answers(query_key, own)
    excluded = np.diff(starts)[query]
    drawn = draw(query_key.astype(np.int64).view(np.uint64), len(first) - excluded, count)
    for rank in range(int(excluded.max())):  # step over each right answer, in ascending order
        rows = np.flatnonzero(excluded > rank)
        skip = right[starts[query[rows]] + rank]
        drawn[rows] += drawn[rows] >= skip[:, None]
    return first, own, drawn


class _Ranks(Metric):
    """query, candidate [n, D] float32 of unit length; key, query_key [n] int64: hashes of candidate and query text.

    Each query meets its own candidate and num_candidates - 1 others of the split, chosen by the hash of the query alone.
    The score is the dot product. Candidates that tie share the ranks they span, so a model that scores all alike gets what
    chance gets: recall at 1 = 1 / num_candidates. A score that is no number ranks its row last.
    """

    needs = frozenset({"query", "candidate", "key", "query_key"})

    def __init__(self, *, num_candidates: Count = 50) -> None:
        if isinstance(num_candidates, bool) or not isinstance(num_candidates, int) or num_candidates < 2:
            raise ConfigError(f"num_candidates must be a whole number of at least 2, found {num_candidates!r}.")
        super().__init__()
        self.num_candidates = num_candidates

    def value(self, *, query: np.ndarray, candidate: np.ndarray, key: np.ndarray, query_key: np.ndarray) -> float:
        return float(np.mean(self.gains(query, candidate, key, query_key)))

    def values(self, draws: Sequence[np.ndarray], **records: np.ndarray) -> np.ndarray:
        """Queries are drawn; what they are ranked against stays."""
        gains = self.gains(**records)
        return np.array([float(np.mean(gains[taken])) for taken in draws])

    def gains(self, query: np.ndarray, candidate: np.ndarray, key: np.ndarray, query_key: np.ndarray) -> np.ndarray:
        """What each row scores [n]."""
        first, own, wrong = others(key, query_key, self.num_candidates - 1)
        above, ties = np.zeros(len(key), np.int64), np.zeros(len(key), np.int64)
        for start in range(0, len(key), CHUNK_ROWS):
            rows = slice(start, start + CHUNK_ROWS)
            shown = np.concatenate([own[rows, None], wrong[rows]], axis=1)
            vectors = candidate[first[shown]].astype(np.float64)  # [rows, candidates, D]
            # Product and sum, not a matrix product: equal vectors must give equal scores wherever they stand.
            scores = (vectors * query[rows, None].astype(np.float64)).sum(axis=2)
            tied = (scores[:, 1:] == scores[:, :1]) & (wrong[rows] >= 0)
            below = (scores[:, 1:] < scores[:, :1]) & (wrong[rows] >= 0)
            ties[rows] = tied.sum(axis=1)
            above[rows] = (wrong[rows] >= 0).sum(axis=1) - ties[rows] - below.sum(axis=1)
        return self.gain(above, ties)

    @abstractmethod
    def gain(self, above: np.ndarray, ties: np.ndarray) -> np.ndarray:
        """What a row scores: above [n] candidates stand higher, ties [n] stand level with its own."""


class _First(_Ranks):
    """k: how many of the best count."""

    def __init__(self, *, k: int, num_candidates: int) -> None:
        super().__init__(num_candidates=num_candidates)
        if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k < num_candidates:
            raise ConfigError(f"k must be a whole number from 1 to below num_candidates {num_candidates}, found {k!r}.")
        self.k = k


@METRICS.register("retrieval_recall")
class RetrievalRecall(_First):
    """Share of queries whose own candidate is among the first k. query, candidate [n, D] float32; key, query_key [n] int64."""

    def __init__(self, *, k: Count = 1, num_candidates: Count = 50) -> None:
        super().__init__(k=k, num_candidates=num_candidates)

    def gain(self, above: np.ndarray, ties: np.ndarray) -> np.ndarray:
        return np.clip(self.k - above, 0, ties + 1) / (ties + 1)


@METRICS.register("retrieval_mrr")
class RetrievalMrr(_Ranks):
    """Mean of 1 / rank of the own candidate. query, candidate [n, D] float32; key, query_key [n] int64."""

    def gain(self, above: np.ndarray, ties: np.ndarray) -> np.ndarray:
        harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, self.num_candidates + 1))])
        return (harmonic[above + ties + 1] - harmonic[above]) / (ties + 1)


@METRICS.register("retrieval_ndcg")
class RetrievalNdcg(_First):
    """Mean of 1 / log2(1 + rank) of the own candidate, 0 beyond rank k.

    query, candidate [n, D] float32; key, query_key [n] int64.
    Source: Jarvelin & Kekalainen, ACM TOIS 20 (2002), with one right candidate of grade 1, so that the ideal gain is 1.
    """

    def __init__(self, *, k: Count = 10, num_candidates: Count = 50) -> None:
        super().__init__(k=k, num_candidates=num_candidates)

    def gain(self, above: np.ndarray, ties: np.ndarray) -> np.ndarray:
        ranks = np.arange(1, self.num_candidates + 1)
        gained = np.concatenate([[0.0], np.cumsum(np.where(ranks <= self.k, 1 / np.log2(1 + ranks), 0.0))])
        return (gained[above + ties + 1] - gained[above]) / (ties + 1)
