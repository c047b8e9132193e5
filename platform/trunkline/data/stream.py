"""Which rows go into which optimizer step: drawn on every rank alike, without communication.

The draw is a function of (seed, draw number): its state is a draw counter, one cursor per task and the draw that did not
fit. A restored stream continues as if it had never stopped, whatever the number of ranks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from trunkline.batch import Sampler
from trunkline.errors import ConfigError, DataError

BLOCK = 256  # draws decided at once; what lies behind the step's cut is not consumed


@dataclass(frozen=True)
class Unit:
    """Rows of one task that may not be separated: one row, or a whole group. rows, passes [G]; tokens: their sum."""

    task: str
    rows: np.ndarray
    passes: np.ndarray
    tokens: int


def _philox(*words: object) -> np.random.Philox:
    digest = hashlib.blake2b("\0".join(map(str, words)).encode(), digest_size=16).digest()
    return np.random.Philox(key=np.frombuffer(digest, np.uint64))


class Stream:
    """Draws units until the next would pass `tokens_per_step`; that one opens the next step.

    sizes: tokens of each training row, per task. groups: rows drawn together, per task (1 unless the loss couples rows).
    Within a task every row comes once before any comes twice. Raises ConfigError if one unit can pass `unit_limit` tokens,
    DataError if a task has fewer rows than a group.
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
    ) -> None:
        self.names = list(sizes)
        self.sizes = {name: np.asarray(size, np.int64) for name, size in sizes.items()}
        self.groups = {name: (groups or {}).get(name, 1) for name in self.names}
        self.sampler, self.seed, self.tokens_per_step = sampler, seed, tokens_per_step
        self.draws = 0
        self.cursors = dict.fromkeys(self.names, 0)
        self.pending: tuple[str, int] | None = None
        self._order: dict[str, tuple[int, np.ndarray]] = {}
        self._uniforms: tuple[int, np.ndarray] = (-1, np.zeros(0))
        for name in self.names:
            if len(self.sizes[name]) < self.groups[name]:
                raise DataError(
                    f"task '{name}': its loss draws {self.groups[name]} rows at a time, and there are {len(self.sizes[name])} "
                    "training rows. Add rows, or lower the loss's group."
                )
            largest = int(np.sort(self.sizes[name])[-self.groups[name] :].sum())
            if largest > unit_limit:
                raise ConfigError(
                    f"task '{name}': a group of {self.groups[name]} rows can hold {largest} tokens, above train.tokens_per_pass "
                    f"{unit_limit}. Raise tokens_per_pass, or lower train.max_length, the loss's group, or what the card's head "
                    "takes into a row (such as head.max_candidates)."
                )

    def next_step(self, step: int) -> list[Unit]:
        """The units of one optimizer step, in draw order; at least one, at most `tokens_per_step` tokens in all.

        A unit that waits since the last step, of a task whose rate is 0 by now, is given back and drawn when it has one.
        """
        units: list[Unit] = []
        room = self.tokens_per_step
        rates = self.sampler.rates(step)
        if self.pending is not None and not rates[self.pending[0]]:
            name, start = self.pending
            self.cursors[name] = start
            self.pending = None
        if self.pending is not None:
            units.append(self._unit(*self.pending))
            room -= units[0].tokens
            self.pending = None
        chances = self._chances(rates)
        while self.pending is None:
            for name in self._tasks_ahead(chances):
                start = self.cursors[name]
                self.draws += 1
                self.cursors[name] = start + self.groups[name]
                unit = self._unit(name, start)
                if unit.tokens > room:
                    self.pending = (name, start)
                    break
                units.append(unit)
                room -= unit.tokens
        return units

    def passes(self) -> dict[str, float]:
        """How often each task's rows have been gone through."""
        return {name: self.cursors[name] / len(self.sizes[name]) for name in self.names}

    def state(self) -> dict[str, Any]:
        return {"draws": self.draws, "cursors": dict(self.cursors), "pending": self.pending, "sampler": self.sampler.state()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.draws = int(state["draws"])
        self.cursors = {name: int(state["cursors"].get(name, 0)) for name in self.names}
        self.pending = (str(state["pending"][0]), int(state["pending"][1])) if state["pending"] else None
        self.sampler.load_state(state["sampler"])

    def _chances(self, rates: Mapping[str, float]) -> np.ndarray:
        return np.cumsum([rates[name] / self.groups[name] for name in self.names])

    def _tasks_ahead(self, chances: np.ndarray) -> list[str]:
        block, offset = divmod(self.draws, BLOCK)
        if self._uniforms[0] != block:
            raw = _philox(self.seed, "draw", block).random_raw(BLOCK)
            self._uniforms = (block, (raw >> np.uint64(11)) * 2.0**-53)
        index = np.searchsorted(chances, self._uniforms[1][offset:] * chances[-1], side="right")
        last = int(np.searchsorted(chances, chances[-1]))  # the last task with a rate above 0, should a product round up
        return [self.names[i] for i in np.minimum(index, last)]

    def _unit(self, name: str, start: int) -> Unit:
        size = len(self.sizes[name])
        places = range(start, start + self.groups[name])
        passes = np.array([place // size for place in places], np.int64)
        rows = np.array([self._permutation(name, place // size)[place % size] for place in places], np.int64)
        return Unit(name, rows, passes, int(self.sizes[name][rows].sum()))

    def _permutation(self, name: str, turn: int) -> np.ndarray:
        """Row order of one pass. Sorting raw Philox words keeps the order fixed whatever NumPy does to its shuffles."""
        kept = self._order.get(name)
        if kept is None or kept[0] != turn:
            words = _philox(self.seed, name, turn).random_raw(len(self.sizes[name]))
            kept = self._order[name] = (turn, np.argsort(words, kind="stable"))
        return kept[1]
