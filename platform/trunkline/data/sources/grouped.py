"""Flat rows gathered into lists: a line per query and candidate becomes a row per query."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from trunkline.data.fingerprint import digest
from trunkline.data.sources.base import Source
from trunkline.data.sources.chunk import Chunk, chunked
from trunkline.data.sources.reading import SHOWN, Reading
from trunkline.errors import ConfigError, DataError, nearest

CHUNK_LISTS = 256  # rows of hundreds of candidates do not pile up


class Grouped(Source):
    """Rows of the same values in `by` become one, wherever they stand in the split; its place is that of its first line.

    source: read split by split, each whole, in memory. by, lists: its columns, as the source names them. The columns `lists`
    hold the values of all lines, in their order; every other column keeps that of the first line. reading: what a null is, and
    whether a line with one in these columns is an error or left out of its list and counted.
    """

    def __init__(self, source: Source, by: Sequence[str], lists: Sequence[str], reading: Reading) -> None:
        super().__init__(source.context)
        self.source, self.by, self.lists, self.reading = source, tuple(by), tuple(lists), reading
        twice = set(self.by) & set(self.lists)
        if twice or not self.by or not self.lists:
            found = f"'{min(twice)}' is in both" if twice else f"found by {list(self.by)}, lists {list(self.lists)}"
            raise ConfigError(f"data.gather: `by` names what the lines of a list share, `lists` what becomes one; {found}.")

    def splits(self) -> tuple[str, ...]:
        return self.source.splits()

    def files(self) -> list[str]:
        return self.source.files()

    def fingerprint(self, split: str) -> str:
        return digest([self.source.fingerprint(split), self.by, self.lists, self.reading.on_null, list(self.reading.nulls)])

    def read(self, split: str) -> Iterator[Chunk]:
        rows: dict[tuple[str, ...], dict[str, Any]] = {}
        places: list[str] = []
        notes, first = Counter[str](), 0
        for chunk in self.source.read(split):
            lacking = self._lacking(chunk, first)
            whole = [row for row in range(len(chunk)) if row not in lacking]
            notes += chunk.notes
            notes["null_dropped"] += len(lacking)
            columns = {name: chunk.columns[name] for name in chunk.columns}
            for row in whole:
                key = tuple(str(columns[name][row]) for name in self.by)
                if key not in rows:
                    places.append(chunk.where(row) if chunk.where else f"row {first + row}")
                    rows[key] = {name: [] if name in self.lists else values[row] for name, values in columns.items()}
                for name in self.lists:
                    rows[key][name].append(columns[name][row])
            first += len(chunk)
        names = list(dict.fromkeys(name for row in rows.values() for name in row))
        values = ([row.get(name) for name in names] for row in rows.values())
        for number, chunk in enumerate(chunked(names, values, where=lambda row: places[row], size=CHUNK_LISTS)):
            chunk.notes.update(+notes if number == 0 else {})
            yield chunk

    def _lacking(self, chunk: Chunk, first: int) -> set[int]:
        """Lines without a value where one is needed. Raises DataError that names them unless they are to be dropped."""
        wanted = (*self.by, *self.lists)
        missing = [name for name in wanted if name not in chunk.columns]
        if missing:
            place = chunk.where(0).rsplit(":", 1)[0] if chunk.where else None
            raise DataError(f"data.gather: no column '{missing[0]}'. {nearest(missing[0], chunk.columns)}", where=place)
        found = {row for name in wanted for row, value in enumerate(chunk.columns[name]) if self.reading.is_null(value)}
        if found and self.reading.on_null == "error":
            bad = sorted(found)
            places = [chunk.where(row) if chunk.where else f"row {first + row}" for row in bad[:SHOWN]]
            more = f" and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
            names = " or ".join(f"'{name}'" for name in wanted)
            raise DataError(
                f"{len(bad)} line(s) of lists have no value in {names}: {', '.join(places)}{more}. Mend them, or set "
                "data.on_null: drop.",
                where=places[0],
            )
        return found
