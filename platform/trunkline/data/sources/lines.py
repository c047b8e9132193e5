"""Rows from plain lines: fields between a separator, parallel files, words with their tags."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from trunkline.data.sources.base import SourceContext
from trunkline.data.sources.chunk import Chunk
from trunkline.data.sources.files import FileSource, Location, Paths, readable
from trunkline.data.sources.gather import Gatherer
from trunkline.errors import ConfigError, DataError
from trunkline.registry import SOURCES


class _Named(FileSource):
    """Columns with names of their own; `_` for one that is not wanted."""

    def __init__(
        self,
        context: SourceContext,
        *,
        train: Paths,
        validation: Paths,
        test: Paths,
        rows: Paths,
        names: Sequence[str],
        encoding: str,
    ) -> None:
        super().__init__(context, train=train, validation=validation, test=test, rows=rows)
        self.names, self.encoding = list(names), encoding
        self.kept = [(number, name) for number, name in enumerate(self.names) if name != "_"]
        wanted = [name for _, name in self.kept]
        if len(set(wanted)) != len(wanted) or not wanted:
            raise ConfigError(f"data.names: each column needs a name of its own, found {', '.join(self.names)}.")

    def chunk(self, gathered: Gatherer) -> Chunk:
        return gathered.chunk({name: [fields[number] for fields in gathered.rows] for number, name in self.kept})


@SOURCES.register("fields")
class Fields(_Named):
    """A row a line, fields between a separator, no quotes; the last column takes the rest. Blank lines are passed over.

    names: of the columns, in the file's order. separator: of any length; without one, any white space. So `label text` lines
    are names: [label, text].
    """

    def __init__(
        self,
        context: SourceContext,
        *,
        names: Sequence[str],
        separator: str | None = None,
        train: Paths = None,
        validation: Paths = None,
        test: Paths = None,
        rows: Paths = None,
        encoding: str = "utf-8",
    ) -> None:
        super().__init__(context, train=train, validation=validation, test=test, rows=rows, names=names, encoding=encoding)
        if separator == "":
            raise ConfigError("data.separator: at least one character, or leave it out for white space.")
        self.separator = separator

    def read_file(self, location: Location) -> Iterator[Chunk]:
        gathered = Gatherer(location.shown)
        with location.text(self.encoding) as stream:
            for number, line in enumerate(stream, 1):
                text = line.rstrip("\n") if self.separator else line.strip()
                if not text.strip():
                    continue
                fields = text.split(self.separator, len(self.names) - 1)
                if len(fields) != len(self.names):
                    full = gathered.refuse(
                        number, f"{len(fields)} field(s), expected {len(self.names)}: {', '.join(self.names)}."
                    )
                else:
                    full = gathered.add([field.strip() for field in fields], number, text)
                if full:
                    yield self.chunk(gathered)
        if gathered.waits:
            yield self.chunk(gathered)


@SOURCES.register("parallel")
class Parallel(_Named):
    """A file a column, a row a line: line 7 of every file is one row. Files of different length are an error.

    names: of the columns. A split lists its files in the order of the names; twice as many files are two sets of them.
    Rows that are blank in every file are passed over.
    """

    def __init__(
        self,
        context: SourceContext,
        *,
        names: Sequence[str],
        train: Paths = None,
        validation: Paths = None,
        test: Paths = None,
        rows: Paths = None,
        encoding: str = "utf-8",
    ) -> None:
        super().__init__(context, train=train, validation=validation, test=test, rows=rows, names=names, encoding=encoding)

    def read(self, split: str) -> Iterator[Chunk]:
        locations, size = self.locations(split), len(self.names)
        if len(locations) % size:
            raise DataError(
                f"data.{split} names {len(locations)} file(s) for the {size} columns {', '.join(self.names)}. "
                "List one file for each column, in that order."
            )
        for first in range(0, len(locations), size):
            yield from self._read_together(locations[first : first + size])

    def read_file(self, location: Location) -> Iterator[Chunk]:
        raise AssertionError(f"{location.shown} alone is no row: read() takes the files of all columns together")

    def _read_together(self, locations: Sequence[Location]) -> Iterator[Chunk]:
        gathered = Gatherer(locations[0].shown)
        streams = [self._lines(location) for location in locations]
        for number, fields in enumerate(itertools.zip_longest(*streams), 1):
            ended = [location.shown for location, field in zip(locations, fields, strict=True) if field is None]
            if ended:
                others = [location.shown for location in locations if location.shown not in ended]
                raise DataError(f"has {number - 1} lines, {', '.join(others)} has more. Files must be parallel.", where=ended[0])
            if any(fields) and gathered.add(fields, number, "".join(fields)):
                yield self.chunk(gathered)
        if gathered.rows:
            yield self.chunk(gathered)

    def _lines(self, location: Location) -> Iterator[str]:
        with readable(location), location.text(self.encoding) as stream:
            for line in stream:
                yield line.strip()


@SOURCES.register("tagged")
class Tagged(FileSource):
    """A row a line of words with their tags, such as The/at jury/nn (the Brown corpus). Blank lines are passed over.

    Columns: words and tags (lists), and text (the words with spaces between). separator: between a word and its tag, the last
    one counts.
    """

    def __init__(
        self,
        context: SourceContext,
        *,
        train: Paths = None,
        validation: Paths = None,
        test: Paths = None,
        rows: Paths = None,
        separator: str = "/",
        encoding: str = "utf-8",
    ) -> None:
        super().__init__(context, train=train, validation=validation, test=test, rows=rows)
        if not separator:
            raise ConfigError("data.separator: what stands between a word and its tag, such as '/'.")
        self.separator, self.encoding = separator, encoding

    def read_file(self, location: Location) -> Iterator[Chunk]:
        gathered = Gatherer(location.shown)
        with location.text(self.encoding) as stream:
            for number, line in enumerate(stream, 1):
                pairs = [token.rpartition(self.separator) for token in line.split()]
                bad = [tag for word, _, tag in pairs if not word]
                if bad:
                    full = gathered.refuse(number, f"no '{self.separator}' and tag behind '{bad[0]}'.")
                else:
                    full = bool(pairs) and gathered.add(pairs, number, line)
                if full:
                    yield _tagged(gathered)
        if gathered.waits:
            yield _tagged(gathered)


def _tagged(gathered: Gatherer) -> Chunk:
    words = [[word for word, _, _ in pairs] for pairs in gathered.rows]
    tags = [[tag for _, _, tag in pairs] for pairs in gathered.rows]
    return gathered.chunk({"text": [" ".join(row) for row in words], "words": words, "tags": tags})
