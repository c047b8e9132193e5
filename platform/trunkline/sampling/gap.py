"""More of what is furthest from where it could be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trunkline.errors import ConfigError, nearest
from trunkline.registry import SAMPLERS
from trunkline.sampling.base import Around, Horizon, normalised, share

if TYPE_CHECKING:
    from trunkline.batch import Verdict


@SAMPLERS.register("gap")
class Gap(Around):
    """Rate in proportion to the distance from what the task reaches alone.

        rate = max(0, (single - score) / |single|), at least floor * the largest;  score: the last evaluation's

    Source: Gottumukkala, Dua, Singh & Gardner, Dynamic Sampling Strategies for Multi-Task Reading Comprehension, ACL 2020,
    section 3, there at every epoch, here at every evaluation. scores: task -> its single-task score in its headline metric, not
    0 (`trunkline baseline` measures them). of: the rates until the first evaluation, and of the share of tasks without validation
    rows. floor: in [0, 1]. Where every task has reached its score the rates are those of `of`. Raises ConfigError when out of
    range, for a task missing or unknown.
    """

    def __init__(
        self, sizes: Mapping[str, int], horizon: Horizon, *, scores: Mapping[str, float], floor: float = 0.1,
        of: str | Mapping[str, Any] = "uniform",
    ) -> None:  # fmt: skip
        super().__init__(sizes, horizon, of)
        self.floor = share("floor", floor)
        if not isinstance(scores, Mapping):
            raise ConfigError(f"sampling.scores must give each task its score alone, found {scores!r}.")
        for task in scores:
            if task not in sizes:
                raise ConfigError(f"sampling.scores: the recipe has no task '{task}'. {nearest(str(task), sizes)}")
        missing = sorted(set(sizes) - set(scores))
        if missing:
            raise ConfigError(f"sampling.scores: no score for {', '.join(missing)}. `trunkline baseline` measures them.")
        for task, score in scores.items():
            if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score) or not score:
                raise ConfigError(f"sampling.scores.{task} must be a finite number, not 0, found {score!r}.")
        self.scores = {task: float(score) for task, score in scores.items()}
        self.distance: dict[str, float] = {}

    @property
    def needs_verdicts(self) -> bool:
        return True

    def judge(self, verdicts: Mapping[str, Verdict]) -> None:
        super().judge(verdicts)
        for task, verdict in verdicts.items():
            if task in self.scores and math.isfinite(verdict.value):
                left = (self.scores[task] - verdict.value) * (1 if verdict.higher_is_better else -1)
                self.distance[task] = max(0.0, left / abs(self.scores[task]))

    def rates(self, step: int) -> Mapping[str, float]:
        before = normalised(self.of.rates(step))
        largest = max(self.distance.values(), default=0.0)
        if not largest:
            return before
        raised = normalised({task: max(gap, self.floor * largest) for task, gap in self.distance.items()})
        judged = sum(before[task] for task in raised)
        return {task: raised[task] * judged if task in raised else rate for task, rate in before.items()}

    def state(self) -> dict[str, object]:
        return {**super().state(), "distance": dict(self.distance)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        super().load_state(state)
        self.distance = {task: float(gap) for task, gap in state.get("distance", {}).items() if task in self.sizes}
