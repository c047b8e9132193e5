"""Which rates and weights to train at: short proxy runs, a curve per task, what it likes best."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from trunkline.build.prepare import load_cards, project_folder
from trunkline.config.recipe import Recipe, load_recipe
from trunkline.config.sections import TaskUse
from trunkline.data.fingerprint import digest
from trunkline.document.schema import Part
from trunkline.document.writer import render_value
from trunkline.errors import ConfigError, UsageError
from trunkline.launch.local import train
from trunkline.launch.runs import all_runs
from trunkline.plan import Planned, plan
from trunkline.tasks.catalog import catalog_for
from trunkline.workflows.power_law import error, fit
from trunkline.workflows.sources import learned_from

CANDIDATES = 4000
RESAMPLES = 60
LEAST_TRIALS = 4
FLOOR = 0.02  # the least share that a proxy run gives a task
TIMES = 4.0  # the most by which a proxy run multiplies or divides a weight, before they are put back to their sum
WAITS = ("patience", "returns")  # of a task, for evaluations
QUIET = ("train.watch_gradients=null", "track={}")
ELSEWHERE = ("track", "workers", "catalog", "single_task")  # what says where a run goes
Over = Literal["both", "rates", "weights"]


@dataclass(frozen=True)
class Mixed:
    """What the proxy runs say. rates: task -> share of rows; weights: task -> weight; score: predicted mean skill there.

    low, high: its 95 % interval. even: predicted at even rates and the weights stated. trials: (rates, weights, skill per task)
    of each proxy run, in order.
    """

    rates: dict[str, float]
    weights: dict[str, float]
    score: float
    low: float
    high: float
    even: float
    trials: list[tuple[dict[str, float], dict[str, float], dict[str, float]]]


@dataclass(frozen=True)
class Weights:
    """The stated weight of every drawn task, and the recipe's entry that states it."""

    names: list[str]
    uses: list[TaskUse]
    stated: np.ndarray

    @classmethod
    def of(cls, recipe: Recipe, names: Sequence[str]) -> Weights:
        assert recipe.path is not None
        cards = load_cards(recipe, catalog_for(recipe.path, recipe.catalog, where=recipe.where("catalog")))
        uses = {use.task: use for use in recipe.tasks}
        mine = [uses.get(name, uses.get(cards[name].whole.name)) for name in names]
        found = [use for use in mine if use is not None]
        assert len(found) == len(names), "a drawn task stands in the recipe, or is a part of one that does"
        stated = [cards[name].weight if use.weight is None else use.weight for name, use in zip(names, found, strict=True)]
        return cls(list(names), found, np.array(stated))

    def at(self, shares: np.ndarray) -> dict[str, float]:
        """Weights whose shares are these, with the stated sum."""
        return {
            name: round(float(share), 6)
            for name, share in zip(self.names, shares * self.stated.sum() / shares.sum(), strict=True)
        }

    def tasks(self, recipe: Recipe, weights: dict[str, float]) -> list[TaskUse]:
        """The recipe's tasks with these weights."""
        said = {use.task: weights[name] for name, use in zip(self.names, self.uses, strict=True)}
        return [use.model_copy(update={"weight": said.get(use.task, use.weight)}) for use in recipe.tasks]


def mix(
    path: Path,
    overrides: Sequence[str],
    *,
    trials: int,
    steps: int,
    over: Over = "both",
    in_process: bool,
    say: Callable[[str], None],
) -> tuple[Mixed, Recipe]:
    """Trains `trials` proxies of `steps` steps and recommends rates and weights; the recipe with them is returned, not written.

    The first proxies run at proportional and at even rates with the weights stated, the others at random ones, a function of
    the recipe's seed and their number; over: what varies. A proxy that was run before, of the same recipe, rates, weights, steps,
    cards and data, is not run again. Only what lies within what was tried is recommended. Raises UsageError for too few trials,
    ConfigError for a single task or tasks without validation rows.
    """
    if trials < LEAST_TRIALS:
        raise UsageError(f"--trials must be at least {LEAST_TRIALS}, found {trials}: a curve can not be told from fewer.")
    recipe = load_recipe(path, overrides)
    planned = plan(recipe, say)
    names = [own.task for own in planned]
    if len(names) < 2:
        raise ConfigError("there is one task that is drawn, and nothing to mix. Add a task.", where=recipe.where("tasks"))
    weighed = Weights.of(recipe, names)
    tried = points(planned, weighed.stated, trials, recipe.seed, over)
    place, about, runs = project_folder(path) / ".trunkline" / "mix", learned_from(recipe), []
    for number, (shares, weights) in enumerate(tried):
        rates, factors = _rates(names, shares), weighed.at(weights)
        say(f"proxy {number + 1} of {trials}: rates {render_value(rates)}, weights {render_value(factors)}")
        mine = _overrides(weighed.tasks(recipe, factors), rates, steps)
        runs.append((rates, factors, _proxy(path, [*overrides, *mine], about, place, in_process)))
    skills = [own for _, _, own in runs]
    judged = [name for name in names if all(name in own for own in skills)]
    if not judged:
        raise ConfigError(
            "no task has validation rows, so that no rates can be told better. Add some.", where=recipe.where("tasks")
        )
    best, score, interval, even = recommend(
        tried, np.array([[own[name] for name in judged] for own in skills]), [names.index(name) for name in judged], recipe.seed
    )
    found = Mixed(_rates(names, best[0], 4), weighed.at(best[1]), score, *interval, even, runs)
    sampling = Part.model_validate({"kind": "explicit", "rates": found.rates})
    return found, recipe.model_copy(update={"sampling": sampling, "tasks": weighed.tasks(recipe, found.weights)})


