"""What a recipe says of training itself: groups, optimizer, schedule, passes; and what of it can not go together."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import torch

from trunkline.batch import Batch, Weighting
from trunkline.build.mixing import part_of
from trunkline.config.recipe import Recipe
from trunkline.continual.penalties import MakeOptimizer, anchored
from trunkline.errors import ConfigError
from trunkline.losses.base import Loss
from trunkline.models.multitask import MultiTask, owner
from trunkline.registry import OPTIMIZERS, PASSES
from trunkline.sampling.base import Sampler
from trunkline.training.engine import check_stage, step_of
from trunkline.training.freezing import layer_scale
from trunkline.training.optim import COOLDOWN, Groups, Schedule, parameter_groups
from trunkline.training.passes import Pass
from trunkline.training.perturbation import Rows, Shift


def make_groups(recipe: Recipe, model: MultiTask, state: Mapping[str, Mapping[str, torch.Tensor]] | None = None) -> Groups:
    """The model's parameter groups with the rates and decays of the recipe. state: what was trained before, by name."""
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
        steps={name: step_of(entry) for name, entry in (state or {}).items()},
        scale=layer_scale(model, optim.layer_decay),
    )


def make_optimizer(recipe: Recipe) -> MakeOptimizer:
    """Groups -> the recipe's optimizer, with the pull of `start.anchor`."""
    make = functools.partial(OPTIMIZERS.get(recipe.optim.kind), **recipe.optim.arguments)
    start = recipe.start
    return make if start is None or start.anchor is None else anchored(make, start.anchor, weighed=start.fisher is not None)


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


def check_passes(
    recipe: Recipe, weighting: Weighting, sampler: Sampler, losses: Mapping[str, Loss], model: MultiTask, batch: Batch
) -> None:
    """Raises ConfigError for what can not go together with passes over moved embeddings. batch: any, to read the trunk once."""
    passes, kind, where = make_passes(recipe), recipe.passes.kind, recipe.where("passes")
    if passes.plain:
        return
    looking = [
        (f"weighting '{recipe.weighting.kind}'", weighting.needs_gram),
        (f"sampling '{recipe.sampling.kind}'", sampler.needs_gram),
        ("train.watch_gradients", recipe.train.watch_gradients),
    ]
    for who, looks in looking:
        if looks:
            raise ConfigError(
                f"passes '{kind}' go over a micro-batch more than once, and {who} takes the tasks' gradients from its one "
                "backward. Take plain passes, or what reads losses only (such as weighting uncertainty, dwa or famo).",
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
