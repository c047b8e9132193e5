"""A model measured on its tasks' data: stores are built for the model's own tokenizer, every row of the split counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trunkline.build.attribution import attributions
from trunkline.build.layers import used_layers
from trunkline.build.model import load_model
from trunkline.build.task import SPLITS, open_source, reading
from trunkline.data.intake import said
from trunkline.data.packing import Table
from trunkline.data.rows import Rows
from trunkline.data.sources.base import TaskText
from trunkline.data.store import SplitJob, build_all
from trunkline.errors import ConfigError, UsageError, nearest
from trunkline.evaluate import Judged, baseline, everything, skill
from trunkline.metrics.bootstrap import Measured, interval, paired
from trunkline.metrics.tables import calibration, confusion, wrongness
from trunkline.predict import TOKENS_PER_PASS, Model
from trunkline.quality.leaks import Leak, leaks
from trunkline.quality.linear import linear, texts
from trunkline.registry import metric_of
from trunkline.tasks.catalog import Catalog, nearest_folder


@dataclass(frozen=True)
class Asked:
    """What is told of each task beside its figures.

    draws: of the bootstrap, 0 for no intervals. tables: confusion and calibration. worst: how many rows the model got most wrong,
    with their texts; why: and the tokens that spoke for what it said. linear: what TF-IDF and a linear model get. layers: which
    of the trunk's the task uses. leaks: rows that stand in the training of any of the tasks. against: another model, compared on
    the same rows.
    """

    draws: int = 0
    tables: bool = False
    worst: int = 0
    why: bool = False
    linear: bool = False
    layers: bool = False
    leaks: bool = False
    against: Path | None = None


def evaluate_model(
    folder: Path,
    *,
    tasks: Sequence[str] | None,
    split: str,
    catalog: Path | Catalog | None,
    say: Callable[[str], None],
    asked: Asked | None = None,
) -> list[dict[str, Any]]:
    """One mapping per task: task, kind, rows, metric (headline), baseline, value, skill, learned, metrics (all of them).

    catalog: where the cards with the data are, a folder or those of a recipe, by default `tasks/` near the model or the current
    folder. A card whose fingerprint is not the one the model was trained with is refused. asked: adds intervals, draws,
    confusion, calibration, worst, linear, layers, leaks, against.
    """
    asked = asked or Asked()
    cards = _cards(folder, catalog)
    if split not in SPLITS:
        raise UsageError(f"no split '{split}'. {nearest(split, SPLITS)}")
    place = cards.folders[0]
    model = load_model(folder, cards)
    names = list(tasks) if tasks else list(model.tasks)
    other = None if asked.against is None else load_model(asked.against, cards)
    if other is not None:
        _check_same(model, other, names, asked.against)
    found = [_one(model, name, cards, place, split, say, asked, other) for name in names]
    if asked.leaks:
        known = leaking(_at_hand(model, cards), cards, (split,))
        for row in found:
            row["leaks"] = [asdict(leak) for leak in known if leak.task == row["task"]]
        for leak in known:
            if leak.task in names:
                say(f"warning: {leak.sentence}")
    return found


def _cards(folder: Path, catalog: Path | Catalog | None) -> Catalog:
    if isinstance(catalog, Catalog):
        return catalog
    place = catalog or nearest_folder(folder.resolve()) or nearest_folder(Path.cwd())
    if place is None:
        raise ConfigError(f"no folder `tasks` near {folder}, so there is no data to measure on. Name one with --catalog.")
    return Catalog([place])


def _at_hand(model: Model, catalog: Catalog) -> list[str]:
    """The model's tasks whose cards are there."""
    whole = {part: name for name, parts in model.joint.items() for part in parts.values()}
    there = set(catalog.names())
    return [name for name in model.tasks if whole.get(name, name) in there]


def leaking(tasks: Sequence[str], catalog: Catalog, splits: Sequence[str]) -> list[Leak]:
    """Rows of these splits that stand in the training of any of the tasks whose cards are at hand; nothing of training itself."""
    there: dict[str, TaskText] = {}
    for name in tasks:
        card = catalog.get(name)
        if card.host is not card and card.host.name in tasks:
            continue  # its rows are its host's
        there[name] = TaskText(open_source(card, catalog), tuple(card.inputs), reading(card))
    return leaks(there, [split for split in splits if split != "train"])


def _check_same(model: Model, other: Model, names: Sequence[str], folder: Path | None) -> None:
    """Raises ConfigError unless the other model has these tasks with the same inputs, target and labels."""
    for name in names:
        about, theirs = model.manifest["tasks"].get(name), other.manifest["tasks"].get(name)
        if about is not None and theirs is None:
            raise ConfigError(
                f"has no task '{name}', so the two can not be compared on it. {nearest(name, other.tasks)} Name those that both "
                "have with --task.",
                where=str(folder),
            )
        if about is not None and theirs is not None and about["fingerprint"] != theirs["fingerprint"]:
            raise ConfigError(
                f"task '{name}' has other inputs, labels or columns there, so the two can not be compared on it.",
                where=str(folder),
            )


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


