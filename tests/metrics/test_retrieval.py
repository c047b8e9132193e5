"""Metrics of retrieval."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trunkline.errors import ConfigError
from trunkline.metrics.retrieval import RetrievalMrr, RetrievalRecall, draw, others


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def compute(metric, query, candidate, key=None, query_key=None):
    n = len(query)
    metric.update(
        np.arange(n),
        query=np.asarray(query, np.float32),
        candidate=np.asarray(candidate, np.float32),
        key=np.arange(n) * 7 - 50 if key is None else np.asarray(key),
        query_key=np.arange(n) * 13 - 99 if query_key is None else np.asarray(query_key),
    )
    return metric.compute()


def test_three_queries_worked_by_hand() -> None:
    candidate = np.eye(3)
    query = unit(np.array([[3, 2, 1], [3, 2, 1], [3, 2, 1]]))  # own candidate stands first, second, third
    assert compute(RetrievalRecall(num_candidates=3), query, candidate) == pytest.approx(1 / 3)
    assert compute(RetrievalMrr(num_candidates=3), query, candidate) == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)


def test_a_perfect_model_scores_one() -> None:
    vectors = unit(np.random.default_rng(0).normal(size=(200, 8)))
    assert compute(RetrievalRecall(), vectors, vectors) == 1.0
    assert compute(RetrievalMrr(), vectors, vectors) == 1.0


def test_a_model_that_scores_all_alike_gets_what_chance_gets() -> None:
    zeros = np.zeros((200, 4))
    same = np.tile(unit(np.ones((1, 4))), (200, 1))
    for vectors in (zeros, same):
        assert compute(RetrievalRecall(), vectors, vectors) == pytest.approx(1 / 50, rel=1e-12)
        assert compute(RetrievalMrr(), vectors, vectors) == pytest.approx(sum(1 / rank for rank in range(1, 51)) / 50, rel=1e-12)


def test_a_random_model_is_near_chance() -> None:
    rng = np.random.default_rng(3)
    query, candidate = unit(rng.normal(size=(4000, 8))), unit(rng.normal(size=(4000, 8)))
    assert compute(RetrievalRecall(), query, candidate) == pytest.approx(1 / 50, abs=4 * math.sqrt(0.02 * 0.98 / 4000))


def test_a_model_that_diverged_ranks_last_and_not_first() -> None:
    broken = np.full((60, 4), np.nan)
    assert compute(RetrievalRecall(), broken, broken) == 0.0
    assert compute(RetrievalMrr(), broken, broken) == pytest.approx(1 / 50)


def test_others_are_distinct_wrong_and_fixed_by_the_query() -> None:
    rng = np.random.default_rng(5)
    key, query_key = rng.integers(0, 90, 300), rng.integers(-(2**62), 2**62, 100).repeat(3)
    _, own, drawn = others(key, query_key, 49)
    right = {query: set(own[query_key == query]) for query in query_key}
    for row, query in enumerate(query_key):
        assert len(set(drawn[row])) == 49 and drawn[row].min() >= 0 and drawn[row].max() < 90
        assert right[query].isdisjoint(drawn[row])
        assert set(drawn[row]) == set(drawn[np.flatnonzero(query_key == query)[0]])
    order = rng.permutation(300)
    assert np.array_equal(others(key[order], query_key[order], 49)[2], drawn[order])


def test_every_other_candidate_is_drawn_equally_often() -> None:
    drawn = draw(np.arange(20_000, dtype=np.uint64), np.full(20_000, 20), 5)
    counts = np.bincount(drawn.ravel(), minlength=20)
    assert np.abs(counts - 5000).max() < 5 * math.sqrt(20_000 * 0.25 * 0.75)


def test_a_small_split_ranks_against_what_it_has() -> None:
    assert sorted(draw(np.array([8], np.uint64), np.array([3]), 5)[0]) == [-1, -1, 0, 1, 2]
    same = np.ones((4, 2))
    assert compute(RetrievalRecall(), same, same) == pytest.approx(1 / 4)
    assert compute(RetrievalRecall(), same, same, key=[5, 5, 5, 5]) == 1.0  # one candidate: nothing to be ranked against


@pytest.mark.parametrize("wrong", [1, 0, 2.5, True, "50"])
def test_a_wrong_number_of_candidates_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigError, match="num_candidates must be a whole number of at least 2"):
        RetrievalRecall(num_candidates=wrong)
