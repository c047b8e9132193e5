"""Rows of a source, some thousands at a time, column by column."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from trunkline.errors import DataError

CHUNK_ROWS = 4096


class Refused(NamedTuple):
    """A row that can not be used. place: file and line, or its number; reason: what is wrong with it."""

    place: str
    reason: str


@dataclass(frozen=True)
class Chunk:
    """Some rows of a split, in order. columns: name -> values, all of one length, at least one column if there is a row.

    where: names the place of row i of the chunk (`train.tsv:17`); without it rows are called by number. notes: what
    happened while reading, by name. size: number of rows, if asking a column for it costs something. refused: rows that came
    up in between and are not among the columns' (a line that is no JSON), for `Reading.select` to judge.
    """

    columns: Mapping[str, Sequence[Any]]
    where: Callable[[int], str] | None = None
    notes: Counter[str] = field(default_factory=Counter)
    size: int | None = None
    refused: Sequence[Refused] = ()

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.size is None else self.size

    def raise_refused(self) -> None:
        """Raises DataError for the first row that could not be read."""
        if self.refused:
            raise DataError(self.refused[0].reason, where=self.refused[0].place)

    def take(self, rows: Sequence[int]) -> Chunk:
        """The given rows, in that order; a column is gathered when asked for."""
        where = self.where
        return Chunk(
            _Taken(self.columns, rows), (lambda row: where(rows[row])) if where else None, self.notes, len(rows), self.refused
        )


class _Taken(Mapping[str, Sequence[Any]]):
    """Some rows of columns."""

    def __init__(self, columns: Mapping[str, Sequence[Any]], rows: Sequence[int]) -> None:
        self.columns, self.rows = columns, rows

    def __getitem__(self, name: str) -> Sequence[Any]:
        values = self.columns[name]
        return [values[row] for row in self.rows]

    def __contains__(self, name: object) -> bool:
        return name in self.columns

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)


def chunked(
    names: Sequence[str], rows: Iterable[Sequence[Any]], *, where: Callable[[int], str] | None = None, size: int = CHUNK_ROWS
) -> Iterator[Chunk]:
    """Rows of values as chunks with these column names. where: names the place of the n-th row of all."""
    kept: list[Sequence[Any]] = []
    first = 0
    for row in rows:
        kept.append(row)
        if len(kept) == size:
            yield _chunk(names, kept, where, first)
            first += size
            kept = []
    if kept:
        yield _chunk(names, kept, where, first)


def _chunk(names: Sequence[str], rows: Sequence[Sequence[Any]], where: Callable[[int], str] | None, first: int) -> Chunk:
    columns = {name: list(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}
    return Chunk(columns, (lambda row: where(first + row)) if where else None)


def is_null(value: Any) -> bool:
    """Whether a value is none: null, or a float that is not a number."""
    return value is None or (isinstance(value, float) and math.isnan(value))
