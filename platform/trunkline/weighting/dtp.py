"""More for the tasks that are still hard."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trunkline.errors import ConfigError
from trunkline.registry import WEIGHTINGS
from trunkline.weighting.base import Weighting, positive

LEAST = 1e-12


@WEIGHTINGS.register("dtp")
class DTP(Weighting):
    """Dynamic task prioritization: a focal weight that falls to 0 as the task is learned.

        weight * -(1 - k) ** focus * log k,  k = exp(-loss), averaged: k <- k + rate * (exp(-loss) - k)

    Source: Guo et al., Dynamic Task Prioritization, ECCV 2018. Departure: their k is a metric in [0, 1] chosen per task;
    here it is exp(-loss), the geometric mean probability of the right answer under cross entropy, so losses are all it
    needs; under other losses it means little unless they are near 1 before training. The card's weight multiplies. A task's
    factor is 1 until its first loss is seen, and stands still while it is absent. focus: > 0. rate: in (0, 1]. Raises
    ConfigError when out of range.
    """

    def __init__(self, tasks: Sequence[str], weights: Sequence[float], *, focus: float = 1.0, rate: float = 0.1) -> None:
        super().__init__(tasks, weights)
        self.unsigned = self.tasks
        self.focus, self.rate = positive("focus", focus), positive("rate", rate)
        if self.rate > 1:
            raise ConfigError(f"weighting.rate must be above 0 and at most 1, found {rate}.")
        self.known: dict[str, float] = {}

    def coefficients(self) -> Tensor:
        return self.weights * torch.tensor([self._focal(task) for task in self.tasks], dtype=torch.float64)

    def observe(self, losses: Tensor, present: Tensor) -> None:
        for task, loss, here in zip(self.tasks, losses.tolist(), present.tolist(), strict=True):
            if here:
                now = min(max(math.exp(-loss), LEAST), 1.0)
                before = self.known.get(task, now)
                self.known[task] = before + self.rate * (now - before)

    def state(self) -> dict[str, object]:
        return dict(self.known)

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.known = {task: float(state[task]) for task in self.tasks if task in state}

    def _focal(self, task: str) -> float:
        k = self.known.get(task)
        return 1.0 if k is None else -((1 - k) ** self.focus) * math.log(k)
