"""Rows like the old ones are not called shifted; each kind of shift is, by its own number."""

from __future__ import annotations

import numpy as np
import pytest

from trunkline.continual.drift import Sample, drift, embedding_distance, label_shift, length_shift, vocabulary_shift

UNKNOWN = 1


def sample(seed: int, rows: int = 200, fault: str = "") -> Sample:
    chance = np.random.default_rng(seed)
    labels = chance.choice(3, rows, p=[0.1, 0.1, 0.8] if fault == "labels" else [0.4, 0.4, 0.2])
    lengths = chance.integers(4, 12, rows) + (4 if fault == "lengths" else 0)
    first = 60 if fault == "vocabulary" else 10
    tokens = [chance.integers(first, first + 80, size) for size in lengths]
    if fault == "unknown":
        tokens = [np.where(chance.random(len(row)) < 0.2, UNKNOWN, row) for row in tokens]
    vectors = chance.normal(0.8 if fault == "embeddings" else 0.0, 1.0, (rows, 8))
    return Sample(labels, tokens, vectors, UNKNOWN)


def test_rows_of_the_same_kind_are_not_shifted() -> None:
    found = [drift(sample(seed), sample(seed + 100, 80), seed) for seed in range(4)]
    assert sum(one.shifted for numbers in found for one in numbers) <= 1  # 20 tests at the level 1/51


@pytest.mark.parametrize("fault", ["labels", "lengths", "vocabulary", "unknown", "embeddings"])
def test_each_shift_is_told_by_its_number(fault: str) -> None:
    assert {one.name for one in drift(sample(1), sample(2, 80, fault)) if one.shifted} >= {fault}


def test_the_numbers_by_hand() -> None:
    old = Sample(np.array([0, 0, 1, 1]), [np.array([2, 3])] * 4, np.array([[1.0], [-1.0]] * 2), UNKNOWN)
    new = Sample(np.array([0, 0]), [np.array([4, 5, 6])] * 2, np.array([[3.0], [3.0]]), UNKNOWN)
    assert label_shift(old, new) == 0.5 and length_shift(old, new) == 1.0
    assert vocabulary_shift(old, new) == pytest.approx(1.0) and embedding_distance(old, new) == pytest.approx(3.0)
