"""Rows from the Hugging Face hub, through `datasets`; no code of a dataset is ever run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trunkline.data.fingerprint import configuration, digest
from trunkline.data.sources.base import Source, SourceContext
from trunkline.data.sources.chunk import CHUNK_ROWS, Chunk
from trunkline.data.sources.files import SPLITS, Paths
from trunkline.errors import ConfigError, DataError, MissingExtra
from trunkline.registry import SOURCES


@SOURCES.register("hub")
class Hub(Source):
    """A dataset by its hub name. config: its configuration; revision: a commit or tag, name one to have the same rows for ever.

    train, validation, test: what the dataset calls them (slices such as `train[:90%]` too); or `rows`, to be split by the card.
    """

    def __init__(
        self,
        context: SourceContext,
        *,
        dataset: str,
        config: str | None = None,
        revision: str | None = None,
        train: Paths = None,
        validation: Paths = None,
        test: Paths = None,
        rows: Paths = None,
    ) -> None:
        super().__init__(context)
        self.dataset, self.config, self.revision = dataset, config, revision
        self.train, self.validation, self.test, self.rows = (_joined(names) for names in (train, validation, test, rows))
        if not self.splits():
            raise ConfigError("data: names no split of the dataset. Give train and validation, or `rows` with `split`.")

    def splits(self) -> tuple[str, ...]:
        return tuple(name for name in SPLITS if getattr(self, name) is not None)

    def files(self) -> list[str]:
        return []

    def fingerprint(self, split: str) -> str:
        return digest([self.identity(), configuration(self), str(self._open(split)._fingerprint), split])

    def read(self, split: str) -> Iterator[Chunk]:
        rows = self._open(split)
        shown = f"{self.dataset}[{getattr(self, split)}]"
        for first in range(0, len(rows), CHUNK_ROWS):
            yield _chunk(rows[first : first + CHUNK_ROWS], shown, first)

    def _open(self, split: str) -> Any:
        try:
            import datasets
        except ImportError as error:
            raise MissingExtra("datasets", "hub") from error
        try:
            return datasets.load_dataset(self.dataset, self.config, split=getattr(self, split), revision=self.revision)
        except (ValueError, OSError, datasets.exceptions.DatasetsError) as error:
            raise DataError(f"the dataset can not be opened: {error}", where=self.dataset) from error


def _joined(names: Paths) -> str | None:
    """Several splits of the dataset are one to us."""
    return names if names is None or isinstance(names, str) else "+".join(names)


def _chunk(columns: dict[str, list[Any]], shown: str, first: int) -> Chunk:
    return Chunk(columns, lambda row: f"{shown}:row {first + row}")
