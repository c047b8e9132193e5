"""Alignment and uniformity of vectors."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trunkline.metrics.geometry import Alignment, Uniformity


def compute(metric: Alignment | Uniformity, query: np.ndarray, candidate: np.ndarray, key: np.ndarray | None = None) -> float:
    n = len(query)
    key = np.arange(n) if key is None else key
    records = {"query": query.astype(np.float32), "candidate": candidate.astype(np.float32), "key": key, "query_key": key}
    metric.update(np.arange(n), **records)
    return metric.compute()


def test_alignment_by_hand() -> None:
    # squared distances 2, 0 and 4
    query, candidate = np.array([[1, 0], [0, 1], [1, 0]]), np.array([[0, 1], [0, 1], [-1, 0]])
    assert compute(Alignment(), query, candidate) == pytest.approx(2.0)


def test_uniformity_by_hand() -> None:
    # queries: one pair at squared distance 2, two at 2 and 4; candidates all one
    query, candidate = np.array([[1, 0], [0, 1], [-1, 0]]), np.ones((3, 2)) / math.sqrt(2)
    expected = math.log((2 * math.exp(-4) + math.exp(-8)) / 3) / 2
    assert compute(Uniformity(), query, candidate) == pytest.approx(expected)


def test_vectors_at_right_angles_have_the_best_uniformity_and_one_vector_none() -> None:
    square, one = np.eye(300), np.tile(np.eye(300)[:1], (300, 1))
    assert compute(Uniformity(), square, square) == pytest.approx(Uniformity.best)
    assert compute(Uniformity(), one, one) == pytest.approx(0.0)
    assert compute(Uniformity(), one[:1], one[:1]) == 0.0


def test_a_text_that_stands_twice_counts_once() -> None:
    vectors = np.random.default_rng(0).normal(size=(20, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    twice, key = np.concatenate([vectors, vectors[:7]]), np.concatenate([np.arange(20), np.arange(7)])
    once = compute(Uniformity(), vectors, vectors)
    assert compute(Uniformity(), twice, twice, key) == once
    assert compute(Uniformity(), twice, twice) != pytest.approx(once)
