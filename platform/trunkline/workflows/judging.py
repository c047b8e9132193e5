"""Two models on the same rows: every task of the old one before and after."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trunkline.build.evaluation import judged_task
from trunkline.build.model import load_model
from trunkline.build.task import open_source
from trunkline.continual.gate import Change, Records, compare
from trunkline.errors import ConfigError, nearest
from trunkline.evaluate import Judged, measure
from trunkline.predict import TOKENS_PER_PASS, Model
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
    """One Change per task of the old model, measured for those in `tasks` that answer as they did; on all rows of the split.

    A trunk and a head that were measured on these rows before, bit for bit, are not measured again.
    """
    catalog, kept = Catalog([place]), Kept(place.parent / ".trunkline" / "judged")
    first, second = load_model(old, catalog), load_model(new, catalog)
    found = []
    for name, about in first.manifest["tasks"].items():
        same = name in tasks and second.manifest["tasks"].get(name, {}).get("fingerprint") == about["fingerprint"]
        if not same:
            say(f"warning: {name} is not measured: no card of it is here, or its labels have grown")
            found.append(Change(name, limit=limits.get(name)))
            continue
        judged, _ = judged_task(second, name, catalog, place, split, say)
        headline, make = next(iter(judged.metrics.items()))
        before, after = (_once(model, judged, kept, catalog) for model in (first, second))
        found.append(compare(name, make, headline, before, after, limits.get(name)))
    return found


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
