"""What a source of rows is, how a card reads it, and how a text is told from another."""

from __future__ import annotations

import hashlib
import importlib.util
import math
import sys
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.fs

from trunkline.data.fingerprint import configuration, content_hash, digest
from trunkline.errors import ConfigError, DataError, MissingExtra, nearest

CHUNK_ROWS = 4096
SHOWN = 5
EVALUATION = ("validation", "test")


class Refused(NamedTuple):
    """A row that can not be used. place: file and line, or its number; reason: what is wrong with it."""

    place: str
    reason: str


@dataclass(frozen=True)
class Chunk:
    """Some rows of a split, in order. columns: name -> values, all of one length, at least one column if there is a row.

    where: names the place of row i of the chunk (`train.tsv:17`); without it rows are called by number. notes: what
    happened while reading, by name. size: number of rows, if asking a column for it costs something. refused: rows that came
    up in between and are not among the columns' (a line that is no JSON), for `Reading.select` to judge.
    """

    columns: Mapping[str, Sequence[Any]]
    where: Callable[[int], str] | None = None
    notes: Counter[str] = field(default_factory=Counter)
    size: int | None = None
    refused: Sequence[Refused] = ()

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.size is None else self.size

    def raise_refused(self) -> None:
        """Raises DataError for the first row that could not be read."""
        if self.refused:
            raise DataError(self.refused[0].reason, where=self.refused[0].place)

    def take(self, rows: Sequence[int]) -> Chunk:
        """The given rows, in that order; a column is gathered when asked for."""
        where = self.where
        return Chunk(
            _Taken(self.columns, rows), (lambda row: where(rows[row])) if where else None, self.notes, len(rows), self.refused
        )


class _Taken(Mapping[str, Sequence[Any]]):
    """Some rows of columns."""

    def __init__(self, columns: Mapping[str, Sequence[Any]], rows: Sequence[int]) -> None:
        self.columns, self.rows = columns, rows

    def __getitem__(self, name: str) -> Sequence[Any]:
        values = self.columns[name]
        return [values[row] for row in self.rows]

    def __contains__(self, name: object) -> bool:
        return name in self.columns

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)


@dataclass(frozen=True)
class SourceContext:
    """Where a source stands. folder: of the card, paths are relative to it. open_task: another card's texts by its name."""

    folder: Path
    open_task: Callable[[str], TaskText] | None = None


class Source(ABC):
    """Rows of a task. Keyword-only arguments of a subclass come from the card's `data:` and are kept under their own names.

    A plugin's source has one split, `rows`, which the card's `data.split` divides; it writes `files` and `read`:

        @SOURCES.register("my_rows")
        class MyRows(Source):
            def files(self) -> list[str]:
                return [str(self.context.folder / "rows.txt")]

            def read(self, split: str) -> Iterator[Chunk]:
                lines = Path(self.files()[0]).read_text().splitlines()
                yield from chunked(("text", "label"), (line.split("|") for line in lines))
    """

    def __init__(self, context: SourceContext) -> None:
        self.context = context

    def splits(self) -> tuple[str, ...]:
        """What `read` takes: of train, validation and test those there are, or `rows`."""
        return ("rows",)

    @abstractmethod
    def files(self) -> list[str]:
        """The local files the rows are made of; their content is part of the fingerprint."""

    @abstractmethod
    def read(self, split: str) -> Iterator[Chunk]:
        """Every row of the split once, in an order that never changes; a line that is none stands in its chunk's `refused`.

        Raises DataError with file and line where reading can not go on.
        """

    def fingerprint(self, split: str) -> str:
        """A hash of all that decides the rows: contents of the files, arguments, and the code if it is not trunkline's own."""
        local = pyarrow.fs.LocalFileSystem()
        contents = [content_hash(path, local) for path in self.files()]
        return digest([self.identity(), configuration(self), contents, split])

    def identity(self) -> list[str]:
        """Which code reads: the class, and for a plugin the content of its module."""
        cls = type(self)
        if cls.__module__.startswith("trunkline."):
            return [cls.__qualname__]
        file = getattr(sys.modules.get(cls.__module__), "__file__", None) or cls.read.__code__.co_filename
        if Path(file).is_file():
            return [cls.__qualname__, content_hash(file, pyarrow.fs.LocalFileSystem())]
        return [cls.__qualname__, cls.read.__code__.co_code.hex()]  # typed in, not kept in a file


