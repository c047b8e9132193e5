"""Between proportional and uniform."""

from __future__ import annotations

from collections.abc import Mapping

from trunkline.errors import ConfigError
from trunkline.registry import SAMPLERS
from trunkline.sampling.base import Horizon, Sampler


@SAMPLERS.register("temperature")
class Temperature(Sampler):
    """Rate min(size, cap) ** (1 / temperature): 1 is proportional to size, large is near uniform.

    Source: T5, section 3.5.2 (arXiv:1910.10683), where the cap is the artificial data set size limit K.
    temperature: > 0. cap: rows, or None. Raises ConfigError when out of range, or for a cap that no task's size is above.
    """

    def __init__(self, sizes: Mapping[str, int], horizon: Horizon, *, temperature: float = 2.0, cap: int | None = None) -> None:
        super().__init__(sizes, horizon)
        if not temperature > 0:
            raise ConfigError(f"sampling.temperature must be above 0, found {temperature}. 1 is proportional, 2 is a good start.")
        if cap is not None and cap < 1:
            raise ConfigError(f"sampling.cap must be at least 1 row, found {cap}.")
        self.temperature, self.cap = temperature, cap

    def check(self) -> None:
        largest = max(self.sizes, key=self.sizes.__getitem__)
        if self.cap is not None and self.cap > self.sizes[largest]:
            raise ConfigError(
                f"sampling.cap is above every task's size, found {self.cap}: the largest is '{largest}', with "
                f"{self.sizes[largest]} rows, so that nothing is capped. Lower it or leave it out."
            )
        try:
            super().check()
        except OverflowError as error:
            raise ConfigError(
                f"sampling.temperature {self.temperature} is so small that rates overflow. 1 is proportional, 2 is a good start."
            ) from error

    def rates(self, step: int) -> Mapping[str, float]:
        del step
        limit = self.cap if self.cap is not None else max(self.sizes.values())
        return {task: min(size, limit) ** (1 / self.temperature) for task, size in self.sizes.items()}
