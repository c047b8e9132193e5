"""The same rate for every task."""

from __future__ import annotations

from collections.abc import Mapping

from trunkline.registry import SAMPLERS
from trunkline.sampling.base import Sampler


@SAMPLERS.register("uniform")
class Uniform(Sampler):
    """Every task gets the same share of rows, whatever its size."""

    def rates(self, step: int) -> Mapping[str, float]:
        del step
        return dict.fromkeys(self.sizes, 1.0)
