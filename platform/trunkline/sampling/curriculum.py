"""From easy to hard."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from trunkline.errors import ConfigError, nearest
from trunkline.registry import SAMPLERS
from trunkline.sampling.base import Around, Horizon, positive, share

STAGES = 20  # rows are released so often, so that each release is gone through in an order of its own


@SAMPLERS.register("curriculum")
class Curriculum(Around):
    """The easiest rows first, or the easiest tasks; more of them as the run goes on.

        released share c = min(1, sqrt(progress / end * (1 - start ** 2) + start ** 2))

    Source: Platanios et al., Competence-based Curriculum Learning, NAACL 2019, equation 7 (arXiv:1903.09848). Departure: rows are
    released in 20 stages; within one every released row comes once before any comes twice. by: `length` (tokens of the row),
    a column of numbers of every task's rows, or `tasks`: then order, a list of the recipe's tasks, says which of them come
    first; those whose place is within c of the list are drawn. start: the share at first, > 0. end: the part of the run after
    which all are released. of: the rates, a sampling schedule. Raises ConfigError when out of
    range, for unknown or missing tasks.
    """

    def __init__(
        self, sizes: Mapping[str, int], horizon: Horizon, *, by: str = "length", start: float = 0.1, end: float = 0.5,
        order: Sequence[str] | None = None, of: str | Mapping[str, Any] = "proportional",
    ) -> None:  # fmt: skip
        super().__init__(sizes, horizon, of)
        if not isinstance(by, str) or not by:
            raise ConfigError(f"sampling.by must be length, tasks or the name of a column, found {by!r}.")
        self.start, self.end = share("start", positive("start", start)), share("end", positive("end", end))
        if self.difficulty is not None:
            raise ConfigError("sampling.of: a curriculum stands in a curriculum. Keep one of the two.")
        self.order = self._order(order) if by == "tasks" else []
        if by != "tasks":
            self.difficulty = by
            if order is not None:
                raise ConfigError(f"sampling.order is of tasks, and sampling.by is '{by}'. Write by: tasks, or leave order out.")

    def _order(self, order: Sequence[str] | None) -> list[str]:
        if not isinstance(order, list | tuple):
            raise ConfigError(f"sampling.order must list the recipe's tasks, the easiest first, found {order!r}.")
        for task in order:
            if task not in self.sizes:
                raise ConfigError(f"sampling.order: the recipe has no task '{task}'. {nearest(str(task), self.sizes)}")
        missing = sorted(set(self.sizes) - set(order))
        if missing or len(set(order)) < len(order):
            raise ConfigError(f"sampling.order must name each task of the recipe once; missing: {', '.join(missing) or 'none'}.")
        return list(order)

    def competence(self, step: int) -> float:
        """c, from `start` to 1."""
        along = min(1.0, self.horizon.progress(step) / self.end)
        return math.sqrt(along * (1 - self.start**2) + self.start**2)

    def released(self, step: int) -> float:
        if self.difficulty is None:
            return 1.0
        left = 1 - self.start
        return self.start + left * math.floor((self.competence(step) - self.start) / left * STAGES) / STAGES if left else 1.0

    def rates(self, step: int) -> Mapping[str, float]:
        found = self.of.rates(step)
        if not self.order:
            return found
        out = set(self.order[max(1, math.ceil(self.competence(step) * len(self.order) - 1e-9)) :])
        return {task: 0.0 if task in out else rate for task, rate in found.items()}
