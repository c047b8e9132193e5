"""Every loss in units of its value at chance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trunkline.errors import ConfigError, nearest
from trunkline.registry import WEIGHTINGS
from trunkline.weighting.base import Weighting, positive


@WEIGHTINGS.register("scaled")
class Scaled(Weighting):
    """Loss over its value at chance, so that a choice of 2 and one of 30,000 start equal.

        combined = sum over tasks of  weight * loss / chance

    Source: the normalisation by log C of Muppet (Aghajanyan et al., arXiv:2101.11038). Departure: what is no
    choice among C is scaled too. chance: task -> loss of a model that knows nothing (log C for C labels, the variance of
    the target for mse), > 0. A task not named takes the first loss above 0 that the run shows of it, and its weight alone
    until then: one step. Raises ConfigError for an unknown task or a value out of range.
    """

    def __init__(self, tasks: Sequence[str], weights: Sequence[float], *, chance: Mapping[str, float] | None = None) -> None:
        super().__init__(tasks, weights)
        if chance is not None and not isinstance(chance, Mapping):
            raise ConfigError(f"weighting.chance must give tasks a loss, such as {{{self.tasks[0]}: 0.69}}, found {chance!r}.")
        self.chance: dict[str, float] = {}
        for task, value in (chance or {}).items():
            if task not in self.tasks:
                raise ConfigError(f"weighting.chance: the recipe has no task '{task}'. {nearest(str(task), self.tasks)}")
            self.chance[task] = positive(f"chance.{task}", value)
        self.unsigned = [task for task in self.tasks if task not in self.chance]

    def coefficients(self) -> Tensor:
        return self.weights / torch.tensor([self.chance.get(task, 1.0) for task in self.tasks], dtype=torch.float64)

    def observe(self, losses: Tensor, present: Tensor) -> None:
        for task, loss, here in zip(self.tasks, losses.tolist(), present.tolist(), strict=True):
            if here and task not in self.chance and math.isfinite(loss) and loss > 0:
                self.chance[task] = loss

    def state(self) -> dict[str, object]:
        return {"chance": dict(self.chance)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.chance |= {task: value for task, value in state["chance"].items() if task in self.tasks}
