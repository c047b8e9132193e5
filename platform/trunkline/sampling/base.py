"""What every sampling schedule is: task sizes in, rates out."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trunkline.errors import ConfigError, nearest
from trunkline.registry import SAMPLERS

if TYPE_CHECKING:
    from trunkline.batch import Verdict

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

    difficulty: by what rows are released, `length` or a column of theirs; None: all rows, from the start.

    A sampler is made twice: before any row is read, with sizes of 1, so that its constructor refuses names and settings that
    are wrong whatever the sizes; and with the true sizes, when `check` follows.
    """

    difficulty: str | None = None

    def __init__(self, sizes: Mapping[str, int], horizon: Horizon) -> None:
        self.sizes, self.horizon = dict(sizes), horizon

    @abstractmethod
    def rates(self, step: int) -> Mapping[str, float]: ...

    def released(self, step: int) -> float:
        """The share of each task's rows, easiest first, that may be drawn in the step."""
        del step
        return 1.0

    @property
    def needs_gram(self) -> bool:
        """Whether the next step's gradients are to be compared, for `align`."""
        return False

    @property
    def needs_verdicts(self) -> bool:
        """Whether it learns from evaluations during training, for `judge`."""
        return False

    def align(self, cosines: Mapping[str, float]) -> None:
        """After a step: the cosine of each task's gradient with the sum of the others', of tasks that showed one."""
        del cosines

    def judge(self, verdicts: Mapping[str, Verdict]) -> None:
        """After an evaluation, equal on all ranks; tasks without validation rows are missing."""
        del verdicts

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


class Around(Sampler):
    """A sampler that goes by the rates of another, `of`: a name, or `{kind: name, ...}`."""

    def __init__(self, sizes: Mapping[str, int], horizon: Horizon, of: object, key: str = "of") -> None:
        super().__init__(sizes, horizon)
        self.of = nested(key, of, sizes, horizon)
        self.difficulty = self.of.difficulty

    def released(self, step: int) -> float:
        return self.of.released(step)

    @property
    def needs_gram(self) -> bool:
        return self.of.needs_gram

    @property
    def needs_verdicts(self) -> bool:
        return self.of.needs_verdicts

    def align(self, cosines: Mapping[str, float]) -> None:
        self.of.align(cosines)

    def judge(self, verdicts: Mapping[str, Verdict]) -> None:
        self.of.judge(verdicts)

    def state(self) -> dict[str, object]:
        inner = self.of.state()
        return {"of": inner} if inner else {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.of.load_state(state.get("of", {}))


def nested(key: str, stated: object, sizes: Mapping[str, int], horizon: Horizon) -> Sampler:
    """The sampler that another one's argument `key` states. Raises ConfigError with its place."""
    part = {"kind": stated} if isinstance(stated, str) else stated
    where = f"sampling.{key}"
    if not isinstance(part, Mapping) or not isinstance(part.get("kind"), str):
        raise ConfigError(f"{where} must be a sampling schedule, such as uniform or {{kind: temperature}}, found {stated!r}.")
    kind, given = part["kind"], {name: value for name, value in part.items() if name != "kind"}
    if kind not in SAMPLERS.names():
        raise ConfigError(f"{where}.kind: no sampling schedule named '{kind}'. {nearest(kind, SAMPLERS.names())}")
    SAMPLERS.check(kind, given, where=where)
    try:
        made: Sampler = SAMPLERS.get(kind)(sizes, horizon, **given)
    except ConfigError as error:
        raise ConfigError(re.sub("^sampling", where, error.message)) from error
    return made


def share(key: str, value: object) -> float:
    """`value` as a float. Raises ConfigError unless it is a number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ConfigError(f"sampling.{key} must be a number from 0 to 1, found {value!r}.")
    return float(value)


def whole(key: str, value: object) -> int:
    """`value` as it is. Raises ConfigError unless it is a whole number from 1 up."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"sampling.{key} must be a whole number, at least 1, found {value!r}.")
    return value


def normalised(rates: Mapping[str, float]) -> dict[str, float]:
    """The same proportions, summing to one."""
    total = sum(rates.values())
    return {name: rate / total for name, rate in rates.items()}


def positive(key: str, value: object) -> float:
    """`value` as a float. Raises ConfigError unless it is a finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value > 0):
        raise ConfigError(f"sampling.{key} must be a finite number above 0, found {value!r}.")
    return float(value)
