"""What a study tries and what it wants: ranges, rungs, the objective and the tasks it must not hurt."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trunkline.config.recipe import Recipe
from trunkline.document import reader
from trunkline.document.writer import render_value
from trunkline.errors import ConfigError, nearest

KEYS = ("trials", "rungs", "keep", "objective", "protect", "every", "search")
RANGE = ("from", "to", "log", "whole")
SKILL = "skill"
DIMENSION = "dimension"  # the search of that name: widths of the word table
WIDTHS = (16, 32, 64, 128, 256)
Point = Mapping[str, Any]
Skills = Mapping[str, float]


@dataclass(frozen=True)
class Search:
    """What is tried. ranges: path in the recipe -> a list of values, or {from, to, log, whole}. trials: points, the recipe as it
    is among them. rungs: steps of the runs, the last as long as wanted; keep: of a rung's trials the best 1 / keep go on.
    every: all combinations of the lists in place of so many drawn ones.

    objective: the tasks whose mean skill counts; none for all. protect: task -> how much skill it may lose.
    """

    ranges: Mapping[str, Any]
    trials: int = 16
    rungs: tuple[int, ...] = (100, 400)
    keep: int = 4
    objective: tuple[str, ...] = ()
    protect: Mapping[str, float] = field(default_factory=dict)
    every: bool = False

    def points(self, seed: int) -> list[dict[str, Any]]:
        """The trials' settings, the first without any; a function of the seed, so that a study goes on where it was."""
        if self.every:
            return [{}, *(dict(zip(self.ranges, values, strict=True)) for values in itertools.product(*self.ranges.values()))]
        chance = np.random.default_rng(seed)
        return [{}, *({path: _drawn(own, chance) for path, own in self.ranges.items()} for _ in range(self.trials - 1))]

    def counted(self, measured: Collection[str]) -> list[str]:
        """Of the tasks that are measured those of the objective. Raises ConfigError where that is none."""
        found = [name for name in measured if not self.objective or name in self.objective]
        if not found:
            whose = " and ".join(self.objective) or "no task of the recipe"
            has = "has no" if self.objective else "has"
            raise ConfigError(f"objective: {whose} {has} validation rows, so nothing can be told better. Add some.")
        return found

    def value(self, skills: Skills) -> float:
        """The figure a trial is judged by."""
        return float(np.mean([skills[name] for name in self.counted(skills)]))

    def broken(self, skills: Skills, default: Skills) -> dict[str, float]:
        """Protected tasks that lost more than they may against the recipe as it is: by how much more."""
        lost = {name: default[name] - skills[name] - most for name, most in self.protect.items() if name in default}
        return {name: more for name, more in lost.items() if more > 0}


def front(skills: Mapping[int, Skills]) -> list[int]:
    """The Pareto front: of the trials those that no other is as good as in every task and better in one. By number.

    Source: Deb et al., IEEE Trans. Evolutionary Computation 6 (2002), section III (the first front).
    """
    return [
        number
        for number, own in sorted(skills.items())
        if not any(all(o[n] >= own[n] for n in own) and any(o[n] > own[n] for n in own) for o in skills.values())
    ]


def settings(point: Point) -> list[str]:
    """The point as overrides of the recipe."""
    return [f"{path}={render_value(value)}" for path, value in point.items()]


