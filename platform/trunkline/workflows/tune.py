"""Settings found by short runs: trials drawn from stated ranges, halved rung by rung; what was run before is not run again."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trunkline.build.prepare import check_recipe, load_cards, project_folder
from trunkline.build.task import open_source
from trunkline.config.recipe import Recipe, load_recipe
from trunkline.data.fingerprint import digest
from trunkline.document.writer import render_value
from trunkline.errors import ConfigError, Diverged, TrunklineError
from trunkline.launch.local import train
from trunkline.launch.runs import all_runs
from trunkline.tasks.catalog import catalog_for
from trunkline.workflows.search import Point, Search, Skills, front, read_search, settings

RESTARTS = 3  # of a trial whose process died
Say = Callable[[str], None]
Score = Callable[[int, Sequence[tuple[int, Point]]], Mapping[int, tuple[Skills | None, str]]]


@dataclass(frozen=True)
class Trial:
    """One point and what it reached. scores: the objective by rung, None where it diverged. skills: of each task at the last
    rung it was in. broken: protected tasks that lost more than they may there, by how much more. run: of that rung.
    """

    number: int
    point: Point
    scores: tuple[float | None, ...]
    skills: Skills
    broken: Mapping[str, float]
    run: str


@dataclass(frozen=True)
class Tuned:
    """best, default: among those of the last rung. recipe: with the best one's settings. trials: all, best first. front: numbers
    of those of the last rung that no other is as good as in every task of the objective and better in one. stated: what the
    recipe as it is says at each path, None where it says nothing."""

    best: Trial
    default: Trial
    recipe: Recipe
    trials: Sequence[Trial]
    front: Sequence[int]
    stated: Point


def tune(path: Path, search: Path, overrides: Sequence[str], *, together: int, in_process: bool, say: Say) -> Tuned:
    """Runs what has not run yet and gives the best. Raises as `train` does for the recipe as it is, and ConfigError for a search.

    together: trials at once, each in a process of its own under Ray; one that died is started again and goes on.
    """
    recipe = load_recipe(path, overrides)
    check_recipe(recipe)
    stated = read_search(search, recipe)
    stated.counted(_measured(path, recipe))
    points = stated.points(recipe.seed)
    for point in points:
        _check_point(path, [*overrides, *settings(point)], point, search)  # before anything runs
    name = digest([recipe.model_dump(), vars(stated)])[:16]
    place = project_folder(path) / ".trunkline" / "tune" / name
    tracked = grouped(recipe, name)

    def scored(steps: int, wanted: Sequence[tuple[int, Point]]) -> Mapping[int, tuple[Skills | None, str]]:
        jobs = [
            (path, [*overrides, *settings(point), *tracked], place / f"{steps:07d}" / f"{number:03d}", steps)
            for number, point in wanted
        ]
        found = _together(jobs, recipe, together) if together > 1 else [_one(*job, in_process) for job in jobs]
        pairs = [(number, (skills(rows), run)) for (number, _), (rows, run) in zip(wanted, found, strict=True)]
        for number, (own, _) in pairs:
            reached = "diverged" if own is None else f"{stated.value(own):.4f}"
            say(f"{steps} steps, trial {number}: {reached}  {render_value(dict(points[number]))}")
        return dict(pairs)

    trials = halved(points, stated, scored)
    best, default = trials[0], next(trial for trial in trials if trial.number == 0)
    last = {trial.number: trial.skills for trial in trials if len(trial.scores) == len(stated.rungs) and trial.skills}
    wanted = {number: {name: own[name] for name in stated.objective or own} for number, own in last.items()}
    tuned = load_recipe(path, [*overrides, *settings(best.point)])
    return Tuned(best, default, tuned, trials, front(wanted), {own: _at(recipe.model_dump(), own) for own in stated.ranges})


def _at(data: Any, path: str) -> Any:
    """What a recipe says at a path, None where it says nothing."""
    for step in path.split("."):
        known = isinstance(data, Mapping) and step in data
        data = data[step] if known else data[int(step)] if isinstance(data, list) and step.isdecimal() else None
    return data


def _measured(path: Path, recipe: Recipe) -> list[str]:
    """The tasks that have validation rows."""
    catalog = catalog_for(path, recipe.catalog, where=recipe.where("catalog"))
    cards = load_cards(recipe, catalog)
    return [name for name, card in cards.items() if "validation" in open_source(card, catalog).splits()]


def _check_point(path: Path, overrides: Sequence[str], point: Point, search: Path) -> None:
    try:
        check_recipe(load_recipe(path, overrides))
    except TrunklineError as error:
        raise ConfigError(f"with {', '.join(settings(point))}: {error.message}", where=str(search)) from error


def halved(points: Sequence[Point], search: Search, score: Score) -> list[Trial]:
    """Successive halving: all points at the first rung, of each rung the best 1 / keep at the next; the first point to the end.

    Best first: by the last rung reached; there those that broke no promise before those that did, by how much; then by the
    objective. Source: Jamieson & Talwalkar, AISTATS 2016, algorithm 1; for promises the feasibility rule of Deb, Computer Methods
    in Applied Mechanics and Engineering 186 (2000), section 3. Rungs are waited for, so that the same points always give the same
    best, however often the study was stopped.
    """
    trials = [Trial(number, point, (), {}, {}, "") for number, point in enumerate(points)]
    alive = list(range(len(points)))
    for rung, steps in enumerate(search.rungs):
        found = score(steps, [(number, points[number]) for number in alive])
        default = found[0][0] or {}
        for number, (own, run) in found.items():
            value = None if own is None else search.value(own)
            broken = search.broken(own, default) if own else {}
            trials[number] = Trial(number, points[number], (*trials[number].scores, value), own or {}, broken, run)
        if rung + 1 < len(search.rungs):
            order = sorted((trials[number] for number in alive), key=_rank)
            alive = sorted({*(trial.number for trial in order[: math.ceil(len(alive) / search.keep)]), 0})
    return sorted(trials, key=_rank)


def _rank(trial: Trial) -> tuple[float, ...]:
    """Small is good."""
    score = trial.scores[-1]
    value = -math.inf if score is None or math.isnan(score) else score
    return -len(trial.scores), value == -math.inf, sum(trial.broken.values()), -value, trial.number


def grouped(recipe: Recipe, study: str) -> list[str]:
    """Overrides that give each trial a tracker's run of its own, all of the study in one group; none if the recipe has none."""
    wandb = recipe.track.wandb
    return [f"track.wandb.group={render_value(wandb.group or f'tune-{study}')}"] if wandb is not None else []


def skills(rows: Sequence[Mapping[str, Any]] | None) -> dict[str, float] | None:
    """Of each task that was measured; None for a trial that diverged."""
    return None if rows is None else {row["task"]: float(row["skill"]) for row in rows if row["skill"] is not None}


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


def compared(found: Tuned, path: Path, draws: int, say: Say) -> dict[str, Any] | None:
    """Best and default on the same validation rows: task -> its headline's difference, interval, p and verdict.

    None where the default is the best. The best was chosen on these rows, so its lead is a little too good.
    """
    from trunkline.build.evaluation import Asked, evaluate_model

    if found.best.number == 0 or not found.default.scores or len(found.default.scores) != len(found.best.scores):
        return None
    models = [Path(trial.run) / "model" for trial in (found.best, found.default)]
    catalog = catalog_for(path, found.recipe.catalog, where=str(path))
    rows = evaluate_model(
        models[0], tasks=None, split="validation", catalog=catalog, say=say, asked=Asked(draws=draws, against=models[1])
    )
    return {row["task"]: row["against"][row["metric"]] for row in rows}