@dataclass(frozen=True)
class Reading:
    """How a card reads its source. columns: name wanted -> name in the file. on_null: `error`, or `drop` the row.

    lists: name wanted -> what stands between the items of its text, which becomes a list. nulls: texts that mean no value.
    on_bad: `error`, or `quarantine` for rows that can not be used; max_bad: at most this share of a split's rows (see `Intake`).
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    on_null: str = "error"
    lists: Mapping[str, str] = field(default_factory=dict)
    nulls: Sequence[str] = ()
    on_bad: str = "error"
    max_bad: float = 0.05

    def __post_init__(self) -> None:
        for key, value, known in (("on_null", self.on_null, "drop, error"), ("on_bad", self.on_bad, "error, quarantine")):
            if value not in known.split(", "):
                raise ConfigError(f"data.{key}: found {value!r}. Known: {known}.")
        empty = [name for name, separator in self.lists.items() if not separator]
        if empty:
            raise ConfigError(f"data.lists.{empty[0]}: what stands between the items is needed, such as ','.")

    def key(self) -> str:
        stated = [dict(self.columns), self.on_null, dict(self.lists), list(self.nulls)]
        # Of rows that were all good nothing else comes; and how many may be bad changes none of those kept.
        return digest([*stated, self.on_bad] if self.on_bad != "error" else stated)

    def is_null(self, value: Any) -> bool:
        """Whether this is no value: none, NaN, or a text that means none."""
        return _is_null(value) or (isinstance(value, str) and value in self.nulls)

    def select(self, chunk: Chunk, wanted: Sequence[str], optional: Sequence[str] = ()) -> Chunk:
        """The wanted columns without nulls, and optional ones, where a null is None.

        Raises DataError for a missing column, and for a null in a wanted one unless they are dropped or, like lines that could
        not be read, set aside.
        """
        if self.on_bad == "error":
            chunk.raise_refused()
        if not len(chunk):
            return Chunk({name: [] for name in (*wanted, *optional)}, chunk.where, Counter(chunk.notes), 0, chunk.refused)
        columns: dict[str, Sequence[Any]] = {}
        for name in dict.fromkeys((*wanted, *optional)):
            stored = self.columns.get(name, name)
            if stored not in chunk.columns:
                place = chunk.where(0).rsplit(":", 1)[0] if chunk.where else None
                asked = f"'{stored}'" if stored == name else f"'{stored}' (asked for as '{name}')"
                raise DataError(f"no column {asked}. {nearest(stored, chunk.columns)} `data.columns` maps names.", where=place)
            columns[name] = self._values(name, chunk.columns[stored])
        picked = Chunk(columns, chunk.where, Counter(chunk.notes), len(chunk), chunk.refused)
        for name in set(optional) - set(wanted):
            columns[name] = [None if _is_null(value) else value for value in columns[name]]
        bad = sorted({row for name in wanted for row, value in enumerate(columns[name]) if _is_null(value)})
        if not bad:
            return picked
        place_of = chunk.where or (lambda row: f"row {row}")
        if self.on_null == "drop":
            picked.notes["null_dropped"] += len(bad)
        elif self.on_bad == "error":
            places = ", ".join(place_of(row) for row in bad[:SHOWN])
            more = f" and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
            names = " or ".join(f"'{name}'" for name in wanted)
            raise DataError(
                f"{len(bad)} row(s) have no value in {names}: {places}{more}. Mend them, or set data.on_null: drop.",
                where=place_of(bad[0]),
            )
        else:
            empty = [
                Refused(place_of(row), f"no value in {_without_value({name: columns[name] for name in wanted}, row)}")
                for row in bad
            ]
            picked = replace(picked, refused=[*picked.refused, *empty])
        gone = set(bad)
        return picked.take([row for row in range(len(picked)) if row not in gone])

    def _values(self, name: str, values: Sequence[Any]) -> Sequence[Any]:
        if self.nulls:
            none = set(self.nulls)
            values = [None if isinstance(value, str) and value in none else value for value in values]
        separator = self.lists.get(name)
        if separator is None:
            return values
        return [_items(value, separator) if isinstance(value, str) else value for value in values]


@dataclass(frozen=True)
class TaskText:
    """The texts of a task. source: split by split; inputs: the card's names of its text columns."""

    source: Source
    inputs: tuple[str, ...]
    reading: Reading = field(default_factory=Reading)

    def read(self, split: str) -> Iterator[str]:
        """Every text of the split, each input column of a row in turn; lists of words are joined.

        Raises DataError for a value that is neither; a row with one is passed over where such rows are set aside.
        """
        for chunk in self.source.read(split):
            picked = self.reading.select(chunk, self.inputs)
            for row, values in enumerate(zip(*(picked.columns[name] for name in self.inputs), strict=True)):
                texts = [text for value in values if (text := running_text(value)) is not None]
                if len(texts) == len(values):
                    yield from texts
                elif self.reading.on_bad == "error":
                    name, value = next(pair for pair in zip(self.inputs, values, strict=True) if running_text(pair[1]) is None)
                    place = picked.where(row) if picked.where else f"row {row}"
                    raise DataError(f"column '{name}' is neither text nor a list of words: {value!r:.60}.", where=place)

    def fingerprint(self) -> str:
        prints = [self.source.fingerprint(split) for split in self.source.splits()]
        return digest([prints, self.inputs, self.reading.key()])


