"""Two models on the same rows: every task of the old one before and after."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trunkline.build.evaluation import judged_task
from trunkline.build.model import load_model
from trunkline.build.task import open_source, reading
from trunkline.continual.gate import Change, Records, compare
from trunkline.data.packing import Table
from trunkline.data.sources.known import Known
from trunkline.data.store import SplitJob, build_all
from trunkline.errors import ConfigError, nearest
from trunkline.evaluate import Judged, measure
from trunkline.predict import TOKENS_PER_PASS, Model
from trunkline.tasks.card import Card
from trunkline.tasks.catalog import Catalog
from trunkline.workflows.kept import Kept


def measurable(manifest: Mapping[str, Any], catalog: Catalog, split: str) -> list[str]:
    """The model's tasks whose cards are at hand, with rows of that split."""
    whole = {part: name for name, parts in manifest.get("joint", {}).items() for part in parts.values()}
    there = set(catalog.names())
    known = [name for name in manifest["tasks"] if whole.get(name, name) in there]
    return having(known, catalog, split)


def having(tasks: Sequence[str], catalog: Catalog, split: str) -> list[str]:
    """Those with rows of that split."""
    return [name for name in tasks if split in open_source(catalog.get(name), catalog).splits()]


def check_promises(limits: Mapping[str, float], stated: str, known: Sequence[str]) -> None:
    """Raises ConfigError for a promise about a task named by itself that can not be measured."""
    named = {entry.rpartition(":")[0].strip() for entry in stated.split(",")}
    for name in sorted(limits.keys() & named - set(known)):
        raise ConfigError(
            f"'{name}' can not be protected: it has no card here with rows to measure it on. {nearest(name, known)}",
            where="--protect",
        )


def changes(
    old: Path, new: Path, place: Path, limits: Mapping[str, float], tasks: Sequence[str], split: str, say: Callable[[str], None]
) -> list[Change]:
    """One Change per task of the old model, measured for those in `tasks`; on all rows of the split.

    Of a task whose labels have grown, on the rows with the labels it had. A trunk and a head that were measured on these rows
    before, bit for bit, are not measured again.
    """
    catalog, kept = Catalog([place]), Kept(place.parent / ".trunkline" / "judged")
    first, second = load_model(old, catalog), load_model(new, catalog)
    found = []
    for name, about in first.manifest["tasks"].items():
        if name not in tasks or name not in second.tasks:
            say(f"warning: {name} is not measured: no card of it is here")
            found.append(Change(name, limit=limits.get(name)))
            continue
        judged, _ = judged_task(second, name, catalog, place, split, say)
        both = (judged, judged)
        if second.manifest["tasks"][name]["fingerprint"] != about["fingerprint"]:
            store = place.parent / ".trunkline" / "store" / "splits"
            both = as_labelled_before((first, second), name, catalog.get(name), catalog, store, split)
            say(f"{name}: its labels have grown, {len(both[0].table.rows)} {split} rows have those it had")
        headline, make = next(iter(judged.metrics.items()))
        before, after = (_once(model, own, kept, catalog) for model, own in zip((first, second), both, strict=True))
        found.append(compare(name, make, headline, before, after, limits.get(name)))
    return found


def as_labelled_before(
    models: tuple[Model, Model], task: str, card: Card, catalog: Catalog, store: Path, split: str
) -> tuple[Judged, Judged]:
    """The rows of a card as a task of both models, by the labels of each; only rows whose labels the first has.

    So an answer among labels that only the second has is wrong.
    """
    first, second = served = tuple(model.task(task) for model in models)
    beside = (card.target,) if models[1].manifest["tasks"][task].get("partial") else ()
    source = Known(open_source(card, catalog), first.encoding, reading(card), beside)
    jobs = [SplitJob(card.name, source, split, own.encoding, reading(card), (), beside) for own in served]
    one, other = (Table.of(stored.rows, own.encoding) for stored, own in zip(build_all(store, jobs), served, strict=True))
    return Judged(task, one, first.encoding, second.metrics), Judged(task, other, second.encoding, second.metrics)


def _once(model: Model, judged: Judged, kept: Kept, catalog: Catalog) -> tuple[np.ndarray, Records]:
    if catalog.get(judged.name).plugin is not None:  # code of its own, which no hash here knows
        return records_of(model, judged)
    key = kept.key(model, judged.name, judged.table)
    found = kept.get(key)
    if found is None:
        found = records_of(model, judged)
        kept.put(key, *found)
    return found


def records_of(model: Model, judged: Judged) -> tuple[np.ndarray, Records]:
    """Row ids and records of a task, over every row."""
    parts = list(measure(model.network, judged, tokens_per_pass=TOKENS_PER_PASS, device=model.device))
    ids = np.concatenate([ids for ids, _ in parts])
    return ids, {name: np.concatenate([np.asarray(own[name]) for _, own in parts]) for name in parts[0][1]}
