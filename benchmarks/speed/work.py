"""The rows both sides train on: generated tokens, lengths as real sets have them."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from trunkline.data.packing import Table, rows_of
from trunkline.data.rows import Rows
from trunkline.data.units import Unit, Units

VOCAB, LABELS = 8000, 4
# Median, spread of the logarithm, least and most tokens of a row: of the sets of that name under MiniLM's word pieces.
LENGTHS: dict[str, tuple[float, float, int, int]] = {
    "sst2": (22, 0.52, 3, 66),
    "cola": (10, 0.35, 5, 47),
    "mrpc": (53, 0.26, 19, 103),
    "rte": (56, 0.52, 13, 289),
    "stsb": (25, 0.46, 10, 125),
    "trec6": (13, 0.32, 6, 41),
    "atis": (13, 0.33, 3, 52),
}
PARAGRAPHS = {"squad": (162.0, 0.42, 42, 384)}
UNIFORM = {f"uniform_{number}": (32.0, 0.0, 32, 32) for number in range(7)}


def short(tasks: int) -> dict[str, tuple[float, float, int, int]]:
    """As many tasks of one shape."""
    return {f"task_{number}": (16.0, 0.4, 4, 64) for number in range(tasks)}


WORKS = {"W1": LENGTHS, "W2": LENGTHS | PARAGRAPHS, "W3": UNIFORM}


@dataclass(frozen=True)
class Work:
    """Rows of several classification tasks, and which of them each step has."""

    tables: dict[str, Table]
    steps: list[list[tuple[str, int]]]

    def units(self, step: int) -> Units:
        """A step's rows as the stream draws them."""
        return self._units[step]

    @functools.cached_property
    def _units(self) -> list[Units]:
        none = np.zeros(1, np.int64)
        return [
            Units.of(Unit(task, np.array([row]), none, len(self.ids(task, row))) for task, row in step) for step in self.steps
        ]

    def ids(self, task: str, row: int) -> np.ndarray:
        """The tokens of a row."""
        tokens = self.tables[task].rows.tokens
        return tokens.values[tokens.starts[row] : tokens.starts[row + 1]]

    def label(self, task: str, row: int) -> int:
        targets = self.tables[task].rows.targets["labels"]
        assert isinstance(targets, np.ndarray)
        return int(targets[row])

    def lengths(self) -> np.ndarray:
        """Of every row of every step."""
        return np.array([len(self.ids(task, row)) for step in self.steps for task, row in step])

    def tokens(self, step: int) -> int:
        return sum(len(self.ids(task, row)) for task, row in self.steps[step])


def work(shapes: Mapping[str, tuple[float, float, int, int]], *, steps: int, rows: int, seed: int = 0) -> Work:
    """`steps` steps of `rows` rows each, every task equally likely, in random order."""
    rng = np.random.default_rng(seed)
    tables = {task: table(lengths(shape, 4 * rows, rng), rng) for task, shape in shapes.items()}
    names = list(tables)
    drawn = [[(names[task], int(rng.integers(4 * rows))) for task in rng.integers(0, len(names), rows)] for _ in range(steps)]
    return Work(tables, drawn)


def lengths(shape: tuple[float, float, int, int], count: int, rng: np.random.Generator) -> np.ndarray:
    """Log-normal [count], cut to least and most."""
    median, spread, least, most = shape
    return np.exp(rng.normal(np.log(median), spread, count)).round().astype(int).clip(least, most)


def table(sizes: np.ndarray, rng: np.random.Generator) -> Table:
    rows = rows_of([rng.integers(5, VOCAB, size) for size in sizes], labels=rng.integers(0, LABELS, len(sizes)))
    return Table(rows, collate, rows_of([np.array([1, 5, 2])], labels=np.zeros(1, np.int64)))


def collate(rows: Rows, keys: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    del keys
    return rows.tokens.values, {name: np.asarray(value) for name, value in rows.targets.items()}


def padding(work: Work, batch_rows: int, *, sort: bool) -> float:
    """Slots a padded side computes for each real token: the bound of what packing can gain."""
    slots = sum(len(lot) * max(lot) for lot in _lots(work, batch_rows, sort=sort))
    return float(slots / work.lengths().sum())


def _lots(work: Work, batch_rows: int, *, sort: bool) -> Iterator[list[int]]:
    for step in work.steps:
        sizes = [len(work.ids(task, row)) for task, row in step]
        sizes = sorted(sizes) if sort else sizes
        yield from (sizes[first : first + batch_rows] for first in range(0, len(sizes), batch_rows))
