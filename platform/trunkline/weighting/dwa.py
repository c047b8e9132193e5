"""More for the tasks whose loss falls slowest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from trunkline.errors import ConfigError
from trunkline.registry import WEIGHTINGS
from trunkline.weighting.base import Weighting, positive


@dataclass
class Trend:
    """One task's means over windows: of the last full one, of the one before, and the sum of the open one."""

    before: float | None = None
    last: float | None = None
    total: float = 0.0
    count: int = 0

    @property
    def ratio(self) -> float:
        return self.last / self.before if self.last is not None and self.before else 1.0


@WEIGHTINGS.register("dwa")
class DWA(Weighting):
    """Dynamic weight average: T * softmax(ratio / temperature), ratio = mean loss of the last window / of the one before.

    Source: Liu, Johns & Davison, CVPR 2019 (arXiv:1803.10704). Departures: a window is `window` steps in
    which the task had rows, there an epoch, which a mixture does not have; a task's ratio is 1 until it has two windows,
    and stands still while the task is absent. The card's weight multiplies. temperature: > 0. window: >= 1 steps. Raises
    ConfigError when out of range.
    """

    def __init__(self, tasks: Sequence[str], weights: Sequence[float], *, temperature: float = 2.0, window: int = 100) -> None:
        super().__init__(tasks, weights)
        self.unsigned = self.tasks
        if isinstance(window, bool) or not isinstance(window, int) or window < 1:
            raise ConfigError(f"weighting.window must be a whole number of steps, at least 1, found {window!r}.")
        self.temperature, self.window = positive("temperature", temperature), window
        self.trends = {task: Trend() for task in self.tasks}

    def coefficients(self) -> Tensor:
        ratios = torch.tensor([trend.ratio for trend in self.trends.values()], dtype=torch.float64)
        return self.weights * torch.softmax(ratios / self.temperature, 0) * len(self.tasks)

    def observe(self, losses: Tensor, present: Tensor) -> None:
        for trend, loss, here in zip(self.trends.values(), losses.tolist(), present.tolist(), strict=True):
            if here:
                trend.total, trend.count = trend.total + loss, trend.count + 1
                if trend.count == self.window:
                    trend.before, trend.last = trend.last, trend.total / trend.count
                    trend.total, trend.count = 0.0, 0

    def state(self) -> dict[str, object]:
        return {task: asdict(trend) for task, trend in self.trends.items()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.trends |= {task: Trend(**state[task]) for task in self.tasks if task in state}
