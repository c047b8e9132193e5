"""One task in each step, in turns."""

from __future__ import annotations

from collections.abc import Mapping

from trunkline.errors import ConfigError
from trunkline.registry import SAMPLERS
from trunkline.sampling.base import Horizon, Sampler


@SAMPLERS.register("round_robin")
class RoundRobin(Sampler):
    """Every step holds rows of one task only, on all ranks; the tasks take turns in the recipe's order.

        task of a step = tasks[(step - 1) // block mod T]

    For losses that want a step to themselves. block: steps in a row of one task, >= 1; ConfigError otherwise. A step is
    filled up to tokens_per_step, so tasks get equal shares of tokens, not of rows.
    """

    def __init__(self, sizes: Mapping[str, int], horizon: Horizon, *, block: int = 1) -> None:
        super().__init__(sizes, horizon)
        if isinstance(block, bool) or not isinstance(block, int) or block < 1:
            raise ConfigError(f"sampling.block must be a whole number of steps, at least 1, found {block!r}.")
        self.block = block

    def rates(self, step: int) -> Mapping[str, float]:
        turn = list(self.sizes)[(step - 1) // self.block % len(self.sizes)]
        return {task: float(task == turn) for task in self.sizes}
