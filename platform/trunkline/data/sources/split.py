"""One split of rows divided into train, validation and test by a hash of their text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from trunkline.data.fingerprint import digest
from trunkline.data.sources.base import Source, text_bucket
from trunkline.data.sources.chunk import Chunk
from trunkline.data.sources.reading import join_words
from trunkline.errors import ConfigError, DataError, nearest

SIDES = ("train", "validation", "test")
BETWEEN = "\x1f"


class HashSplit(Source):
    """Rows whose text is alike never stand on both sides, and a row never changes sides when others come or go.

    source: has the split `rows`. by: its column(s) that tell, as the source names them. validation, test: percent.
    """

    def __init__(self, source: Source, by: str | Sequence[str], validation: int, test: int) -> None:
        super().__init__(source.context)
        self.source, self.by = source, (by,) if isinstance(by, str) else tuple(by)
        # Content of the rows -> one byte a row: texts are hashed once, not once for each split.
        self._sides: dict[str, bytes] = {}
        self.percent = {"test": test, "validation": validation, "train": 100 - validation - test}
        for key, percent in (("validation", validation), ("test", test)):
            if not 0 <= percent < 100:
                raise ConfigError(f"data.split.{key}: percent from 0 to 99, found {percent}.")
        if self.percent["train"] <= 0:
            raise ConfigError(f"data.split: validation {validation} and test {test} percent leave nothing to train on.")
        if "rows" not in source.splits():
            raise ConfigError("data.split: the source has splits of its own. Leave `split` out, or name all rows in `rows`.")
        if not self.by:
            raise ConfigError("data.split.by: name the column(s) whose text decides.")

    def splits(self) -> tuple[str, ...]:
        return tuple(name for name in SIDES if self.percent[name])

    def files(self) -> list[str]:
        return self.source.files()

    def fingerprint(self, split: str) -> str:
        return digest([self.source.fingerprint("rows"), self.by, self.percent, split])

    def read(self, split: str) -> Iterator[Chunk]:
        wanted = SIDES.index(split)
        content = self.source.fingerprint("rows")
        known, sides = self._sides.get(content), bytearray()
        for chunk in self.source.read("rows"):
            own = self._chunk_sides(chunk) if known is None else known[len(sides) : len(sides) + len(chunk)]
            sides += own
            kept = [row for row, side in enumerate(own) if side == wanted]
            # What could not be read has no text that tells its side: it counts once, with the training rows.
            refused = chunk.refused if split == SIDES[0] else ()
            if kept or refused:
                yield replace(chunk.take(kept), refused=refused)
        self._sides[content] = bytes(sides)

    def _chunk_sides(self, chunk: Chunk) -> bytes:
        if not len(chunk):
            return b""
        missing = [name for name in self.by if name not in chunk.columns]
        if missing:
            raise DataError(f"data.split.by: no column '{missing[0]}'. {nearest(missing[0], chunk.columns)}")
        texts = zip(*(chunk.columns[name] for name in self.by), strict=True)
        return bytes(SIDES.index(self.side(values)) for values in texts)

    def side(self, values: Sequence[object]) -> str:
        """Which split a row with these values belongs to. The test rows stay the same whatever `validation` is."""
        bucket = bucket_of(values)
        if bucket < self.percent["test"]:
            return "test"
        return "validation" if bucket < self.percent["test"] + self.percent["validation"] else "train"


def bucket_of(values: Sequence[object]) -> int:
    """The hundredth, 0 to 99, that a row with these values falls into: below `test` it is a test row, and so on."""
    return text_bucket(BETWEEN.join(_text(value) for value in values))


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return join_words([str(word) for word in value])
    return "" if value is None else str(value)
