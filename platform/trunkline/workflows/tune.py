"""Settings found by short runs: trials drawn from stated ranges, halved rung by rung; what was run before is not run again."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trunkline.build.prepare import check_recipe, project_folder
from trunkline.config.recipe import Recipe, load_recipe
from trunkline.data.fingerprint import digest
from trunkline.document import reader
from trunkline.document.writer import render_value
from trunkline.errors import ConfigError, Diverged, TrunklineError, nearest
from trunkline.launch.local import train
from trunkline.launch.runs import all_runs

KEYS = ("trials", "rungs", "keep", "objective", "search")
RANGE = ("from", "to", "log", "whole")
SKILL = "skill"
RESTARTS = 3  # of a trial whose process died
Say = Callable[[str], None]
Point = Mapping[str, Any]


@dataclass(frozen=True)
class Search:
    """What is tried. ranges: path in the recipe -> a list of values, or {from, to, log, whole}. trials: points, the recipe as it
    is among them. rungs: steps of the runs, the last as long as wanted; keep: of a rung's trials the best 1 / keep go on.

    objective: `skill`, the mean over tasks, or the name of the task whose skill counts.
    """

    ranges: Mapping[str, Any]
    trials: int = 16
    rungs: tuple[int, ...] = (100, 400)
    keep: int = 4
    objective: str = SKILL

    def points(self, seed: int) -> list[dict[str, Any]]:
        """The trials' settings, the first without any; a function of the seed, so that a study goes on where it was."""
        chance = np.random.default_rng(seed)
        return [{}, *({path: _drawn(own, chance) for path, own in self.ranges.items()} for _ in range(self.trials - 1))]


@dataclass(frozen=True)
class Trial:
    """One point and what it reached. scores: by rung, None where it diverged. run: of the last rung it was in."""

    number: int
    point: Point
    scores: tuple[float | None, ...]
    run: str


@dataclass(frozen=True)
class Tuned:
    """best, default: among those of the last rung. recipe: with the best one's settings. trials: all, best first."""

    best: Trial
    default: Trial
    recipe: Recipe
    trials: Sequence[Trial]


Score = Callable[[int, Sequence[tuple[int, Point]]], Mapping[int, tuple[float | None, str]]]


def read_search(path: Path, recipe: Recipe) -> Search:
    """Raises ConfigError for unknown keys, paths that are not in a recipe, empty ranges, an objective that is no task."""
    data = reader.read(path).data
    for key in data:
        if key not in KEYS:
            raise ConfigError(f"a search takes no '{key}'. {nearest(str(key), KEYS)}", where=str(path))
    ranges = data.get("search")
    if not isinstance(ranges, Mapping) or not ranges:
        raise ConfigError(
            "search: paths of the recipe and their ranges are needed, such as {optim.lr: [1e-4, 1e-3]}.", where=str(path)
        )
    for name, own in ranges.items():
        _check_range(str(name), own, str(path))
    stated = {key: data[key] for key in ("trials", "keep") if key in data}
    for key, value in stated.items():
        _whole(value, key, 2, path)
    rungs = data.get("rungs", list(Search.rungs))
    if not isinstance(rungs, list) or not rungs or sorted(set(rungs)) != rungs:
        raise ConfigError(f"rungs: numbers of steps that grow, found {rungs!r}. Write rungs: [100, 400].", where=str(path))
    for steps in rungs:
        _whole(steps, "rungs", 1, path)
    objective = str(data.get("objective", SKILL))
    known = [SKILL, *(use.task for use in recipe.tasks)]
    if objective not in known:
        raise ConfigError(f"objective: no task '{objective}' in the recipe. {nearest(objective, known)}", where=str(path))
    return Search({str(name): own for name, own in ranges.items()}, rungs=tuple(rungs), objective=objective, **stated)


def tune(path: Path, search: Path, overrides: Sequence[str], *, together: int, in_process: bool, say: Say) -> Tuned:
    """Runs what has not run yet and gives the best. Raises as `train` does for the recipe as it is, and ConfigError for a search.

    together: trials at once, each in a process of its own under Ray; one that died is started again and goes on.
    """
    recipe = load_recipe(path, overrides)
    check_recipe(recipe)
    stated = read_search(search, recipe)
    points = stated.points(recipe.seed)
    for point in points:
        _check_point(path, [*overrides, *settings(point)], point, search)  # before anything runs
    place = project_folder(path) / ".trunkline" / "tune" / digest([recipe.model_dump(), vars(stated)])[:16]

    tracker = grouped(recipe, place.name)

    def scored(steps: int, wanted: Sequence[tuple[int, Point]]) -> Mapping[int, tuple[float | None, str]]:
        jobs = [
            (path, [*overrides, *settings(point), *tracker], place / f"{steps:07d}" / f"{number:03d}", steps)
            for number, point in wanted
        ]
        found = _together(jobs, recipe, together) if together > 1 else [_one(*job, in_process) for job in jobs]
        pairs = [
            (number, (objective(rows, stated.objective), run)) for (number, _), (rows, run) in zip(wanted, found, strict=True)
        ]
        for number, (score, _) in pairs:
            reached = "diverged" if score is None else f"{score:.4f}"
            say(f"{steps} steps, trial {number}: {reached}  {render_value(dict(points[number]))}")
        return dict(pairs)

    trials = halved(points, stated, scored)
    best = trials[0]
    default = next(trial for trial in trials if trial.number == 0)
    return Tuned(best, default, load_recipe(path, [*overrides, *settings(best.point)]), trials)


