"""Dealing the units of a step to ranks and micro-batches."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from trunkline.batch import Batch
from trunkline.data.keys import row_keys
from trunkline.data.packing import Table, collated, pack, riding, tensors
from trunkline.data.stream import Unit


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
    members = riding(tables)
    for unit in units:
        placed = replace(unit, place=len(rows.get(unit.task, ())))
        parts += _apart(placed, tables[unit.task]) if tables[unit.task].divisible else [placed]
        for name in members[unit.task]:
            own = tables[name].rows.counts[unit.rows]
            counts[name] += int(own.sum())
            chosen = unit.rows if name == unit.task else unit.rows[own > 0]
            rows.setdefault(name, []).extend(chosen.tolist())
    dealt = deal([part.tokens for part in parts], world, tokens_per_pass)[rank]
    batches = [pack([parts[number] for number in micro], tables, seed=seed) for micro in dealt]
    tokens, drawn = sum(unit.tokens for unit in units), sum(len(unit.rows) for unit in units)
    divided = {name: _whole(name, tables[name], units, seed) for name in rows if tables[name].divisible}
    return Step(step, batches, counts, tokens, {name: own for name, own in rows.items() if own}, drawn, divided)


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
    _, targets = collated(name, table, rows, row_keys(seed, name, row_ids, passes))
    return Whole(tensors(targets), np.concatenate([[0], np.cumsum(rows.lengths.lengths)]))
