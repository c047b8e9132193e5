"""Dealing the units of a step to ranks and micro-batches."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from trunkline.batch import Batch
from trunkline.data.keys import row_keys
from trunkline.data.packing import Table, collated, packs, riding, tensors
from trunkline.data.units import Unit, Units, starts_of


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
    weights = np.asarray(sizes, np.int64)
    assert weights.max(initial=0) <= capacity, f"a unit of {weights.max()} tokens passes {capacity}"
    order = np.argsort(-weights, kind="stable")
    k = max(1, -(-int(weights.sum()) // (capacity * world)))
    while True:
        places = _fill(weights[order], world * k, capacity)
        if places is not None:
            bins = _bins(order, np.array(places, np.int64), world * k)
            return [[bins[micro * world + rank] for micro in range(k)] for rank in range(world)]
        k += 1


def _fill(sizes: np.ndarray, count: int, capacity: int) -> list[int] | None:
    """For each unit, largest first, the emptiest of `count` bins, of several the first; None if one would pass `capacity`."""
    heap, full, places = list(range(count)), (capacity + 1) * count, list[int]()
    for size in (sizes * count).tolist():  # a bin's load and number are one integer, so that the heap compares no tuples
        filled = heap[0] + size
        if filled >= full:
            return None
        heapq.heapreplace(heap, filled)
        places.append(filled % count)
    return places


def _bins(units: np.ndarray, places: np.ndarray, count: int) -> list[list[int]]:
    """The units of each bin, in their own order."""
    bin_of_unit = np.empty_like(places)
    bin_of_unit[units] = places
    ends = np.cumsum(np.bincount(places, minlength=count))[:-1]
    return [own.tolist() for own in np.split(np.argsort(bin_of_unit, kind="stable"), ends)]


def build_step(
    step: int, units: Iterable[Unit], tables: Mapping[str, Table], *, seed: int, rank: int, world: int, tokens_per_pass: int
) -> Step:
    """This rank's packs of a step. tables: in the model's head order; dummy rows ride on top of `tokens_per_pass`.

    Every token of a unit goes through the trunk once, whatever number of tasks its rows are shared by.
    """
    drawn = Units.of(units).placed()
    counts = dict.fromkeys(tables, 0)
    rows: dict[str, list[int]] = {}
    members = riding(tables)
    for host in drawn.seen():
        row_ids = drawn.rows[drawn.of_task(host)]
        for name in members[host]:
            own = tables[name].rows.counts[row_ids]
            counts[name] = int(own.sum())
            if len(chosen := row_ids if name == host else row_ids[own > 0]):
                rows[name] = chosen.tolist()
    parts = _parts(drawn, tables)
    dealt = deal(parts.tokens.tolist(), world, tokens_per_pass)[rank]
    batches = packs(parts, dealt, tables, seed=seed)
    divided = {name: _whole(name, tables[name], drawn, seed) for name in rows if tables[name].divisible}
    return Step(step, batches, counts, int(drawn.tokens.sum()), rows, len(drawn.rows), divided)


def _parts(units: Units, tables: Mapping[str, Table]) -> Units:
    """What is dealt: the units, those of divisible tasks row by row."""
    divisible = np.array([task in tables and tables[task].divisible for task in units.names], bool)
    if not divisible.any():
        return units
    sizes = np.zeros(len(units.rows), np.int64)
    for name in units.seen():
        mine, starts = units.of_task(name), tables[name].rows.tokens.starts
        sizes[mine] = starts[units.rows[mine] + 1] - starts[units.rows[mine]]
    return units.apart(divisible[units.tasks], sizes)


def _whole(name: str, table: Table, units: Units, seed: int) -> Whole:
    mine = units.of_task(name)
    rows = table.rows.take(units.rows[mine])
    _, targets = collated(name, table, rows, row_keys(seed, name, units.rows[mine], units.passes[mine]))
    return Whole(tensors(targets), starts_of(rows.lengths.lengths))
