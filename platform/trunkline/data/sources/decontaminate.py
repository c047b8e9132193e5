"""Training rows without those that any task is tested on."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from trunkline.data.fingerprint import digest
from trunkline.data.keys import text_key
from trunkline.data.sources.base import Source, TaskText, normalised
from trunkline.data.sources.chunk import Chunk
from trunkline.data.sources.reading import running_text

NOTE = "in_test_of_"
# Accented Latin letters count as none: corpora lose them (SST-2 has `m nch` where MR has `münch`).
NO_WORD = re.compile(r"[\W_\u0080-\u024f]+")
BETWEEN = "\x1f"


class HeldOut:
    """The rows a task is tested on. name: of the task; text: its source with the columns that tell a row from another."""

    def __init__(self, name: str, text: TaskText) -> None:
        self.name, self.text = name, text

    def fingerprint(self) -> str:
        return digest([self.text.source.fingerprint("test"), self.text.inputs, self.text.reading.key()])

    @functools.cached_property
    def keys(self) -> frozenset[int]:
        found = (key for chunk in self.text.source.read("test") for key in row_keys(chunk, self.text))
        return frozenset(key for key in found if key is not None)


class Decontaminated(Source):
    """A source whose training rows are without those that stand in a test.

    text: the task's source and input columns. tests: of every task of the run, this one too. A row is told by all its input
    texts together, in any order, so a pair leaks as a pair; capitals, spacing and punctuation do not matter. The rows taken
    out are counted for each test, `in_test_of_<task>` in the notes; a row that stands in two tests counts in both.
    """

    def __init__(self, text: TaskText, tests: Sequence[HeldOut]) -> None:
        super().__init__(text.source.context)
        self.text, self.source, self.tests = text, text.source, tests

    def splits(self) -> tuple[str, ...]:
        return self.source.splits()

    def files(self) -> list[str]:
        return self.source.files()

    def fingerprint(self, split: str) -> str:
        own = self.source.fingerprint(split)
        if split != "train":
            return own
        return digest([own, self.text.inputs, self.text.reading.key(), [[test.name, test.fingerprint()] for test in self.tests]])

    def read(self, split: str) -> Iterator[Chunk]:
        for chunk in self.source.read(split):
            yield self._without(chunk) if split == "train" else chunk

    def _without(self, chunk: Chunk) -> Chunk:
        kept, notes = [], Counter(chunk.notes)
        for row, key in enumerate(row_keys(chunk, self.text)):
            leaks = [test.name for test in self.tests if key in test.keys]
            notes.update(f"{NOTE}{name}" for name in leaks)
            if not leaks:
                kept.append(row)
        left = chunk.take(kept)
        return replace(left, notes=notes)


def row_keys(chunk: Chunk, text: TaskText) -> list[int | None]:
    """What tells each row: its input texts, normalised. None where one is missing."""
    stored = [text.reading.columns.get(name, name) for name in text.inputs]
    if any(name not in chunk.columns for name in stored):
        return [None] * len(chunk)  # whoever reads the column will say so
    return [_key(values) for values in zip(*(chunk.columns[name] for name in stored), strict=True)]


def _key(values: Sequence[Any]) -> int | None:
    texts = [text for value in values if (text := running_text(value)) is not None]
    return text_key(BETWEEN.join(sorted(bare(text) for text in texts))) if len(texts) == len(values) else None


def bare(text: str) -> str:
    """The words of a text: no capitals, punctuation or accented letters; a text of nothing else stays as it is."""
    same = normalised(text)
    return NO_WORD.sub(" ", same).strip() or same
