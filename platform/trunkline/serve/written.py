"""Answers on their way out: JSON lines on stdout, or a file of JSON lines, CSV or Parquet that is whole or not there."""

from __future__ import annotations

import csv
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import pyarrow
import pyarrow.parquet

from trunkline import durable
from trunkline.errors import DataError, UsageError, nearest

Answer = Mapping[str, Any]


class Writer(ABC):
    """Takes answers as they come; a file bears its name only once all of them are in it."""

    def __init__(self, path: Path) -> None:
        self.path, self.temporary = path, path.with_name(f".{path.name}.tmp")

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
        if kind is None and self.temporary.exists():
            durable.commit(self.temporary, self.path)
        self.temporary.unlink(missing_ok=True)

    @abstractmethod
    def write(self, answers: Sequence[Answer]) -> None: ...

    @abstractmethod
    def close(self) -> None: ...


class JsonLines(Writer):
    """A line each. Without a path, on stdout."""

    def __init__(self, path: Path | None) -> None:
        super().__init__(path or Path("stdout"))
        self.stream: TextIO = self.temporary.open("w", encoding="utf-8") if path else sys.stdout
        self.own = path is not None

    def write(self, answers: Sequence[Answer]) -> None:
        self.stream.write("".join(f"{json.dumps(answer, ensure_ascii=False)}\n" for answer in answers))
        self.stream.flush()

    def close(self) -> None:
        if self.own:
            self.stream.close()


class Csv(Writer):
    """A row each under the first answers' keys; what is no text or number is written as JSON."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.stream = self.temporary.open("w", encoding="utf-8", newline="")
        self.writer = csv.writer(self.stream)
        self.names: list[str] = []

    def write(self, answers: Sequence[Answer]) -> None:
        if not self.names:
            self.names = _names(answers)
            self.writer.writerow(self.names)
        for answer in answers:
            self.writer.writerow([_plain(answer.get(name)) for name in self.names])

    def close(self) -> None:
        self.stream.close()


class Parquet(Writer):
    """A row each; the first answers say which columns there are, and of which types. A column without any value is text."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.writer: pyarrow.parquet.ParquetWriter | None = None

    def write(self, answers: Sequence[Answer]) -> None:
        if self.writer is None:
            self.names = _names(answers)
            kinds = [pyarrow.array([answer.get(name) for answer in answers]).type for name in self.names]
            kinds = [pyarrow.string() if pyarrow.types.is_null(kind) else kind for kind in kinds]
            self.schema = pyarrow.schema(list(zip(self.names, kinds, strict=True)))
            self.writer = pyarrow.parquet.ParquetWriter(self.temporary, self.schema, write_page_checksum=True)
        rows = [{name: answer.get(name) for name in self.names} for answer in answers]
        try:
            self.writer.write_table(pyarrow.Table.from_pylist(rows, schema=self.schema))
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError) as error:
            raise DataError(
                f"later answers are of other types than the first ones: {error}. Write .jsonl.", where=str(self.path)
            ) from error

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()


FILES: Mapping[str, Callable[[Path], Writer]] = {".jsonl": JsonLines, ".csv": Csv, ".parquet": Parquet}


def open_writer(to: Path | None) -> Writer:
    """The writer for a place, by how its name ends; None is stdout. Raises UsageError before anything is written."""
    if to is None:
        return JsonLines(None)
    if to.suffix not in FILES:
        raise UsageError(f"no format for '{to.suffix}'. {nearest(to.suffix, FILES)}", where="--to")
    if not to.parent.is_dir():
        raise UsageError("no such folder.", where=str(to.parent))
    return FILES[to.suffix](to)


def _names(answers: Sequence[Answer]) -> list[str]:
    return list(dict.fromkeys(name for answer in answers for name in answer))


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, str | int | float) else json.dumps(value, ensure_ascii=False)
