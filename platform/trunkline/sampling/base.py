"""What every sampling schedule is: task sizes in, rates out."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from trunkline.errors import ConfigError

TRIED = 1000  # steps at which rates are tried before the run


@dataclass(frozen=True)
class Horizon:
    """How long the run is. steps: optimizer steps; tokens_per_step: at most; row_tokens: mean tokens of a row, per task."""

    steps: int
    tokens_per_step: int
    row_tokens: Mapping[str, float]

    def progress(self, step: int) -> float:
        """0 at the first step, 1 at the last."""
        return (step - 1) / max(self.steps - 1, 1)


class Sampler(ABC):
    """Rates per task, a pure function of the step unless a subclass keeps state.

    sizes: rows of each task's training split. A rate is the share of ROWS a task is meant to get (they need not sum to
    one); a task that draws groups of G rows is drawn G times less often.

    A sampler is made twice: before any row is read, with sizes of 1, so that its constructor refuses names and settings that
    are wrong whatever the sizes; and with the true sizes, when `check` follows.
    """

    def __init__(self, sizes: Mapping[str, int], horizon: Horizon) -> None:
        self.sizes, self.horizon = dict(sizes), horizon

    @abstractmethod
    def rates(self, step: int) -> Mapping[str, float]: ...

    def check(self) -> None:
        """What the sizes decide. Raises ConfigError where a rate is negative or not finite or all are 0, tried at up to 1,000
        steps from the first to the last."""
        tried = min(TRIED, self.horizon.steps)
        for number in range(tried):
            step = 1 + round(number * (self.horizon.steps - 1) / max(tried - 1, 1))
            rates = dict(self.rates(step))
            if not any(rates.values()) or not all(math.isfinite(rate) and rate >= 0 for rate in rates.values()):
                raise ConfigError(f"sampling: rates at step {step} must be at least 0, finite and not all 0, found {rates}.")

    def state(self) -> dict[str, object]:
        return {}

    def load_state(self, state: Mapping[str, object]) -> None:
        assert not state, f"{type(self).__name__} keeps no state, found {sorted(state)}"


def positive(key: str, value: object) -> float:
    """`value` as a float. Raises ConfigError unless it is a finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value > 0):
        raise ConfigError(f"sampling.{key} must be a finite number above 0, found {value!r}.")
    return float(value)
