"""Which old rows a run draws again: by chance, or those on which the model it starts from loses most, with a better chance."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trunkline.config import Recipe
from trunkline.continual.expand import Entries
from trunkline.data.packing import Table, evaluation_packs
from trunkline.losses.base import Loss
from trunkline.models.multitask import MultiTask
from trunkline.predict import TOKENS_PER_PASS

ROWS = "rehearsed.json"  # in the run folder: task -> the rows drawn by loss
LEAST = 0.001  # of the mean loss: no row is out of the draw


def learned_before(manifest: Mapping[str, Any]) -> set[str]:
    """The tasks a model was trained on: its own, and those beside them."""
    return {*manifest["tasks"], *manifest.get("lineage", {}).get("aside", ())}


def rehearsed(
    recipe: Recipe, run: Path, manifest: Mapping[str, Any] | None, task: str, table: Table, riders: Collection[str]
) -> Table:
    """The table of a task the model has learned from, with as many of its rows as the recipe rehearses, drawn once.

    manifest: of the model the run starts from. run: where `choose` wrote what it drew. riders: all tasks that learn from these
    rows; they are left whole where one of them is new.
    """
    asked = recipe.start.rehearse if recipe.start is not None else None
    if asked is None or manifest is None or asked.rows >= len(table.rows) or not learned_before(manifest).issuperset(riders):
        return table
    chosen = json.loads((run / ROWS).read_text()).get(task) if asked.by == "loss" else None
    if chosen is None:
        chance = np.random.default_rng([recipe.seed, *task.encode()])
        chosen = np.sort(chance.permutation(len(table.rows))[: asked.rows])
    return replace(table, rows=table.rows.take(np.asarray(chosen)))


def choose(
    recipe: Recipe,
    run: Path,
    manifest: Mapping[str, Any],
    model: MultiTask,
    state: Entries,
    tables: Mapping[str, Table],
    losses: Mapping[str, Loss],
    say: Callable[[str], None],
) -> None:
    """Writes the rows that are rehearsed by loss; nothing where the recipe asks for none. The model takes over `state`."""
    asked = recipe.start.rehearse if recipe.start is not None else None
    if asked is None or asked.by != "loss":
        return
    for name, parameter in model.named_parameters():
        parameter.data.copy_(state[name]["param"])
    found: dict[str, list[int]] = {}
    for name, table in tables.items():
        if name not in learned_before(manifest) or asked.rows >= len(table.rows):
            continue
        if losses[name].group > 1:
            say(f"warning: the loss of {name} compares rows, so the rows rehearsed are drawn by chance")
            continue
        chance = np.random.default_rng([recipe.seed, *name.encode()])
        found[name] = drawn(row_losses(model, name, table, losses[name]), asked.rows, chance).tolist()
        say(f"rehearsing {asked.rows} of {len(table.rows)} rows of {name}, by their loss")
    (run / ROWS).write_text(json.dumps(found))


def row_losses(model: MultiTask, task: str, table: Table, loss: Loss) -> np.ndarray:
    """The mean loss of each row's targets under the model, float64 [n]; rows without a label take the mean of the others."""
    found = np.full(len(table.rows), np.nan)
    model.eval()
    packs = evaluation_packs({task: table}, rank=0, world=1, tokens_per_pass=TOKENS_PER_PASS, chosen=table.learned)
    with torch.no_grad():
        for batch in packs:
            part = batch.tasks[task]
            values = loss(model(batch)[task], part.targets).double().numpy()
            starts = np.cumsum(part.counts) - part.counts
            found[part.row_ids] = np.add.reduceat(values, starts) / part.counts
    return np.where(np.isnan(found), np.nanmean(found), found)


def drawn(losses: np.ndarray, rows: int, chance: np.random.Generator) -> np.ndarray:
    """As many rows, each once, in order: the next is a row with a chance in proportion to its loss, among those left.

    Source: Efraimidis & Spirakis, Information Processing Letters 97 (2006), algorithm A: the largest log(u) / weight.
    """
    weights = np.maximum(losses, max(LEAST * float(np.abs(losses).mean()), 1e-12))
    keys = np.log(1 - chance.random(len(losses))) / weights
    return np.sort(np.argsort(-keys, kind="stable")[:rows])
