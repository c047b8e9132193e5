"""What every sampling schedule is: task sizes in, rates out."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from trunkline.errors import ConfigError


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
    """

    def __init__(self, sizes: Mapping[str, int], horizon: Horizon) -> None:
        self.sizes, self.horizon = dict(sizes), horizon

    @abstractmethod
    def rates(self, step: int) -> Mapping[str, float]: ...

    def state(self) -> dict[str, object]:
        return {}

    def load_state(self, state: Mapping[str, object]) -> None:
        assert not state, f"{type(self).__name__} keeps no state, found {sorted(state)}"


def positive(key: str, value: object) -> float:
    """`value` as a float. Raises ConfigError unless it is a finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value > 0):
        raise ConfigError(f"sampling.{key} must be a finite number above 0, found {value!r}.")
    return float(value)