def _one(
    model: Model,
    name: str,
    catalog: Catalog,
    place: Path,
    split: str,
    say: Callable[[str], None],
    asked: Asked,
    other: Model | None,
) -> dict[str, Any]:
    judged, trained = judged_task(model, name, catalog, place, split, say)
    served = model.task(name)
    measured = everything(model.network, judged, tokens_per_pass=TOKENS_PER_PASS, device=model.device)
    found = {metric: measured.value(make()) for metric, make in judged.metrics.items()}
    headline = next(iter(served.metrics))
    guess = baseline(judged, trained)
    gained = skill(found[headline], guess[headline], metric_of(headline).best)
    row = {
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
    row |= _details(model, judged, trained, measured, asked)
    if other is not None:
        theirs, _ = judged_task(other, name, catalog, place, split, lambda _: None)
        row["against"] = _compared(judged, measured, other, theirs, asked)
    return row


def _details(model: Model, judged: Judged, trained: Table, measured: Measured, asked: Asked) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if asked.draws:
        told["draws"] = asked.draws
        told["intervals"] = {name: interval(make(), measured, asked.draws) for name, make in judged.metrics.items()}
    labels = getattr(judged.encoding, "labels", None)
    if asked.tables:
        told["confusion"] = confusion(measured.records, labels) if labels is not None else None
        told["calibration"] = calibration(measured.records)
    if asked.worst:
        told["worst"] = _worst(model, judged, measured, asked, labels)
    if asked.linear:
        told["linear"] = _linear(model, judged, trained)
    if asked.layers:
        told["layers"] = used_layers(model, judged, trained)
    return told


def _worst(
    model: Model, judged: Judged, measured: Measured, asked: Asked, labels: Sequence[str] | None
) -> list[dict[str, Any]] | None:
    """The rows with the greatest mean wrongness: their text as the trunk reads it, what was right, what was said."""
    wrong = wrongness(measured.records)
    if wrong is None or not len(wrong):
        return None
    lengths = measured.starts[1:] - measured.starts[:-1]
    mean = np.add.reduceat(wrong, measured.starts[:-1]) / lengths
    chosen = np.argsort(-mean, kind="stable")[: asked.worst]
    rows = judged.table.rows.take(measured.rows[chosen])
    whys = _whys(model, judged, rows) if asked.why else [{}] * len(rows)
    told = []
    for number, text, why in zip(chosen.tolist(), texts(rows, model.tokenizer), whys, strict=True):
        own = slice(int(measured.starts[number]), int(measured.starts[number + 1]))
        said = {
            name: [_shown(value, labels) for value in measured.records[name][own].tolist()]
            for name in ("target", "prediction")
            if name in measured.records
        }
        told.append({"row": int(measured.rows[number]), "text": text, "wrongness": float(mean[number]), **said, **why})
    return told


def _whys(model: Model, judged: Judged, rows: Rows) -> list[dict[str, Any]]:
    """Of each row its tokens and what each added to the score of the label it got, or to its number."""
    added = attributions(model, judged.name, Table.of(rows, judged.encoding))
    if added is None:
        return [{}] * len(rows)
    tokens = [[model.tokenizer.token(own) for own in rows.tokens.take(np.array([row])).values] for row in range(len(rows))]
    return [{"why": list(zip(names, own.tolist(), strict=True))} for names, own in zip(tokens, added, strict=True)]


def _shown(value: Any, labels: Sequence[str] | None) -> Any:
    return labels[value] if labels is not None and isinstance(value, int) else value


def _linear(model: Model, judged: Judged, trained: Table) -> Mapping[str, float] | None:
    """The task's metrics of TF-IDF and a linear model, for kinds of one target a row."""
    chosen = judged.table.learned
    rows = judged.table.rows.take(chosen)
    labels = getattr(judged.encoding, "labels", None)
    outputs = linear(trained.labelled(), rows, model.tokenizer, None if labels is None else len(labels))
    if outputs is None:
        return None
    _, targets = judged.encoding.collate(rows, np.zeros(len(rows), np.uint64))
    measured = Measured.of([(chosen, judged.encoding.records(outputs, targets))])
    return {name: measured.value(make()) for name, make in judged.metrics.items()}


def _compared(judged: Judged, measured: Measured, other: Model, theirs: Judged, asked: Asked) -> dict[str, Any]:
    """Each metric of both models on the same rows. Raises ConfigError where they keep other rows of the split."""
    second = everything(other.network, theirs, tokens_per_pass=TOKENS_PER_PASS, device=other.device)
    if not np.array_equal(measured.rows, second.rows):
        raise ConfigError(
            f"task '{judged.name}': the two models keep other rows of the split ({len(measured.rows)} and {len(second.rows)}), "
            "by their tokenizers or max_length. They can not be compared row by row."
        )
    return {name: asdict(paired(make(), measured, second, asked.draws)) for name, make in judged.metrics.items()}
