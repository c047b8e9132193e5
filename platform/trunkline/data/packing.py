"""Laying rows end to end in a pack, for training and for evaluation."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from trunkline.batch import ROW_WEIGHT, Batch, Picked, TaskSlice
from trunkline.data.encoding.base import Encoding
from trunkline.data.keys import key_bases, keyed_rows, row_keys, token_chances
from trunkline.data.rows import Ragged, Rows
from trunkline.data.units import Unit, Units

Collate = Callable[[Rows, np.ndarray], tuple[np.ndarray, dict[str, np.ndarray]]]


@dataclass(frozen=True)
class Table:
    """What packing must know of one task: its tokenised rows, how they become targets, and a dummy row.

    sight: which way each trunk row looks, as `Batch` has it, in a pattern that every drawn row repeats.
    host: the task whose rows these are too, token for token. The host alone is drawn; its guests ride along.
    divisible: rows drawn as a group may be dealt apart, for the loss is worked out over whole groups afterwards.
    asked: which rows the task is to answer [n] bool, where several share a block; None: those with something to learn.
    """

    rows: Rows
    collate: Collate
    dummy: Rows
    sight: tuple[int, ...] = (0,)
    host: str | None = None
    divisible: bool = False
    asked: np.ndarray | None = None

    @classmethod
    def of(cls, rows: Rows, encoding: Encoding, host: str | None = None) -> Table:
        return cls(rows, encoding.collate, encoding.dummy(), encoding.sight, host)

    @functools.cached_property
    def learned(self) -> np.ndarray:
        """The numbers of the rows that have something to learn: all of them, unless tasks share rows."""
        return np.flatnonzero(self.rows.counts)

    @functools.cached_property
    def filler(self) -> Filler:
        """The dummy row as a pack holds it."""
        keys = np.zeros(1, np.uint64)
        tokens, targets = collated("a dummy row", self, self.dummy, keys)
        read = (tokens, self.dummy.lengths.values, self.dummy.seconds.values, self.sight)
        return Filler(tokens, keys, tensors(targets), tuple(tuple(np.asarray(part).tolist()) for part in read))

    def own(self, row_ids: np.ndarray) -> np.ndarray:
        """Places in `row_ids` of the rows that are the task's."""
        return np.flatnonzero((self.rows.counts if self.asked is None else self.asked)[row_ids])

    def labelled(self) -> Rows:
        """The rows that have something to learn."""
        return self.rows if len(self.learned) == len(self.rows) else self.rows.take(self.learned)


@dataclass(frozen=True)
class Filler:
    """What a pack holds of a task without a row: tokens, the row's key [1], targets. read: all that the trunk sees of it."""

    tokens: np.ndarray
    keys: np.ndarray
    targets: Mapping[str, torch.Tensor]
    read: tuple[tuple[int, ...], ...]


def riding(tables: Mapping[str, Table]) -> dict[str, list[str]]:
    """Host -> every task that learns from its rows, in head order."""
    found: dict[str, list[str]] = {}
    for name, table in tables.items():
        found.setdefault(table.host or name, []).append(name)
    return found


def pack(units: Iterable[Unit], tables: Mapping[str, Table], *, seed: int) -> Batch:
    """Rows sorted by task, in draw order within one; every task of `tables` gets a slice, a dummy one if it has no row.

    Tasks that share rows have the same slice, and each picks of it the rows it has a label for.
    """
    drawn = Units.of(units)
    return packs(drawn, [np.arange(len(drawn))], tables, seed=seed)[0]


