"""Tokenised rows as flat arrays: what an encoding makes, the store keeps and a pack is gathered from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

MANY = 1 << 20  # rows up to which a task's sizes are laid out


@dataclass(frozen=True)
class Sizes:
    """Tokens of each row of a large task, worked out where they are asked for. starts [n+1]; longest: tokens of the longest.

    Indexed by rows [k] it gives int64 [k]; numpy makes an array of it where all are needed.
    """

    starts: np.ndarray
    longest: int

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        found: np.ndarray = self.starts[rows + 1] - self.starts[rows]
        return found

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return np.diff(self.starts).astype(dtype or np.int64, copy=False)

    def mean(self) -> float:
        return float((self.starts[-1] - self.starts[0]) / len(self))


@dataclass(frozen=True)
class Ragged:
    """Lists of different lengths: row r is values[starts[r]:starts[r+1]]. values [V], starts [n+1] int64.

    longest: values of the longest row, where it is known.
    """

    values: np.ndarray
    starts: np.ndarray
    longest: int | None = None

    @classmethod
    def of(cls, lists: Sequence[Sequence[float] | np.ndarray], dtype: type = np.int32) -> Ragged:
        lengths = np.fromiter((len(item) for item in lists), np.int64, len(lists))
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        values = np.concatenate([np.asarray(item, dtype) for item in lists]) if lists else np.zeros(0, dtype)
        return cls(values.astype(dtype, copy=False), starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.starts)

    @property
    def sizes(self) -> np.ndarray | Sizes:
        """`lengths`, which of very many rows are worked out where they are asked for."""
        return self.lengths if self.longest is None or len(self) <= MANY else Sizes(self.starts, self.longest)

    @classmethod
    def same(cls, item: np.ndarray, num_rows: int) -> Ragged:
        """The same list in every row."""
        return cls(np.tile(item, num_rows), np.arange(num_rows + 1, dtype=np.int64) * len(item))

    @classmethod
    def single(cls, values: np.ndarray) -> Ragged:
        """One value in every row."""
        return cls(values, np.arange(len(values) + 1, dtype=np.int64))

    def take(self, rows: np.ndarray) -> Ragged:
        """The given rows, in that order; no loop over rows."""
        first = self.starts[rows]
        return self._gather(first, self.starts[rows + 1] - first)

    def cut(self, first: int, last: int) -> Ragged:
        """Rows `first` to before `last`, without a copy of the values."""
        starts = self.starts[first : last + 1]
        return Ragged(self.values[starts[0] : starts[-1]], starts - starts[0])

    def keep(self, lengths: np.ndarray, *, end: bool = False) -> Ragged:
        """The first (or, with `end`, the last) `lengths` values of each row."""
        return self._gather(self.starts[1:] - lengths if end else self.starts[:-1], lengths)

    def _gather(self, first: np.ndarray, lengths: np.ndarray) -> Ragged:
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        index = np.arange(starts[-1]) - np.repeat(starts[:-1] - first, lengths)
        return Ragged(self.values[index], starts)


def beside(parts: Sequence[Ragged]) -> Ragged:
    """Row r of the result is row r of every part, one after the other. Every part has the same number of rows."""
    lengths = [part.lengths for part in parts]
    starts = np.concatenate([[0], np.cumsum(np.sum(lengths, axis=0))]).astype(np.int64)
    values = np.empty(starts[-1], np.result_type(*(part.values for part in parts)))
    offset = starts[:-1].copy()
    for part, own in zip(parts, lengths, strict=True):
        values[np.arange(len(part.values)) + np.repeat(offset - part.starts[:-1], own)] = part.values
        offset += own
    return Ragged(values, starts)


Target = np.ndarray | Ragged


@dataclass(frozen=True)
class Rows:
    """Rows of one task.

    tokens: every row's token ids, its trunk rows end to end. lengths: tokens of each trunk row, per row. seconds: where the
    second text of a pair begins in each trunk row (its length if there is none), per row. counts [n]: targets per row, in
    the unit the task's loss sums over. targets: per name one value per row [n, ...] or a list per row; `positions` are
    relative to the row's first token. notes: what happened while encoding, by name (cut rows, dropped labels).
    """

    tokens: Ragged
    lengths: Ragged
    seconds: Ragged
    counts: np.ndarray
    targets: Mapping[str, Target]
    notes: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, rows: np.ndarray) -> Rows:
        targets = {name: value.take(rows) if isinstance(value, Ragged) else value[rows] for name, value in self.targets.items()}
        return Rows(self.tokens.take(rows), self.lengths.take(rows), self.seconds.take(rows), self.counts[rows], targets)

    def cut(self, first: int, last: int) -> Rows:
        """Rows `first` to before `last`, without a copy of the values."""

        def part(value: Target) -> Target:
            return value.cut(first, last) if isinstance(value, Ragged) else value[first:last]

        tokens, lengths, seconds = (whole.cut(first, last) for whole in (self.tokens, self.lengths, self.seconds))
        targets = {name: part(value) for name, value in self.targets.items()}
        return Rows(tokens, lengths, seconds, self.counts[first:last], targets)


def join(parts: Sequence[Rows]) -> Rows:
    """Rows of several chunks, in order. Source of notes: their sum.

    A chunk without anything to learn may lack the others' targets: there they are empty lists, or zeros.
    """

    def ragged(items: Sequence[Ragged]) -> Ragged:
        lengths = np.concatenate([item.lengths for item in items])
        return Ragged(np.concatenate([item.values for item in items]), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))

    def target(items: Sequence[Target]) -> Target:
        if isinstance(items[0], Ragged):
            return ragged([item for item in items if isinstance(item, Ragged)])
        return np.concatenate([item for item in items if isinstance(item, np.ndarray)])

    return Rows(
        ragged([part.tokens for part in parts]),
        ragged([part.lengths for part in parts]),
        ragged([part.seconds for part in parts]),
        np.concatenate([part.counts for part in parts]),
        {
            name: target([part.targets[name] if name in part.targets else blank(value, len(part)) for part in parts])
            for name, value in next((part.targets for part in parts if part.targets), {}).items()
        },
        sum((part.notes for part in parts), Counter()),
    )


def blank(value: Target, size: int) -> Target:
    """No value of a target's kind in each of `size` rows: empty lists, or zeros."""
    if isinstance(value, Ragged):
        return Ragged(value.values[:0], np.zeros(size + 1, np.int64))
    return np.zeros((size, *value.shape[1:]), value.dtype)


def amid(learned: Rows, places: np.ndarray, others: Rows) -> Rows:
    """Rows of both in one order: row i of `learned` at places[i], `others` between them in theirs, which have nothing to learn.

    The targets are those of `learned`; the others have count 0, empty lists, and zeros where every row has a value.
    """
    total = len(learned) + len(others)
    free = np.setdiff1d(np.arange(total), places)
    order = np.argsort(np.concatenate([places, free]), kind="stable")

    def both(mine: Ragged, other: Ragged) -> Ragged:
        lengths = np.concatenate([mine.lengths, other.lengths])
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return Ragged(np.concatenate([mine.values, other.values]), starts).take(order)

    def target(value: Target) -> Target:
        none = blank(value, len(others))
        if isinstance(value, Ragged) and isinstance(none, Ragged):
            return both(value, none)
        assert isinstance(value, np.ndarray) and isinstance(none, np.ndarray)
        return np.concatenate([value, none])[order]

    return Rows(
        both(learned.tokens, others.tokens),
        both(learned.lengths, others.lengths),
        both(learned.seconds, others.seconds),
        np.concatenate([learned.counts, np.zeros_like(others.counts)])[order],
        {name: target(value) for name, value in learned.targets.items()},
        learned.notes + others.notes,
    )
