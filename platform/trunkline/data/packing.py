"""Dealing a step's units to ranks and micro-batches, and laying rows end to end in a pack."""

from __future__ import annotations

import functools
import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from trunkline.batch import ROW_WEIGHT, Batch, Picked, TaskSlice
from trunkline.data.encoding.base import Encoding
from trunkline.data.keys import row_keys
from trunkline.data.rows import Ragged, Rows
from trunkline.data.stream import Unit

Collate = Callable[[Rows, np.ndarray], tuple[np.ndarray, dict[str, np.ndarray]]]


@dataclass(frozen=True)
class Table:
    """What packing must know of one task: its tokenised rows, how they become targets, and a dummy row.

    sight: which way each trunk row looks, as `Batch` has it, in a pattern that every drawn row repeats.
    host: the task whose rows these are too, token for token. The host alone is drawn; its guests ride along.
    divisible: rows drawn as a group may be dealt apart, for the loss is worked out over whole groups afterwards.
    """

    rows: Rows
    collate: Collate
    dummy: Rows
    sight: tuple[int, ...] = (0,)
    host: str | None = None
    divisible: bool = False

    @classmethod
    def of(cls, rows: Rows, encoding: Encoding, host: str | None = None) -> Table:
        return cls(rows, encoding.collate, encoding.dummy(), encoding.sight, host)

    @functools.cached_property
    def learned(self) -> np.ndarray:
        """The numbers of the rows that have something to learn: all of them, unless tasks share rows."""
        return np.flatnonzero(self.rows.counts)

    def labelled(self) -> Rows:
        """The rows that have something to learn."""
        return self.rows if len(self.learned) == len(self.rows) else self.rows.take(self.learned)


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

    tokens: that the trunk reads. rows: of each task in the step, a guest's those it has a label for; drawn: how many rows in all.
    divided: the tasks of this step whose groups were dealt apart.
    """

    step: int
    batches: list[Batch]
    counts: dict[str, int]
    tokens: int
    rows: dict[str, list[int]]
    drawn: int
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
    """This rank's packs of a step. tables: in the model's head order; dummy rows ride on top of `tokens_per_pass`.

    Every token of a unit goes through the trunk once, whatever number of tasks its rows are shared by.
    """
    counts = dict.fromkeys(tables, 0)
    rows: dict[str, list[int]] = {}
    parts: list[Unit] = []
    riding = _riding(tables)
    for unit in units:
        placed = replace(unit, place=len(rows.get(unit.task, ())))
        parts += _apart(placed, tables[unit.task]) if tables[unit.task].divisible else [placed]
        for name in riding[unit.task]:
            own = tables[name].rows.counts[unit.rows]
            counts[name] += int(own.sum())
            chosen = unit.rows if name == unit.task else unit.rows[own > 0]
            rows.setdefault(name, []).extend(chosen.tolist())
    dealt = deal([part.tokens for part in parts], world, tokens_per_pass)[rank]
    batches = [pack([parts[number] for number in micro], tables, seed=seed) for micro in dealt]
    tokens, drawn = sum(unit.tokens for unit in units), sum(len(unit.rows) for unit in units)
    divided = {name: _whole(name, tables[name], units, seed) for name in rows if tables[name].divisible}
    return Step(step, batches, counts, tokens, {name: own for name, own in rows.items() if own}, drawn, divided)


def _riding(tables: Mapping[str, Table]) -> dict[str, list[str]]:
    """Host -> every task that learns from its rows, in head order."""
    found: dict[str, list[str]] = {}
    for name, table in tables.items():
        found.setdefault(table.host or name, []).append(name)
    return found


def _apart(unit: Unit, table: Table) -> list[Unit]:
    """A unit for each of its rows."""
    sizes = (table.rows.tokens.starts[unit.rows + 1] - table.rows.tokens.starts[unit.rows]).tolist()
    numbers = range(len(unit.rows))
    return [
        Unit(unit.task, unit.rows[n : n + 1], unit.passes[n : n + 1], size, unit.place + n)
        for n, size in zip(numbers, sizes, strict=True)
    ]


def _whole(name: str, table: Table, units: Sequence[Unit], seed: int) -> Whole:
    mine = [unit for unit in units if unit.task == name]
    row_ids = np.concatenate([unit.rows for unit in mine])
    passes = np.concatenate([unit.passes for unit in mine])
    rows = table.rows.take(row_ids)
    _, targets = _collated(name, table, rows, row_keys(seed, name, row_ids, passes))
    return Whole(_tensors(targets), np.concatenate([[0], np.cumsum(rows.lengths.lengths)]))


def pack(units: Sequence[Unit], tables: Mapping[str, Table], *, seed: int) -> Batch:
    """Rows sorted by task, in draw order within one; every task of `tables` gets a slice, a dummy one if it has no row.

    Tasks that share rows have the same slice, and each picks of it the rows it has a label for.
    """
    builder = _Builder()
    for host, members in _riding(tables).items():
        mine = [unit for unit in units if unit.task == host]
        if mine:
            row_ids = np.concatenate([unit.rows for unit in mine])
            passes = np.concatenate([unit.passes for unit in mine])
            keys = {name: row_keys(seed, name, row_ids, passes) for name in members}
            places = np.concatenate([unit.place + np.arange(len(unit.rows)) for unit in mine])
            builder.share({name: tables[name] for name in members}, row_ids, keys, places)
        else:
            for name in members:
                builder.dummy(name, tables[name])
    return builder.batch(tables)


def evaluation_packs(
    tables: Mapping[str, Table], *, rank: int, world: int, tokens_per_pass: int, chosen: np.ndarray | None = None
) -> Iterator[Batch]:
    """The rows of a task, or of several that share them, sorted by length, the same number of packs on every rank (dummies
    fill up), fixed random keys.

    chosen: only these rows of the split. Every one of them comes exactly once over all ranks.
    """
    table = next(iter(tables.values()))
    chosen = np.arange(len(table.rows)) if chosen is None else chosen
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
            builder.share(tables, ids, {name: evaluation_keys(name, ids) for name in tables})
        else:
            for name, own in tables.items():
                builder.dummy(name, own)
        yield builder.batch(tables)


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

    def dummy(self, name: str, table: Table) -> None:
        """The task has no row here."""
        tokens, targets = _collated(name, table, table.dummy, np.zeros(1, np.uint64))
        place = self._lay(name, table, table.dummy, tokens)
        self.tasks[name] = TaskSlice(*place, _tensors(targets), table.dummy.counts, np.zeros(1, np.int64), dummy=True)

    def share(
        self, tables: Mapping[str, Table], row_ids: np.ndarray, keys: Mapping[str, np.ndarray], places: np.ndarray | None = None
    ) -> None:
        """The same rows of one task, or of several that share them. keys: of every row, for each task."""
        if len(tables) == 1:
            self._alone(*next(iter(tables.items())), row_ids, keys, places)
            return
        host = next(name for name, table in tables.items() if table.host is None)
        first = tables[host].rows.take(row_ids)
        place = self._lay(host, tables[host], first, first.tokens.values)
        for name, table in tables.items():
            own = np.flatnonzero(table.rows.counts[row_ids])
            if not len(own):
                self.dummy(name, table)
                continue
            rows = table.rows.take(row_ids[own])
            picked = None if len(own) == len(row_ids) else _picked(first, own)
            tokens, targets = _collated(name, table, rows, keys[name][own])
            wanted = first.tokens.values if picked is None else first.tokens.values[picked.tokens.numpy()]
            assert np.array_equal(tokens, wanted), f"{name}: other tokens than the rows it shares"
            self.tasks[name] = TaskSlice(*place, _tensors(targets), rows.counts, row_ids[own], picked=picked)

    def _alone(
        self, name: str, table: Table, row_ids: np.ndarray, keys: Mapping[str, np.ndarray], places: np.ndarray | None
    ) -> None:
        rows = table.rows.take(row_ids)
        tokens, targets = _collated(name, table, rows, keys[name])
        self.tasks[name] = TaskSlice(
            *self._lay(name, table, rows, tokens), _tensors(targets), rows.counts, row_ids, places=places
        )

    def _lay(self, name: str, table: Table, rows: Rows, tokens: np.ndarray) -> tuple[slice, slice]:
        """Where the trunk rows and tokens lie."""
        self.tokens.append(tokens)
        self.lengths.append(rows.lengths.values)
        self.seconds.append(rows.seconds.values)
        num_rows, repeats = len(rows.lengths.values), len(table.sight)
        assert not (rows.lengths.lengths % repeats).any(), f"{name}: a row has no whole number of {repeats} trunk rows"
        self.sight.append(np.tile(np.array(table.sight, np.int8), num_rows // repeats))
        row_slice = slice(self.num_rows, self.num_rows + num_rows)
        token_slice = slice(self.num_tokens, self.num_tokens + len(tokens))
        self.num_rows, self.num_tokens = row_slice.stop, token_slice.stop
        return row_slice, token_slice

    def batch(self, order: Iterable[str]) -> Batch:
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
            {name: self.tasks[name] for name in order},
            sight if sight.any() else None,
        )


def _collated(name: str, table: Table, rows: Rows, keys: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    tokens, targets = table.collate(rows, keys)
    assert len(tokens) == rows.lengths.values.sum(), f"{name}: {len(tokens)} tokens in rows of {rows.lengths.values.sum()}"
    weights = rows.targets.get(ROW_WEIGHT)
    if weights is None:
        return tokens, targets
    assert isinstance(weights, np.ndarray)
    return tokens, {**targets, ROW_WEIGHT: np.repeat(weights, rows.counts)}


def _tensors(targets: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.array(value)) for name, value in targets.items()}


def _picked(rows: Rows, own: np.ndarray) -> Picked:
    """The trunk rows and the tokens of some of the rows."""

    def places(lists: Ragged) -> torch.Tensor:
        return torch.from_numpy(Ragged(np.arange(len(lists.values)), lists.starts).take(own).values)

    return Picked(places(rows.lengths), places(rows.tokens))


def rows_of(tokens: Sequence[Sequence[int]], **targets: np.ndarray | Ragged) -> Rows:
    """Rows of one text each, straight from token lists; for tests and for predictions made in memory."""
    lengths = Ragged.of([[len(row)] for row in tokens])
    counts = next((value.lengths for value in targets.values() if isinstance(value, Ragged)), np.ones(len(tokens)))
    return Rows(Ragged.of(tokens), lengths, lengths, counts.astype(np.int32), targets)
