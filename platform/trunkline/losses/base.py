"""What every loss is: head outputs and targets in, one value per target out."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from trunkline.errors import ConfigError


class Loss(nn.Module):
    """forward(outputs, targets) -> [number of targets], unreduced: the objective alone divides, once, by the step's count.

    unit: what one value stands for (target, row, pair, group). reads: the targets it needs, by name. asks: what it wants of the
    head's constructor, handed over as the encoding's `head_arguments` are; a head that does not take it does not fit. group:
    rows that must come together (1 unless rows couple). cached: a group may be divided over packs and ranks; outputs are then
    one vector a trunk row, and the loss is worked out over whole groups from vectors kept of a first forward. applied: losses it
    is made of, by name, which must fit the task as well. signed: values may be below 0, so that a weighting that needs positive
    losses refuses it.
    """

    unit: ClassVar[str] = "row"
    reads: ClassVar[frozenset[str]]
    asks: ClassVar[Mapping[str, Any]] = {}
    group: int = 1
    cached: bool = False
    signed: bool = False

    @property
    def applied(self) -> Collection[str]:
        return ()

    @classmethod
    def fits(cls, targets: Collection[str]) -> bool:
        """Whether rows that carry these targets have all it reads."""
        return cls.reads <= set(targets)

    def check(self, sizes: Mapping[str, Any]) -> None:
        """Raises ConfigError if its own arguments do not fit the task. sizes: the encoding's `head_arguments`."""
        del sizes

    def distance(self, outputs: Tensor, others: Tensor) -> Tensor:
        """How far apart two outputs for the same rows are, one value for each line of theirs; what smoothness training lowers.

        The mean squared difference. A loss over classes compares what the outputs say of them instead.
        """
        return (outputs - others).square().flatten(1).mean(1) if outputs.ndim > 1 else (outputs - others).square()

    @abstractmethod
    def forward(self, outputs: Tensor, targets: Mapping[str, Tensor]) -> Tensor: ...


def weights_of(name: str, given: Sequence[float] | None) -> list[float] | None:
    """Weights as a card lists them. Raises ConfigError unless each is a number from 0 up, and one is above 0."""
    if given is None:
        return None
    plain = isinstance(given, list | tuple) and all(isinstance(w, int | float) and not isinstance(w, bool) for w in given)
    if not plain or not all(math.isfinite(w) and w >= 0 for w in given) or not any(given):
        raise ConfigError(f"{name}: a list of numbers from 0 up is needed, one for each label, found {given!r}.")
    return [float(w) for w in given]


def check_length(name: str, given: Sequence[float] | None, sizes: Mapping[str, Any]) -> None:
    """Raises ConfigError unless there are as many weights as the task has labels."""
    labels = sizes.get("num_labels")
    if given is not None and len(given) != labels:
        wanted = f"{labels} labels" if labels is not None else "no labels to weigh"
        raise ConfigError(f"{name}: {len(given)} weights stand there, and the task has {wanted}. Give one for each, in order.")


def check_switch(name: str, value: bool) -> bool:
    """Raises ConfigError unless it is true or false."""
    if not isinstance(value, bool):
        raise ConfigError(f"{name}: true or false is needed, found {value!r}.")
    return value


def check_whole(name: str, value: int, low: int) -> int:
    """Raises ConfigError unless it is a whole number from `low` up."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ConfigError(f"{name}: a whole number from {low} up is needed, found {value!r}.")
    return value


def check_number(name: str, value: float, low: float, high: float = math.inf) -> float:
    """Raises ConfigError unless it is a number from `low` to below `high`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value < high:
        limit = "up" if high == math.inf else f"to below {high:g}"
        raise ConfigError(f"{name}: a number from {low:g} {limit} is needed, found {value!r}.")
    return float(value)
