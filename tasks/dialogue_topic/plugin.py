"""What a short dialogue is about, from the package `chatterbot-corpus`: its files are named after their topics."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

from ruamel.yaml import YAML

from trunkline.data.sources.base import Source, normalised, package_folder
from trunkline.data.sources.chunk import Chunk, chunked
from trunkline.registry import SOURCES

LANGUAGES = ("english", "chinese")
# One conversation: it can not be divided, so what one split knows of the topic the others never see.
LEFT_OUT = ("health",)


@SOURCES.register("chatterbot_topics")
class Topics(Source):
    """Columns query, reply and topic; each pair once, and those filed under two topics are left out."""

    def files(self) -> list[str]:
        data = package_folder("chatterbot_corpus", "demo") / "data"
        paths = [path for language in LANGUAGES for path in sorted((data / language).glob("*.yml"))]
        return [str(path) for path in paths if path.stem not in LEFT_OUT]

    def read(self, split: str) -> Iterator[Chunk]:
        del split  # there is but one
        rows: dict[tuple[str, str], tuple[str, str, str]] = {}
        topics: dict[tuple[str, str], set[str]] = {}
        for path in self.files():
            for query, reply in _pairs(path):
                key = (normalised(query), normalised(reply))
                rows.setdefault(key, (query, reply, Path(path).stem))
                topics.setdefault(key, set()).add(Path(path).stem)
        yield from chunked(("query", "reply", "topic"), (row for key, row in rows.items() if len(topics[key]) == 1))


@functools.cache
def _pairs(path: str) -> list[tuple[str, str]]:
    """The first line of each conversation with every later one; entries that are no list, and empty lines, are passed over."""
    loaded = YAML(typ="safe").load(Path(path).read_bytes())
    pairs = []
    for conversation in loaded["conversations"]:
        lines = [str(line).strip() for line in conversation] if isinstance(conversation, list) else []
        pairs += [(lines[0], reply) for reply in lines[1:] if lines[0] and reply]
    return pairs
