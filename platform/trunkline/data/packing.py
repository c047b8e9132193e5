"""Dealing a step's units to ranks and micro-batches, and laying rows end to end in a pack."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from trunkline.batch import Batch, TaskSlice
from trunkline.data.encoding.base import Encoding
from trunkline.data.keys import row_keys
from trunkline.data.rows import Ragged, Rows
from trunkline.data.stream import Unit

Collate = Callable[[Rows, np.ndarray], tuple[np.ndarray, dict[str, np.ndarray]]]


@dataclass(frozen=True)
class Table:
    """What packing must know of one task: its tokenised rows, how they become targets, and a dummy row.

    sight: which way each trunk row looks, as `Batch` has it, in a pattern that every drawn row repeats.
    divisible: rows drawn as a group may be dealt apart, for the loss is worked out over whole groups afterwards.
    """

    rows: Rows
    collate: Collate
    dummy: Rows
    sight: tuple[int, ...] = (0,)
    divisible: bool = False

    @classmethod
    def of(cls, rows: Rows, encoding: Encoding) -> Table:
        return cls(rows, encoding.collate, encoding.dummy(), encoding.sight)


@dataclass(frozen=True)
class Whole:
    """All rows of a divisible task in a step, in the order drawn, alike on every rank.

    targets: as one pack of them would have. starts [n+1]: where the trunk rows of each begin among all of them.
    """

    targets: Mapping[str, torch.Tensor]
    starts: np.ndarray

    def trunk_rows(self, places: np.ndarray) -> torch.Tensor:
        """The numbers of these rows' trunk rows, in order."""
        return torch.from_numpy(np.concatenate([np.arange(self.starts[place], self.starts[place + 1]) for place in places]))


@dataclass(frozen=True)
class Step:
    """One optimizer step on one rank: its micro-batches, and every task's target count over ALL ranks and micro-batches.

    divided: the tasks of this step whose groups were dealt apart.
    """

    step: int
    batches: list[Batch]
    counts: dict[str, int]
    tokens: int
    rows: dict[str, list[int]]
    divided: dict[str, Whole] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)


