"""What a recipe says of training itself: groups, optimizer, schedule, passes; and what of it can not go together."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping

import torch

from trunkline.batch import Batch, Weighting
from trunkline.config import Recipe
from trunkline.errors import ConfigError
from trunkline.losses.base import Loss
from trunkline.models.multitask import MultiTask, owner
from trunkline.registry import OPTIMIZERS, PASSES
from trunkline.training.engine import check_stage
from trunkline.training.optim import COOLDOWN, Groups, Schedule, parameter_groups
from trunkline.training.passes import Pass
from trunkline.training.perturbation import Rows, Shift

PART_KEY = re.compile(r"((?:sampling|weighting|optim|engine|passes)(?:\.\w+)*):? ")


@contextlib.contextmanager
def part_of(recipe: Recipe, section: str) -> Iterator[None]:
    """What a part refuses is told with its place in the recipe: `sampling.rates.a: ...` stands at that key."""
    try:
        yield
    except ConfigError as error:
        said = PART_KEY.match(error.message)
        route = [int(step) if step.isdigit() else step for step in said[1].split(".")] if said else [section]
        raise type(error)(error.message[said.end() if said else 0 :], where=recipe.where(*route)) from error


def make_groups(recipe: Recipe, model: MultiTask) -> Groups:
    """The model's parameter groups with the rates and decays of the recipe."""
    optim = recipe.optim
    return parameter_groups(
        model,
        owner,
        model.trunk.embeddings,
        lr=optim.lr,
        head_lr=optim.head_lr or optim.lr,
        embedding_lr=optim.embedding_lr,
        head_decay=optim.head_decay,
        embedding_decay=optim.embedding_decay,
    )


def make_schedule(recipe: Recipe) -> Schedule:
    optim = recipe.optim
    cooldown = COOLDOWN if optim.cooldown is None else optim.cooldown
    return Schedule(optim.schedule, optim.warmup, recipe.train.steps, cooldown)


def check_optimizer(recipe: Recipe, model: MultiTask) -> None:
    """Raises ConfigError for settings that the optimizer refuses, and for one that can not run at the ZeRO stage."""
    with part_of(recipe, "optim"):
        make = OPTIMIZERS.get(recipe.optim.kind)
        check_stage(make, recipe.engine.zero_stage)
        try:
            make(make_groups(recipe, model), **recipe.optim.arguments)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"optim: optimizer '{recipe.optim.kind}' refuses its arguments: {error}. Mend them, or leave them out."
            ) from error


def make_passes(recipe: Recipe) -> Pass:
    with part_of(recipe, "passes"):
        made: Pass = PASSES.get(recipe.passes.kind)(**recipe.passes.arguments)
    return made


def check_passes(recipe: Recipe, weighting: Weighting, losses: Mapping[str, Loss], model: MultiTask, batch: Batch) -> None:
    """Raises ConfigError for what can not go together with passes over moved embeddings. batch: any, to read the trunk once."""
    passes, kind, where = make_passes(recipe), recipe.passes.kind, recipe.where("passes")
    if passes.plain:
        return
    if weighting.needs_gram:
        raise ConfigError(
            f"passes '{kind}' go over a micro-batch more than once, and weighting '{recipe.weighting.kind}' takes the tasks' "
            "gradients from its one backward. Take plain passes, or a weighting that reads losses only (uncertainty, dwa, famo).",
            where=where,
        )
    cached = [name for name, loss in losses.items() if loss.cached]
    if cached:
        raise ConfigError(
            f"passes '{kind}' need the loss of every pack where its rows are, and that of '{cached[0]}' is worked out ahead over "
            "many packs (cached: true). Set cached to false, or take plain passes.",
            where=where,
        )
    shift = Shift(Rows(batch))
    with torch.no_grad(), shift.on(model.trunk.embeddings):
        model.trunk(batch)
    if shift.seen != 1:
        raise ConfigError(
            f"passes '{kind}' move what the trunk's embeddings give in one call, and trunk '{recipe.trunk.kind}' calls them "
            f"{shift.seen} times. Take plain passes, or another trunk.",
            where=where,
        )
