"""Rows from text files: JSON lines, comma and tab separated values, plain lines."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from typing import Any

from trunkline.data.sources.base import SourceContext
from trunkline.data.sources.chunk import Chunk
from trunkline.data.sources.files import FileSource, Location, Paths
from trunkline.data.sources.gather import Gatherer
from trunkline.errors import ConfigError, DataError
from trunkline.registry import SOURCES


@SOURCES.register("jsonl")
class JsonLines(FileSource):
    """One JSON object a line; columns are its keys, a key that a row lacks is null. Blank lines are passed over."""

    def read_file(self, location: Location) -> Iterator[Chunk]:
        seen: dict[str, None] = {}
        gathered = Gatherer(location.shown)
        with location.text("utf-8") as stream:
            for number, line in enumerate(stream, 1):
                if line.isspace():
                    continue
                row, fault = _parse(line)
                seen |= dict.fromkeys(row)
                if gathered.refuse(number, fault) if fault else gathered.add(row, number, line):
                    yield gathered.chunk({name: [kept.get(name) for kept in gathered.rows] for name in seen})
        if gathered.waits:
            yield gathered.chunk({name: [kept.get(name) for kept in gathered.rows] for name in seen})


def _parse(line: str) -> tuple[dict[str, Any], str | None]:
    """The row, or what is wrong with the line."""
    try:
        row = json.loads(line.rstrip())  # a newline would be the next line's first column
    except (ValueError, RecursionError) as error:
        reason = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
        return {}, f"not JSON: {reason}."
    if not isinstance(row, dict) or not row:
        return {}, f"not a JSON object with keys, found {type(row).__name__}."
    return row, None


class _Separated(FileSource):
    """Rows of fields; a row with another number of fields than the header has is an error, unless `extra` is `drop`."""

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
        extra: str,
        encoding: str,
    ) -> None:
        super().__init__(context, train=train, validation=validation, test=test, rows=rows)
        if extra not in ("error", "drop"):
            raise ConfigError(f"data.extra: found {extra!r}. Known: drop, error.")
        for key, sign in (("delimiter", delimiter), ("quote", quote)):
            if sign is not None and len(sign) != 1:
                raise ConfigError(f"data.{key}: one character is needed, found {sign!r}.")
        self.delimiter, self.quote, self.extra, self.encoding = delimiter, quote, extra, encoding
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
        gathered = Gatherer(shown)
        line = reader.line_num + 1
        for fields in _until_broken(reader, shown):
            if self.extra == "drop":
                del fields[len(names) :]
            wrong = f"{len(fields)} field(s), the header has {len(names)}: {', '.join(names)}."
            if fields and len(fields) != len(names) and reader.line_num > line:
                # A quote that was left open may have swallowed good lines: no single row to be set aside.
                raise DataError(f"{wrong} They reach to line {reader.line_num}.", where=f"{shown}:{line}")
            if len(fields) == len(names):
                full = gathered.add(fields, line, "".join(fields))
            else:
                full = bool(fields) and gathered.refuse(line, wrong)
            if full:
                yield gathered.chunk(_columns(names, gathered.rows))
            line = reader.line_num + 1
        if gathered.waits:
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
    """Comma-separated values, quoted as RFC 4180 says. names: of the columns, if the file has no header line.

    extra: `drop` takes no notice of fields beyond the named ones; by default they are an error.
    """

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
        extra: str = "error",
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
            extra=extra,
            encoding=encoding,
        )


@SOURCES.register("tsv")
class Tsv(_Separated):
    """Tab-separated values; quotes are plain characters unless `quote` names one. names: if there is no header line.

    extra: `drop` takes no notice of fields beyond the named ones; by default they are an error.
    """

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
        extra: str = "error",
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
            extra=extra,
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
        gathered = Gatherer(location.shown)
        with location.text(self.encoding) as stream:
            for number, line in enumerate(stream, 1):
                row = line.strip()
                if row and gathered.add(row, number, row):
                    yield gathered.chunk({self.column: gathered.rows})
        if gathered.rows:
            yield gathered.chunk({self.column: gathered.rows})
