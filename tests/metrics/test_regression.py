"""Metrics of numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trunkline.metrics.regression import R2, Mae, Mse, Pearson, Spearman

ALL = [Pearson, Spearman, Mse, Mae]


def compute(metric, prediction, target):
    metric.update(np.arange(len(target)), prediction=np.asarray(prediction, np.float32), target=np.asarray(target, np.float32))
    return metric.compute()


def test_errors_worked_by_hand() -> None:
    assert compute(Mse(), [1, 2, 3], [1, 4, 0]) == pytest.approx((0 + 4 + 9) / 3)
    assert compute(Mae(), [1, 2, 3], [1, 4, 0]) == pytest.approx((0 + 2 + 3) / 3)


def test_pearson_worked_by_hand() -> None:
    # deviations (-1, 0, 1) and (-1, 1, 0): 1 / sqrt(2 * 2)
    assert compute(Pearson(), [1, 2, 3], [2, 4, 3]) == pytest.approx(0.5)


def test_spearman_worked_by_hand_with_a_tie() -> None:
    # ranks (1, 2, 3, 4) and (1, 2.5, 2.5, 4): 4.5 / sqrt(5 * 4.5)
    assert compute(Spearman(), [10, 20, 30, 40], [1, 5, 5, 9]) == pytest.approx(4.5 / math.sqrt(5 * 4.5))


def test_spearman_sees_only_the_order_and_pearson_only_up_to_an_affine_map() -> None:
    rng = np.random.default_rng(1)
    prediction, target = rng.normal(size=(2, 50)).astype(np.float32)
    assert compute(Spearman(), np.exp(prediction), target) == compute(Spearman(), prediction, target)
    assert compute(Pearson(), 3 * prediction - 8, target) == pytest.approx(compute(Pearson(), prediction, target), abs=1e-6)
    assert compute(Pearson(), -prediction, target) == pytest.approx(-compute(Pearson(), prediction, target))


@pytest.mark.parametrize("metric", [Pearson, Spearman])
@pytest.mark.parametrize("constant", [0.0, 0.1, 1e20])
def test_a_correlation_with_a_constant_is_zero(metric: type, constant: float) -> None:
    assert compute(metric(), [constant] * 7, range(7)) == 0.0
    assert compute(metric(), range(7), [constant] * 7) == 0.0


def test_correlation_holds_at_the_ends_of_the_range() -> None:
    for scale in (1e-30, 1e30):
        assert compute(Pearson(), np.arange(5) * scale, range(5)) == pytest.approx(1.0)


@pytest.mark.parametrize("metric", ALL)
def test_a_prediction_that_is_no_number_is_never_a_good_figure(metric: type) -> None:
    assert math.isnan(compute(metric(), [1.0, math.nan, 3.0], [1.0, 2.0, 3.0]))


def test_r2_worked_by_hand() -> None:
    # errors 1, 0, 1: 2; deviations from 2: 1, 0, 1 times two: 8
    assert compute(R2(), [1, 2, 3], [0, 2, 4]) == pytest.approx(1 - 2 / 8)


def test_r2_of_the_mean_is_zero_and_of_a_constant_target_too() -> None:
    assert compute(R2(), [2, 2, 2], [1, 2, 3]) == 0.0
    assert compute(R2(), [1, 2, 3], [5, 5, 5]) == 0.0


@pytest.mark.parametrize("metric", [*ALL, R2])
def test_of_several_numbers_a_row_it_is_the_mean_over_them(metric: type) -> None:
    prediction, target = np.random.default_rng(4).normal(size=(2, 30, 3)).astype(np.float32)
    single = [compute(metric(), prediction[:, column], target[:, column]) for column in range(3)]
    assert compute(metric(), prediction, target) == pytest.approx(np.mean(single))
