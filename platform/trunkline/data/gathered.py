"""A split's rows as its chunks are encoded: those with a label and those that only other tasks have one for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from trunkline.batch import ROW_WEIGHT
from trunkline.data.encoding.base import Encoding, refuse
from trunkline.data.rows import Rows, amid, join
from trunkline.data.sources.base import Chunk


class Gathered:
    """Chunks in, Rows out. row_weight: the column of the rows' weights, or None.

    partial: a row whose target is None stays, with count 0, for other tasks learn from it; without it there is none.
    """

    def __init__(self, encoding: Encoding, *, row_weight: str | None = None, partial: bool = False) -> None:
        self.encoding, self.row_weight = encoding, row_weight
        self.target = encoding.target if partial else None
        self.learned: list[Rows] = []
        self.others: list[Rows] = []
        self.places: list[np.ndarray] = []
        self.size = 0

    def add(self, chunk: Chunk, first_row: int = 0) -> None:
        """Encodes the next chunk. first_row: its first row's number, where the chunk can not name places.

        Raises DataError for a value that does not fit.
        """
        values = chunk.columns[self.target] if self.target is not None else None
        own = [row for row in range(len(chunk)) if values is None or values[row] is not None]
        taken = set(own)
        self._add(self.learned, chunk, own, first_row, with_targets=True)
        self._add(self.others, chunk, [row for row in range(len(chunk)) if row not in taken], first_row, with_targets=False)
        self.places.append(self.size + np.array(own, np.int64))
        self.size += len(chunk)

    def _add(self, parts: list[Rows], chunk: Chunk, chosen: Sequence[int], first_row: int, *, with_targets: bool) -> None:
        if not chosen:
            return
        places = chunk.where or (lambda row: f"row {first_row + row}")
        mine = chunk if len(chosen) == len(chunk) else chunk.take(chosen)

        def where(row: int) -> str:
            return places(chosen[row])

        rows = self.encoding.encode(mine.columns, where=where, with_targets=with_targets)
        if self.row_weight is not None and with_targets:
            weights = _weights(self.row_weight, mine.columns[self.row_weight], where)
            rows = dataclasses.replace(rows, targets={**rows.targets, ROW_WEIGHT: weights})
        parts.append(rows)

    def rows(self) -> Rows | None:
        """All of them, in order; None if none has a label."""
        if not self.learned:
            return None
        learned = join(self.learned)
        return amid(learned, np.concatenate(self.places), join(self.others)) if self.others else learned


def _weights(column: str, values: Sequence[Any], where: Callable[[int], str]) -> np.ndarray:
    """Weights as float32 [n]. Raises DataError that shows the first values that are no finite number from 0 up."""
    numbers = np.array([_number(value) for value in values], np.float64)
    bad = np.flatnonzero(~(np.isfinite(numbers) & (numbers >= 0) & (numbers <= np.finfo(np.float32).max)))
    if len(bad):
        refuse(column, "has row weights that are no finite number from 0 up", bad.tolist(), values, where, "Mend or drop them.")
    return numbers.astype(np.float32)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return float("nan")
    try:
        return float(value)
    except (ValueError, OverflowError):
        return float("nan")
