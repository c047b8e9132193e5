"""Metrics of numbers; every one in float64, whatever the head computed in. Of several numbers a row, the mean over them."""

from __future__ import annotations

from abc import abstractmethod

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
    """prediction, target [n] float32, or [n, M]: then the mean of the M figures."""

    needs = frozenset({"prediction", "target"})
    not_for = frozenset(
        {"classification", "tagging", "masked_language", "causal_language", "bilm", "replaced_token", "multilabel"}
    )

    def value(self, *, prediction: np.ndarray, target: np.ndarray) -> float:
        columns = [array.astype(np.float64).reshape(len(target), -1).T for array in (prediction, target)]
        return float(np.mean([self.figure(*pair) for pair in zip(*columns, strict=True)]))

    @abstractmethod
    def figure(self, prediction: np.ndarray, target: np.ndarray) -> float:
        """Of one number a row, float64 [n]."""


@METRICS.register("pearson")
class Pearson(_Numbers):
    """Linear correlation, -1..1; 0 if prediction or truth is constant. prediction, target [n] or [n, M] float32."""

    def figure(self, prediction: np.ndarray, target: np.ndarray) -> float:
        return _correlation(prediction, target)


@METRICS.register("spearman")
class Spearman(_Numbers):
    """Correlation of ranks, -1..1, ties sharing their mean rank; 0 if prediction or truth is constant.

    prediction, target [n] or [n, M] float32.
    """

    def figure(self, prediction: np.ndarray, target: np.ndarray) -> float:
        from scipy.stats import rankdata

        return _correlation(rankdata(prediction), rankdata(target))


@METRICS.register("mse")
class Mse(_Numbers):
    """Mean squared error, in the target's unit squared. prediction, target [n] or [n, M] float32."""

    higher_is_better = False
    best = 0.0

    def figure(self, prediction: np.ndarray, target: np.ndarray) -> float:
        return float(np.mean((prediction - target) ** 2))


@METRICS.register("mae")
class Mae(_Numbers):
    """Mean absolute error, in the target's unit. prediction, target [n] or [n, M] float32."""

    higher_is_better = False
    best = 0.0

    def figure(self, prediction: np.ndarray, target: np.ndarray) -> float:
        return float(np.mean(np.abs(prediction - target)))


@METRICS.register("r2")
class R2(_Numbers):
    """Share of the target's variance explained: 1 - sum of squared errors / sum of squared deviations from the mean target.

    0 is guessing the mean, below 0 is worse; 0 where the target is constant, for which it is undefined. prediction, target [n]
    or [n, M] float32.
    """

    def figure(self, prediction: np.ndarray, target: np.ndarray) -> float:
        spread = np.sum((target - target.mean()) ** 2)
        return float(1 - np.sum((prediction - target) ** 2) / spread) if target.min() < target.max() else 0.0
