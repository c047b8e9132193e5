"""As uniform as the data allows."""

from __future__ import annotations

from collections.abc import Mapping

from trunkline.errors import ConfigError
from trunkline.registry import SAMPLERS
from trunkline.sampling.base import Horizon, Sampler, positive


@SAMPLERS.register("unimax")
class Unimax(Sampler):
    """The same number of rows from every task, but never more than `passes` times what a task has.

        rate = min(passes * size, x),  x such that  sum over tasks of rate * tokens of a row = tokens of the run

    Source: UniMax, algorithm 1 (arXiv:2304.09151), there in characters of languages; here in rows, for a rate is a share
    of rows. The run's tokens are steps * tokens_per_step, which it never exceeds; the bound on passes holds in expectation.
    passes: > 0; 4 because repeating up to there costs little (arXiv:2305.16264). Raises ConfigError when out of range, or
    when all tasks together have too few tokens for the run.
    """

    def __init__(self, sizes: Mapping[str, int], horizon: Horizon, *, passes: float = 4.0) -> None:
        super().__init__(sizes, horizon)
        self.passes = positive("passes", passes)
        left = float(horizon.steps * horizon.tokens_per_step)
        self.given: dict[str, float] = {}
        waiting = sum(horizon.row_tokens.values())
        for task, size in sorted(sizes.items(), key=lambda item: item[1]):
            self.given[task] = min(self.passes * size, left / waiting)
            left -= self.given[task] * horizon.row_tokens[task]
            waiting -= horizon.row_tokens[task]

    def check(self) -> None:
        budget = float(self.horizon.steps * self.horizon.tokens_per_step)
        most = sum(self.passes * size * self.horizon.row_tokens[task] for task, size in self.sizes.items())
        if most < budget:
            enough = budget / most * self.passes
            raise ConfigError(
                f"sampling.passes: {self.passes:g} passes over all tasks are {most:.0f} tokens, the run takes up to {budget:.0f} "
                f"(train.steps * train.tokens_per_step). Raise sampling.passes to {enough:.1f} or train less."
            )
        super().check()

    def rates(self, step: int) -> Mapping[str, float]:
        del step
        return self.given
