"""Metrics of sets of labels."""

from __future__ import annotations

import numpy as np
import pytest

from trunkline.metrics.multilabel import Jaccard


def test_jaccard_is_the_mean_of_the_rows_worked_by_hand() -> None:
    metric = Jaccard()
    prediction = np.array([[1, 1, 0], [0, 0, 0], [0, 1, 0]])
    target = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0]])
    metric.update(np.arange(3), prediction=prediction, target=target)
    # {0, 1} and {0, 2}: 1/3; nothing and nothing: 1; {1} and {1}: 1
    assert metric.compute() == pytest.approx((1 / 3 + 1 + 1) / 3)