def deal(sizes: Sequence[int], world: int, capacity: int) -> list[list[list[int]]]:
    """Units to `world` ranks x k micro-batches: largest first, each to the emptiest; k the smallest whose bins hold it.

    Returns [rank][micro-batch] -> unit numbers in draw order. A pure function of its arguments, so every rank computes it
    alike. Source: Graham's longest-processing-time rule (SIAM J. Appl. Math. 17, 1969). A unit above `capacity` is a bug of
    the caller (the stream refuses it).
    """
    assert max(sizes, default=0) <= capacity, f"a unit of {max(sizes)} tokens passes {capacity}"
    order = sorted(range(len(sizes)), key=lambda unit: (-sizes[unit], unit))
    k = max(1, -(-sum(sizes) // (capacity * world)))
    while True:
        bins = _fill(order, sizes, world * k, capacity)
        if bins is not None:
            return [[sorted(bins[micro * world + rank]) for micro in range(k)] for rank in range(world)]
        k += 1


def _fill(order: Sequence[int], sizes: Sequence[int], count: int, capacity: int) -> list[list[int]] | None:
    heap = [(0, place) for place in range(count)]
    bins: list[list[int]] = [[] for _ in range(count)]
    for unit in order:
        load, place = heap[0]
        if load + sizes[unit] > capacity:
            return None
        heapq.heapreplace(heap, (load + sizes[unit], place))
        bins[place].append(unit)
    return bins


def build_step(
    step: int, units: Sequence[Unit], tables: Mapping[str, Table], *, seed: int, rank: int, world: int, tokens_per_pass: int
) -> Step:
    """This rank's packs of a step. tables: in the model's head order; dummy rows ride on top of `tokens_per_pass`."""
    counts = dict.fromkeys(tables, 0)
    drawn: dict[str, list[int]] = {}
    parts: list[Unit] = []
    for unit in units:
        table, before = tables[unit.task], drawn.setdefault(unit.task, [])
        counts[unit.task] += int(table.rows.counts[unit.rows].sum())
        placed = replace(unit, place=len(before))
        parts += _apart(placed, table) if table.divisible else [placed]
        before.extend(unit.rows.tolist())
    dealt = deal([part.tokens for part in parts], world, tokens_per_pass)[rank]
    batches = [pack([parts[number] for number in micro], tables, seed=seed) for micro in dealt]
    divided = {name: _whole(name, tables[name], units, seed) for name in drawn if tables[name].divisible}
    return Step(step, batches, counts, sum(unit.tokens for unit in units), drawn, divided)


def _apart(unit: Unit, table: Table) -> list[Unit]:
    """A unit for each of its rows."""
    sizes = (table.rows.tokens.starts[unit.rows + 1] - table.rows.tokens.starts[unit.rows]).tolist()
    numbers = range(len(unit.rows))
    return [
        Unit(unit.task, unit.rows[n : n + 1], unit.passes[n : n + 1], size, unit.place + n)
        for n, size in zip(numbers, sizes, strict=True)
    ]


def _whole(name: str, table: Table, units: Sequence[Unit], seed: int) -> Whole:
    rows, _, keys = _gathered(name, table, [unit for unit in units if unit.task == name], seed)
    _, targets = table.collate(rows, keys)
    starts = np.concatenate([[0], np.cumsum(rows.lengths.lengths)])
    return Whole({key: torch.from_numpy(np.array(value)) for key, value in targets.items()}, starts)


def _gathered(name: str, table: Table, units: Sequence[Unit], seed: int) -> tuple[Rows, np.ndarray, np.ndarray]:
    """The units' rows, their numbers in the split, and their random keys."""
    row_ids = np.concatenate([unit.rows for unit in units])
    passes = np.concatenate([unit.passes for unit in units])
    return table.rows.take(row_ids), row_ids, row_keys(seed, name, row_ids, passes)


def pack(units: Sequence[Unit], tables: Mapping[str, Table], *, seed: int) -> Batch:
    """Rows sorted by task, in draw order within one; every task of `tables` gets a slice, a dummy one if it has no row."""
    builder = _Builder()
    for name, table in tables.items():
        mine = [unit for unit in units if unit.task == name]
        if mine:
            places = np.concatenate([unit.place + np.arange(len(unit.rows)) for unit in mine])
            builder.add(name, table, *_gathered(name, table, mine, seed), dummy=False, places=places)
        else:
            builder.add(name, table, table.dummy, np.zeros(1, np.int64), np.zeros(1, np.uint64), dummy=True)
    return builder.batch()


def evaluation_packs(
    name: str, table: Table, *, rank: int, world: int, tokens_per_pass: int, limit: int | None = None
) -> Iterator[Batch]:
    """One task's rows sorted by length, the same number of packs on every rank (dummies fill up), fixed random keys.

    limit: only the first rows of the split. Every row comes exactly once over all ranks.
    """
    chosen = np.arange(len(table.rows) if limit is None else min(limit, len(table.rows)))
    sizes = table.rows.tokens.lengths[chosen]
    order = chosen[np.argsort(sizes, kind="stable")]
    packs: list[list[int]] = [[]]
    room = tokens_per_pass
    for row in order.tolist():
        size = int(table.rows.tokens.starts[row + 1] - table.rows.tokens.starts[row])
        if size > room and packs[-1]:
            packs.append([])
            room = tokens_per_pass
        packs[-1].append(row)
        room -= size
    for first in range(0, len(packs), world):
        builder = _Builder()
        if first + rank < len(packs):
            ids = np.array(packs[first + rank], np.int64)
            builder.add(name, table, table.rows.take(ids), ids, evaluation_keys(name, ids), dummy=False)
        else:
            builder.add(name, table, table.dummy, np.zeros(1, np.int64), np.zeros(1, np.uint64), dummy=True)
        yield builder.batch()


def evaluation_keys(name: str, row_ids: np.ndarray) -> np.ndarray:
    """The random keys of rows under evaluation, the same for every run and seed."""
    return row_keys(0, name, row_ids, 0)


class _Builder:
    """Lays task slices end to end."""

    def __init__(self) -> None:
        self.tokens: list[np.ndarray] = []
        self.lengths: list[np.ndarray] = []
        self.seconds: list[np.ndarray] = []
        self.sight: list[np.ndarray] = []
        self.tasks: dict[str, TaskSlice] = {}
        self.num_tokens = self.num_rows = 0

    def add(
        self,
        name: str,
        table: Table,
        rows: Rows,
        row_ids: np.ndarray,
        keys: np.ndarray,
        *,
        dummy: bool,
        places: np.ndarray | None = None,
    ) -> None:
        tokens, targets = table.collate(rows, keys)
        assert len(tokens) == rows.lengths.values.sum(), f"{name}: {len(tokens)} tokens in rows of {rows.lengths.values.sum()}"
        self.tokens.append(tokens)
        self.lengths.append(rows.lengths.values)
        self.seconds.append(rows.seconds.values)
        num_rows, repeats = len(rows.lengths.values), len(table.sight)
        assert not (rows.lengths.lengths % repeats).any(), f"{name}: a row has no whole number of {repeats} trunk rows"
        self.sight.append(np.tile(np.array(table.sight, np.int8), num_rows // repeats))
        row_slice = slice(self.num_rows, self.num_rows + num_rows)
        token_slice = slice(self.num_tokens, self.num_tokens + len(tokens))
        tensors = {key: torch.from_numpy(np.array(value)) for key, value in targets.items()}
        self.tasks[name] = TaskSlice(row_slice, token_slice, tensors, rows.counts, row_ids, dummy, places)
        self.num_rows, self.num_tokens = row_slice.stop, token_slice.stop

    def batch(self) -> Batch:
        lengths = np.concatenate(self.lengths).astype(np.int64)
        starts = np.concatenate([[0], np.cumsum(lengths)])
        positions = np.arange(starts[-1]) - np.repeat(starts[:-1], lengths)
        segments = positions >= np.repeat(np.concatenate(self.seconds), lengths)
        sight = np.concatenate(self.sight)
        return Batch(
            torch.from_numpy(np.concatenate(self.tokens).astype(np.int64)),
            torch.from_numpy(positions),
            torch.from_numpy(segments.astype(np.int64)),
            torch.from_numpy(starts),
            lengths,
            self.tasks,
            sight if sight.any() else None,
        )


def rows_of(tokens: Sequence[Sequence[int]], **targets: np.ndarray | Ragged) -> Rows:
    """Rows of one text each, straight from token lists; for tests and for predictions made in memory."""
    lengths = Ragged.of([[len(row)] for row in tokens])
    counts = next((value.lengths for value in targets.values() if isinstance(value, Ragged)), np.ones(len(tokens)))
    return Rows(Ragged.of(tokens), lengths, lengths, counts.astype(np.int32), targets)
