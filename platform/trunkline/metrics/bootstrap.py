"""How sure a figure is: the bootstrap over rows, of one model and of two on the same rows."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from trunkline.metrics.base import Metric

LEVEL = 0.95
AT_ONCE = 1 << 24  # places that are drawn before their figures are worked out


@dataclass(frozen=True)
class Measured:
    """What a model gave on the rows of a split, ordered by row id, so equal however the rows were divided over ranks.

    ids [n] int64, repeated for rows of several targets; records: arrays [n, ...] by name.
    """

    ids: np.ndarray
    records: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, parts: Iterable[tuple[np.ndarray, Mapping[str, np.ndarray]]]) -> Measured:
        """parts: of any ranks, packs and order; all targets of a row in one, in their order."""
        kept = list(parts)
        if not kept:
            return cls(np.zeros(0, np.int64), {})
        ids = np.concatenate([own for own, _ in kept])
        order = np.argsort(ids, kind="stable")
        records = {name: np.concatenate([np.asarray(own[name]) for _, own in kept])[order] for name in kept[0][1]}
        return cls(ids[order], records)

    @functools.cached_property
    def starts(self) -> np.ndarray:
        """Where each row begins, and the end [rows + 1]."""
        return np.flatnonzero(np.r_[True, self.ids[1:] != self.ids[:-1], True]) if len(self.ids) else np.zeros(1, np.int64)

    @property
    def rows(self) -> np.ndarray:
        """The ids of the rows, each once."""
        return self.ids[self.starts[:-1]]

    def places(self, taken: np.ndarray) -> np.ndarray:
        """Where the targets of the taken rows (by number, with repetition) stand, row by row."""
        lengths = self.starts[taken + 1] - self.starts[taken]
        first = np.repeat(self.starts[taken] - np.r_[0, np.cumsum(lengths)[:-1]], lengths)
        return first + np.arange(int(lengths.sum()))

    def value(self, metric: Metric) -> float:
        """The metric's figure over everything; NaN if that is nothing."""
        return float(metric.value(**self._needed(metric))) if len(self.ids) else float("nan")

    def drawn(self, metric: Metric, draws: int, seed: int = 0) -> np.ndarray:
        """The figure of each of `draws` samples of as many rows, with repetition; the same rows for every model and metric."""
        chance = np.random.default_rng(seed)
        size = len(self.starts) - 1
        needed, few = self._needed(metric), max(1, AT_ONCE // max(1, len(self.ids)))
        found = [np.zeros(0)]
        for first in range(0, draws, few):
            taken = [self.places(chance.integers(0, size, size)) for _ in range(min(few, draws - first))]
            found.append(metric.values(taken, **needed))
        return np.concatenate(found)

    def _needed(self, metric: Metric) -> dict[str, np.ndarray]:
        return {name: self.records[name] for name in sorted(metric.needs)}


def interval(metric: Metric, measured: Measured, draws: int) -> tuple[float, float] | None:
    """The 95 % percentile interval of a figure over rows; None where there is nothing to draw, or no draw has a figure.

    Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993), section 13.3.
    """
    draws = min(draws, metric.most_draws)
    if not draws or not len(measured.ids):
        return None
    return bounds(measured.drawn(metric, draws))


def bounds(drawn: np.ndarray) -> tuple[float, float] | None:
    """The 95 % percentile interval of figures drawn; those that are no numbers are left out, None if all are."""
    known = drawn[np.isfinite(drawn)]
    if not len(known):
        return None
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    return low, high


@dataclass(frozen=True)
class Paired:
    """Two models on the same rows. difference: own less other's, in the metric's unit or that asked for, with its 95 % interval.

    p: the chance of a difference at least as far from 0 if there were none, two-sided. verdict: better or worse where the
    interval leaves out 0.
    """

    value: float
    other: float
    difference: float
    low: float | None
    high: float | None
    p: float | None
    verdict: Literal["better", "worse", "not told apart"]


def paired(
    metric: Metric, own: Measured, other: Measured, draws: int, unit: Callable[[Any], Any] = lambda figure: figure
) -> Paired:
    """The difference over the same rows. Each draw takes the same rows of both models. unit: what figures are before they are
    compared; it must not turn their order.

    p = 2 min(share of draws <= 0, share of draws >= 0), the draw that was measured counted among them, at most 1.
    Source: Koehn, EMNLP 2004, section 4; Efron & Tibshirani (1993), section 15.4 (achieved significance level).
    """
    assert np.array_equal(own.rows, other.rows), "the models were measured on other rows"
    first, second = own.value(metric), other.value(metric)
    draws = min(draws, metric.most_draws)
    drawn = unit(own.drawn(metric, draws)) - unit(other.drawn(metric, draws)) if draws and len(own.ids) else np.zeros(0)
    drawn = drawn[np.isfinite(drawn)]
    low, high = bounds(drawn) or (None, None)
    p = min(1.0, 2 * (1 + min((drawn <= 0).sum(), (drawn >= 0).sum())) / (1 + len(drawn))) if len(drawn) else None
    up = 1 if metric.higher_is_better else -1
    verdict: Literal["better", "worse", "not told apart"] = "not told apart"
    if low is not None and high is not None and (low > 0 or high < 0):
        verdict = "better" if up * low > 0 else "worse"
    return Paired(first, second, float(unit(first)) - float(unit(second)), low, high, None if p is None else float(p), verdict)
