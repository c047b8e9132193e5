"""How much of each task, and how their losses combine: the recipe's `sampling`, `weighting` and the lives of its tasks."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterator, Mapping

import numpy as np
from torch import nn

from trunkline.batch import Weighting
from trunkline.config.recipe import Recipe
from trunkline.config.sections import TaskUse
from trunkline.data.partial import DIFFICULTY
from trunkline.data.rows import Rows, Sizes
from trunkline.data.stream import Stream
from trunkline.errors import ConfigError, nearest
from trunkline.losses.base import Loss
from trunkline.models.multitask import MultiTask
from trunkline.registry import SAMPLERS, WEIGHTINGS
from trunkline.sampling.base import Horizon, Sampler
from trunkline.sampling.life import Life, Lives
from trunkline.tasks.card import Card
from trunkline.tasks.sharing import owners

PART_KEY = re.compile(r"((?:sampling|weighting|tasks|optim|engine|passes)(?:\.\w+)*):? ")
LENGTH = "length"


def make_stream(
    recipe: Recipe, sizes: Mapping[str, np.ndarray | Sizes], losses: Mapping[str, Loss], rows: Mapping[str, Rows] | None = None
) -> Stream:
    """sizes: tokens of each training row, per task that is drawn (guests ride along). rows: where a curriculum's column is.

    Raises ConfigError when sampling or a group does not fit.
    """
    settings = recipe.train
    counts, means = {name: len(size) for name, size in sizes.items()}, {name: float(size.mean()) for name, size in sizes.items()}
    sampler = make_sampler(recipe, counts, means)
    with part_of(recipe, "sampling"):
        sampler.check()
    return Stream(
        sizes,
        sampler,
        seed=recipe.seed,
        tokens_per_step=settings.tokens_per_step,
        unit_limit=settings.tokens_per_pass,
        groups={name: loss.group for name, loss in losses.items()},
        divisible={name for name, loss in losses.items() if loss.cached},
        difficulty=_difficulty(sampler, sizes, rows or {}),
    )


def make_sampler(recipe: Recipe, counts: Mapping[str, int], row_tokens: Mapping[str, float]) -> Sampler:
    """counts, row_tokens: rows of each task's training split and mean tokens of one; 1 where they are not known yet.

    Raises ConfigError for what the sampler or a task's life refuses, and for a life of a task that is not drawn.
    """
    horizon = Horizon(recipe.train.steps, recipe.train.tokens_per_step, dict(row_tokens))
    with part_of(recipe, "sampling"):
        sampler: Sampler = SAMPLERS.get(recipe.sampling.kind)(counts, horizon, **recipe.sampling.arguments)
    lives: dict[str, Life] = {}
    for number, use in enumerate(recipe.tasks):
        stated = use.life()
        if not stated:
            continue
        drawn = _drawn(use, recipe, counts)
        if not drawn:
            where = recipe.where("tasks", number, next(iter(stated)))
            raise ConfigError(f"task '{use.task}' is not drawn: it learns from another's rows. Say it there.", where=where)
        life = Life(**stated)
        try:
            life.check()
        except ConfigError as error:
            key, _, said = error.message.partition(": ")
            raise ConfigError(said, where=recipe.where("tasks", number, key)) from error
        lives |= dict.fromkeys(drawn, life)
    with part_of(recipe, "tasks"):
        return Lives(sampler, lives) if lives else sampler


def _drawn(use: TaskUse, recipe: Recipe, counts: Mapping[str, int]) -> list[str]:
    """The tasks whose rows are drawn for an entry of the recipe: itself, or the first part of a joint one."""
    others = {other.task for other in recipe.tasks}
    parts = [name for name in counts if name.startswith(f"{use.task}_") and name not in others]
    return [use.task] if use.task in counts else parts


def _difficulty(
    sampler: Sampler, sizes: Mapping[str, np.ndarray | Sizes], rows: Mapping[str, Rows]
) -> dict[str, np.ndarray | Sizes] | None:
    if sampler.difficulty is None:
        return None
    if sampler.difficulty == LENGTH:
        return dict(sizes)
    found = {name: own.targets[DIFFICULTY] for name, own in rows.items()}
    assert all(isinstance(value, np.ndarray) for value in found.values())
    return {name: np.asarray(value) for name, value in found.items()}


def column_of(sampler: Sampler) -> str | None:
    """The column of every task's rows that the sampler goes by."""
    return None if sampler.difficulty in (None, LENGTH) else sampler.difficulty