def packs(units: Units, dealt: Sequence[Sequence[int] | np.ndarray], tables: Mapping[str, Table], *, seed: int) -> list[Batch]:
    """A pack of each list of units. What is gathered and worked out row by row is so once for all of them."""
    drawn = units.take(np.concatenate([np.asarray(own, np.int64) for own in dealt]))
    pack_of_row = np.repeat(np.repeat(np.arange(len(dealt)), [len(own) for own in dealt]), drawn.lengths)
    keys = keyed_rows(key_bases(seed, drawn.names)[drawn.owners], drawn.rows, drawn.passes)
    builders = [_Builder(chances=True) for _ in dealt]
    for host, names in riding(tables).items():
        members, mine = {name: tables[name] for name in names}, drawn.of_task(host)
        if not len(mine):
            for builder in builders:
                builder.absent(members)
            continue
        rows, row_ids, places = tables[host].rows.take(drawn.rows[mine]), drawn.rows[mine], drawn.row_places[mine]
        own_keys = {name: row_keys(seed, name, row_ids, drawn.passes[mine]) for name in names if name != host}
        own_keys[host] = keys[mine]
        ends = np.searchsorted(pack_of_row[mine], np.arange(len(dealt) + 1)).tolist()
        for builder, (first, last) in zip(builders, itertools.pairwise(ends), strict=True):
            own = slice(first, last)
            if first == last:
                builder.absent(members)
            else:
                cut = {name: value[own] for name, value in own_keys.items()}
                builder.share(members, row_ids[own], cut, places[own], rows.cut(first, last))
    return [builder.batch(tables) for builder in builders]


def evaluation_packs(
    tables: Mapping[str, Table], *, rank: int, world: int, tokens_per_pass: int, chosen: np.ndarray | None = None
) -> Iterator[Batch]:
    """The rows of a task, or of several that share them, sorted by length, the same number of packs on every rank (dummies
    fill up), fixed random keys.

    chosen: only these rows of the split. Every one of them comes exactly once over all ranks.
    """
    table = next(iter(tables.values()))
    chosen = np.arange(len(table.rows)) if chosen is None else chosen
    packs = _filled(table.rows.tokens.lengths[chosen], tokens_per_pass)
    for first in range(0, len(packs), world):
        builder = _Builder()
        if first + rank < len(packs):
            ids = chosen[packs[first + rank]]
            builder.share(tables, ids, {name: evaluation_keys(name, ids) for name in tables})
        else:
            builder.absent(tables)
        yield builder.batch(tables)


@dataclass(frozen=True)
class Block:
    """Rows that the same tasks may be asked about. tables: of each task over all of them, with `asked`. keyed [n]: the number by
    which a row is keyed, whatever else is in the block."""

    tables: Mapping[str, Table]
    keyed: np.ndarray


def answering_packs(blocks: Sequence[Block], *, tokens_per_pass: int) -> Iterator[Batch]:
    """The rows of all blocks, sorted by length, in as few packs as they fill; a pack holds the tasks asked about its rows.

    No task is in two blocks; a slice's row ids are those of its block.
    """
    lengths = [next(iter(block.tables.values())).rows.tokens.lengths for block in blocks]
    bounds = np.concatenate([[0], np.cumsum([len(own) for own in lengths])]).astype(np.int64)
    for chosen in _filled(np.concatenate(lengths), tokens_per_pass):
        builder, order = _Builder(), []
        for block, first, last in zip(blocks, bounds[:-1], bounds[1:], strict=True):
            ids = chosen[(chosen >= first) & (chosen < last)] - first
            present = [name for name, table in block.tables.items() if len(table.own(ids))]
            if present:
                tables = {name: replace(block.tables[name], host=present[0] if name != present[0] else None) for name in present}
                builder.share(tables, ids, {name: evaluation_keys(name, block.keyed[ids]) for name in present})
            order += present
        yield builder.batch(order)


def _filled(sizes: np.ndarray, tokens_per_pass: int) -> list[np.ndarray]:
    """Places of rows, shortest first, a pack each; one that is longer than a pack has one to itself."""
    packs: list[list[int]] = [[]]
    room = tokens_per_pass
    for place in np.argsort(sizes, kind="stable").tolist():
        if sizes[place] > room and packs[-1]:
            packs.append([])
            room = tokens_per_pass
        packs[-1].append(place)
        room -= int(sizes[place])
    return [np.array(pack, np.int64) for pack in packs]


def evaluation_keys(name: str, row_ids: np.ndarray) -> np.ndarray:
    """The random keys of rows under evaluation, the same for every run and seed."""
    return row_keys(0, name, row_ids, 0)


