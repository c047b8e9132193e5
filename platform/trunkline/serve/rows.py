"""Rows to be answered, one after the other, from JSON lines, plain lines, CSV, TSV, Parquet and Arrow; no file is held whole."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trunkline.data.sources.base import SourceContext
from trunkline.data.sources.chunk import Chunk
from trunkline.data.sources.files import Location, locate, readable
from trunkline.errors import DataError, nearest
from trunkline.predict import Row
from trunkline.registry import SOURCES

STDIN = "-"
# Files of columns, by what their name ends in; whatever else is read line by line. Compression comes behind it: rows.csv.gz.
COLUMNS = ("csv", "tsv", "parquet", "arrow", "json")
PACKED = (".gz", ".bz2", ".zst", ".lz4")
LONGEST_LINE = 1 << 26


@dataclass(frozen=True)
class Given:
    """A row, or why it is none. place: where it stands, such as rows.csv:17."""

    place: str
    row: Row | None
    fault: str = ""


def read_rows(path: str, wanted: Collection[str], optional: Collection[str] = ()) -> Iterator[Given]:
    """Every row of a file, a glob of files or a URI, in order; `-` is stdin. Blank lines are passed over.

    A line that starts with a brace is a JSON object, any other line is a text. wanted: the columns a file of columns must have;
    optional: those taken where it has them. Raises DataError for what can not be read at all.
    """
    if path == STDIN:
        yield from _lines(sys.stdin.buffer, "stdin")
        return
    for location in locate(Path.cwd(), path):
        form = _form(location.member or location.path)
        if form is None:
            with readable(location), _stream(location) as stream:
                yield from _lines(stream, location.shown)
            continue
        source = SOURCES.get(form)(SourceContext(Path.cwd()), rows=location.shown)
        for chunk in source.read("rows"):
            yield from _of_columns(chunk, location.shown, wanted, optional)


def _form(path: str) -> str | None:
    name = path
    for end in PACKED:
        name = name.removesuffix(end)
    ending = name.rpartition(".")[2].lower()
    return ending if ending in COLUMNS else None


@contextlib.contextmanager
def _stream(location: Location) -> Iterator[io.BufferedReader]:
    with io.BufferedReader(location.stream(), 1 << 20) as stream:
        yield stream


def _lines(stream: Any, shown: str) -> Iterator[Given]:
    for number, line in enumerate(iter(lambda: stream.readline(LONGEST_LINE), b""), 1):
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if line.strip():
            yield _line(line, f"{shown}:{number}")


def _line(line: bytes, place: str) -> Given:
    try:
        text = line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        return Given(place, None, "is not UTF-8.")
    if not text.lstrip().startswith("{"):
        return Given(place, text)
    try:
        row: dict[str, Any] = json.loads(text)
    except (ValueError, RecursionError) as error:
        return Given(place, None, f"is no JSON object: {error}.")
    return Given(place, row)


def _of_columns(chunk: Chunk, shown: str, wanted: Collection[str], optional: Collection[str]) -> Iterator[Given]:
    lacking = [name for name in wanted if name not in chunk.columns]
    if lacking and len(chunk):
        raise DataError(f"no column '{lacking[0]}'. {nearest(lacking[0], chunk.columns)}", where=shown)
    names = [name for name in dict.fromkeys((*wanted, *optional)) if name in chunk.columns]
    columns = {name: chunk.columns[name] for name in names} if len(chunk) else {}
    place = chunk.where or (lambda row: f"{shown}:row {row}")
    found = [Given(place(row), {name: columns[name][row] for name in names}) for row in range(len(chunk))]
    refused = [Given(own.place, None, own.reason) for own in chunk.refused]
    yield from sorted([*found, *refused], key=lambda own: _number(own.place)) if refused else found


def _number(place: str) -> int:
    """Of a line, so that those that are no row stand between the others."""
    number = place.rpartition(":")[2].removeprefix("row ")
    return int(number) if number.isdigit() else 0