def _rates(names: Sequence[str], shares: np.ndarray, digits: int = 6) -> dict[str, float]:
    return {name: round(float(share), digits) for name, share in zip(names, shares, strict=True)}


def _overrides(uses: Sequence[TaskUse], rates: Mapping[str, float], steps: int) -> list[str]:
    """What makes a proxy of the recipe. It is evaluated at its end only, so nothing in it waits for evaluations."""
    tasks = [{key: value for key, value in use.model_dump().items() if value is not None and key not in WAITS} for use in uses]
    short = [f"train.steps={steps}", "train.evaluate_every=null", "train.save_every=null", "train.patience=null"]
    sampling = {"kind": "explicit", "rates": dict(rates)}
    return [f"tasks={render_value(tasks)}", f"sampling={render_value(sampling)}", *short, "train.restore_best=false", *QUIET]


def points(planned: Sequence[Planned], weights: np.ndarray, trials: int, seed: int, over: Over = "both") -> np.ndarray:
    """Shares of rows and of weight to try [trials, 2, T]. weights [T]: as stated.

    Rows: proportional, even, then random; none below a fiftieth, or half an even share. Weights: as stated twice, then each
    times or over up to 4. What does not vary is proportional, or as stated. The first of many trials are those of fewer.
    """
    size, others = len(planned), max(trials - 2, 0)
    least = min(FLOOR, 0.5 / size)
    rngs = [np.random.default_rng([seed, number]) for number in range(others)]
    rows = np.array([own.available for own in planned], float)
    drawn = [rng.dirichlet(np.full(size, 1.0)) for rng in rngs]
    shares = least + (1 - size * least) * np.vstack([rows / rows.sum(), np.full(size, 1 / size), *drawn])
    factors = np.vstack([np.ones((2, size)), *(TIMES ** rng.uniform(-1, 1, size) for rng in rngs)])
    if over == "weights":
        shares[:] = shares[0]
    if over == "rates":
        factors[:] = 1.0
    parts = weights * factors
    return np.stack([shares, parts / parts.sum(1, keepdims=True)], 1)[:trials]


def recommend(
    tried: np.ndarray, skills: np.ndarray, judged: Sequence[int], seed: int
) -> tuple[np.ndarray, float, tuple[float, float], float]:
    """The best shares [2, T] within what was tried, their predicted mean skill, its interval, and the prediction at even rates.

    tried [n, 2, T]; skills [n, t] of the tasks numbered `judged`. The interval is a bootstrap over the proxies, 60 times.
    """
    rng = np.random.default_rng(seed)
    within = _candidates(tried, rng)
    weighed = bool(np.ptp(tried[:, 1], axis=0).max() > 0)

    def predicted(rows: np.ndarray, at: np.ndarray) -> np.ndarray:
        errors = []
        for number, task in enumerate(judged):
            curve = fit(tried[rows, 0, task], 1 - skills[rows, number], tried[rows, 1, task] if weighed else None)
            errors.append(error(curve, at[:, 0, task], at[:, 1, task] if weighed else None))
        found: np.ndarray = 1 - np.mean(errors, axis=0)
        return found

    every = np.arange(len(tried))
    best = within[int(np.argmax(predicted(every, within)))]
    even = np.stack([np.full(tried.shape[2], 1 / tried.shape[2]), tried[0, 1]])
    score, beside = predicted(every, np.stack([best, even]))
    again = [predicted(rng.integers(0, len(tried), len(tried)), best[None])[0] for _ in range(RESAMPLES)]
    lower, upper = np.quantile(again, [0.025, 0.975])
    return best, float(score), (float(lower), float(upper)), float(beside)


def _candidates(tried: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What was tried, and random shares [m, 2, T] none of which is outside of what was; what did not vary does not."""
    size, count = tried.shape[2], CANDIDATES // 2
    drawn = []
    for number in (0, 1):
        own = tried[:, number]
        low, high = own.min(0), own.max(0)
        if np.allclose(low, high):
            drawn.append(np.repeat(own[:1], 2 * count, 0))
            continue
        found = np.vstack([rng.dirichlet(np.full(size, alpha), count) for alpha in (1.0, 5.0)])
        inside = ((found >= low - 1e-9) & (found <= high + 1e-9)).all(1)
        drawn.append(rng.permutation(np.vstack([own, found[inside]])))
    most = max(map(len, drawn))
    return np.concatenate([tried, np.stack([np.resize(own, (most, size)) for own in drawn], 1)])


def _proxy(path: Path, overrides: Sequence[str], about: Mapping[str, object], folder: Path, in_process: bool) -> dict[str, float]:
    """The skill of each task. Found by a hash of all the proxy runs with; about: its cards and data."""
    stated = {key: value for key, value in load_recipe(path, overrides).model_dump().items() if key not in ELSEWHERE}
    place = folder / digest([stated, about])[:16]
    kept = next((run for run in all_runs(place) if run.finished), None) if place.is_dir() else None
    rows = (
        json.loads(kept.result.read_text())["tasks"]
        if kept is not None
        else train(path, overrides=overrides, in_process=in_process, outputs=place).tasks
    )
    return {row["task"]: float(row["skill"]) for row in rows if row["skill"] is not None}
