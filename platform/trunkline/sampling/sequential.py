"""One set of tasks after another."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from trunkline.errors import ConfigError, nearest
from trunkline.registry import SAMPLERS
from trunkline.sampling.base import Horizon, Sampler, positive


@SAMPLERS.register("sequential")
class Sequential(Sampler):
    """Phases: in each only its tasks are drawn, at rate size ** (1 / temperature).

    phases: list of {tasks: [names], share: part of the run's steps}. Shares need not sum to one; a phase ends at the step
    nearest to its part of the run. A task may stand in several phases and must stand in one. Raises ConfigError for an
    unknown or missing task, a share out of range, and a phase too short for a single step.
    """

    def __init__(
        self, sizes: Mapping[str, int], horizon: Horizon, *, phases: Sequence[Mapping[str, Any]], temperature: float = 1.0
    ) -> None:
        super().__init__(sizes, horizon)
        self.exponent = 1 / positive("temperature", temperature)
        if not isinstance(phases, list | tuple) or not phases:
            raise ConfigError(f"sampling.phases must be a list of {{tasks: [...], share: ...}}, found {phases!r}.")
        self.phases = [self._tasks(number, phase) for number, phase in enumerate(phases)]
        shares = [positive(f"phases.{number}.share", phase["share"]) for number, phase in enumerate(phases)]
        missing = sorted(set(sizes) - {task for phase in self.phases for task in phase})
        if missing:
            raise ConfigError(
                f"sampling.phases: {', '.join(missing)} stands in no phase. Name it in one, or leave it out of tasks."
            )
        self.ends = [round(part / sum(shares) * horizon.steps) for part in itertools.accumulate(shares)]
        for number, (start, end) in enumerate(itertools.pairwise([0, *self.ends])):
            if start == end:
                raise ConfigError(
                    f"sampling.phases.{number}: its share {shares[number]} is less than one of the run's {horizon.steps} steps."
                )

    def rates(self, step: int) -> Mapping[str, float]:
        now = self.phases[min(bisect.bisect_left(self.ends, step), len(self.phases) - 1)]
        largest = max(self.sizes[task] for task in now)
        return {task: (size / largest) ** self.exponent if task in now else 0.0 for task, size in self.sizes.items()}

    def _tasks(self, number: int, phase: Any) -> list[str]:
        where = f"sampling.phases.{number}"
        if not isinstance(phase, Mapping) or set(phase) != {"tasks", "share"}:
            raise ConfigError(f"{where} must be {{tasks: [...], share: ...}}, found {phase!r}.")
        names = phase["tasks"]
        if not isinstance(names, list | tuple) or not names:
            raise ConfigError(f"{where}.tasks must be a list of the recipe's tasks, found {names!r}.")
        for name in names:
            if name not in self.sizes:
                raise ConfigError(f"{where}.tasks: the recipe has no task '{name}'. {nearest(str(name), self.sizes)}")
        return list(names)
