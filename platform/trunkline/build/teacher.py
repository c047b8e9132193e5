"""Scores of a trained model as a column of the rows that another task learns from."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from trunkline.build.model import load_model
from trunkline.build.task import reading
from trunkline.data.fingerprint import digest
from trunkline.data.partial import TEACHER_COLUMN
from trunkline.data.sources.base import Source, TaskText
from trunkline.data.sources.chunk import Chunk
from trunkline.errors import ConfigError, UsageError
from trunkline.predict import Model
from trunkline.tasks.card import Card, load_card
from trunkline.tasks.catalog import Catalog


def taught(card: Card, source: Source, catalog: Catalog) -> Source:
    """The source with the scores of the card's teacher beside its training rows, if that is a model.

    Raises ConfigError, IntegrityError for a model that can not be opened or answers otherwise than the task does.
    """
    if card.teacher is None or card.teacher.model is None:
        return source
    folder, task = card.folder / card.teacher.model, card.teacher.task or card.name
    where = card.where("teacher")
    try:
        model = load_model(folder, catalog)
        model.task(task)
    except (ConfigError, UsageError) as error:
        raise ConfigError(f"{error.message}", where=where) from error
    theirs = load_card(folder / "heads" / task / "card.yaml", with_data=False)
    for key in ("kind", "labels", "names"):
        own, other = ({"kind": one.head.kind, **one.head_arguments}.get(key) for one in (card, theirs))
        if own != other:
            raise ConfigError(
                f"the teacher's '{task}' has {key} {other}, this task {own}. Name another task of the model, or another model.",
                where=where,
            )
    if len(card.inputs) != len(theirs.inputs):
        raise ConfigError(f"the teacher reads {', '.join(theirs.inputs)}, this task {', '.join(card.inputs)}.", where=where)
    return Taught(TaskText(source, tuple(card.inputs), reading(card)), folder, model, task)


class Taught(Source):
    """A source whose training rows have one more column: the teacher's scores, a list or a number.

    text: the task's source and inputs. Rows without all inputs get none. What the model is, is part of the fingerprint.
    """

    def __init__(self, text: TaskText, folder: Path, model: Model, task: str) -> None:
        super().__init__(text.source.context)
        self.text, self.folder, self.model, self.task = text, folder, model, task

    def splits(self) -> tuple[str, ...]:
        return self.text.source.splits()

    def files(self) -> list[str]:
        return self.text.source.files()

    def fingerprint(self, split: str) -> str:
        own = self.text.source.fingerprint(split)
        return digest([own, self.text.inputs, self.text.reading.key(), self._model_key, self.task]) if split == "train" else own

    @functools.cached_property
    def _model_key(self) -> str:
        """The manifest holds the hash of every file."""
        return digest([self.model.manifest["files"]])

    def read(self, split: str) -> Iterator[Chunk]:
        for chunk in self.text.source.read(split):
            yield self._scored(chunk) if split == "train" else chunk

    def _scored(self, chunk: Chunk) -> Chunk:
        if not len(chunk):
            return chunk
        picked = self.text.reading.select(chunk, (), optional=self.text.inputs)
        names = self.model.task(self.task).encoding.inputs
        values = list(zip(*(picked.columns[name] for name in self.text.inputs), strict=True))
        whole = [row for row, texts in enumerate(values) if all(text is not None for text in texts)]
        scores: list[Any] = [None] * len(chunk)
        asked = [dict(zip(names, values[row], strict=True)) for row in whole]
        for row, score in zip(whole, self.model.scores(self.task, asked).tolist() if asked else (), strict=True):
            scores[row] = score
        return replace(chunk, columns={**chunk.columns, TEACHER_COLUMN: scores})
