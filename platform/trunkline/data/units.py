"""The rows of a step as they are drawn: units, in draw order, in a handful of arrays."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np


@dataclass(frozen=True)
class Unit:
    """Rows of one task drawn together: one row, or a whole group. rows, passes [G]; tokens: their sum.

    place: of the first of them among the task's rows of the step.
    """

    task: str
    rows: np.ndarray
    passes: np.ndarray
    tokens: int
    place: int = 0


@dataclass(frozen=True)
class Units(Sequence[Unit]):
    """U units of R rows in all, without a Python object for any of them.

    names: of the tasks. tasks [U]: each unit's, its number in `names`. starts [U+1]: where its rows begin in rows and passes [R],
    which lie end to end. tokens [U], places [U]: as `Unit` has them.
    """

    names: tuple[str, ...]
    tasks: np.ndarray
    starts: np.ndarray
    rows: np.ndarray
    passes: np.ndarray
    tokens: np.ndarray
    places: np.ndarray

    @classmethod
    def of(cls, units: Iterable[Unit]) -> Units:
        """From single ones."""
        if isinstance(units, Units):
            return units
        given = list(units)
        names = tuple(dict.fromkeys(unit.task for unit in given))
        none = np.zeros(0, np.int64)
        return cls(
            names,
            np.array([names.index(unit.task) for unit in given], np.int64),
            starts_of(np.array([len(unit.rows) for unit in given], np.int64)),
            np.concatenate([none, *(unit.rows for unit in given)]),
            np.concatenate([none, *(unit.passes for unit in given)]),
            np.array([unit.tokens for unit in given], np.int64),
            np.array([unit.place for unit in given], np.int64),
        )

    def __len__(self) -> int:
        return len(self.tasks)

    @overload
    def __getitem__(self, number: int) -> Unit: ...
    @overload
    def __getitem__(self, number: slice) -> Units: ...
    def __getitem__(self, number: int | slice) -> Unit | Units:
        if isinstance(number, slice):
            return self.take(np.arange(len(self))[number])
        place = range(len(self))[number]
        own = slice(int(self.starts[place]), int(self.starts[place + 1]))
        return Unit(
            self.names[self.tasks[place]],
            self.rows[own],
            self.passes[own],
            int(self.tokens[place]),
            int(self.places[place]),
        )

    def __iter__(self) -> Iterator[Unit]:
        return (self[place] for place in range(len(self)))

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """Rows of each unit [U]."""
        return np.diff(self.starts)

    @functools.cached_property
    def owners(self) -> np.ndarray:
        """The task of each row [R], its number in `names`."""
        return np.repeat(self.tasks, self.lengths)

    @functools.cached_property
    def row_places(self) -> np.ndarray:
        """Each row's place among its task's rows of the step [R]."""
        return np.arange(len(self.rows)) + np.repeat(self.places - self.starts[:-1], self.lengths)

    def of_task(self, name: str) -> np.ndarray:
        """Where the rows of a task lie among all, in draw order."""
        return np.flatnonzero(self.owners == self.names.index(name)) if name in self.names else np.zeros(0, np.int64)

    def seen(self) -> list[str]:
        """The tasks that have a unit, in the order in which they come first."""
        tasks, first = np.unique(self.tasks, return_index=True)
        return [self.names[task] for task in tasks[np.argsort(first)]]

    def take(self, numbers: np.ndarray) -> Units:
        """These units, in this order."""
        lengths = self.lengths[numbers]
        starts = starts_of(lengths)
        index = np.arange(starts[-1]) + np.repeat(self.starts[numbers] - starts[:-1], lengths)
        return Units(
            self.names,
            self.tasks[numbers],
            starts,
            self.rows[index],
            self.passes[index],
            self.tokens[numbers],
            self.places[numbers],
        )

    def placed(self) -> Units:
        """Each with its place among its task's rows here, as they come."""
        order = np.argsort(self.tasks, kind="stable")
        before = starts_of(self.lengths[order])[:-1]
        tasks = self.tasks[order]
        places = np.empty_like(before)
        places[order] = before - before[np.searchsorted(tasks, tasks)]
        return Units(self.names, self.tasks, self.starts, self.rows, self.passes, self.tokens, places)

    def apart(self, which: np.ndarray, sizes: np.ndarray) -> Units:
        """A unit for each row of the units chosen by `which` [U] bool, the others whole. sizes: tokens of each row [R]."""
        split = np.repeat(which, self.lengths)
        opens = split.copy()
        opens[self.starts[:-1]] = True
        first = np.flatnonzero(opens)
        unit = np.repeat(np.arange(len(self)), self.lengths)[first]
        return Units(
            self.names,
            self.tasks[unit],
            np.append(first, len(self.rows)),
            self.rows,
            self.passes,
            np.where(split[first], sizes[first], self.tokens[unit]),
            self.row_places[first],
        )


def joined(parts: Sequence[Units]) -> Units:
    """One after the other; of the same tasks, at least one part."""
    return Units(
        parts[0].names,
        np.concatenate([part.tasks for part in parts]),
        starts_of(np.concatenate([part.lengths for part in parts])),
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.passes for part in parts]),
        np.concatenate([part.tokens for part in parts]),
        np.concatenate([part.places for part in parts]),
    )


def starts_of(lengths: np.ndarray) -> np.ndarray:
    """Where lists of these lengths begin, laid end to end, and where the last one ends [n+1]."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
