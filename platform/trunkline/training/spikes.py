"""Losses that leap: a step in which a task's loss is far above what it was lately is left out by all ranks."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from trunkline.errors import ConfigError

WINDOW, FEWEST = 128, 32


class Spikes:
    """Per task, the losses of the last `window` steps it was in; a loss above mean + sigma * deviation is a spike.

        leaps = loss > mean + sigma * max(deviation, 0.01 * |mean|)

    Source: the rule of 6 deviations over 128 steps of OLMo-core (`SkipStepOptimizer`), there on the total loss; ours is per
    task, since which tasks are in a step changes its total. A spike is not remembered; nothing is one before `FEWEST` losses.
    All ranks see equal losses and decide alike. sigma None: nothing is a spike.
    """

    def __init__(self, sigma: float | None, window: int = WINDOW) -> None:
        if sigma is not None and not sigma > 0:
            raise ConfigError(f"train.spike_sigma: must be above 0, found {sigma:g}.")
        self.sigma, self.window = sigma, window
        self.seen: dict[str, deque[float]] = {}

    def of(self, losses: Mapping[str, float]) -> list[str]:
        """The tasks, of those in a step, whose loss leaps; if there is none the losses are remembered."""
        if self.sigma is None:
            return []
        leaping = [task for task, loss in losses.items() if loss > self.bound(self.seen.get(task, ()))]
        if not leaping:
            for task, loss in losses.items():
                self.seen.setdefault(task, deque(maxlen=self.window)).append(loss)
        return leaping

    def bound(self, seen: Sequence[float]) -> float:
        """The largest loss that is none."""
        if self.sigma is None or len(seen) < FEWEST:
            return math.inf
        mean = sum(seen) / len(seen)
        deviation = math.sqrt(sum((loss - mean) ** 2 for loss in seen) / len(seen))
        return mean + self.sigma * max(deviation, 0.01 * abs(mean))

    def state(self) -> dict[str, Any]:
        return {task: list(losses) for task, losses in self.seen.items()}

    def load_state(self, state: Mapping[str, Sequence[float]]) -> None:
        self.seen = {task: deque(losses, maxlen=self.window) for task, losses in state.items()}
