"""Leaks: rows under evaluation that are training rows of the same task or another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from trunkline.data.sources.base import TaskText
from trunkline.data.sources.decontaminate import row_keys


@dataclass(frozen=True)
class Leak:
    """rows of `of` rows of a task's split stand in what `trained` learns from, a task (maybe itself)."""

    task: str
    split: str
    trained: str
    rows: int
    of: int

    @property
    def sentence(self) -> str:
        whose = "its own training" if self.trained == self.task else f"the training of {self.trained}"
        advice = " `decontaminate: true` in a recipe leaves them out of training." if self.split == "test" else ""
        return f"leak: {self.rows:,} of {self.of:,} {self.split} rows of {self.task} stand in {whose}.{advice}"


def leaks(texts: Mapping[str, TaskText], splits: Iterable[str] = ("validation", "test")) -> list[Leak]:
    """Every pair of a split and a training set that share rows, the largest share first.

    texts: each task's source and input columns. A row is told by all its input texts together, in any order, so a pair leaks
    as a pair; capitals, spacing and punctuation do not matter (as in `decontaminate`). Reads all the texts once.
    """
    wanted = tuple(splits)
    trained = {name: _keys(text, "train") for name, text in texts.items()}
    found = []
    for name, text in texts.items():
        for split in wanted:
            if split not in text.source.splits():
                continue
            rows = [key for chunk in text.source.read(split) for key in row_keys(chunk, text)]
            for other, known in trained.items():
                shared = sum(key in known for key in rows if key is not None)
                if shared:
                    found.append(Leak(name, split, other, shared, len(rows)))
    return sorted(found, key=lambda leak: (-leak.rows / leak.of, leak.task, leak.split, leak.trained))


def _keys(text: TaskText, split: str) -> frozenset[int]:
    keys = (key for chunk in text.source.read(split) for key in row_keys(chunk, text))
    return frozenset(key for key in keys if key is not None)
