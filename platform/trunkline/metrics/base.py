"""What every metric offers: exact state, so that any split of the rows over ranks gives the identical figure."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Self

import numpy as np


class Metric(ABC):
    """One figure per task and split, from the records of its rows.

    needs: the records it reads, each an array with one entry per target. not_for: kinds of task whose records go by the same
    names and mean other things (a third party's kind is judged by its records alone). higher_is_better: which way is up.
    best: what a perfect prediction gets. most_draws: how many a bootstrap makes at most, fewer where a figure takes long.

    Every record is kept as it came and put in order by row id before anything is added up. So `merge` over any split
    of the rows, in any order of arrival, equals a single pass bit for bit: nothing is ever averaged over ranks.
    """

    needs: ClassVar[frozenset[str]]
    not_for: ClassVar[frozenset[str]] = frozenset()
    higher_is_better: ClassVar[bool] = True
    best: ClassVar[float] = 1.0
    most_draws: ClassVar[int] = 1000

    def __init__(self) -> None:
        self._ids: list[np.ndarray] = []
        self._records: dict[str, list[np.ndarray]] = {name: [] for name in sorted(self.needs)}

    @classmethod
    def fits(cls, kind: str, records: Iterable[str]) -> bool:
        """Whether it can measure tasks of this kind, whose encoding gives these records."""
        return kind not in cls.not_for and cls.needs <= set(records)

    def update(self, ids: np.ndarray, **records: np.ndarray) -> None:
        """Add targets. ids [n] int64: the row each belongs to. records: arrays [n, ...]; those it does not need are dropped.

        All targets of one row must come in one call, in their order within the row.
        """
        ids = np.asarray(ids, np.int64)
        for name, kept in self._records.items():
            record = np.asarray(records[name])
            assert len(record) == len(ids), f"{name}: {len(record)} records for {len(ids)} ids"
            kept.append(record)
        self._ids.append(ids)

    def merge(self, other: Self) -> None:
        """Take over what `other` (of the same metric and arguments) has seen; `other` stays as it is."""
        self._ids.extend(other._ids)
        for name, kept in self._records.items():
            kept.extend(other._records[name])

    def compute(self) -> float:
        """The figure over everything seen; NaN if that is nothing."""
        if not sum(map(len, self._ids)):
            return math.nan
        order = np.argsort(np.concatenate(self._ids), kind="stable")
        return float(self.value(**{name: np.concatenate(kept)[order] for name, kept in self._records.items()}))

    @abstractmethod
    def value(self, *args: Any, **records: Any) -> float:
        """The figure of these records [n, ...], n >= 1, ordered by row id, each a keyword argument.

        Must be defined for a constant prediction.
        """

    def in_points(self, figure: Any) -> Any:
        """A figure, or an array of them, in the unit in which promises are made: hundredths of a metric that is 1 at best.

        One that is better when lower has no such best: it is counted in its own unit, unless it says otherwise.
        """
        return figure * 100.0 if self.higher_is_better and self.best == 1.0 else figure

    def values(self, draws: Sequence[np.ndarray], **records: np.ndarray) -> np.ndarray:
        """The figure of each draw: places in the records, with repetition, whole rows at a time. float64, one for each.

        Whatever measures a row against the others of the split must be written anew here: the others stay when rows are drawn.
        """
        return np.array([self.value(**{name: record[taken] for name, record in records.items()}) for taken in draws])
