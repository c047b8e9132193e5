"""Which rows go into which optimizer step: drawn on every rank alike, without communication.

The draw is a function of (seed, draw number): its state is a draw counter, one cursor per task and the draw that did not
fit. A restored stream continues as if it had never stopped, whatever the number of ranks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from trunkline.batch import Sampler
from trunkline.data.order import Orders, philox
from trunkline.data.rows import Sizes
from trunkline.data.units import Units, joined, starts_of
from trunkline.errors import ConfigError, DataError

BLOCK = 256  # draws decided at once; what lies behind the step's cut is not consumed


class Stream:
    """Draws units until the next would pass `tokens_per_step`; that one opens the next step.

    sizes: tokens of each training row, per task; of very many rows `Sizes`. groups: rows drawn together, per task (1 unless the
    loss couples rows). divisible: tasks whose groups need not stay together once they are drawn. Within a task every row comes
    once before any comes twice. difficulty: of each row, per task, if the sampler releases the easy ones first: then every row
    of what is released comes once before any of it comes twice. Raises ConfigError if what stays together can pass `unit_limit`
    tokens, or a group a step's; DataError if a task has fewer rows than a group.
    """

    def __init__(
        self,
        sizes: Mapping[str, np.ndarray | Sizes],
        sampler: Sampler,
        *,
        seed: int,
        tokens_per_step: int,
        unit_limit: int,
        groups: Mapping[str, int] | None = None,
        divisible: Collection[str] = (),
        difficulty: Mapping[str, np.ndarray | Sizes] | None = None,
    ) -> None:
        self.names = tuple(sizes)
        self.sizes = {name: size if isinstance(size, Sizes) else np.asarray(size) for name, size in sizes.items()}
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
        none = np.zeros(0, np.int32)
        laid_out = [none if isinstance(size, Sizes) else size.astype(np.int32) for size in self.sizes.values()]
        self._tokens, ends = np.concatenate(laid_out), np.cumsum([len(own) for own in laid_out])
        self._laid = ends - [len(own) for own in laid_out]
        self._large = {task: size for task, size in enumerate(self.sizes.values()) if isinstance(size, Sizes)}
        self._booked = np.zeros((3, len(self.names)))  # rows, tokens, rows promised
        self._means = np.array([self.groups[name] * size.mean() for name, size in self.sizes.items()])
        self._easiest: np.ndarray | None = None
        if difficulty is not None:
            self._easiest = np.concatenate([np.argsort(np.asarray(difficulty[name]), kind="stable") for name in self.names])
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
            if isinstance(sizes, Sizes) and rows * sizes.longest <= limit:
                continue
            largest = int(np.partition(np.asarray(sizes), len(sizes) - rows)[-rows:].sum())
            if largest > limit:
                raise ConfigError(
                    f"task '{name}': a group of {rows} rows can hold {largest} tokens, above train.{where} {limit}. "
                    f"Raise {where}, or lower train.max_length, the loss's group, or what the card's head takes into a row (such "
                    "as head.max_candidates)."
                )

    def next_step(self, step: int) -> Units:
        """The units of one optimizer step, in draw order; at least one, at most `tokens_per_step` tokens in all.

        A unit that waits since the last step, of a task whose rate is 0 by now or whose pool has grown, is given back and drawn
        when it has a rate.
        """
        parts: list[Units] = []
        room = self.tokens_per_step
        rates = self.sampler.rates(step)
        if self.pending is not None and not rates[self.pending[0]]:
            self._give_back()
        self._release(self.sampler.released(step))
        if self.pending is not None:
            parts.append(self._waiting())
            room -= int(parts[0].tokens[0])
            self.pending = None
        chances = self._chances(rates)
        while self.pending is None:
            drawn, self.pending = self._draw(chances, room)
            room -= int(drawn.tokens.sum())
            parts.append(drawn)
        units = joined(parts).placed()
        self._count(units, rates)
        return units

    def _count(self, units: Units, rates: Mapping[str, float]) -> None:
        """Books the step: rows and tokens of each task, and the rows that its rates promise it of as many."""
        rows = np.bincount(units.tasks, minlength=len(self.names)) * self._group
        wanted = np.array([rates[name] for name in self.names], np.float64)
        self._booked[0] += rows
        self._booked[1] += np.bincount(units.tasks, units.tokens, len(self.names))
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

    def _waiting(self) -> Units:
        """The unit that did not fit into the last step."""
        assert self.pending is not None
        name, start = self.pending
        return self._units(np.array([self.names.index(name)]), np.array([start]))

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

    def _draw(self, chances: np.ndarray, room: int) -> tuple[Units, tuple[str, int] | None]:
        """Units that fit into `room` tokens, and the first that does not."""
        tasks = self._tasks_ahead(chances, room)
        starts = self._cursors[tasks] + _ranks(tasks) * self._group[tasks]
        units = self._units(*self._within_pages(tasks, starts))
        fit = int(np.searchsorted(np.cumsum(units.tokens), room, side="right"))
        taken = min(fit + 1, len(units))
        self.draws += taken
        self._cursors += np.bincount(tasks[:taken], minlength=len(self.names)) * self._group
        over = (self.names[tasks[fit]], int(starts[fit])) if fit < len(units) else None
        return units[:fit], over

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

    def _units(self, tasks: np.ndarray, places: np.ndarray) -> Units:
        """A unit of each of these tasks, from the place of its cursor at which it begins."""
        group = self._group[tasks]
        starts = starts_of(group)
        owners = np.repeat(tasks, group)
        turns, inside = self._turns(owners, np.arange(starts[-1]) + np.repeat(places - starts[:-1], group))
        rows = self._orders.rows(owners, turns, inside)
        if self._easiest is not None:
            rows = self._easiest[self._first[owners] + rows]
        tokens = np.add.reduceat(self._tokens_of(owners, rows), starts[:-1], dtype=np.int64)
        return Units(self.names, tasks, starts, rows, turns, tokens, np.zeros_like(tasks))

    def _tokens_of(self, owners: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Tokens of these rows of these tasks."""
        if not self._large:
            return self._tokens[self._laid[owners] + rows]
        found = np.zeros(len(rows), np.int64)
        small = np.flatnonzero(~np.isin(owners, list(self._large)))
        found[small] = self._tokens[self._laid[owners[small]] + rows[small]]
        for task, sizes in self._large.items():
            mine = np.flatnonzero(owners == task)
            found[mine] = sizes[rows[mine]]
        return found

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


def _ranks(tasks: np.ndarray) -> np.ndarray:
    """How many draws of the same task come before each."""
    order = np.argsort(tasks, kind="stable")
    ordered = tasks[order]
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(tasks)) - np.searchsorted(ordered, ordered)
    return ranks