def running_text(value: Any) -> str | None:
    """A text as it is, a list of words joined; None for anything else."""
    if isinstance(value, list | tuple) and all(isinstance(word, str) for word in value):
        return join_words(value)
    return value if isinstance(value, str) else None


def join_words(words: Sequence[str]) -> str:
    """Words as running text: no spaces between Chinese, Japanese or Korean characters."""
    return ("" if all(len(word) == 1 and word >= "\u2e80" for word in words) else " ").join(words)


def chunked(
    names: Sequence[str], rows: Iterable[Sequence[Any]], *, where: Callable[[int], str] | None = None, size: int = CHUNK_ROWS
) -> Iterator[Chunk]:
    """Rows of values as chunks with these column names. where: names the place of the n-th row of all."""
    kept: list[Sequence[Any]] = []
    first = 0
    for row in rows:
        kept.append(row)
        if len(kept) == size:
            yield _chunk(names, kept, where, first)
            first += size
            kept = []
    if kept:
        yield _chunk(names, kept, where, first)


def _chunk(names: Sequence[str], rows: Sequence[Sequence[Any]], where: Callable[[int], str] | None, first: int) -> Chunk:
    columns = {name: list(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}
    return Chunk(columns, (lambda row: where(first + row)) if where else None)


def package_folder(name: str, extra: str | None = None) -> Path:
    """Where an installed package keeps its files, found without importing it. Raises MissingExtra."""
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise MissingExtra(name, extra)
    return Path(found.submodule_search_locations[0])


def text_bucket(text: str, buckets: int = 100) -> int:
    """Which of the buckets a text falls in, the same for ever: capitals, spacing and width of characters do not matter."""
    hashed = hashlib.blake2b(normalised(text).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(hashed, "little") % buckets


def normalised(text: str) -> str:
    """What two texts share that a reader would call the same."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _items(text: str, separator: str) -> list[str]:
    items = [item.strip() for item in text.split(separator)]
    return [item for item in items if item]


def _without_value(columns: Mapping[str, Sequence[Any]], row: int) -> str:
    return " or ".join(f"'{name}'" for name, values in columns.items() if _is_null(values[row]))


def _is_null(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
