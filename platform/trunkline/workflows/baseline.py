"""Each task alone: what it reaches with the same trunk and as many steps, kept for the next time, and the difference to a run."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trunkline import durable
from trunkline.build.evaluation import judged_task
from trunkline.build.model import load_model
from trunkline.build.prepare import check_recipe, project_folder
from trunkline.config.recipe import Recipe, load_recipe
from trunkline.data.fingerprint import digest
from trunkline.document.writer import render_value
from trunkline.errors import ConfigError
from trunkline.evaluate import measure
from trunkline.launch.local import Result, train
from trunkline.launch.runs import RunFolder, all_runs
from trunkline.metrics.base import Metric
from trunkline.metrics.bootstrap import Measured, bounds
from trunkline.predict import TOKENS_PER_PASS
from trunkline.tasks.catalog import Catalog, catalog_for
from trunkline.workflows.sources import learned_from

Say = Callable[[str], None]
# What says how tasks are mixed, or where a run goes, does not change what a task reaches alone.
MIXING = ("tasks", "sampling", "weighting", "track", "workers", "catalog", "single_task")
DRAWS = 1000


@dataclass(frozen=True)
class Alone:
    """One task trained alone. run: its folder; reused: it stood there already. metric: the headline, value: what it reached."""

    task: str
    run: Path
    reused: bool
    metric: str | None
    value: float | None


@dataclass(frozen=True)
class Difference:
    """A task in a run against the same task alone, in percent of the latter; positive is better. low, high: 95 % interval."""

    task: str
    metric: str
    alone: float
    together: float
    percent: float
    low: float
    high: float


def baselines(path: Path, overrides: Sequence[str], *, in_process: bool, say: Say) -> list[Alone]:
    """Trains each task of the recipe alone, with its steps and tokens, or finds the run in which that was done before.

    A baseline is found by a hash of the recipe but for what it says of mixing, the task's cards and its data. Raises as `train`.
    """
    recipe = load_recipe(path, overrides)
    check_recipe(recipe)
    keys = _keys(recipe)
    found: list[Alone] = []
    for number, use in enumerate(recipe.tasks):
        place = project_folder(path) / ".trunkline" / "baselines" / keys[use.task]
        kept = next((run for run in all_runs(place) if run.finished), None) if place.is_dir() else None
        if kept is None:
            say(f"training {use.task} alone ({number + 1} of {len(recipe.tasks)})")
        done = _done(kept) if kept else _alone(path, overrides, use.task, place, in_process, say)
        found += [Alone(row["task"], done.run, kept is not None, row["metric"], row["value"]) for row in done.tasks]
    return found


def _alone(path: Path, overrides: Sequence[str], task: str, place: Path, in_process: bool, say: Say) -> Result:
    mine = [f"tasks={render_value([task])}", "sampling=uniform", "weighting=static", "single_task=false"]
    best = ["train.restore_best=true"] if load_recipe(path, overrides).train.restore_best else []  # it may name another task
    return train(path, overrides=[*overrides, *mine, *best], in_process=in_process, outputs=place, say=say)


def _done(run: RunFolder) -> Result:
    return Result(run.path, run.model, json.loads(run.result.read_text())["tasks"])


def _keys(recipe: Recipe) -> dict[str, str]:
    """Entry of the recipe -> the name of its baseline."""
    stated = {key: value for key, value in recipe.model_dump().items() if key not in MIXING}
    return {task: f"{task}-{digest([stated, *about])[:16]}" for task, about in learned_from(recipe).items()}


def differences(run: RunFolder, alone: Sequence[Alone], say: Say) -> tuple[list[Difference], Difference | None]:
    """Each task of the run against its baseline on the same validation rows, and their mean (delta_m).

    The interval is a paired bootstrap over rows, 1,000 draws (`metrics/bootstrap.py`).
    delta_m = mean over tasks of 100 * (together - alone) / |alone|, the sign turned where lower is better (Maninis et al. 2019,
    arXiv:1904.08918, equation 3). Tasks whose value alone is 0 are left out. Raises ConfigError if a card has changed.
    """
    recipe = run.facts().get("recipe")
    if recipe is None:
        raise ConfigError("run.json names no recipe, so its data can not be found.", where=str(run.path))
    place = catalog_for(Path(recipe), load_recipe(run.recipe).catalog, where=str(run.recipe))
    found, draws = [], []
    for number, one in enumerate(alone):
        if one.metric is None or one.value is None:
            continue
        cards = project_folder(Path(recipe)) / "tasks"
        both = [measured(folder / "model", one.task, place, cards, say) for folder in (run.path, one.run)]
        metric, (together, single) = both[0][0], [own for _, own in both]
        values = [own.value(metric) for own in (together, single)]
        if not values[1]:
            continue
        drawn = drawn_percents(metric, together, single, seed=number)
        low, high = bounds(drawn) or (float("nan"), float("nan"))
        percent = float(_percent(np.array(values[0]), np.array(values[1]), metric))
        found.append(Difference(one.task, one.metric, values[1], values[0], percent, low, high))
        draws.append(drawn)
    if not found:
        return [], None
    low, high = bounds(np.mean(draws, 0)) or (float("nan"), float("nan"))
    mean = float(np.mean([own.percent for own in found]))
    return found, Difference("mean", "delta_m", 0.0, 0.0, mean, low, high)


def measured(
    folder: Path, task: str, cards: Catalog, catalog: Path, say: Say, split: str = "validation"
) -> tuple[Metric, Measured]:
    """The headline metric, and what the model gives on the rows of a split of the task."""
    model = load_model(folder, cards)
    judged, _ = judged_task(model, task, cards, catalog, split, say)
    parts = measure(model.network, judged, tokens_per_pass=TOKENS_PER_PASS, device=torch.device("cpu"))
    return next(iter(judged.metrics.values()))(), Measured.of(parts)


def drawn_percents(metric: Metric, together: Measured, alone: Measured, seed: int = 0) -> np.ndarray:
    """The difference in percent under each draw of rows, the same rows of both models [DRAWS]; NaN where it is 0 alone.

    What is drawn of a metric that takes long is fewer, and stands there several times.
    """
    assert np.array_equal(together.rows, alone.rows), "the two models saw other validation rows"
    draws = min(DRAWS, metric.most_draws)
    first, second = (measured.drawn(metric, draws, seed) for measured in (together, alone))
    return np.resize(_percent(first, second, metric), DRAWS)


def _percent(together: np.ndarray, alone: np.ndarray, metric: Metric) -> np.ndarray:
    better = 1 if metric.higher_is_better else -1
    return 100 * better * (together - alone) / np.where(alone == 0, np.nan, np.abs(alone))


def as_rows(found: Sequence[Difference]) -> list[dict[str, Any]]:
    """For result.json."""
    return [vars(own) for own in found]


def compare(result: Result, path: Path, overrides: Sequence[str], *, in_process: bool, say: Say) -> dict[str, Any]:
    """Trains what is missing of the baselines; writes `alone` and `difference` into the rows of the result, and its `delta_m`."""
    run = RunFolder(result.run)
    found, mean = differences(run, baselines(path, overrides, in_process=in_process, say=say), say)
    for row in result.tasks:
        own = next((own for own in found if own.task == row["task"]), None)
        row["alone"] = own.alone if own else None
        row["difference"] = f"{own.percent:+.1f} % ({own.low:+.1f} to {own.high:+.1f})" if own else None
    delta = as_rows([mean])[0] if mean else None
    stated = json.loads(run.result.read_text())
    durable.replace(run.result, json.dumps({**stated, "tasks": result.tasks, "delta_m": delta}, indent=1))
    if mean is not None:
        say(f"delta_m {mean.percent:+.2f} % (95 % {mean.low:+.2f} to {mean.high:+.2f}, one seed)")
    return {"delta_m": delta}
