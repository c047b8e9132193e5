"""Rows with the labels a model knew before more were added."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from trunkline.data.encoding.base import Encoding
from trunkline.data.fingerprint import digest
from trunkline.data.intake import Intake
from trunkline.data.sources.base import Source
from trunkline.data.sources.chunk import Chunk, Refused
from trunkline.data.sources.reading import Reading


class Known(Source):
    """A source without the rows that an encoding refuses, such as those of labels it does not have.

    reading, beside: as the rows are read (`Intake`).
    """

    def __init__(self, source: Source, encoding: Encoding, reading: Reading, beside: Sequence[str | None] = ()) -> None:
        super().__init__(source.context)
        self.source, self.encoding, self.reading, self.beside = source, encoding, reading, tuple(beside)

    def splits(self) -> tuple[str, ...]:
        return self.source.splits()

    def files(self) -> list[str]:
        return self.source.files()

    def fingerprint(self, split: str) -> str:
        return digest([self.source.fingerprint(split), "known", self.encoding.key(), self.reading.key(), list(self.beside)])

    def read(self, split: str) -> Iterator[Chunk]:
        for chunk in self.source.read(split):
            sieve = _Sieve(self.encoding, replace(self.reading, on_bad="quarantine"), beside=self.beside)
            sieve.rows(replace(chunk, where=str))
            yield chunk.take([row for row in range(len(chunk)) if str(row) not in sieve.refused])


class _Sieve(Intake):
    """Keeps the place of every row that is refused."""

    def __init__(self, encoding: Encoding, reading: Reading, *, beside: Sequence[str | None]) -> None:
        super().__init__(encoding, reading, beside=beside)
        self.refused: set[str] = set()

    def _set_aside(self, refused: Sequence[Refused]) -> None:
        self.refused |= {one.place for one in refused}
