"""A model measured on its tasks' data: stores are built for the model's own tokenizer, every row of the split counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from trunkline.build.model import load_model
from trunkline.build.task import SPLITS, open_source, reading
from trunkline.data.intake import said
from trunkline.data.packing import Table
from trunkline.data.store import SplitJob, build_all
from trunkline.errors import ConfigError, UsageError, nearest
from trunkline.evaluate import Judged, baseline, evaluate, skill
from trunkline.predict import TOKENS_PER_PASS, Model
from trunkline.registry import METRICS
from trunkline.tasks.catalog import Catalog, nearest_folder


def evaluate_model(
    folder: Path, *, tasks: Sequence[str] | None, split: str, catalog: Path | None, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """One mapping per task: task, kind, rows, metric (headline), baseline, value, skill, learned, metrics (all of them).

    catalog: where the cards with the data are, by default `tasks/` near the model or the current folder. A card whose
    fingerprint is not the one the model was trained with is refused.
    """
    place = catalog or nearest_folder(folder.resolve()) or nearest_folder(Path.cwd())
    if place is None:
        raise ConfigError(f"no folder `tasks` near {folder}, so there is no data to measure on. Name one with --catalog.")
    if split not in SPLITS:
        raise UsageError(f"no split '{split}'. {nearest(split, SPLITS)}")
    cards = Catalog([place])
    model = load_model(folder, cards)
    names = list(tasks) if tasks else list(model.tasks)
    return [_one(model, name, cards, place, split, say) for name in names]


def judged_task(
    model: Model, name: str, catalog: Catalog, place: Path, split: str, say: Callable[[str], None]
) -> tuple[Judged, Table]:
    """A task of the model on every row of a split, and its training rows. Raises ConfigError for a card that has changed."""
    served = model.task(name)
    card = catalog.get(name)
    if card.fingerprint() != model.manifest["tasks"][name]["fingerprint"]:
        raise ConfigError(
            f"task '{name}' has changed since the model was trained (inputs, target, kind, labels or columns). "
            "Train again, or give the old card with --catalog.",
            where=str(card.path),
        )
    source = open_source(card, catalog)
    if split not in source.splits():
        raise ConfigError(f"task '{name}' has no {split} rows. {nearest(split, source.splits())}", where=str(card.path))
    beside = (card.target,) if model.manifest["tasks"][name].get("partial") else ()
    jobs = [SplitJob(name, source, wanted, served.encoding, reading(card), (), beside) for wanted in ("train", split)]
    train, judged_split = build_all(place.parent / ".trunkline" / "store" / "splits", jobs)
    say(f"{name}: {len(judged_split)} {split} rows")
    for job, stored in zip(jobs, (train, judged_split), strict=True):
        if stored.quarantined["rows"]:
            say(f"{name}/{job.split}: {said(stored.quarantined)}")
    table, trained = (Table.of(stored.rows, served.encoding) for stored in (judged_split, train))
    return Judged(name, table, served.encoding, served.metrics), trained


def _one(model: Model, name: str, catalog: Catalog, place: Path, split: str, say: Callable[[str], None]) -> dict[str, Any]:
    judged, trained = judged_task(model, name, catalog, place, split, say)
    served = model.task(name)
    found = evaluate(
        model.network,
        judged,
        tokens_per_pass=TOKENS_PER_PASS,
        device=torch.device("cpu"),
        rank=0,
        world=1,
        gather=lambda v: [v],
        limit=None,
    )
    headline = next(iter(served.metrics))
    guess = baseline(judged, trained)
    gained = skill(found[headline], guess[headline], METRICS.get(headline).best)
    return {
        "task": name,
        "kind": served.kind,
        "rows": len(judged.table.rows),
        "metric": headline,
        "baseline": guess[headline],
        "value": found[headline],
        "skill": gained,
        "learned": gained > 0,
        "metrics": found,
    }
