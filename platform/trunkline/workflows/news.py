"""New rows for a task a model has: labelled ones, or corrections of what it predicted, as a task of their own beside it."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from trunkline import durable
from trunkline.build.evaluation import judged_task
from trunkline.build.task import open_source, reading
from trunkline.continual.drift import Sample
from trunkline.data.encoding.base import Encoding
from trunkline.data.intake import Intake
from trunkline.data.packing import rows_of
from trunkline.data.rows import Ragged, Rows
from trunkline.data.sources.split import bucket_of
from trunkline.data.store import SplitJob, build_all
from trunkline.document import writer
from trunkline.document.reader import shown
from trunkline.errors import ConfigError, DataError, nearest
from trunkline.predict import Model
from trunkline.tasks.card import Card, load_card
from trunkline.tasks.catalog import Catalog

RIGHT, PREDICTED = "right", "predicted"
NAME = re.compile(r".+_news_([0-9a-f]{10})")
HELD_OUT = 20  # percent of the new rows, by a hash of their text, on which old and new model are compared; at least one
ENOUGH = 10
TABLES = {".csv": ",", ".tsv": "\t"}


@dataclass(frozen=True)
class News:
    """name: of the task the new rows are. card: its card. rows: how many. held_out: of them, those that are judged on.

    corrected: share of the rows the model had wrong.
    """

    name: str
    card: Card
    rows: int
    held_out: int
    corrected: float | None = None

    @property
    def task(self) -> str:
        """The model's task they are rows of."""
        assert self.card.head_of is not None
        return self.card.head_of


def write_news(model: Model, card: Card, path: Path, catalog: Path) -> News:
    """The rows of `path` (JSON lines, .csv or .tsv) as a task in the folder `catalog`, named after task and content.

    Rows have the task's inputs and its target, or the inputs and what was `predicted` and is `right`. Raises DataError with the
    lines that can not be used, and where nothing is left; ConfigError for a task that can not have such rows.
    """
    if card.target is None or card.data.gather is not None or card.rows_of is not None:
        raise ConfigError(f"'{card.name}' has no target of its own, or gathered rows. Train it again by a recipe with `start:`.")
    found = read_rows(path)
    if len(found) < ENOUGH:
        raise DataError(f"{len(found)} rows are too few to learn from and to judge by. Give {ENOUGH} or more.", where=shown(path))
    rows = [_row(row, stored_columns(card), f"{shown(path)}:{number}") for number, row in found]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    place = catalog / f"{card.name[:45]}_news_{hashlib.sha256(text.encode()).hexdigest()[:10]}"
    place.mkdir(parents=True, exist_ok=True)
    durable.replace(place / "rows.jsonl", text)
    made = _as_task(place, card, rows)
    _check(made.card, model.task(card.name).encoding, catalog, path)
    if not 0 < made.held_out < len(rows):
        raise DataError("all rows read alike, so none can be held out to judge by. Give rows of other texts.", where=shown(path))
    wrong = [row[PREDICTED] != row[RIGHT] for _, row in found if PREDICTED in row and RIGHT in row]
    return replace(made, corrected=sum(wrong) / len(wrong) if wrong else None)


def earlier_news(aside: Sequence[str], tasks: Sequence[str], catalog: Catalog, folder: Path) -> list[News]:
    """The news of these tasks that a model has learned from before, and whose rows are still there.

    aside: tasks the model was trained on that are none of its own, news among them. Their cards are written anew after the
    task's, so that labels that were added since are theirs too.
    """
    found = []
    for place in (folder / name for name in dict.fromkeys(aside) if NAME.fullmatch(name)):
        task = load_card(place).head_of if (place / "rows.jsonl").is_file() else None
        if task is not None and task in tasks:
            found.append(_as_task(place, catalog.get(task), [row for _, row in read_rows(place / "rows.jsonl")]))
    return found


def stored_columns(card: Card) -> list[str]:
    """What the task's inputs and, last, its target are called in its rows."""
    return [card.data.columns.get(name, name) for name in (*card.inputs, str(card.target))]


def held_out(buckets: Sequence[int]) -> int:
    """The percent that are judged on: a fifth, or the nearest that holds out a row and leaves one. buckets: of the rows."""
    return min(max(HELD_OUT, min(buckets) + 1), max(1, *buckets))


