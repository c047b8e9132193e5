"""Rows of which some have a label and others not, and columns beside the target."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from trunkline.data.encoding.base import Encoding, Where, refuse
from trunkline.data.encoding.scores import number
from trunkline.data.rows import Rows, amid
from trunkline.data.sources.chunk import Chunk

DIFFICULTY: Final = "difficulty"
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


def encode_partly(encoding: Encoding, chunk: Chunk, extras: Sequence[Extra], *, partial: bool) -> Rows:
    """The chunk's rows in order, those without a label with count 0 and no target.

    partial: a row whose target is None stays, for other tasks learn from it; without it there is none. extras: columns of which
    every row with a label has a value. Raises DataError for a value that does not fit.
    """
    values = chunk.columns[encoding.target] if partial and encoding.target is not None else None
    own = [row for row in range(len(chunk)) if values is None or values[row] is not None]
    if len(own) == len(chunk):
        return _learned(encoding, chunk, extras)
    taken = set(own)
    bare = chunk.take([row for row in range(len(chunk)) if row not in taken])
    found = encoding.encode(bare.columns, where=bare.where, with_targets=False)
    others = dataclasses.replace(found, counts=np.zeros_like(found.counts), targets={})
    return amid(_learned(encoding, chunk.take(own), extras), np.array(own), others) if own else others


def _learned(encoding: Encoding, chunk: Chunk, extras: Sequence[Extra]) -> Rows:
    rows = encoding.encode(chunk.columns, where=chunk.where)
    assert chunk.where is not None or not extras
    more = {extra.name: extra.read(extra.column, chunk.columns[extra.column], chunk.where or str) for extra in extras}
    return dataclasses.replace(rows, targets={**rows.targets, **more}) if more else rows


def row_weights(column: str, values: Sequence[Any], where: Where) -> np.ndarray:
    """Weights as float32 [n]. Raises DataError that shows the first values that are no finite number from 0 up."""
    numbers = np.array([number(value) for value in values], np.float64)
    bad = np.flatnonzero(~(np.isfinite(numbers) & (numbers >= 0) & (numbers <= np.finfo(np.float32).max)))
    if len(bad):
        refuse(column, "has row weights that are no finite number from 0 up", bad.tolist(), values, where, "Mend or drop them.")
    return numbers.astype(np.float32)


def difficulties(column: str, values: Sequence[Any], where: Where) -> np.ndarray:
    """How hard rows are, float64 [n]. Raises DataError that shows the first values that are no finite number."""
    numbers = np.array([number(value) for value in values], np.float64)
    bad = np.flatnonzero(~np.isfinite(numbers))
    if len(bad):
        refuse(column, "says how hard rows are, and has no finite number", bad.tolist(), values, where, "Mend or drop them.")
    return numbers
