"""A split's rows as its chunks are encoded: those with a label and those that only other tasks have one for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from trunkline.data.encoding.base import Encoding, Where, refuse
from trunkline.data.encoding.scores import number
from trunkline.data.rows import Rows, amid, join
from trunkline.data.sources.base import Chunk

TEACHER: Final = "teacher"
TEACHER_COLUMN: Final = "a teacher's scores"  # of a model; no column of a file is called so


@dataclass(frozen=True)
class Extra:
    """A column beside the target: name of the target it becomes, and how its values are read. form: what else decides them.

    read: (column, values, where) -> one value per row. Raises DataError for those that do not fit.
    """

    name: str
    column: str
    read: Callable[[str, Sequence[Any], Where], np.ndarray]
    form: str = ""

    def key(self) -> list[str]:
        return [self.name, self.column, self.form]


class Gathered:
    """Chunks in, Rows out. extras: columns of which every row with a label has a value.

    partial: a row whose target is None stays, with count 0, for other tasks learn from it; without it there is none.
    """

    def __init__(self, encoding: Encoding, *, extras: Sequence[Extra] = (), partial: bool = False) -> None:
        self.encoding, self.extras = encoding, extras
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
        if self.extras and with_targets:
            more = {extra.name: extra.read(extra.column, mine.columns[extra.column], where) for extra in self.extras}
            rows = dataclasses.replace(rows, targets={**rows.targets, **more})
        parts.append(rows)

    def rows(self) -> Rows | None:
        """All of them, in order; None if none has a label."""
        if not self.learned:
            return None
        learned = join(self.learned)
        return amid(learned, np.concatenate(self.places), join(self.others)) if self.others else learned


def row_weights(column: str, values: Sequence[Any], where: Where) -> np.ndarray:
    """Weights as float32 [n]. Raises DataError that shows the first values that are no finite number from 0 up."""
    numbers = np.array([number(value) for value in values], np.float64)
    bad = np.flatnonzero(~(np.isfinite(numbers) & (numbers >= 0) & (numbers <= np.finfo(np.float32).max)))
    if len(bad):
        refuse(column, "has row weights that are no finite number from 0 up", bad.tolist(), values, where, "Mend or drop them.")
    return numbers.astype(np.float32)
