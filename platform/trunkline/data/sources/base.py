"""What a source of rows is, the texts of a task, and how a text is told from another."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.fs

from trunkline.data.fingerprint import configuration, content_hash, digest
from trunkline.data.sources.chunk import Chunk
from trunkline.data.sources.reading import Reading, running_text
from trunkline.errors import DataError, MissingExtra

EVALUATION = ("validation", "test")


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
