"""Questions and their answers from the package `chatterbot-corpus`, in English and Chinese."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

from ruamel.yaml import YAML

from trunkline.data.sources.base import Source, normalised, package_folder
from trunkline.data.sources.chunk import Chunk, chunked
from trunkline.registry import SOURCES

# Traditional Chinese repeats most of the simplified text and is left out.
LANGUAGES = ("english", "chinese")


@SOURCES.register("chatterbot_replies")
class Replies(Source):
    """Columns query and reply, each pair once; a reply that only repeats its query is left out."""

    def files(self) -> list[str]:
        data = package_folder("chatterbot_corpus", "demo") / "data"
        return [str(path) for language in LANGUAGES for path in sorted((data / language).glob("*.yml"))]

    def read(self, split: str) -> Iterator[Chunk]:
        del split  # there is but one
        pairs: dict[tuple[str, str], tuple[str, str]] = {}
        for path in self.files():
            for query, reply in _pairs(path):
                key = (normalised(query), normalised(reply))
                if key[0] != key[1]:
                    pairs.setdefault(key, (query, reply))
        yield from chunked(("query", "reply"), pairs.values())


@functools.cache
def _pairs(path: str) -> list[tuple[str, str]]:
    """The first line of each conversation with every later one: most lists are a question and several answers to it.

    A file may hold entries that are no list, lines that are no text, and empty ones.
    """
    loaded = YAML(typ="safe").load(Path(path).read_bytes())
    pairs = []
    for conversation in loaded["conversations"]:
        lines = [str(line).strip() for line in conversation] if isinstance(conversation, list) else []
        pairs += [(lines[0], reply) for reply in lines[1:] if lines[0] and reply]
    return pairs