def check_sampler(recipe: Recipe, sampler: Sampler, cards: Mapping[str, Card]) -> None:
    """Raises ConfigError for a sampler that waits for evaluations where there are none during training, and where tasks share
    rows and it would tell them apart: by gradients, or by a column of rows of which some have no label."""
    if sampler.needs_verdicts and recipe.train.evaluate_every is None:
        raise ConfigError(
            f"'{recipe.sampling.kind}' learns from evaluations during training. Give train.evaluate_every, such as 100.",
            where=recipe.where("sampling"),
        )
    guest, host = next(iter(owners(cards, "rows_of").items()), (None, None))
    if guest is not None and (sampler.needs_gram or column_of(sampler) is not None):
        what = "the tasks' gradients" if sampler.needs_gram else f"the column '{column_of(sampler)}' of rows"
        raise ConfigError(
            f"sampling '{recipe.sampling.kind}' goes by {what}, and '{guest}' and '{host}' share rows. Take another reward or "
            "measure, or give each task rows of its own.",
            where=recipe.where("sampling"),
        )


@contextlib.contextmanager
def part_of(recipe: Recipe, section: str) -> Iterator[None]:
    """What a part refuses is told with its place in the recipe: `sampling.rates.a: ...` stands at that key."""
    try:
        yield
    except ConfigError as error:
        said = PART_KEY.match(error.message)
        route = [int(step) if step.isdigit() else step for step in said[1].split(".")] if said else [section]
        raise type(error)(error.message[said.end() if said else 0 :], where=recipe.where(*route)) from error


def make_weighting(recipe: Recipe, cards: Mapping[str, Card]) -> Weighting:
    """The recipe's weight of a task goes before its card's; that of a joint task is each of its parts'.

    Raises ConfigError for what the weighting refuses, and where tasks share rows whose gradients it would tell apart.
    """
    stated = {use.task: use.weight for use in recipe.tasks}
    said = {name: stated.get(name, stated.get(card.whole.name)) for name, card in cards.items()}
    weights = [cards[name].weight if weight is None else weight for name, weight in said.items()]
    with part_of(recipe, "weighting"):
        made: Weighting = WEIGHTINGS.get(recipe.weighting.kind)(list(cards), weights, **recipe.weighting.arguments)
    guest, host = next(iter(owners(cards, "rows_of").items()), (None, None))
    if made.needs_gram and not made.exact and guest is not None:
        raise ConfigError(
            f"weighting '{recipe.weighting.kind}' tells the tasks' gradients apart by their rows, and '{guest}' and '{host}' "
            "share rows. Take a weighting that reads losses only (uncertainty, dwa, famo), say exact: true, which looks at one "
            "task at a time, or give each task rows of its own.",
            where=recipe.where("weighting"),
        )
    return made


def check_losses(recipe: Recipe, weighting: Weighting, losses: Mapping[str, Loss]) -> None:
    """Raises ConfigError for a task whose loss may be below 0, where the weighting makes nothing of that."""
    for name in weighting.unsigned:
        if losses[name].signed:
            raise ConfigError(
                f"weighting '{recipe.weighting.kind}' needs losses that are never below 0, and that of '{name}' may be. Take "
                "static, rlw or stch, one that compares gradients (such as upgrad), or another loss in the card.",
                where=recipe.where("weighting"),
            )


def check_probes(
    recipe: Recipe, weighting: Weighting, sampler: Sampler, model: MultiTask, cards: Mapping[str, Card], frozen: Collection[str]
) -> None:
    """Raises ConfigError where gradients are compared on layers which the trunk does not name or that are `frozen` to the end,
    or watched of tasks that share rows."""
    asking = [
        (f"{section} '{kind}'", "Take one that reads losses only", section)
        for section, part, kind in (("weighting", weighting, recipe.weighting.kind), ("sampling", sampler, recipe.sampling.kind))
        if part.needs_gram
    ]
    if recipe.train.watch_gradients is not None:
        asking.append(("train.watch_gradients", "Leave it out", "train.watch_gradients"))
        guest, host = next(iter(owners(cards, "rows_of").items()), (None, None))
        if guest is not None:
            raise ConfigError(
                f"it tells the tasks' gradients apart by their rows, and '{guest}' and '{host}' share rows. Leave it out, or "
                "give each task rows of its own.",
                where=recipe.where("train", "watch_gradients"),
            )
    trained = {id(parameter) for name, parameter in model.named_parameters() if name not in frozen}
    if any(id(layer.weight) in trained for layer in model.trunk.probed(recipe.train.probes)):
        return
    linear = [name for name, layer in model.trunk.named_modules() if isinstance(layer, nn.Linear)]
    for who, instead, section in asking:
        if recipe.train.probes is not None:
            raise ConfigError(
                f"no trained linear layer of the trunk fits {', '.join(recipe.train.probes)}. "
                f"{nearest(recipe.train.probes[0], linear)}",
                where=recipe.where("train", "probes"),
            )
        raise ConfigError(
            f"{who} compares the tasks' gradients on layers that the trunk must name, and trunk '{recipe.trunk.kind}' names none "
            f"that are trained (`Trunk.probes`). {instead}, or take another trunk.",
            where=recipe.where(*section.split(".")),
        )
