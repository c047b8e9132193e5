"""Chinese phrases with the tone of each character, from the dictionary of the package `pypinyin`."""

from __future__ import annotations

import functools
import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from trunkline.data.sources.base import Source, package_folder
from trunkline.data.sources.chunk import Chunk, chunked
from trunkline.registry import SOURCES

# Macron, acute, caron and grave over a vowel; a syllable with none of them is toneless, the fifth tone.
MARKS = {"\u0304": "1", "\u0301": "2", "\u030c": "3", "\u0300": "4"}


@SOURCES.register("pypinyin_phrases")
class Phrases(Source):
    """Columns characters and tones, lists of one length; phrases that have not a syllable for each character are left out."""

    def files(self) -> list[str]:
        return [str(package_folder("pypinyin", "demo") / "phrases_dict.json")]

    def read(self, split: str) -> Iterator[Chunk]:
        del split  # there is but one
        phrases: dict[str, list[list[str]]] = json.loads(Path(self.files()[0]).read_text(encoding="utf-8"))
        # A few syllables have two readings; the dictionary's first is the usual one.
        rows = (
            (list(phrase), [_tone(readings[0]) for readings in syllables])
            for phrase, syllables in phrases.items()
            if len(phrase) == len(syllables)
        )
        yield from chunked(("characters", "tones"), rows)


@functools.cache
def _tone(syllable: str) -> str:
    return next((MARKS[letter] for letter in unicodedata.normalize("NFD", syllable) if letter in MARKS), "5")