def _check_point(path: Path, overrides: Sequence[str], point: Point, search: Path) -> None:
    try:
        check_recipe(load_recipe(path, overrides))
    except TrunklineError as error:
        raise ConfigError(f"with {', '.join(settings(point))}: {error.message}", where=str(search)) from error


def halved(points: Sequence[Point], search: Search, score: Score) -> list[Trial]:
    """Successive halving: all points at the first rung, of each rung the best 1 / keep at the next; the first point to the end.

    Best first: by the last rung reached, then by the score there. Source: Jamieson & Talwalkar, AISTATS 2016, algorithm 1. Rungs
    are waited for, so that the same points always give the same best, however often the study was stopped.
    """
    scores: dict[int, list[float | None]] = {number: [] for number in range(len(points))}
    runs: dict[int, str] = {}
    alive = list(scores)
    for rung, steps in enumerate(search.rungs):
        for number, (value, run) in score(steps, [(number, points[number]) for number in alive]).items():
            scores[number].append(value)
            runs[number] = run
        order = sorted(alive, key=lambda number: (-_value(scores[number][-1]), number))
        count = math.ceil(len(alive) / search.keep)
        alive = sorted({*order[:count], 0}) if rung + 1 < len(search.rungs) else alive
    trials = [Trial(number, points[number], tuple(scores[number]), runs[number]) for number in scores]
    return sorted(trials, key=lambda trial: (-len(trial.scores), -_value(trial.scores[-1]), trial.number))


def objective(rows: Sequence[Mapping[str, Any]] | None, name: str) -> float | None:
    """The figure a trial is judged by; None for one that diverged. Raises ConfigError where nothing was measured."""
    if rows is None:
        return None
    skills = [float(row["skill"]) for row in rows if row["skill"] is not None and name in (SKILL, row["task"])]
    if not skills:
        raise ConfigError(f"objective: '{name}' has no validation rows, so nothing can be told better. Add some.")
    return float(np.mean(skills))


def grouped(recipe: Recipe, study: str) -> list[str]:
    """Overrides that give each trial a tracker's run of its own, all of the study in one group; none if the recipe has none."""
    wandb = recipe.track.wandb
    return [f"track.wandb.group={render_value(wandb.group or f'tune-{study}')}"] if wandb is not None else []


def settings(point: Point) -> list[str]:
    """The point as overrides of the recipe."""
    return [f"{path}={render_value(value)}" for path, value in point.items()]


def _one(
    path: Path, overrides: Sequence[str], place: Path, steps: int, in_process: bool
) -> tuple[list[dict[str, Any]] | None, str]:
    """The result's rows of a trial at a rung, and its run: the one that is there, that goes on, or a new one."""
    runs = all_runs(place) if place.is_dir() else []
    if (done := next((run for run in runs if run.finished), None)) is not None:
        return json.loads(done.result.read_text())["tasks"], str(done.path)
    mark = place / "diverged"
    if mark.is_file():
        return None, mark.read_text()
    begun = next((run for run in runs if run.prepared.is_file()), None)
    short = [f"train.steps={steps}"]
    try:
        if begun is not None:
            result = train(path, resume=begun.run_id, keep_recipe=True, in_process=in_process, outputs=place)
        else:
            result = train(path, overrides=[*overrides, *short], in_process=in_process, outputs=place)
    except Diverged:
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.write_text(str(place))
        return None, str(place)
    return result.tasks, str(result.run)


def _together(jobs: Sequence[tuple[Path, list[str], Path, int]], recipe: Recipe, together: int) -> list[Any]:
    """Several trials at once, each in a process of Ray's with the recipe's cores; in the order of the jobs."""
    from trunkline.launch.ray_train import embedded_ray

    workers = recipe.workers.model_copy(update={"count": together, "at_least": None})
    with embedded_ray(recipe.model_copy(update={"workers": workers})):
        import ray

        remote = ray.remote(num_cpus=max(1, recipe.workers.cpus), max_retries=RESTARTS)(_one)
        return ray.get([remote.remote(*job, True) for job in jobs])


def _value(score: float | None) -> float:
    return -math.inf if score is None or math.isnan(score) else score


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


def _whole(value: Any, key: str, least: int, path: Path) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{key}: whole numbers from {least} up are needed, found {value!r}.", where=str(path))


def compared(found: Tuned, path: Path, draws: int, say: Say) -> dict[str, Any] | None:
    """Best and default on the same validation rows: task -> its headline's difference, interval, p and verdict.

    None where the default is the best. The best was chosen on these rows, so its lead is a little too good.
    """
    from trunkline.build.evaluation import Asked, evaluate_model

    if found.best.number == 0 or not found.default.scores or len(found.default.scores) != len(found.best.scores):
        return None
    models = [Path(trial.run) / "model" for trial in (found.best, found.default)]
    catalog = project_folder(path) / "tasks"
    rows = evaluate_model(
        models[0], tasks=None, split="validation", catalog=catalog, say=say, asked=Asked(draws=draws, against=models[1])
    )
    return {row["task"]: row["against"][row["metric"]] for row in rows}
