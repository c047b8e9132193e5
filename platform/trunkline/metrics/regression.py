"""Metrics of numbers; every one in float64, whatever the head computed in."""

from __future__ import annotations

import numpy as np

from trunkline.metrics.base import Metric
from trunkline.registry import METRICS


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's r of two float64 [n]; 0 if either is constant, for which it is undefined."""
    if first.min() == first.max() or second.min() == second.max():
        return 0.0
    with np.errstate(invalid="ignore"):  # an infinite prediction gives NaN, as it should
        first, second = first - first.mean(), second - second.mean()
        # Scaled first: products of large or tiny deviations would overflow or vanish.
        first, second = first / np.abs(first).max(), second / np.abs(second).max()
        return float(np.clip(np.sum(first * second) / np.sqrt(np.sum(first**2) * np.sum(second**2)), -1.0, 1.0))


class _Numbers(Metric):
    """prediction, target [n] float32."""

    needs = frozenset({"prediction", "target"})
    not_for = frozenset({"classification", "tagging", "masked_language"})


@METRICS.register("pearson")
class Pearson(_Numbers):
    """Linear correlation, -1..1; 0 if prediction or truth is constant. prediction, target [n] float32."""

    def value(self, *, prediction: np.ndarray, target: np.ndarray) -> float:
        return _correlation(prediction.astype(np.float64), target.astype(np.float64))


@METRICS.register("spearman")
class Spearman(_Numbers):
    """Correlation of ranks, -1..1, ties sharing their mean rank; 0 if prediction or truth is constant.

    prediction, target [n] float32.
    """

    def value(self, *, prediction: np.ndarray, target: np.ndarray) -> float:
        from scipy.stats import rankdata

        return _correlation(rankdata(prediction), rankdata(target))


@METRICS.register("mse")
class Mse(_Numbers):
    """Mean squared error, in the target's unit squared. prediction, target [n] float32."""

    higher_is_better = False
    best = 0.0

    def value(self, *, prediction: np.ndarray, target: np.ndarray) -> float:
        return float(np.mean((prediction.astype(np.float64) - target.astype(np.float64)) ** 2))


@METRICS.register("mae")
class Mae(_Numbers):
    """Mean absolute error, in the target's unit. prediction, target [n] float32."""

    higher_is_better = False
    best = 0.0

    def value(self, *, prediction: np.ndarray, target: np.ndarray) -> float:
        return float(np.mean(np.abs(prediction.astype(np.float64) - target.astype(np.float64))))
