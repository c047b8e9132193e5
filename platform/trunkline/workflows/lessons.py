"""What an old model says to new rows, written down as tasks of their own (learning without forgetting)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trunkline import durable
from trunkline.build.model import load_model
from trunkline.build.task import open_source, reading
from trunkline.document import writer
from trunkline.predict import Model
from trunkline.registry import ENCODINGS
from trunkline.tasks.card import Card, load_card
from trunkline.tasks.catalog import Catalog
from trunkline.tasks.plugin import load_plugin

COLUMNS = ("text 1", "text 2")  # no task bears such a name
Say = Callable[[str], None]


@dataclass(frozen=True)
class Lessons:
    """folder: a catalog of the lessons' cards. of: lesson -> old task. hosts: those that have rows, the others read theirs."""

    folder: Path
    of: dict[str, str] = field(default_factory=dict)
    hosts: list[str] = field(default_factory=list)


def lessons(model: Path, catalog: Catalog, new: Sequence[str], folder: Path, say: Say) -> Lessons:
    """For each old task that can learn from a teacher: a task over the new tasks' training texts, with its answers.

    Source: Li & Hoiem, arXiv:1606.09282, section 3 (LwF). Departures: the old heads are held still, so that the old answers move
    by the trunk alone; the new rows are read once more for it, apart from their own task's. A task that reads as many texts as no
    new task gives, one with a LoRA, or one of a kind that learns from no teacher, is told and not held.
    """
    opened = load_model(model, catalog)
    cards = {name: load_card(model / "heads" / name / "card.yaml", with_data=False) for name in opened.tasks}
    made = Lessons(folder)
    for width in (1, 2):
        mine = [task for task in new if len(catalog.get(task).inputs) == width]
        held = [name for name, card in cards.items() if len(card.inputs) == width and _teachable(opened, card)]
        if mine and held:
            _write(opened, {name: cards[name] for name in held}, list(_texts(catalog, mine)), made)
    left = sorted(cards.keys() - set(made.of.values()))
    if left:
        say(f"warning: not held by what the old model says: {', '.join(left)}")
    for name in (name for name in made.of.values() if name not in catalog.names()):
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        durable.replace(place / "card.yaml", cards[name].text)
    return made


def _teachable(model: Model, card: Card) -> bool:
    about = model.manifest["tasks"][card.name]
    return bool(ENCODINGS.get(card.head.kind).learns_from_teacher) and "lora" not in about and "head_of" not in about


def _texts(catalog: Catalog, tasks: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for task in tasks:
        card = catalog.get(task)
        load_plugin(card)
        for chunk in open_source(card, catalog).read("train"):
            picked = reading(card).select(chunk, (), optional=tuple(card.inputs))
            for texts in zip(*(picked.columns[name] for name in card.inputs), strict=True):
                if all(isinstance(text, str) for text in texts):
                    yield texts


def _write(model: Model, cards: Mapping[str, Card], texts: Sequence[tuple[str, ...]], made: Lessons) -> None:
    """The rows beside the first lesson's card, and a card for each old task."""
    host = ""
    rows: list[dict[str, Any]] = [dict(zip(COLUMNS, row, strict=False)) for row in texts]
    for name, card in cards.items():
        for row, score, answer in zip(rows, *_said(model, name, texts), strict=True):
            row |= {f"{name}_says": score, name: answer}
        lesson = f"{name[:50]}_lesson"
        shares = {"rows_of": host} if host else _own_rows(len(card.inputs))
        head = {"kind": card.head.kind, **card.head.arguments}
        stated = {
            "name": lesson,
            **shares,
            "target": name,
            "teacher": {"column": f"{name}_says"},
            "head": head,
            "head_of": name,
            "loss": {"kind": "distillation", "share": 1.0},
        }
        place = made.folder / lesson
        place.mkdir(parents=True, exist_ok=True)
        durable.replace(place / "card.yaml", writer.render(stated))
        made.of[lesson] = name
        host = host or lesson
    durable.replace(made.folder / host / "rows.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    made.hosts.append(host)


def _said(model: Model, task: str, texts: Sequence[tuple[str, ...]]) -> tuple[list[Any], list[Any]]:
    """Scores of each row, and a target the kind accepts, which counts for nothing beside them: the answer itself."""
    encoding = model.task(task).encoding
    scores = model.scores(task, [dict(zip(encoding.inputs, row, strict=True)) for row in texts])
    columns = {name: list(column) for name, column in zip(encoding.inputs, zip(*texts, strict=True), strict=True)}
    decoded = [next(iter(answer.values())) for answer in encoding.decode(scores, encoding.encode(columns, with_targets=False))]
    return scores.tolist(), [list(answer.values()) if isinstance(answer, Mapping) else answer for answer in decoded]


def _own_rows(width: int) -> dict[str, Any]:
    return {"data": {"format": "jsonl", "train": "rows.jsonl"}, "inputs": list(COLUMNS[:width])}