def read_search(path: Path, recipe: Recipe) -> Search:
    """The search of a file, or the one that comes with trunkline: `dimension`.

    Raises ConfigError for unknown keys, paths that are not in a recipe, empty ranges, an objective that is no task.
    """
    if str(path) == DIMENSION:
        return Search({"trunk.embeddings.dim": list(WIDTHS)}, rungs=(recipe.train.steps,), every=True)
    data = reader.read(path).data
    where = str(path)
    for key in data:
        if key not in KEYS:
            raise ConfigError(f"a search takes no '{key}'. {nearest(str(key), KEYS)}", where=where)
    ranges = data.get("search")
    if not isinstance(ranges, Mapping) or not ranges:
        raise ConfigError(
            "search: paths of the recipe and their ranges are needed, such as {optim.lr: [1e-4, 1e-3]}.", where=where
        )
    every = _every(data, ranges, where)
    for name, own in ranges.items():
        _check_range(str(name), own, where)
    stated = {key: _whole(data[key], key, 2, where) for key in ("trials", "keep") if key in data}
    rungs = data.get("rungs", list(Search.rungs))
    for steps in rungs if isinstance(rungs, list) else ():
        _whole(steps, "rungs", 1, where)
    if not isinstance(rungs, list) or not rungs or sorted(set(rungs)) != rungs:
        raise ConfigError(f"rungs: numbers of steps that grow, found {rungs!r}. Write rungs: [100, 400].", where=where)
    tasks = [use.task for use in recipe.tasks]
    return Search(
        {str(name): own for name, own in ranges.items()},
        rungs=tuple(rungs),
        objective=(wanted := _objective(data.get("objective", SKILL), tasks, where)),
        protect=_protected(data.get("protect", {}), tasks, wanted, where),
        every=every,
        **stated,
    )


def _every(data: Mapping[str, Any], ranges: Mapping[str, Any], where: str) -> bool:
    every = data.get("every", False)
    if not isinstance(every, bool):
        raise ConfigError(f"every: true or false, found {every!r}.", where=where)
    drawn = next((name for name, own in ranges.items() if not isinstance(own, list)), None)
    if every and drawn is not None:
        raise ConfigError(f"search.{drawn}: with `every: true` a list of values is needed.", where=where)
    if every and "trials" in data:
        raise ConfigError("trials: with `every: true` each combination is one. Leave it out.", where=where)
    return every


def _objective(stated: Any, tasks: Sequence[str], where: str) -> tuple[str, ...]:
    """The tasks named, none for `skill`: all of them."""
    if stated == SKILL:
        return ()
    names = [str(name) for name in stated] if isinstance(stated, list) and stated else [str(stated)]
    known = [*tasks] if isinstance(stated, list) else [SKILL, *tasks]
    for name in names:
        if name not in known:
            raise ConfigError(f"objective: no task '{name}' in the recipe. {nearest(name, known)}", where=where)
    return tuple(names)


def _protected(stated: Any, tasks: Sequence[str], objective: Sequence[str], where: str) -> dict[str, float]:
    """Task -> skill it may lose; one number is for all tasks that are not in the objective."""
    others = [name for name in tasks if name not in objective]
    given = dict.fromkeys(others, stated) if not isinstance(stated, Mapping) else dict(stated)
    for name, most in given.items():
        if name not in tasks:
            raise ConfigError(f"protect: no task '{name}' in the recipe. {nearest(str(name), tasks)}", where=where)
        if isinstance(most, bool) or not isinstance(most, int | float) or not 0 <= most <= 1:
            raise ConfigError(f"protect: the skill a task may lose, from 0 to 1, found {most!r}.", where=where)
    return {name: float(most) for name, most in given.items()}


def _drawn(own: Any, chance: np.random.Generator) -> Any:
    if isinstance(own, list):
        return own[int(chance.integers(len(own)))]
    low, high = own["from"], own["to"]
    if own.get("whole", False):
        return int(chance.integers(low, high + 1))
    if own.get("log", False):
        return float(f"{math.exp(chance.uniform(math.log(low), math.log(high))):.4g}")
    return float(f"{chance.uniform(low, high):.4g}")


def _check_range(name: str, own: Any, where: str) -> None:
    if isinstance(own, list) and own:
        return
    if not isinstance(own, Mapping) or not {"from", "to"} <= set(own) or set(own) - set(RANGE):
        raise ConfigError(f"search.{name}: a list of values or {{from, to, log, whole}} is needed, found {own!r}.", where=where)
    low, high = own["from"], own["to"]
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (low, high))
    if not numbers or not low < high or (own.get("log", False) and low <= 0):
        raise ConfigError(f"search.{name}: from {low!r} to {high!r} is no range.", where=where)


def _whole(value: Any, key: str, least: int, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{key}: whole numbers from {least} up are needed, found {value!r}.", where=where)
    return value
