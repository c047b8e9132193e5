"""Metrics of scores against labels."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from trunkline.metrics.scores import Auroc, MeanAveragePrecision


def compute(metric, scores, target):
    metric.update(np.arange(len(target)), scores=np.asarray(scores, np.float32), target=np.asarray(target))
    return metric.compute()


def test_auroc_is_the_share_of_pairs_in_the_right_order_ties_half() -> None:
    score, truth = np.array([0.1, 0.4, 0.4, 0.8]), np.array([0, 0, 1, 1])
    # pairs of (with, without): 0.4 > 0.1, 0.4 = 0.4, 0.8 > 0.1, 0.8 > 0.4
    assert compute(Auroc(), np.stack([score], 1), truth[:, None]) == pytest.approx(3.5 / 4)


def test_auroc_of_two_classes_is_that_of_the_difference_of_their_logits() -> None:
    rng = np.random.default_rng(0)
    scores, target = rng.normal(size=(60, 2)), rng.integers(0, 2, 60)
    margin = scores[:, 1] - scores[:, 0]
    pairs = list(itertools.product(margin[target == 1], margin[target == 0]))
    assert compute(Auroc(), scores, target) == pytest.approx(np.mean([a > b for a, b in pairs]))


def test_auroc_of_classes_does_not_change_when_all_logits_of_a_row_are_shifted() -> None:
    rng = np.random.default_rng(1)
    scores, target = rng.integers(-4, 4, (40, 3)), rng.integers(0, 3, 40)
    assert compute(Auroc(), scores + 64 * np.arange(40)[:, None], target) == pytest.approx(compute(Auroc(), scores, target))


def test_average_precision_worked_by_hand() -> None:
    # by falling score: with, without, with: precision 1 at recall 1/2, 2/3 at recall 1
    assert compute(MeanAveragePrecision(), [[3], [2], [1]], [[1], [0], [1]]) == pytest.approx(1 / 2 + 1 / 2 * 2 / 3)


def test_mean_average_precision_leaves_out_a_label_that_no_row_has() -> None:
    target = np.array([[1, 0], [0, 0], [1, 0]])
    assert compute(MeanAveragePrecision(), [[3, 1], [2, 2], [1, 3]], target) == pytest.approx(5 / 6)
    assert compute(MeanAveragePrecision(), np.ones((3, 2)), np.zeros((3, 2))) == 0.0


def test_a_constant_score_gets_what_chance_gets() -> None:
    target = np.array([[1, 0], [0, 0], [1, 1], [0, 0]])
    assert compute(Auroc(), np.zeros((4, 2)), target) == 0.5
    assert compute(MeanAveragePrecision(), np.zeros((4, 2)), target) == pytest.approx((2 / 4 + 1 / 4) / 2)
    assert compute(Auroc(), np.zeros((2, 2)), np.zeros((2, 2))) == 0.5
