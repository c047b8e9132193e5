"""From proportional to nearly uniform, over the run."""

from __future__ import annotations

from collections.abc import Mapping

from trunkline.registry import SAMPLERS
from trunkline.sampling.base import Horizon, Sampler, positive


@SAMPLERS.register("annealed")
class Annealed(Sampler):
    """A temperature that moves: small tasks count less at first and more at the end, or the other way round.

        rate = (size / largest size) ** exponent,  exponent = 1 / start + progress * (1 / end - 1 / start)

    Source: PALs, Stickland & Murray (arXiv:1902.02671): their exponent 1 - 0.8 * (epoch - 1) / (epochs - 1) is the
    default, from temperature 1 to 5. Departure: it moves at every step, not once in an epoch. progress is 0 at the first
    step, 1 at the last. start, end: temperatures, finite, > 0; ConfigError otherwise.
    """

    def __init__(self, sizes: Mapping[str, int], horizon: Horizon, *, start: float = 1.0, end: float = 5.0) -> None:
        super().__init__(sizes, horizon)
        self.first, self.last = 1 / positive("start", start), 1 / positive("end", end)

    def rates(self, step: int) -> Mapping[str, float]:
        exponent = self.first + self.horizon.progress(step) * (self.last - self.first)
        largest = max(self.sizes.values())
        return {task: (size / largest) ** exponent for task, size in self.sizes.items()}
