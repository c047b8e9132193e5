"""What a run would draw: planned shares of each task in rows, tokens and passes. Trains nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trunkline.build.assemble import open_rows
from trunkline.build.mixing import make_sampler
from trunkline.build.prepare import prepare, project_folder
from trunkline.config import Recipe
from trunkline.sampling.base import Sampler

TRIED = 1000  # steps at which rates are looked at


@dataclass(frozen=True)
class Planned:
    """One task of a planned run. rows, tokens: to be drawn; shares: of all tasks' together; passes: over its training rows.

    available: its training rows; row_tokens: mean tokens of one.
    """

    task: str
    available: int
    row_tokens: float
    rows: float
    tokens: float
    row_share: float
    token_share: float
    passes: float


def plan(recipe: Recipe, say: Callable[[str], None]) -> list[Planned]:
    """Checks and tokenises what the run needs, into the project's store, and plans its draws.

    Schedules that learn from the run are planned at the rates they begin with. Raises as `train` does before it starts.
    """
    assert recipe.path is not None
    with tempfile.TemporaryDirectory(prefix="plan") as folder:
        run = Path(folder)
        prepare(recipe, run, project_folder(recipe.path) / ".trunkline" / "store", say)
        sizes = open_rows(run)
        counts = {name: len(size) for name, size in sizes.items()}
        means = {name: float(size.mean()) for name, size in sizes.items()}
        return shares(make_sampler(recipe, counts, means), recipe.train.steps, recipe.train.tokens_per_step)


def shares(sampler: Sampler, steps: int, tokens_per_step: int) -> list[Planned]:
    """What the sampler's rates come to over a run whose steps are full."""
    names = list(sampler.sizes)
    means = np.array([sampler.horizon.row_tokens[name] for name in names])
    tried = min(TRIED, steps)
    rows = np.zeros(len(names))
    for number in range(tried):
        rates = sampler.rates(1 + round(number * (steps - 1) / max(tried - 1, 1)))
        wanted = np.array([rates[name] for name in names])
        rows += wanted * tokens_per_step / (wanted @ means) * steps / tried
    tokens = rows * means
    return [
        Planned(
            name,
            sampler.sizes[name],
            float(means[task]),
            float(rows[task]),
            float(tokens[task]),
            float(rows[task] / rows.sum()),
            float(tokens[task] / tokens.sum()),
            float(rows[task] / sampler.sizes[name]),
        )
        for task, name in enumerate(names)
    ]
