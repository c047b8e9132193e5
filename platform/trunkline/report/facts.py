"""What a report tells: one run or model each, read from its folder by whoever knows where things lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trunkline.report.data_card import DataCard
from trunkline.report.series import Curve

CONFLICT = -0.05  # a mean cosine below which two tasks are said to be in each other's way


@dataclass(frozen=True)
class Facts:
    """A run, or a model without its run.

    tasks: rows of its result, as result.json has them. series: its curves by name. finished: it ended. steps: (done, planned).
    restarts: how often it went on after a stop. seconds: in training. forgetting: old task -> its change by an extend, in points.
    scores: model of its line, the oldest first -> what each task scored there. affinity: (task, helped) -> thousandths of the
    loss. told: further lines of the summary, such as delta_m. data: of each task.
    """

    name: str
    tasks: Sequence[Mapping[str, Any]]
    series: Mapping[str, Curve] = field(default_factory=dict)
    finished: bool = True
    steps: tuple[int, int | None] = (0, None)
    restarts: int = 0
    seconds: float = 0.0
    forgetting: Mapping[str, float] = field(default_factory=dict)
    told: Sequence[str] = ()
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    affinity: Mapping[tuple[str, str], float] = field(default_factory=dict)
    data: Sequence[DataCard] = ()

    def of(self, prefix: str) -> dict[str, Curve]:
        """Curves whose name begins so, by the rest of it."""
        return {name.removeprefix(prefix): curve for name, curve in self.series.items() if name.startswith(prefix)}

    @property
    def names(self) -> list[str]:
        """Its tasks: of the result, and those that only curves tell of."""
        logged = [name.split("/")[1] for name in self.series if name.startswith(("train/", "eval/")) and name.count("/") == 2]
        return list(dict.fromkeys([*(str(row["task"]) for row in self.tasks), *logged]))

    @property
    def cosines(self) -> dict[tuple[str, str], float]:
        """Mean cosine of two tasks' gradients over the run, both ways."""
        found = {}
        for pair, curve in self.of("grad/cosine/").items():
            one, _, other = pair.partition("/")
            mean = sum(curve.values) / len(curve.values)
            found[one, other] = found[other, one] = mean
        return found


def verdict(facts: Facts) -> list[str]:
    """The run in words, the most important first."""
    return [*_outcome(facts), *_course(facts), *_conflicts(facts), *_lost(facts), *facts.told]


def _outcome(facts: Facts) -> list[str]:
    judged = [row for row in facts.tasks if row.get("learned") is not None]
    if not judged:
        return ["Nothing was evaluated yet." if not facts.tasks else "No task was evaluated."]
    weak = [str(row["task"]) for row in judged if not row["learned"]]
    good = len(judged) - len(weak)
    if not weak:
        return [f"All {good} tasks learned: each is better than a constant guess." if good > 1 else "The task learned."]
    return [f"{good} of {len(judged)} tasks are better than a constant guess; {', '.join(weak)} {_is(weak)} not."]


def _course(facts: Facts) -> list[str]:
    if not facts.series:
        return []
    done, planned = facts.steps
    of = f" of {planned:,}" if planned else ""
    line = f"The run finished after {done:,} steps" if facts.finished else f"The run has not finished: step {done:,}{of}"
    line += f", {_span(facts.seconds)} of training" if facts.seconds else ""
    if (speed := facts.series.get("system/tokens_per_s")) is not None:
        line += f", {sum(speed.values) / len(speed.values):,.0f} tokens a second on average"
    line += "."
    if facts.restarts:
        line += f" It was resumed {facts.restarts} time{'s' if facts.restarts > 1 else ''}."
    return [line]


def _conflicts(facts: Facts) -> list[str]:
    pairs = {tuple(sorted(pair)): value for pair, value in facts.cosines.items()}
    if not pairs:
        return []
    (one, other), value = min(pairs.items(), key=lambda item: item[1])
    if value < CONFLICT:
        return [f"{one} and {other} pull apart most: the mean cosine of their gradients is {value:+.2f}."]
    return [f"No two tasks pull apart: the lowest mean cosine of their gradients is {value:+.2f}, of {one} and {other}."]


def _lost(facts: Facts) -> list[str]:
    if not facts.forgetting:
        return []
    task, change = min(facts.forgetting.items(), key=lambda item: item[1])
    return [f"Of the old tasks {task} changed most for the worse: {change:+.2f} points."]


def _is(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _span(seconds: float) -> str:
    minutes = int(seconds // 60)
    return f"{seconds:.0f} s" if minutes < 1 else f"{minutes} min" if minutes < 120 else f"{seconds / 3600:.1f} h"
