"""Which rows go into which optimizer step: drawn on every rank alike, without communication.

The draw is a function of (seed, draw number): its state is a draw counter, one cursor per task and the draw that did not
fit. A restored stream continues as if it had never stopped, whatever the number of ranks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from trunkline.batch import Sampler
from trunkline.data.order import Orders, philox
from trunkline.errors import ConfigError, DataError

BLOCK = 256  # draws decided at once; what lies behind the step's cut is not consumed


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


class Stream:
    """Draws units until the next would pass `tokens_per_step`; that one opens the next step.

    sizes: tokens of each training row, per task. groups: rows drawn together, per task (1 unless the loss couples rows).
    divisible: tasks whose groups need not stay together once they are drawn. Within a task every row comes once before any comes
    twice. difficulty: of each row, per task, if the sampler releases the easy ones first: then every row of what is released
    comes once before any of it comes twice. Raises ConfigError if what stays together can pass `unit_limit` tokens, or a group a
    step's; DataError if a task has fewer rows than a group.
    """

    def __init__(
        self,
        sizes: Mapping[str, np.ndarray],
        sampler: Sampler,
        *,
        seed: int,
        tokens_per_step: int,
        unit_limit: int,
        groups: Mapping[str, int] | None = None,
        divisible: Collection[str] = (),
        difficulty: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.names = list(sizes)
        self.sizes = {name: np.asarray(size) for name, size in sizes.items()}
        self.groups = {name: (groups or {}).get(name, 1) for name in self.names}
        self.sampler, self.seed, self.tokens_per_step = sampler, seed, tokens_per_step
        self.draws = 0
        self.pending: tuple[str, int] | None = None
        self._cursors = np.zeros(len(self.names), np.int64)
        self._group = np.array([self.groups[name] for name in self.names], np.int64)
        counts = [len(size) for size in self.sizes.values()]
        self._orders = Orders(seed, self.names, counts)
        # A task's turns are counted from the cursor and the turn at which its pool, what of it is released, became what it is.
        self._since, self._turn = np.zeros_like(self._cursors), np.zeros_like(self._cursors)
        self._first = np.cumsum(counts) - counts
        self._tokens = np.concatenate([size.astype(np.int32) for size in self.sizes.values()])
        self._booked = np.zeros((3, len(self.names)))  # rows, tokens, rows promised
        self._means = np.array([self.groups[name] * size.mean() for name, size in self.sizes.items()])
        self._easiest: np.ndarray | None = None
        if difficulty is not None:
            self._easiest = np.concatenate([np.argsort(difficulty[name], kind="stable") for name in self.names])
        self._uniforms: tuple[int, np.ndarray] = (-1, np.zeros(0))
        for name in self.names:
            self._check(name, 1 if name in divisible else self.groups[name], unit_limit)

    def _check(self, name: str, together: int, unit_limit: int) -> None:
        """Raises an error if the task's groups, of which `together` rows are not separated, can not be drawn or dealt."""
        group, sizes = self.groups[name], self.sizes[name]
        if group > len(sizes):
            raise DataError(
                f"task '{name}': its loss draws {group} rows at a time, and there are {len(sizes)} training rows. Add rows, or "
                "lower the loss's group."
            )
        for rows, limit, where in ((together, unit_limit, "tokens_per_pass"), (group, self.tokens_per_step, "tokens_per_step")):
            largest = int(np.partition(sizes, len(sizes) - rows)[-rows:].sum())
            if largest > limit:
                raise ConfigError(
                    f"task '{name}': a group of {rows} rows can hold {largest} tokens, above train.{where} {limit}. "
                    f"Raise {where}, or lower train.max_length, the loss's group, or what the card's head takes into a row (such "
                    "as head.max_candidates)."
                )

    def next_step(self, step: int) -> list[Unit]:
        """The units of one optimizer step, in draw order; at least one, at most `tokens_per_step` tokens in all.

        A unit that waits since the last step, of a task whose rate is 0 by now or whose pool has grown, is given back and drawn
        when it has a rate.
        """
        units: list[Unit] = []
        room = self.tokens_per_step
        rates = self.sampler.rates(step)
        if self.pending is not None and not rates[self.pending[0]]:
            self._give_back()
        self._release(self.sampler.released(step))
        if self.pending is not None:
            units.append(self._unit(*self.pending))
            room -= units[0].tokens
            self.pending = None
        chances = self._chances(rates)
        while self.pending is None:
            tokens, self.pending = self._draw(units, chances, room)
            room -= tokens
        self._count(units, rates)
        return units

    def _count(self, units: list[Unit], rates: Mapping[str, float]) -> None:
        """Books the step: rows and tokens of each task, and the rows that its rates promise it of as many."""
        number = {name: task for task, name in enumerate(self.names)}
        tasks = [number[unit.task] for unit in units]
        rows = np.bincount(tasks, minlength=len(self.names)) * self._group
        wanted = np.array([rates[name] for name in self.names], np.float64)
        self._booked[0] += rows
        self._booked[1] += np.bincount(tasks, [unit.tokens for unit in units], len(self.names))
        self._booked[2] += wanted / wanted.sum() * rows.sum()

    def account(self) -> dict[str, float]:
        """So far, of each task: its shares of rows and tokens, the share of rows its rates promised, passes over its rows."""
        rows, tokens, promised = self._booked / np.maximum(self._booked.sum(1, keepdims=True), 1)
        passes = self.passes()
        return {
            f"{what}/{name}": float(value)
            for task, name in enumerate(self.names)
            for what, value in (
                ("drawn/rows", rows[task]),
                ("drawn/planned", promised[task]),
                ("drawn/tokens", tokens[task]),
                ("drawn/passes", passes[name]),
            )
        }

    @property
    def cursors(self) -> dict[str, int]:
        """Rows drawn so far, per task."""
        return dict(zip(self.names, self._cursors.tolist(), strict=True))

    def _give_back(self) -> None:
        assert self.pending is not None
        name, start = self.pending
        self._cursors[self.names.index(name)] = start
        self.pending = None

    def _release(self, share: float) -> None:
        """Lets every task be drawn from its easiest `share` of rows."""
        if self._easiest is None:
            return
        for task, name in enumerate(self.names):
            size, before = len(self.sizes[name]), int(self._orders.pools[task])
            pool = min(size, max(self.groups[name], round(share * size)))
            if pool == before:
                continue
            if self.pending is not None and self.pending[0] == name:
                self._give_back()
            self._turn[task] += -(-(self._cursors[task] - self._since[task]) // before)
            self._since[task] = self._cursors[task]
            self._orders.resize(task, pool)

    def _draw(self, units: list[Unit], chances: np.ndarray, room: int) -> tuple[int, tuple[str, int] | None]:
        """Appends units that fit into `room` tokens; returns theirs, and the first that does not."""
        tasks = self._tasks_ahead(chances, room)
        starts = self._cursors[tasks] + _ranks(tasks) * self._group[tasks]
        tasks, starts = self._within_pages(tasks, starts)
        rows, passes, ends = self._rows(tasks, starts)
        firsts = ends - self._group[tasks]
        tokens = np.add.reduceat(self._tokens[np.repeat(self._first[tasks], self._group[tasks]) + rows], firsts, dtype=np.int64)
        total = np.cumsum(tokens)
        fit = int(np.searchsorted(total, room, side="right"))
        taken = min(fit + 1, len(tasks))
        self.draws += taken
        self._cursors += np.bincount(tasks[:taken], minlength=len(self.names)) * self._group
        cut = (values[:fit].tolist() for values in (tasks, firsts, ends, tokens))
        units += [Unit(self.names[t], rows[a:b], passes[a:b], size) for t, a, b, size in zip(*cut, strict=True)]
        over = (self.names[tasks[fit]], int(starts[fit])) if fit < len(tasks) else None
        return int(total[fit - 1]) if fit else 0, over

    def _within_pages(self, tasks: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As many of the draws as need no third page of a task's order."""
        ends = starts + self._group[tasks] - 1
        pages = self._orders.page(tasks, *self._turns(tasks, ends))
        every = np.arange(len(self.names))
        now = self._orders.page(every, *self._turns(every, self._cursors))
        beyond = np.flatnonzero(pages > now[tasks] + 1)
        cut = int(beyond[0]) if len(beyond) else len(tasks)
        assert cut, "a group lies on three pages"
        return tasks[:cut], starts[:cut]

    def _turns(self, tasks: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Turns, and places within them."""
        turns, inside = np.divmod(places - self._since[tasks], self._orders.pools[tasks])
        return turns + self._turn[tasks], inside

    def _rows(self, tasks: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows and passes of units that begin at these places of their tasks' cursors, end to end, and where each ends."""
        group = self._group[tasks]
        ends = np.cumsum(group)
        owners = np.repeat(tasks, group)
        places = np.arange(ends[-1]) + np.repeat(starts - (ends - group), group)
        turns, inside = self._turns(owners, places)
        rows = self._orders.rows(owners, turns, inside)
        if self._easiest is not None:
            rows = self._easiest[self._first[owners] + rows]
        return rows, turns, ends

    def passes(self) -> dict[str, float]:
        """How often each task's rows have been gone through."""
        return {name: cursor / len(self.sizes[name]) for name, cursor in self.cursors.items()}

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = {"draws": self.draws, "cursors": self.cursors, "pending": self.pending}
        state |= {"sampler": self.sampler.state(), "booked": dict(zip(self.names, self._booked.T.tolist(), strict=True))}
        if self._easiest is not None:
            pools = np.stack([self._orders.pools, self._since, self._turn], 1).tolist()
            state["pools"] = dict(zip(self.names, pools, strict=True))
        return state

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.draws = int(state["draws"])
        self._cursors[:] = [int(state["cursors"].get(name, 0)) for name in self.names]
        self.pending = (str(state["pending"][0]), int(state["pending"][1])) if state["pending"] else None
        self.sampler.load_state(state["sampler"])
        for task, name in enumerate(self.names):
            self._booked[:, task] = state.get("booked", {}).get(name, 0.0)
            if name in state.get("pools", {}):
                pool, self._since[task], self._turn[task] = map(int, state["pools"][name])
                self._orders.resize(task, pool)

    def _chances(self, rates: Mapping[str, float]) -> np.ndarray:
        return np.cumsum([rates[name] / self.groups[name] for name in self.names])

    def _tasks_ahead(self, chances: np.ndarray, room: int) -> np.ndarray:
        """Numbers of the tasks to draw next: at least one, and about as many as `room` tokens hold."""
        block, offset = divmod(self.draws, BLOCK)
        if self._uniforms[0] != block:
            raw = philox(self.seed, "draw", block).random_raw(BLOCK)
            self._uniforms = (block, (raw >> np.uint64(11)) * 2.0**-53)
        mean = float(np.diff(chances, prepend=0.0) @ self._means / chances[-1])
        ahead = self._uniforms[1][offset : offset + int(1.2 * room / max(mean, 1.0)) + 8]
        index: np.ndarray = np.searchsorted(chances, ahead * chances[-1], side="right")
        last = int(np.searchsorted(chances, chances[-1]))  # the last task with a rate above 0, should a product round up
        return np.minimum(index, last)

    def _unit(self, name: str, start: int) -> Unit:
        task = np.array([self.names.index(name)])
        rows, passes, _ = self._rows(task, np.array([start]))
        return Unit(name, rows, passes, int(self.sizes[name][rows].sum()))


def _ranks(tasks: np.ndarray) -> np.ndarray:
    """How many draws of the same task come before each."""
    order = np.argsort(tasks, kind="stable")
    ordered = tasks[order]
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(tasks)) - np.searchsorted(ordered, ordered)
    return ranks