class _Builder:
    """Lays task slices end to end. chances: whether tokens have one, see `Batch`."""

    def __init__(self, *, chances: bool = False) -> None:
        self.chances = chances
        self.fillers: dict[tuple[tuple[int, ...], ...], tuple[slice, slice]] = {}
        self.keys: list[np.ndarray] = []
        self.sizes: list[np.ndarray] = []
        self.tokens: list[np.ndarray] = []
        self.lengths: list[np.ndarray] = []
        self.seconds: list[np.ndarray] = []
        self.sight: list[np.ndarray] = []
        self.tasks: dict[str, TaskSlice] = {}
        self.num_tokens = self.num_rows = 0

    def absent(self, tables: Mapping[str, Table]) -> None:
        """None of the tasks has a row here."""
        for name, table in tables.items():
            self.dummy(name, table)

    def dummy(self, name: str, table: Table) -> None:
        """The task has no row here. What the trunk reads alike of several such tasks lies in the pack once."""
        filler = table.filler
        if filler.read not in self.fillers:
            self.fillers[filler.read] = self._lay(name, table, table.dummy, filler.tokens, filler.keys)
        place = self.fillers[filler.read]
        self.tasks[name] = TaskSlice(*place, filler.targets, table.dummy.counts, np.zeros(1, np.int64), dummy=True)

    def share(
        self,
        tables: Mapping[str, Table],
        row_ids: np.ndarray,
        keys: Mapping[str, np.ndarray],
        places: np.ndarray | None = None,
        rows: Rows | None = None,
    ) -> None:
        """The same rows of one task, or of several that share them. keys: of every row, for each task. rows: the host's, if they
        were gathered before."""
        host = next((name for name, table in tables.items() if table.host is None), next(iter(tables)))
        rows = tables[host].rows.take(row_ids) if rows is None else rows
        if len(tables) > 1:
            self._pick(host, tables, rows, row_ids, keys)
            return
        tokens, targets = collated(host, tables[host], rows, keys[host])
        place = self._lay(host, tables[host], rows, tokens, keys[host])
        self.tasks[host] = TaskSlice(*place, tensors(targets), rows.counts, row_ids, places=places)

    def _pick(
        self, host: str, tables: Mapping[str, Table], first: Rows, row_ids: np.ndarray, keys: Mapping[str, np.ndarray]
    ) -> None:
        """Several tasks, each its own of the rows."""
        place = self._lay(host, tables[host], first, first.tokens.values, keys[host])
        for name, table in tables.items():
            own = table.own(row_ids)
            if not len(own):
                self.dummy(name, table)
                continue
            rows = table.rows.take(row_ids[own])
            picked = None if len(own) == len(row_ids) else _picked(first, own)
            tokens, targets = collated(name, table, rows, keys[name][own])
            wanted = first.tokens.values if picked is None else first.tokens.values[picked.tokens.numpy()]
            assert np.array_equal(tokens, wanted), f"{name}: other tokens than the rows it shares"
            self.tasks[name] = TaskSlice(*place, tensors(targets), rows.counts, row_ids[own], picked=picked)

    def _lay(self, name: str, table: Table, rows: Rows, tokens: np.ndarray, keys: np.ndarray) -> tuple[slice, slice]:
        """Where the trunk rows and tokens lie."""
        self.keys.append(keys)
        self.sizes.append(rows.tokens.lengths)
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
            token_chances(np.concatenate(self.keys), np.concatenate(self.sizes)) if self.chances else None,
        )


def collated(name: str, table: Table, rows: Rows, keys: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    tokens, targets = table.collate(rows, keys)
    assert len(tokens) == rows.lengths.values.sum(), f"{name}: {len(tokens)} tokens in rows of {rows.lengths.values.sum()}"
    weights = rows.targets.get(ROW_WEIGHT)
    if weights is None:
        return tokens, targets
    assert isinstance(weights, np.ndarray)
    return tokens, {**targets, ROW_WEIGHT: np.repeat(weights, rows.counts)}


def tensors(targets: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
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
