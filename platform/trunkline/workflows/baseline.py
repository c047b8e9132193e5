"""Each task alone: what it reaches with the same trunk and as many steps, kept for the next time, and the difference to a run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trunkline import durable
from trunkline.build.evaluation import judged_task
from trunkline.build.model import load_model
from trunkline.build.prepare import check_recipe, load_cards, open_sources, project_folder
from trunkline.config import Recipe, load_recipe
from trunkline.data.fingerprint import digest
from trunkline.document.writer import render_value
from trunkline.errors import ConfigError
from trunkline.evaluate import measure
from trunkline.launch.local import Result, train
from trunkline.launch.runs import RunFolder, all_runs
from trunkline.metrics.base import Metric
from trunkline.predict import TOKENS_PER_PASS
from trunkline.registry import METRICS
from trunkline.tasks.catalog import Catalog, catalog_for

Say = Callable[[str], None]
# What says how tasks are mixed, or where a run goes, does not change what a task reaches alone.
MIXING = ("tasks", "sampling", "weighting", "track", "workers", "catalog", "single_task")
RESAMPLES = 200


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
    assert recipe.path is not None
    catalog = catalog_for(recipe.path, recipe.catalog, where=recipe.where("catalog"))
    cards = load_cards(recipe, catalog)
    sources = open_sources(recipe, cards, catalog)
    stated = {key: value for key, value in recipe.model_dump().items() if key not in MIXING}
    keys = {}
    for use in recipe.tasks:
        mine = [card for card in cards.values() if use.task in (card.name, card.whole.name)]
        data = [[sources[card.name].fingerprint(split) for split in sources[card.name].splits()] for card in mine]
        keys[use.task] = f"{use.task}-{digest([stated, [card.text for card in mine], data])[:16]}"
    return keys


def differences(run: RunFolder, alone: Sequence[Alone], say: Say, *, seed: int = 0) -> tuple[list[Difference], Difference | None]:
    """Each task of the run against its baseline on the same validation rows, and their mean (delta_m).

    The interval is a paired bootstrap: rows are drawn with replacement, the same for both models, 200 times.
    delta_m = mean over tasks of 100 * (together - alone) / |alone|, the sign turned where lower is better (Maninis et al. 2019,
    arXiv:1904.08918, equation 3). Tasks whose value alone is 0 are left out. Raises ConfigError if a card has changed.
    """
    recipe = run.facts().get("recipe")
    if recipe is None:
        raise ConfigError("run.json names no recipe, so its data can not be found.", where=str(run.path))
    place = catalog_for(Path(recipe), load_recipe(run.recipe).catalog, where=str(run.recipe))
    rng, found, draws = np.random.default_rng(seed), [], []
    for one in alone:
        if one.metric is None or one.value is None:
            continue
        both = [
            records(folder / "model", one.task, place, project_folder(Path(recipe)) / "tasks", say)
            for folder in (run.path, one.run)
        ]
        better = 1 if METRICS.get(one.metric).higher_is_better else -1
        values = [value_of(*own) for own in both]
        if not values[1]:
            continue
        resampled = ([value_of(*own, rows) for own in both] for rows in _resampled(rng, both))
        drawn = np.array([_percent(first, second, better) for first, second in resampled])
        low, high = np.nanquantile(drawn, [0.025, 0.975])
        percent = _percent(values[0], values[1], better)
        found.append(Difference(one.task, one.metric, values[1], values[0], percent, float(low), float(high)))
        draws.append(drawn)
    if not found:
        return [], None
    low, high = np.nanquantile(np.mean(draws, 0), [0.025, 0.975])
    mean = float(np.mean([own.percent for own in found]))
    return found, Difference("mean", "delta_m", 0.0, 0.0, mean, float(low), float(high))


Records = tuple[Callable[[], Metric], np.ndarray, dict[str, np.ndarray]]


def records(folder: Path, task: str, cards: Catalog, catalog: Path, say: Say, split: str = "validation") -> Records:
    """A maker of the headline metric, the row id of each target of the split, in order, and the model's records."""
    model = load_model(folder, cards)
    judged, _ = judged_task(model, task, cards, catalog, split, say)
    parts = list(measure(model.network, judged, tokens_per_pass=TOKENS_PER_PASS, device=torch.device("cpu")))
    make = next(iter(judged.metrics.values()))
    ids = np.concatenate([own for own, _ in parts])
    order = np.argsort(ids, kind="stable")
    return make, ids[order], {name: np.concatenate([part[name] for _, part in parts])[order] for name in make().needs}


def value_of(
    make: Callable[[], Metric], ids: np.ndarray, found: Mapping[str, np.ndarray], rows: np.ndarray | None = None
) -> float:
    """The metric over the rows at these places of the split's, each as often as it stands there; over all of them if None."""
    metric = make()
    if rows is None:
        metric.update(ids, **found)
        return metric.compute()
    _, starts, counts = np.unique(ids, return_index=True, return_counts=True)
    own = counts[rows]
    places = np.repeat(starts[rows] - (np.cumsum(own) - own), own) + np.arange(own.sum())
    metric.update(np.repeat(np.arange(len(rows)), own), **{name: record[places] for name, record in found.items()})
    return metric.compute()


def _resampled(rng: np.random.Generator, both: Sequence[Records]) -> list[np.ndarray]:
    sizes = {len(np.unique(ids)) for _, ids, _ in both}
    assert len(sizes) == 1, "the two models saw other validation rows"
    size = sizes.pop()
    return [rng.integers(0, size, size) for _ in range(RESAMPLES)]


def _percent(together: float, alone: float, better: int) -> float:
    return 100 * better * (together - alone) / abs(alone) if alone else float("nan")


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
