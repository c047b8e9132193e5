"""What a model's trunk knew of new tasks before it learned them: a probe on it, and on the trunk that its line began with."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trunkline.build.evaluation import judged_task
from trunkline.build.model import load_model, read_manifest
from trunkline.continual.transfer import probe, readable
from trunkline.data.rows import Rows
from trunkline.data.tokenizer import Tokenizer
from trunkline.errors import TrunklineError
from trunkline.evaluate import Judged
from trunkline.metrics.bootstrap import Measured
from trunkline.models.multitask import MultiTask
from trunkline.predict import Model
from trunkline.registry import TRUNKS
from trunkline.tasks.catalog import Catalog

MOST = 1000  # training rows, and as many to measure on


def forward(
    parent: Path, model: Path, tasks: Sequence[str], place: Path, split: str, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Of each new task of one target a row: task, metric, probe (on the parent's trunk), untrained (on the trunk that the first
    ancestor's training began with), and forward, their difference in points. Others, and all where that trunk can not be made
    again, are left out, which is told.
    """
    catalog = Catalog([place])
    began = first_trunk(parent) if tasks else ""
    if isinstance(began, str):
        if tasks:
            say(f"no forward transfer is told: {began}")
        return []
    before, after = load_model(parent, catalog), load_model(model, catalog)
    found = []
    for task in tasks:
        judged, table = judged_task(after, task, catalog, place, split, lambda _: None)
        train, asked = _some(table.labelled()), _some(judged.table.labelled())
        if readable(train) is None:
            say(f"{task}: no forward transfer is told, for its target is not one of whole rows")
            continue
        headline, make = next(iter(judged.metrics.items()))
        metric = make()
        up = 1 if metric.higher_is_better else -1
        knew, untrained = (_probed(model, train, asked, judged) for model in (before, began))
        if not math.isfinite(knew - untrained):
            say(f"{task}: no forward transfer is told, for its {headline} of a probe is no number")
            continue
        values = {"probe": knew, "untrained": untrained, "forward": up * (metric.in_points(knew) - metric.in_points(untrained))}
        found.append({"task": task, "metric": headline, **values})
    return found


def first_trunk(model: Path) -> Model | str:
    """The trunk as the training of the first of the model's line began with it, or why it can not be made again."""
    manifest = read_manifest(model)
    began = manifest["lineage"].get("began")
    if began is None:
        return "the model does not say with which trunk its line began, or it began with vectors of a file"
    tokenizer = Tokenizer.load(model / "trunk", max_length=manifest["max_length"], truncate=manifest["truncate"])
    arguments = dict(began["trunk"])
    make = TRUNKS.get(arguments.pop("kind"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(began["seed"]))
        try:
            trunk = make(tokenizer.vocab_size, tokenizer.pad_id, tokenizer.max_length, **arguments)
        except (TrunklineError, OSError) as error:
            return f"the trunk that the line began with can not be opened: {error}"
    return Model(MultiTask(trunk, {}).eval(), tokenizer, {}, {"tasks": {}})


def _some(rows: Rows) -> Rows:
    return rows.take(np.sort(np.random.default_rng(0).permutation(len(rows))[:MOST]))


def _probed(model: Model, train: Rows, asked: Rows, judged: Judged) -> float:
    """The task's headline metric of a probe on this model's trunk."""
    labels = getattr(judged.encoding, "labels", None)
    outputs = probe(model.embed_rows(train), train, model.embed_rows(asked), labels and len(labels))
    _, targets = judged.encoding.collate(asked, np.zeros(len(asked), np.uint64))
    make = next(iter(judged.metrics.values()))
    return Measured.of([(np.arange(len(asked)), judged.encoding.records(outputs, targets))]).value(make())
