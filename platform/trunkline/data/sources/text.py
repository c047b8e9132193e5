"""Rows from text files: JSON lines, comma and tab separated values, plain lines."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from trunkline.data.sources.base import CHUNK_ROWS, Chunk, SourceContext
from trunkline.data.sources.files import FileSource, Location, Paths
from trunkline.errors import ConfigError, DataError
from trunkline.registry import SOURCES

# A chunk ends early at this many characters, so that rows of megabytes do not pile up.
CHUNK_CHARACTERS = 1 << 24
REPLACEMENT = "\ufffd"


class _Gatherer:
    """Rows of one file on their way into chunks, with the line each began on."""

    def __init__(self, shown: str) -> None:
        self.shown = shown
        self.rows: list[Any] = []
        self.lines: list[int] = []
        self.notes: Counter[str] = Counter()
        self.characters = 0

    def add(self, row: Any, line: int, text: str | None) -> bool:
        """Keeps a row; true when a chunk is full. text: what of it to weigh and look through for undecodable bytes."""
        self.rows.append(row)
        self.lines.append(line)
        if text is not None:
            self.characters += len(text)
            if REPLACEMENT in text:
                self.notes["undecodable"] += 1
        return len(self.rows) >= CHUNK_ROWS or self.characters >= CHUNK_CHARACTERS

    def chunk(self, columns: dict[str, list[Any]]) -> Chunk:
        """The rows so far as `columns` holds them; starts anew."""
        shown, lines = self.shown, self.lines
        chunk = Chunk(columns, lambda row: f"{shown}:{lines[row]}", self.notes)
        self.rows, self.lines, self.notes, self.characters = [], [], Counter(), 0
        return chunk


@SOURCES.register("jsonl")
class JsonLines(FileSource):
    """One JSON object a line; columns are its keys, a key that a row lacks is null. Blank lines are passed over."""

    def read_file(self, location: Location) -> Iterator[Chunk]:
        seen: dict[str, None] = {}
        gathered = _Gatherer(location.shown)
        with location.text("utf-8") as stream:
            for number, line in enumerate(stream, 1):
                if line.isspace():
                    continue
                row = _parse(line, f"{location.shown}:{number}")
                seen |= dict.fromkeys(row)
                if gathered.add(row, number, line):
                    yield gathered.chunk({name: [kept.get(name) for kept in gathered.rows] for name in seen})
        if gathered.rows:
            yield gathered.chunk({name: [kept.get(name) for kept in gathered.rows] for name in seen})


def _parse(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise DataError(f"not JSON: {reason}.", where=where) from error
    if not isinstance(row, dict) or not row:
        raise DataError(f"not a JSON object with keys, found {type(row).__name__}.", where=where)
    return row


class _Separated(FileSource):
    """Rows of fields; a row with another number of fields than the header has is an error."""

    def __init__(
        self,
        context: SourceContext,
        *,
        train: Paths,
        validation: Paths,
        test: Paths,
        rows: Paths,
        delimiter: str,
        quote: str | None,
        names: Sequence[str] | None,
        encoding: str,
    ) -> None:
        super().__init__(context, train=train, validation=validation, test=test, rows=rows)
        for key, sign in (("delimiter", delimiter), ("quote", quote)):
            if sign is not None and len(sign) != 1:
                raise ConfigError(f"data.{key}: one character is needed, found {sign!r}.")
        self.delimiter, self.quote, self.encoding = delimiter, quote, encoding
        self.names = None if names is None else list(names)

    def read_file(self, location: Location) -> Iterator[Chunk]:
        csv.field_size_limit(2**31 - 1)
        with location.text(self.encoding, newline="") as stream:
            reader = csv.reader(
                stream,
                delimiter=self.delimiter,
                quotechar=self.quote,
                quoting=csv.QUOTE_NONE if self.quote is None else csv.QUOTE_MINIMAL,
                strict=True,
            )
            names = self.names if self.names is not None else next(reader, [])
            if len(set(names)) != len(names) or not names:
                raise DataError(f"the header repeats a column or has none: {', '.join(names)}.", where=f"{location.shown}:1")
            yield from self._chunks(reader, names, location.shown)

    def _chunks(self, reader: Any, names: Sequence[str], shown: str) -> Iterator[Chunk]:
        gathered = _Gatherer(shown)
        line = reader.line_num + 1
        for fields in _until_broken(reader, shown):
            if len(fields) == len(names):
                if gathered.add(fields, line, "".join(fields)):
                    yield gathered.chunk(_columns(names, gathered.rows))
            elif fields:
                raise DataError(
                    f"{len(fields)} field(s), the header has {len(names)}: {', '.join(names)}.", where=f"{shown}:{line}"
                )
            line = reader.line_num + 1
        if gathered.rows:
            yield gathered.chunk(_columns(names, gathered.rows))


def _until_broken(reader: Any, shown: str) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise DataError(f"can not be read as separated values: {error}.", where=f"{shown}:{reader.line_num}") from error


def _columns(names: Sequence[str], rows: Sequence[Sequence[str]]) -> dict[str, list[Any]]:
    return {name: list(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}


@SOURCES.register("csv")
class Csv(_Separated):
    """Comma-separated values, quoted as RFC 4180 says. names: of the columns, if the file has no header line."""

    def __init__(
        self,
        context: SourceContext,
        *,
        train: Paths = None,
        validation: Paths = None,
        test: Paths = None,
        rows: Paths = None,
        delimiter: str = ",",
        quote: str | None = '"',
        names: Sequence[str] | None = None,
        encoding: str = "utf-8",
    ) -> None:
        super().__init__(
            context,
            train=train,
            validation=validation,
            test=test,
            rows=rows,
            delimiter=delimiter,
            quote=quote,
            names=names,
            encoding=encoding,
        )


@SOURCES.register("tsv")
class Tsv(_Separated):
    """Tab-separated values; quotes are plain characters unless `quote` names one. names: if there is no header line."""

    def __init__(
        self,
        context: SourceContext,
        *,
        train: Paths = None,
        validation: Paths = None,
        test: Paths = None,
        rows: Paths = None,
        quote: str | None = None,
        names: Sequence[str] | None = None,
        encoding: str = "utf-8",
    ) -> None:
        super().__init__(
            context,
            train=train,
            validation=validation,
            test=test,
            rows=rows,
            delimiter="\t",
            quote=quote,
            names=names,
            encoding=encoding,
        )


@SOURCES.register("text")
class Text(FileSource):
    """Plain text, one row a line, in one column. Blank lines are passed over."""

    def __init__(
        self,
        context: SourceContext,
        *,
        train: Paths = None,
        validation: Paths = None,
        test: Paths = None,
        rows: Paths = None,
        column: str = "text",
        encoding: str = "utf-8",
    ) -> None:
        super().__init__(context, train=train, validation=validation, test=test, rows=rows)
        self.column, self.encoding = column, encoding

    def read_file(self, location: Location) -> Iterator[Chunk]:
        gathered = _Gatherer(location.shown)
        with location.text(self.encoding) as stream:
            for number, line in enumerate(stream, 1):
                row = line.strip()
                if row and gathered.add(row, number, row):
                    yield gathered.chunk({self.column: gathered.rows})
        if gathered.rows:
            yield gathered.chunk({self.column: gathered.rows})
