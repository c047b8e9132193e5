"""Rates written down by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping

from trunkline.errors import ConfigError, nearest
from trunkline.registry import SAMPLERS
from trunkline.sampling.base import Horizon, Sampler


@SAMPLERS.register("explicit")
class Explicit(Sampler):
    """The rates as given, one per task of the recipe; they need not sum to one.

    rates: task -> share, >= 0, at least one above 0. Raises ConfigError for a task missing, unknown or out of range.
    """

    def __init__(self, sizes: Mapping[str, int], horizon: Horizon, *, rates: Mapping[str, float]) -> None:
        super().__init__(sizes, horizon)
        for task in rates:
            if task not in sizes:
                raise ConfigError(f"sampling.rates: the recipe has no task '{task}'. {nearest(task, sizes)}")
        missing = sorted(set(sizes) - set(rates))
        if missing:
            raise ConfigError(
                f"sampling.rates: no rate for {', '.join(missing)}. Give each task of the recipe one (0 turns it off)."
            )
        bad = {task: rate for task, rate in rates.items() if not (math.isfinite(rate) and rate >= 0)}
        if bad or not any(rates.values()):
            raise ConfigError(f"sampling.rates must be at least 0 and not all 0, found {bad or dict(rates)}.")
        self.given = {task: float(rate) for task, rate in rates.items()}

    def rates(self, step: int) -> Mapping[str, float]:
        del step
        return self.given
