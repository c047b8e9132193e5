"""The texts of other tasks, as one column: what masked language modelling trains on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trunkline.data.fingerprint import configuration, digest
from trunkline.data.keys import text_key
from trunkline.data.sources.base import Source, SourceContext, TaskText, normalised
from trunkline.data.sources.chunk import Chunk, chunked
from trunkline.errors import ConfigError
from trunkline.registry import SOURCES

# From the one that keeps every text to the one that gives way: a text of the test rows of any task is trained on by none.
RANKED = ("test", "validation", "train")


@SOURCES.register("tasks")
class Tasks(Source):
    """Every text of the named tasks, in the column `text`, each once.

    A text that stands in a later split of any of them is left out of the earlier ones, so what is evaluated was never seen.
    """

    def __init__(self, context: SourceContext, *, tasks: Sequence[str]) -> None:
        super().__init__(context)
        self.tasks = list(tasks)
        if not self.tasks or len(set(self.tasks)) != len(self.tasks):
            raise ConfigError(f"data.tasks: name tasks, each once, found {self.tasks}.")
        if context.open_task is None:
            raise ConfigError("data.tasks: other tasks can not be opened from here.")
        self.members: list[TaskText] = [context.open_task(name) for name in self.tasks]

    def splits(self) -> tuple[str, ...]:
        return tuple(name for name in reversed(RANKED) if any(name in member.source.splits() for member in self.members))

    def files(self) -> list[str]:
        return [path for member in self.members for path in member.source.files()]

    def fingerprint(self, split: str) -> str:
        return digest([self.identity(), configuration(self), [member.fingerprint() for member in self.members], split])

    def read(self, split: str) -> Iterator[Chunk]:
        seen: set[int] = set()
        for other in RANKED[: RANKED.index(split)]:
            seen.update(text_key(normalised(text)) for text in self._texts(other))
        yield from chunked(("text",), ([text] for text in self._texts(split) if _is_new(text, seen)))

    def _texts(self, split: str) -> Iterator[str]:
        for member in self.members:
            if split in member.source.splits():
                yield from member.read(split)


def _is_new(text: str, seen: set[int]) -> bool:
    key = text_key(normalised(text))
    if key in seen:
        return False
    seen.add(key)
    return True
