"""Which rates to train at: short proxy runs, a curve per task, the shares that it likes best."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trunkline.build.prepare import project_folder
from trunkline.config import Recipe, load_recipe
from trunkline.data.fingerprint import digest
from trunkline.document.schema import Part
from trunkline.document.writer import render_value
from trunkline.errors import ConfigError, UsageError
from trunkline.launch.local import train
from trunkline.launch.runs import all_runs
from trunkline.plan import Planned, plan
from trunkline.workflows.power_law import error, fit

CANDIDATES = 4000
RESAMPLES = 60
LEAST_TRIALS = 4
FLOOR = 0.02  # the least share that a proxy run gives a task


@dataclass(frozen=True)
class Mixed:
    """What the proxy runs say. rates: task -> share of rows; score: predicted mean skill there; low, high: 95 % interval.

    even: predicted at even rates. trials: (rates, skill per task) of each proxy run, in order.
    """

    rates: dict[str, float]
    score: float
    low: float
    high: float
    even: float
    trials: list[tuple[dict[str, float], dict[str, float]]]


def mix(
    path: Path, overrides: Sequence[str], *, trials: int, steps: int, in_process: bool, say: Callable[[str], None]
) -> tuple[Mixed, Recipe]:
    """Trains `trials` proxies of `steps` steps and recommends rates; the recipe with them is returned, not written.

    The first proxies run at proportional and at even rates, the others at random ones, a function of the recipe's seed. A proxy
    that was run before, of the same recipe and steps, is not run again. Only rates within those tried are recommended.
    Raises UsageError for too few trials, ConfigError for a single task or tasks without validation rows.
    """
    if trials < LEAST_TRIALS:
        raise UsageError(f"--trials must be at least {LEAST_TRIALS}, found {trials}: a curve can not be told from fewer.")
    recipe = load_recipe(path, overrides)
    planned = plan(recipe, say)
    names = [own.task for own in planned]
    if len(names) < 2:
        raise ConfigError("there is one task that is drawn, and nothing to mix. Add a task.", where=recipe.where("tasks"))
    tried = points(planned, trials, recipe.seed)
    place = project_folder(path) / ".trunkline" / "mix" / digest([recipe.model_dump(), steps])[:16]
    skills: list[dict[str, float]] = []
    for number, shares in enumerate(tried):
        rates = {name: round(float(share), 6) for name, share in zip(names, shares, strict=True)}
        say(f"proxy {number + 1} of {trials}: {render_value(rates)}")
        skills.append(_proxy(path, overrides, place / f"{number:03d}", rates, steps, in_process))
    judged = [name for name in skills[0] if all(name in own for own in skills)]
    if not judged or not set(judged) & set(names):
        raise ConfigError(
            "no task has validation rows, so that no rates can be told better. Add some.", where=recipe.where("tasks")
        )
    mine = [name for name in names if name in judged]
    best, score, interval, even = recommend(
        tried, np.array([[own[name] for name in mine] for own in skills]), [names.index(n) for n in mine], recipe.seed
    )
    rates = {name: round(float(share), 4) for name, share in zip(names, best, strict=True)}
    mixed = recipe.model_copy(update={"sampling": Part(kind="explicit", rates=rates)})
    trial_rows = [
        ({n: float(s) for n, s in zip(names, point, strict=True)}, own) for point, own in zip(tried, skills, strict=True)
    ]
    return Mixed(rates, score, *interval, even, trial_rows), mixed


def points(planned: Sequence[Planned], trials: int, seed: int) -> np.ndarray:
    """Shares to try [trials, T]: proportional to rows, even, then random ones; none below a fiftieth, or half an even share."""
    size = len(planned)
    least = min(FLOOR, 0.5 / size)
    rows = np.array([own.available for own in planned], float)
    drawn = np.random.default_rng(seed).dirichlet(np.full(size, 1.0), max(trials - 2, 0))
    return least + (1 - size * least) * np.vstack([rows / rows.sum(), np.full(size, 1 / size), drawn])[:trials]


def recommend(
    tried: np.ndarray, skills: np.ndarray, judged: Sequence[int], seed: int
) -> tuple[np.ndarray, float, tuple[float, float], float]:
    """The best shares [T] within what was tried, their predicted mean skill, its interval, and the prediction at even shares.

    tried [n, T]; skills [n, t] of the tasks numbered `judged`. The interval is a bootstrap over the proxies, 60 times.
    """
    rng = np.random.default_rng(seed)
    size = tried.shape[1]
    low, high = tried.min(0), tried.max(0)
    alphas = np.concatenate([np.full((CANDIDATES // 2, size), 1.0), np.full((CANDIDATES // 2, size), 5.0)])
    drawn = np.vstack([tried, *(rng.dirichlet(alpha, 1) for alpha in alphas)])
    within = drawn[((drawn >= low - 1e-9) & (drawn <= high + 1e-9)).all(1)]

    def predicted(rows: np.ndarray, at: np.ndarray) -> np.ndarray:
        curves = [fit(tried[rows, task], 1 - skills[rows, number]) for number, task in enumerate(judged)]
        found: np.ndarray = 1 - np.mean([error(curve, at[:, task]) for curve, task in zip(curves, judged, strict=True)], axis=0)
        return found

    every = np.arange(len(tried))
    best = within[int(np.argmax(predicted(every, within)))]
    score, even = predicted(every, np.vstack([best, np.full(size, 1 / size)]))
    again = [predicted(rng.integers(0, len(tried), len(tried)), best[None])[0] for _ in range(RESAMPLES)]
    lower, upper = np.quantile(again, [0.025, 0.975])
    return best, float(score), (float(lower), float(upper)), float(even)


def _proxy(
    path: Path, overrides: Sequence[str], place: Path, rates: dict[str, float], steps: int, in_process: bool
) -> dict[str, float]:
    kept = next((run for run in all_runs(place) if run.finished), None) if place.is_dir() else None
    if kept is not None:
        rows = json.loads(kept.result.read_text())["tasks"]
    else:
        sampling = f"sampling={render_value({'kind': 'explicit', 'rates': rates})}"
        short = [f"train.steps={steps}", "train.evaluate_every=null", "train.save_every=null", "track={}", sampling]
        rows = train(path, overrides=[*overrides, *short], in_process=in_process, outputs=place).tasks
    return {row["task"]: float(row["skill"]) for row in rows if row["skill"] is not None}
