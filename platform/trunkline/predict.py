"""A trained model in use: predictions per task, embeddings, metrics on new rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from trunkline.batch import Batch
from trunkline.data.encoding.base import Encoding
from trunkline.data.packing import Table, evaluation_packs, rows_of
from trunkline.data.tokenizer import Tokenizer
from trunkline.errors import DataError, UsageError, nearest
from trunkline.metrics.base import Metric
from trunkline.models.multitask import MultiTask
from trunkline.registry import POOLINGS

TOKENS_PER_PASS = 8192
Row = Mapping[str, Any] | str


@dataclass(frozen=True)
class ServedTask:
    """What a model knows of one of its tasks."""

    name: str
    kind: str
    encoding: Encoding
    metrics: Mapping[str, Callable[[], Metric]]


class Model:
    """A trunk and its heads, ready to answer; made by `trunkline.load(folder)`.

    tasks: name -> ServedTask. manifest: what the model folder says of itself. width: D of an embedding.
    """

    def __init__(
        self, network: MultiTask, tokenizer: Tokenizer, tasks: Mapping[str, ServedTask], manifest: Mapping[str, Any]
    ) -> None:
        self.network, self.tokenizer, self.tasks, self.manifest = network, tokenizer, dict(tasks), dict(manifest)
        self.width: int = network.trunk.width
        self.device = torch.device("cpu")

    def to(self, device: str | torch.device) -> Model:
        """Moves the weights to `device`; returns the model itself."""
        self.device = torch.device(device)
        self.network.to(self.device)
        return self

    def predict(self, task: str, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """One prediction per row, in order. rows: mappings of the task's input columns, or plain texts for a task of one.

        What a prediction holds depends on the kind: label and scores, value, tags, score of a pair, filled masks.
        Raises UsageError for an unknown task, DataError for a missing column or a value that is no text.
        """
        served = self.task(task)
        if not rows:
            return []
        encoded = served.encoding.encode(_columns(rows, served.encoding), with_targets=False)
        table = Table(encoded, served.encoding.collate, served.encoding.dummy())
        answers: list[dict[str, Any]] = [{} for _ in rows]
        for batch in self._packs({task: table}):
            part = batch.tasks[task]
            summary = self.network.answer(task, batch.to(self.device)).float().cpu().numpy()
            for row, answer in zip(part.row_ids, served.encoding.decode(summary, encoded.take(part.row_ids)), strict=True):
                answers[row] = answer
        return answers

    def embed(self, texts: Sequence[str], *, pooling: str = "mean") -> np.ndarray:
        """Trunk states pooled to one vector per text: float32 [n, D], in order. pooling: first, mean or max."""
        pool = POOLINGS.get(pooling)
        if not texts:
            return np.zeros((0, self.width), np.float32)
        encoded = self.tokenizer.encode(list(texts))
        rows = rows_of(
            [encoded.tokens.values[a:b].tolist() for a, b in zip(encoded.tokens.starts, encoded.tokens.starts[1:], strict=False)]
        )
        table = Table(rows, lambda given, _: (given.tokens.values, {}), rows)
        vectors = np.zeros((len(texts), self.width), np.float32)
        for batch in self._packs({"": table}):
            hidden = self.network.trunk(batch.to(self.device))
            vectors[batch.tasks[""].row_ids] = pool(hidden, batch.index("")).float().cpu().numpy()
        return vectors

    def task(self, name: str) -> ServedTask:
        if name not in self.tasks:
            raise UsageError(f"the model has no task '{name}'. {nearest(name, self.tasks)}")
        return self.tasks[name]

    def _packs(self, tables: Mapping[str, Table]) -> Iterator[Batch]:
        with torch.no_grad():
            yield from evaluation_packs(tables, rank=0, world=1, tokens_per_pass=TOKENS_PER_PASS)


def _columns(rows: Sequence[Row], encoding: Encoding) -> dict[str, list[Any]]:
    """Rows turned into the input columns. A plain text is the only input's value."""
    names = encoding.inputs if encoding.target is None or isinstance(rows[0], str) else (*encoding.inputs, encoding.target)
    if isinstance(rows[0], str) and len(encoding.inputs) != 1:
        raise DataError(f"this task reads {' and '.join(encoding.inputs)}; give mappings with these, not plain texts.")
    columns: dict[str, list[Any]] = {}
    for name in names:
        present = [row for row in rows if not isinstance(row, str) and name in row]
        if isinstance(rows[0], str):
            columns[name] = list(rows)
        elif len(present) == len(rows):
            columns[name] = [row[name] for row in present]
        elif name in encoding.inputs:
            lacking = next(number for number, row in enumerate(rows) if isinstance(row, str) or name not in row)
            row = rows[lacking]
            raise DataError(f"row {lacking} has no '{name}'. {nearest(name, row if not isinstance(row, str) else [])}")
    return columns
