"""What a recipe trains of a model: `finetune:` in one word, `freeze:` by name and phase."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from trunkline.build.trunk import open_tokenizer, open_trunk
from trunkline.config.recipe import Recipe
from trunkline.data.packing import Table
from trunkline.errors import ConfigError
from trunkline.models.base import Trunk
from trunkline.models.lora import Adapters, LoRA
from trunkline.models.mixout import mix_out, start_from
from trunkline.models.multitask import MultiTask
from trunkline.tasks.card import Card
from trunkline.tasks.sharing import owners
from trunkline.training.freezing import Freezing, Rule, sections

REHEARSED = "rehearsed.json"


def make_freezing(recipe: Recipe, model: MultiTask) -> Freezing:
    """Raises ConfigError for modules the model does not have, or a phase that trains nothing."""
    rules: list[Rule] = [
        Rule(stated.modules, stated.until, recipe.where("freeze", number)) for number, stated in enumerate(recipe.freeze)
    ]
    where = recipe.where("finetune")
    kind = recipe.finetune.kind
    if kind in ("heads", "lora", "fuse"):
        rules.append(Rule("trunk", None, where))
        mixed = {other for lora in (model.adapters.wanted if model.adapters else {}).values() for other in lora.of}
        rules += [Rule(f"adapters.{name}", None, where) for name in sorted(mixed)]
    elif kind == "bitfit":
        # Source: Ben Zaken et al., arXiv:2106.10199: the biases of the whole encoder, and the head.
        trunk = sections(model)["trunk"]
        held = frozenset(name for name in trunk if not name.endswith("bias"))
        if len(held) == len(trunk):
            raise ConfigError("bitfit trains the trunk's biases, and this trunk has none. Take heads or lora.", where=where)
        rules.append(Rule(held, None, where))
    return Freezing(model, rules, recipe.train.steps)


def hold_back(recipe: Recipe, trunk: Trunk) -> None:
    """Mixout where the recipe asks for it. Raises ConfigError for a trunk that was not trained before, or has no such layers."""
    share = recipe.finetune.mixout
    before = recipe.start is not None or "pretrained" in recipe.trunk.arguments
    if share and not (before and trunk.adaptable):
        raise ConfigError(
            "mixout puts weights back to what a trained trunk had, in its linear layers. Take a packed transformer with "
            "trunk.pretrained or start, or leave it out.",
            where=recipe.where("finetune", "mixout"),
        )
    if share:
        mix_out(trunk.adaptable.values(), share)
        _start_at_parent(recipe, trunk)


def _start_at_parent(recipe: Recipe, trunk: Trunk) -> None:
    """Mixout's W0 are the weights of the model the run starts from, not the trunk's own; those of layers drawn anew stay."""
    if recipe.start is None:
        return
    folder, manifest = recipe.beside(recipe.start.model), parent_manifest(recipe)
    trained = open_trunk(folder, manifest, open_tokenizer(folder, manifest)).adaptable
    top = trunk.blocks[len(trunk.blocks) - recipe.finetune.fresh_layers :]
    fresh = {id(part) for block in top for part in block.modules()}
    for name, layer in trunk.adaptable.items():
        # A trunk of another shape is refused with its differences where the state is taken over.
        if id(layer) not in fresh and name in trained and trained[name].weight.shape == layer.weight.shape:
            start_from(layer, trained[name].weight.detach())


def renew(recipe: Recipe, trunk: Trunk) -> None:
    """Draws the top layers anew where the recipe asks for it. Raises ConfigError if the trunk has not as many."""
    count = recipe.finetune.fresh_layers
    if count > len(trunk.blocks):
        raise ConfigError(
            f"{count} layers are to be drawn anew, and the trunk has {len(trunk.blocks)}.",
            where=recipe.where("finetune", "fresh_layers"),
        )
    if count:
        trunk.renew(count)


def renewed(recipe: Recipe, model: MultiTask) -> set[str]:
    """The parameters that are as they were drawn, though the model the run starts from has them."""
    known, count = sections(model), len(model.trunk.blocks)
    return set().union(*(known[f"layers.{number}"] for number in range(count - recipe.finetune.fresh_layers, count)))


def make_adapters(recipe: Recipe, cards: Mapping[str, Card], trunk: Trunk) -> Adapters | None:
    """Each task's own change of the trunk: with `finetune: lora` or `fuse`, and where the model it starts from has one.

    Those that a task mixes come with it, whether their tasks are in the run or not. Raises ConfigError where that can not be.
    """
    known = _known(recipe)
    kind, where = recipe.finetune.kind, recipe.where("finetune")
    ranked = tuple(name for name, lora in known.items() if lora.rank)
    if kind == "fuse" and not ranked:
        raise ConfigError(
            "fuse mixes what the tasks of a trained model change in its trunk, and no task here has a LoRA. Give `start` a model "
            "whose tasks have one, or take lora.",
            where=where,
        )
    wanted = _with_mixed({name: lora for name, lora in known.items() if name in cards or (kind == "fuse" and lora.rank)}, known)
    if kind not in ("lora", "fuse"):
        return Adapters(trunk.adaptable, wanted, trunk.attentions) if wanted else None
    guest, host = next(iter(owners(cards, "rows_of").items()), (None, None))
    if guest is not None:
        raise ConfigError(
            f"each task has a LoRA of its own, and '{guest}' and '{host}' share rows, which the trunk reads once. Take heads, "
            "bitfit or full, or give each task rows of its own.",
            where=where,
        )
    if not trunk.adaptable:
        raise ConfigError(
            f"trunk '{recipe.trunk.kind}' has no linear layers that run on the pack's tokens, which LoRA changes. Take a packed "
            "transformer, or heads.",
            where=where,
        )
    if recipe.finetune.prompt and not trunk.attentions:
        raise ConfigError(
            f"no layer of trunk '{recipe.trunk.kind}' is known to attend, where a prompt is read. Leave the prompt out.",
            where=recipe.where("finetune", "prompt"),
        )
    own = LoRA(recipe.finetune.rank, recipe.finetune.alpha, ranked if kind == "fuse" else (), recipe.finetune.prompt)
    return Adapters(trunk.adaptable, {**wanted, **{name: wanted.get(name, own) for name in cards}}, trunk.attentions)


def _with_mixed(wanted: Mapping[str, LoRA], known: Mapping[str, LoRA]) -> dict[str, LoRA]:
    """With those that these mix, and what those mix."""
    found = dict(wanted)
    for lora in wanted.values():
        found |= _with_mixed({name: known[name] for name in lora.of if name not in found}, known)
    return found


def loras(manifest: Mapping[str, Any]) -> dict[str, LoRA]:
    """The tasks of a model that have an adapter, and what it is made of."""
    return {name: LoRA(**about["lora"]) for name, about in manifest["tasks"].items() if "lora" in about}


def rehearsed(recipe: Recipe, run: Path, task: str, table: Table, riders: Collection[str]) -> Table:
    """The table of a task the model has learned from, with as many of its rows as the recipe rehearses, drawn once.

    By chance, or as `rehearsal.choose` wrote down in the run's folder. riders: all tasks that learn from these rows, which stay
    whole where one of them is new.
    """
    start = recipe.start
    if start is None or start.rehearse is None or start.rehearse >= len(table.rows):
        return table
    manifest = parent_manifest(recipe)
    if not {*manifest["tasks"], *manifest.get("lineage", {}).get("aside", ())}.issuperset(riders):
        return table
    chosen = json.loads((run / REHEARSED).read_text()) if start.by == "loss" else {}
    chance = np.random.default_rng([recipe.seed, *task.encode()])
    rows = np.array(chosen[task]) if task in chosen else np.sort(chance.permutation(len(table.rows))[: start.rehearse])
    return replace(table, rows=table.rows.take(rows))


def _known(recipe: Recipe) -> dict[str, LoRA]:
    return loras(parent_manifest(recipe)) if recipe.start is not None else {}


def parent_manifest(recipe: Recipe) -> dict[str, Any]:
    """Of the model the run starts from."""
    assert recipe.start is not None
    found: dict[str, Any] = json.loads((recipe.beside(recipe.start.model) / "manifest.json").read_text())
    return found
