"""What a run would draw: planned shares of each task in rows, tokens and passes; and what of it bodes ill. Trains nothing."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from trunkline.build.assemble import open_rows
from trunkline.build.mixing import make_sampler
from trunkline.build.prepare import load_cards, open_sources, prepare, project_folder
from trunkline.build.task import reading
from trunkline.config.recipe import Recipe
from trunkline.data.sources.base import TaskText
from trunkline.models.places import located
from trunkline.quality.leaks import Leak, leaks
from trunkline.sampling.base import Sampler
from trunkline.tasks.catalog import catalog_for
from trunkline.tasks.sharing import owners
from trunkline.training.states import states

TRIED = 1000  # steps at which rates are looked at
BY_HEART = 100  # passes over a task's rows
LAUNCH_BOUND = 10_000  # tokens of a pass, below which a GPU waits for the next kernel to be sent
DROPOUTS = ("dropout", "dropout_prob", "dropout_rate")  # as configurations end their names
FITS = 4 << 30  # bytes that any GPU has room for beside its activations


@dataclass(frozen=True)
class Planned:
    """One task of a planned run. rows, tokens: to be drawn; shares: of all tasks' together; passes: over its training rows.

    available: its training rows; row_tokens: mean tokens of one. leaks: rows it would be measured on that some
    task would learn from.
    """

    task: str
    available: int
    row_tokens: float
    rows: float
    tokens: float
    row_share: float
    token_share: float
    passes: float
    leaks: tuple[Leak, ...] = ()


def plan(recipe: Recipe, say: Callable[[str], None], run: Path | None = None) -> list[Planned]:
    """Checks and tokenises what the run needs, into the project's store, and plans its draws.

    Schedules that learn from the run are planned at the rates they begin with. run: a folder that is left with what a worker
    starts from; None: nothing is left. Raises as `train` does before it starts.
    """
    assert recipe.path is not None
    with tempfile.TemporaryDirectory(prefix="plan") if run is None else contextlib.nullcontext(str(run)) as folder:
        run = Path(folder)
        prepare(recipe, run, project_folder(recipe.path) / ".trunkline" / "store", say)
        sizes = open_rows(run)
        counts = {name: len(size) for name, size in sizes.items()}
        means = {name: float(size.mean()) for name, size in sizes.items()}
        found = shares(make_sampler(recipe, counts, means), recipe.train.steps, recipe.train.tokens_per_step)
        parameters = int(json.loads((run / "prepared.json").read_text())["parameters"])
    known = _leaks(recipe)
    say(footing(recipe, parameters))
    for sentence in (*(leak.sentence for leak in known), *hazards(recipe, found, parameters)):
        say(f"warning: {sentence}")
    return [replace(own, leaks=tuple(leak for leak in known if leak.task == own.task)) for own in found]


def footing(recipe: Recipe, parameters: int) -> str:
    """What a worker holds before the first activation, in a sentence."""
    workers, stage = max(recipe.workers.count, 1), recipe.engine.zero_stage
    own = states(parameters, stage, workers)
    parts = ", ".join(f"{name} {getattr(own, name) / 2**20:,.1f}" for name in ("weights", "gradients", "moments"))
    return (
        f"{parameters:,} parameters, {own.total / 2**20:,.1f} MiB a worker before activations ({parts}): "
        f"all trained, an optimizer of two moments, ZeRO stage {stage}, {workers} worker{'s' if workers > 1 else ''}"
    )


def hazards(recipe: Recipe, planned: Sequence[Planned], parameters: int) -> Iterator[str]:
    """What a run like this would regret, a sentence each."""
    train, workers, stage = recipe.train, max(recipe.workers.count, 1), recipe.engine.zero_stage
    for own in planned:
        if own.passes >= BY_HEART:
            yield (
                f"task '{own.task}' is gone through {own.passes:,.0f} times: its {own.available:,} rows will be known by heart. "
                "Give it a smaller share (sampling, or the task's max_share), or train fewer steps."
            )
    if stage and workers == 1:
        yield f"engine.zero_stage {stage} divides nothing: there is one worker. Take 0."
    elif stage > 1 and (undivided := states(parameters, 0, workers).total) < FITS:
        yield (
            f"engine.zero_stage {stage} is pointless: weights, gradients and moments of {parameters:,} parameters are "
            f"{undivided / 2**30:.2f} GiB undivided, which each worker has room for. Take 0 or 1, which exchange less."
        )
    tokens = min(train.tokens_per_pass, train.tokens_per_step // workers)
    if recipe.workers.gpus and tokens < LAUNCH_BOUND:
        wanted = LAUNCH_BOUND * workers
        yield (
            f"the step is launch-bound: a GPU is through with {tokens:,} tokens before the next kernels are sent. Raise "
            f"train.tokens_per_step to {wanted:,} or more, and tokens_per_pass to {LAUNCH_BOUND:,}."
        )

    if asked := attention_dropout(recipe):
        yield (
            f"trunk.pretrained was trained with an attention dropout of {asked:g}, and attention has none here: the "
            "kernels for packed rows know none. trunk.dropout is that of the hidden states."
        )


def attention_dropout(recipe: Recipe) -> float:
    """What the configuration of a pretrained trunk asks for, where it lies in a folder here."""
    source = str(recipe.trunk.arguments.get("pretrained") or "")
    config = located(source, "trunk.pretrained") / "config.json"
    if not source or not config.is_file():
        return 0.0
    stated = json.loads(config.read_text(encoding="utf-8"))
    return max((float(own) for key, own in stated.items() if "att" in key and key.endswith(DROPOUTS) and own), default=0.0)


def _leaks(recipe: Recipe) -> list[Leak]:
    """With `decontaminate`, of what is left."""
    assert recipe.path is not None
    catalog = catalog_for(recipe.path, recipe.catalog, where=recipe.where("catalog"))
    cards = load_cards(recipe, catalog)
    guests = owners(cards, "rows_of")
    sources = open_sources(recipe, cards, catalog)
    own = {name: card for name, card in cards.items() if name not in guests}
    return leaks({name: TaskText(sources[name], tuple(card.inputs), reading(card)) for name, card in own.items()})


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
