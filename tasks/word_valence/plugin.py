"""The sentiment lexicon of the package `vaderSentiment`: words and emoticons, each rated by ten people."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from trunkline.data.sources.base import Source, package_folder
from trunkline.data.sources.chunk import Chunk, chunked
from trunkline.registry import SOURCES


@SOURCES.register("vader_lexicon")
class VaderLexicon(Source):
    """Columns word and valence, the mean rating from -4 to 4. A term that is listed twice keeps its first rating."""

    def files(self) -> list[str]:
        return [str(package_folder("vaderSentiment", "demo") / "vader_lexicon.txt")]

    def read(self, split: str) -> Iterator[Chunk]:
        del split  # there is but one
        lines = Path(self.files()[0]).read_text(encoding="utf-8").split("\n")
        ratings: dict[str, str] = {}
        for line in lines:
            word, _, rest = line.partition("\t")
            if rest and word.strip():
                ratings.setdefault(word.strip(), rest.split("\t")[0])
        yield from chunked(("word", "valence"), ratings.items())
