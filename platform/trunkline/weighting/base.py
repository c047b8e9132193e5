"""What every weighting is: coefficients before the backward, an observation after the step."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from trunkline.errors import ConfigError

SMALLEST = 1e-8  # the least loss, where one is divided by or its logarithm taken


class Weighting(ABC):
    """One coefficient per task. tasks: names in the model's head order; weights: the card's or recipe's factor of each.

    unsigned: tasks whose losses must never be below 0, as where it divides by them or takes their logarithm.
    """

    unsigned: Collection[str] = ()

    def __init__(self, tasks: Sequence[str], weights: Sequence[float]) -> None:
        self.tasks = list(tasks)
        self.weights = torch.tensor(list(weights), dtype=torch.float64)

    @abstractmethod
    def coefficients(self) -> Tensor:
        """Factors of this step's backward, float64 [T] on the CPU."""

    @property
    def needs_gram(self) -> bool:
        """Whether this step's Gram matrix is worth its cost."""
        return False

    @property
    def exact(self) -> bool:
        """Whether this step's `see` and `observe` come before the coefficients of its own backward are asked."""
        return False

    @property
    def looks_back(self) -> bool:
        """Whether `look_back` wants the losses of the same rows after the step; asked of one that is exact."""
        return False

    def see(self, gram: Tensor) -> None:
        """Before `observe`, if the step began with `needs_gram`: products [T, T] of the tasks' gradients, coefficients not in."""
        del gram

    def observe(self, losses: Tensor, present: Tensor) -> None:
        """Step-global mean losses [T] and which tasks had targets [T] bool, equal on all ranks."""
        del losses, present

    def look_back(self, losses: Tensor, present: Tensor) -> None:
        """As `observe`, of the same rows, after the step."""
        del losses, present

    def state(self) -> dict[str, object]:
        return {}

    def load_state(self, state: Mapping[str, object]) -> None:
        assert not state, f"{type(self).__name__} keeps no state, found {sorted(state)}"


def switch(key: str, value: object) -> bool:
    """`value` as it is. Raises ConfigError unless it is true or false."""
    if not isinstance(value, bool):
        raise ConfigError(f"weighting.{key} must be true or false, found {value!r}.")
    return value


def positive(key: str, value: object) -> float:
    """`value` as a float. Raises ConfigError unless it is a finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value > 0):
        raise ConfigError(f"weighting.{key} must be a finite number above 0, found {value!r}.")
    return float(value)
