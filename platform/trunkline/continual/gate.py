"""The gate: what a new model changed for every old task, on the same rows, against what was promised."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from trunkline.errors import ConfigError, UsageError, nearest
from trunkline.metrics.base import Metric
from trunkline.metrics.bootstrap import Measured, paired

DRAWS = 1000
Records = Mapping[str, np.ndarray]
Verdict = Literal["kept", "broken", "not promised", "not measured"]


@dataclass(frozen=True)
class Change:
    """A task before and after. change, low, high, limit: points, up is better; low to high is the 95 % interval of the change.

    Points are what `Metric.in_points` makes of the metric: hundredths of one that is 1 at best.
    """

    task: str
    metric: str = ""
    rows: int = 0
    before: float | None = None
    after: float | None = None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    verdict: Verdict = "not measured"

    def told(self) -> dict[str, Any]:
        return asdict(self)


def promises(stated: str, tasks: Sequence[str]) -> dict[str, float]:
    """`mrpc:-0.5,*:-1.0` -> task -> the change in points that is still allowed; the first that fits a task holds.

    Raises UsageError for what can not be read, ConfigError for a task the model does not have.
    """
    found: dict[str, float] = {}
    for entry in (part.strip() for part in stated.split(",") if part.strip()):
        name, colon, limit = (word.strip() for word in entry.rpartition(":"))
        try:
            points = float(limit)
        except ValueError:
            points = math.nan
        if not colon or not math.isfinite(points):
            raise UsageError(
                f"'{entry}' is no promise. Write task:points, such as mrpc:-0.5, or *:-1.0 for all.", where="--protect"
            )
        fitting = [task for task in tasks if fnmatch.fnmatchcase(task, name)]
        if not fitting:
            raise ConfigError(f"the model has no task '{name}' to protect. {nearest(name, tasks)}", where="--protect")
        found = {**dict.fromkeys(fitting, points), **found}
    return found


def compare(
    task: str,
    make: Callable[[], Metric],
    name: str,
    before: tuple[np.ndarray, Records],
    after: tuple[np.ndarray, Records],
    limit: float | None,
    draws: int = DRAWS,
) -> Change:
    """The change of a metric over the same rows, and its interval by a paired bootstrap over rows, in points.

    before, after: row ids (repeated for rows of several targets) and records. A promise is broken where the measured change is
    below the limit.
    """
    metric, old, new = make(), Measured.of([before]), Measured.of([after])
    same = all(np.array_equal(old.records[key], new.records[key]) for key in old.records)
    found = paired(metric, new, old, 0 if same else draws, metric.in_points)
    up = 1 if metric.higher_is_better else -1
    change = 0.0 if same else up * found.difference
    low, high = (0.0, 0.0) if same else (None, None)
    if found.low is not None and found.high is not None:
        low, high = sorted((up * found.low, up * found.high))
    verdict: Verdict = "not promised" if limit is None else "kept" if change >= limit else "broken"
    return Change(task, name, len(old.rows), found.other, found.value, change, low, high, limit, verdict)
