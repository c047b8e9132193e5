"""A trained model in use: predictions per task, embeddings, metrics on new rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from trunkline.batch import Batch
from trunkline.data.encoding.base import Encoding
from trunkline.data.packing import Table, evaluation_packs, rows_of
from trunkline.data.rows import Rows
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

    tasks: name -> ServedTask. joint: name of a joint task -> its parts' names -> their tasks. manifest: what the model
    folder says of itself. width: D of an embedding.
    """

    def __init__(
        self, network: MultiTask, tokenizer: Tokenizer, tasks: Mapping[str, ServedTask], manifest: Mapping[str, Any]
    ) -> None:
        self.network, self.tokenizer, self.tasks, self.manifest = network, tokenizer, dict(tasks), dict(manifest)
        self.joint: dict[str, dict[str, str]] = dict(manifest.get("joint", {}))
        self.width: int = network.trunk.width
        self.device = torch.device("cpu")

    def to(self, device: str | torch.device) -> Model:
        """Moves the weights to `device`; returns the model itself."""
        self.device = torch.device(device)
        self.network.to(self.device)
        return self

    def predict(self, task: str, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """One prediction per row, in order. rows: mappings of the task's input columns, or plain texts for a task of one.

        What a prediction holds depends on the kind: label and scores, value, tags, score of a pair, filled masks. A joint task's
        holds one of each part, by name, from one pass through the trunk.
        Raises UsageError for an unknown task, DataError for a missing column or a value that is no text.
        """
        parts = self.joint.get(task) or {"": self.task(task).name}
        if not rows:
            return []
        encoded = self._encoded(list(parts.values()), rows)
        encodings = {name: self.tasks[name].encoding for name in encoded}
        tables = {name: Table.of(own, encodings[name]) for name, own in encoded.items()}
        answers: dict[str, list[dict[str, Any]]] = {name: [{} for _ in rows] for name in encoded}
        for name, row_ids, outputs in self._outputs(tables):
            decoded = encodings[name].decode(outputs, encoded[name].take(row_ids))
            for row, answer in zip(row_ids, decoded, strict=True):
                answers[name][row] = answer
        if task in self.joint:
            return [{part: answers[name][row] for part, name in parts.items()} for row in range(len(rows))]
        return answers[task]

    def scores(self, task: str, rows: Sequence[Row]) -> np.ndarray:
        """What the head gives, for a task that gives one thing for each row: logits [n, C] or numbers [n, ...], in order."""
        encoding = self.task(task).encoding
        encoded = encoding.encode(_columns(rows, encoding), with_targets=False)
        found = list(self._outputs({task: Table.of(encoded, encoding)}))
        order = np.concatenate([row_ids for _, row_ids, _ in found]).argsort()
        scores: np.ndarray = np.concatenate([outputs for _, _, outputs in found])[order]
        return scores

    def _outputs(self, tables: Mapping[str, Table]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """(task, row ids, the head's answers) pack by pack."""
        for batch in self._packs(tables):
            for name, summary in self.network.answers(list(tables), batch.to(self.device)).items():
                if not batch.tasks[name].dummy:
                    yield name, batch.tasks[name].row_ids, summary.float().cpu().numpy()

    def _encoded(self, tasks: Sequence[str], rows: Sequence[Row]) -> dict[str, Rows]:
        """The rows as each task reads them: the same tokens."""
        read = {}
        for name in tasks:
            encoding = self.tasks[name].encoding
            read[name] = encoding.encode(_columns(rows, encoding), with_targets=False)
        first = next(iter(read.values()))
        alike = all(np.array_equal(own.tokens.values, first.tokens.values) for own in read.values())
        if not alike and any(isinstance(row, str) for row in rows):
            encoding = self.tasks[tasks[0]].encoding
            return self._encoded(tasks, [{encoding.inputs[0]: row.split()} if isinstance(row, str) else row for row in rows])
        if not alike:
            raise DataError(f"{' and '.join(tasks)} read these rows as different tokens. Give lists of words instead of text.")
        return read

    def embed(self, texts: Sequence[str], *, pooling: str = "mean") -> np.ndarray:
        """Trunk states pooled to one vector per text: float32 [n, D], in order. pooling: first, last, mean or max."""
        if not texts:
            self._pool(pooling)
            return np.zeros((0, self.width), np.float32)
        encoded = self.tokenizer.encode(list(texts))
        bounds = itertools.pairwise(encoded.tokens.starts.tolist())
        return self.embed_rows(rows_of([encoded.tokens.values[a:b].tolist() for a, b in bounds]), pooling=pooling)

    def embed_rows(self, rows: Rows, *, pooling: str = "mean") -> np.ndarray:
        """The same of rows that are encoded already, each one trunk row."""
        pool = self._pool(pooling)
        table = Table(rows, lambda given, _: (given.tokens.values, {}), rows)
        vectors = np.zeros((len(rows), self.width), np.float32)
        for batch in self._packs({"": table}):
            hidden = self.network.trunk(batch.to(self.device))
            vectors[batch.tasks[""].row_ids] = pool(hidden, batch.index("")).float().cpu().numpy()
        return vectors

    def layers(self, texts: Sequence[str], *, pooling: str = "mean") -> list[np.ndarray]:
        """The same of every layer of the trunk, from the embeddings up: float32 [n, D] each; the last is what `embed` gives."""
        pool = self._pool(pooling)
        encoded = self.tokenizer.encode(list(texts))
        bounds = itertools.pairwise(encoded.tokens.starts.tolist())
        rows = rows_of([encoded.tokens.values[a:b].tolist() for a, b in bounds])
        found = [np.zeros((len(rows), self.width), np.float32) for _ in range(self.network.trunk.num_layers)]
        for batch in self._packs({"": Table(rows, lambda given, _: (given.tokens.values, {}), rows)}):
            ids, index = batch.tasks[""].row_ids, batch.index("")
            for own, hidden in zip(found, self.network.trunk.layers(batch.to(self.device)), strict=True):
                own[ids] = pool(hidden, index).float().cpu().numpy()
        return found

    def _pool(self, pooling: str) -> Any:
        """The pooling of that name. Raises ConfigError for none, UsageError for one that a head must learn."""
        pool = POOLINGS.get(pooling)(self.width)
        if any(True for _ in pool.parameters()):
            raise UsageError(f"pooling '{pooling}' is learned with a task's head. Take first, last, mean or max.")
        return pool

    def task(self, name: str) -> ServedTask:
        if name not in self.tasks:
            raise UsageError(f"the model has no task '{name}'. {nearest(name, [*self.tasks, *self.joint])}")
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
