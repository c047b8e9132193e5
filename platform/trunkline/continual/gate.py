"""The gate: what a new model changed for every old task, on the same rows, against what was promised."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from trunkline.errors import ConfigError, UsageError, nearest
from trunkline.metrics.base import Metric

DRAWS = 1000
LEVEL = 0.95
Records = Mapping[str, np.ndarray]
Verdict = Literal["kept", "broken", "not promised", "not measured"]


@dataclass(frozen=True)
class Change:
    """A task before and after. change, low, high, limit: points, up is better; low to high is the 95 % interval of the change."""

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
    """The change of a metric over the same rows, and its interval by a paired bootstrap over rows.

    before, after: row ids (repeated for rows of several targets) and records. Each draw takes rows with replacement, the same
    for both models. Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993), section 13.3 (percentile interval).
    A promise is broken where the measured change is below the limit.
    """
    old, new = _by_row(*before), _by_row(*after)
    assert np.array_equal(old[0], new[0]), f"{task}: the models were measured on other rows"
    metric = make()
    points = (100.0 if metric.best == 1.0 else 1.0) * (1 if metric.higher_is_better else -1)

    def value(records: Records, taken: np.ndarray | None = None) -> float:
        picked = records if taken is None else {key: record[taken] for key, record in records.items()}
        return float(metric.value(**{key: picked[key] for key in sorted(metric.needs)}))

    first, last = value(old[1]), value(new[1])
    change = points * (last - first)
    starts = np.flatnonzero(np.r_[True, old[0][1:] != old[0][:-1], True])
    chance = np.random.default_rng(0)
    same = _same(old[1], new[1])
    drawn = [0.0] if same else [points * (value(new[1], t) - value(old[1], t)) for t in _draws(starts, draws, chance)]
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    verdict: Verdict = "not promised" if limit is None else "kept" if change >= limit else "broken"
    return Change(task, name, len(starts) - 1, first, last, change, low, high, limit, verdict)


def _draws(starts: np.ndarray, draws: int, chance: np.random.Generator) -> Iterable[np.ndarray]:
    rows = len(starts) - 1
    for _ in range(draws):
        taken = chance.integers(0, rows, rows)
        lengths = starts[taken + 1] - starts[taken]
        first = np.repeat(starts[taken] - np.r_[0, np.cumsum(lengths)[:-1]], lengths)
        yield first + np.arange(int(lengths.sum()))


def _by_row(ids: np.ndarray, records: Records) -> tuple[np.ndarray, Records]:
    order = np.argsort(ids, kind="stable")
    return ids[order], {name: record[order] for name, record in records.items()}


def _same(a: Records, b: Records) -> bool:
    return all(np.array_equal(a[name], b[name]) for name in a)