def _as_task(place: Path, card: Card, rows: Sequence[Mapping[str, Any]]) -> News:
    """Rows in a folder as a task beside the card's own: its head, its loss, a part of them held out."""
    inputs = stored_columns(card)[:-1]
    buckets = [bucket_of([row[name] for name in inputs]) for row in rows]
    percent = held_out(buckets)
    read = card.data.model_dump(include={"columns", "lists", "nulls", "on_null"})
    stated: dict[str, Any] = {
        "name": place.name,
        "data": {
            "format": "jsonl",
            "rows": "rows.jsonl",
            "split": {"by": inputs, "validation": percent, "test": 0},
            **{key: value for key, value in read.items() if value},
        },
        "inputs": card.inputs,
        "target": card.target,
        "head": {"kind": card.head.kind, **card.head.arguments},
        "head_of": card.name,
        **({"loss": _part(card.loss.kind, card.loss.arguments)} if card.loss else {}),
        **({"metrics": [_part(one.kind, one.arguments) for one in card.metrics]} if card.metrics else {}),
    }
    durable.replace(place / "card.yaml", writer.render(stated))
    return News(place.name, load_card(place), len(rows), sum(bucket < percent for bucket in buckets))


def samples(model: Model, news: News, catalog: Catalog, store: Path, split: str, most: int = 2000) -> tuple[Sample, Sample]:
    """Training rows of the task as it was, and new ones, at most so many of each, as drift compares them."""
    task = news.task
    place = catalog.path(catalog.get(task).whole.name).parent.parent
    _, old = judged_task(model, task, Catalog([place]), place, split, lambda _: None)
    rows = _stored(news.card, model.task(task).encoding, catalog, store, "train")
    return _sample(model, old.rows, most), _sample(model, rows, most)


def _sample(model: Model, rows: Rows, most: int) -> Sample:
    chosen = np.random.default_rng(0).permutation(len(rows))[:most]
    part = rows.take(np.sort(chosen))
    tokens = np.split(part.tokens.values, part.tokens.starts[1:-1])
    vectors = model.embed_rows(rows_of([row.tolist() for row in tokens]))  # each drawn row as one text
    return Sample(_labels(part), tokens, vectors, model.tokenizer.unk_id)


def _labels(rows: Rows) -> np.ndarray:
    """What stands for a row's target: its number or label, or the set of its labels."""
    value = rows.targets.get("labels", next(iter(rows.targets.values())))
    if isinstance(value, Ragged):
        return np.array([str(np.unique(row).tolist()) for row in np.split(value.values, value.starts[1:-1])])
    return value if value.ndim == 1 else np.array([row.tobytes().hex() for row in value])


def _stored(card: Card, encoding: Encoding, catalog: Catalog, store: Path, split: str) -> Rows:
    job = SplitJob(card.name, open_source(card, catalog), split, encoding, reading(card), (), ())
    return build_all(store / "splits", [job])[0].rows


def _check(card: Card, encoding: Encoding, catalog: Path, path: Path) -> None:
    """Every row encodes; a value that is no label of the model is told with its line."""
    intake = Intake(encoding, reading(card), extras=(), beside=())
    try:
        for split in ("train", "validation"):
            for chunk in open_source(card, Catalog([catalog])).read(split):
                intake.rows(chunk)
    except DataError as error:
        raise DataError(error.message, where=f"{shown(path)} ({error.where})") from error


def read_rows(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """(number of its line, row) of a file of JSON lines, or of a table whose first line names the columns."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        raise DataError(f"can not be read: {said}.", where=shown(path)) from error
    between = TABLES.get(path.suffix.lower())
    return _objects(text, path) if between is None else _records(text, between, path)


def _objects(text: str, path: Path) -> list[tuple[int, dict[str, Any]]]:
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(f"is no JSON object: {error}.", where=f"{shown(path)}:{number}") from error
            if not isinstance(row, dict):
                raise DataError("is no JSON object.", where=f"{shown(path)}:{number}")
            found.append((number, row))
    return found


def _records(text: str, between: str, path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Empty fields are no values."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=between, strict=True)
    found: list[tuple[int, dict[str, Any]]] = []
    try:
        names = next(reader, [])
        for fields in reader:
            if fields and len(fields) != len(names):
                raise DataError(f"has {len(fields)} fields, and the first line names {len(names)}.", where=_place(path, reader))
            if fields:
                found.append((reader.line_num, {name: value for name, value in zip(names, fields, strict=True) if value}))
    except csv.Error as error:
        raise DataError(f"is no table: {error}.", where=_place(path, reader)) from error
    return found


def _place(path: Path, reader: Any) -> str:
    return f"{shown(path)}:{reader.line_num}"


def _row(row: Mapping[str, Any], columns: Sequence[str], where: str) -> dict[str, Any]:
    *inputs, target = columns
    value = row[RIGHT] if RIGHT in row and target not in row else row.get(target)
    lacking = [name for name in inputs if name not in row] + ([target] if value is None else [])
    if lacking:
        raise DataError(f"has no '{lacking[0]}'. {nearest(lacking[0], row)} A correction has '{RIGHT}' instead.", where=where)
    return {**{name: row[name] for name in inputs}, target: value}


def _part(kind: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {"kind": kind, **arguments}
