"""Rates in proportion to size."""

from __future__ import annotations

from collections.abc import Mapping

from trunkline.registry import SAMPLERS
from trunkline.sampling.base import Sampler


@SAMPLERS.register("proportional")
class Proportional(Sampler):
    """Every row of every task is as likely as any other: rate = size."""

    def rates(self, step: int) -> Mapping[str, float]:
        del step
        return {task: float(size) for task, size in self.sizes.items()}
