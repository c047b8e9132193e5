"""Rows from columnar files: Parquet (page checksums verified) and Arrow (file or stream)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow
import pyarrow.ipc
import pyarrow.parquet

from trunkline.data.sources.chunk import CHUNK_ROWS, Chunk
from trunkline.data.sources.files import FileSource, Location
from trunkline.errors import DataError
from trunkline.registry import SOURCES

EXTENSION = b"ARROW:extension:name"


class _Lazy(Mapping[str, list[Any]]):
    """A record batch whose columns become Python lists when asked for: what a card does not name costs nothing.

    Extension types are refused, not converted: some of them unpickle.
    """

    def __init__(self, batch: pyarrow.RecordBatch, shown: str) -> None:
        self.batch, self.shown = batch, shown
        self.lists: dict[str, list[Any]] = {}

    def __getitem__(self, name: str) -> list[Any]:
        if name not in self.lists:
            self.lists[name] = self._convert(name)
        return self.lists[name]

    def _convert(self, name: str) -> list[Any]:
        number = self.batch.schema.get_field_index(name)
        if number < 0:
            raise KeyError(name)
        kept = self.batch.schema.field(number)
        found = _extension(kept)
        if found is not None:
            raise DataError(
                f"column '{name}' has the extension type {found}. Store it as plain text, numbers or lists.", where=self.shown
            )
        return self.batch.column(number).to_pylist()

    def __contains__(self, name: object) -> bool:
        return name in self.batch.schema.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.batch.schema.names)

    def __len__(self) -> int:
        return self.batch.num_columns


def _extension(kept: pyarrow.Field) -> str | None:
    """The extension type of a column or of what is nested in it, if there is one."""
    named = (kept.metadata or {}).get(EXTENSION)
    if named or isinstance(kept.type, pyarrow.BaseExtensionType):
        return named.decode("utf-8", "replace") if named else str(kept.type)
    if pyarrow.types.is_dictionary(kept.type):
        inner = [pyarrow.field("values", kept.type.value_type)]
    else:
        inner = [kept.type.field(number) for number in range(kept.type.num_fields)]
    return next((found for one in inner if (found := _extension(one)) is not None), None)


class _Columnar(FileSource):
    def read_file(self, location: Location) -> Iterator[Chunk]:
        first = 0
        for batch in self.batches(location):
            if batch.num_rows:
                yield _chunk(batch, location.shown, first)
            first += batch.num_rows

    @abstractmethod
    def batches(self, location: Location) -> Iterator[pyarrow.RecordBatch]:
        """Record batches of at most a chunk's rows."""


def _chunk(batch: pyarrow.RecordBatch, shown: str, first: int) -> Chunk:
    return Chunk(_Lazy(batch, shown), lambda row: f"{shown}:row {first + row}", size=batch.num_rows)


@SOURCES.register("parquet")
class Parquet(_Columnar):
    """Parquet files; rows are called by number from 0."""

    def batches(self, location: Location) -> Iterator[pyarrow.RecordBatch]:
        with (
            location.random_access() as stream,
            pyarrow.parquet.ParquetFile(stream, page_checksum_verification=True) as file,
        ):
            yield from file.iter_batches(batch_size=CHUNK_ROWS)


@SOURCES.register("arrow")
class Arrow(_Columnar):
    """Arrow IPC files or streams (what `datasets` caches); rows are called by number from 0."""

    def batches(self, location: Location) -> Iterator[pyarrow.RecordBatch]:
        with location.random_access() as stream:
            magic = stream.read(6)
            stream.seek(0)
            if magic == b"ARROW1":
                file = pyarrow.ipc.open_file(stream)
                batches: Iterator[pyarrow.RecordBatch] = (file.get_batch(number) for number in range(file.num_record_batches))
            else:
                batches = iter(pyarrow.ipc.open_stream(stream))
            for batch in batches:
                for first in range(0, batch.num_rows, CHUNK_ROWS):
                    yield batch.slice(first, CHUNK_ROWS)
