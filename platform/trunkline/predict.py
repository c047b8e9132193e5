"""A trained model in use: predictions per task, embeddings, metrics on new rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from trunkline.batch import Batch
from trunkline.data.encoding.base import Encoding, Where
from trunkline.data.packing import Block, Table, answering_packs, evaluation_packs, rows_of
from trunkline.data.rows import Rows, join
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

    def predict(self, task: str, rows: Sequence[Row], *, where: Where | None = None) -> list[dict[str, Any]]:
        """One prediction per row, in order. rows: mappings of the task's input columns, or plain texts for a task of one.

        What a prediction holds depends on the kind: label and scores, value, tags, score of a pair, filled masks. A joint task's
        holds one of each part, by name, from one pass through the trunk. where: what messages call a row of this number.
        Raises UsageError for an unknown task, DataError for a missing column or a value that is no text.
        """
        return self.answer([self.prepare([task], rows, where=where)])[0][task]

    def prepare(self, tasks: Sequence[str], rows: Sequence[Row], *, where: Where | None = None) -> Prepared:
        """Rows as one or several tasks read them, for `answer`. Raises as `predict` does."""
        asked = {task: self.joint.get(task) or {"": self.task(task).name} for task in tasks}
        read: dict[str, Rows] = {}
        for parts in asked.values() if rows else ():
            read |= self._encoded(list(parts.values()), rows, where or (lambda row: f"row {row}"))
        return Prepared(len(rows), asked, read)

    def answer(self, prepared: Sequence[Prepared]) -> list[dict[str, list[dict[str, Any]]]]:
        """Of each of them: task -> a prediction per row, as `predict` gives it. All rows go through the trunk together, a text
        that several tasks are asked about once."""
        found: list[dict[str, list[dict[str, Any]]]] = [
            {task: [{} for _ in range(own.size)] for task in own.rows} for own in prepared
        ]
        blocks = shared_blocks(prepared, {name: task.encoding for name, task in self.tasks.items()}, self._apart)
        with torch.no_grad():
            for batch in answering_packs([own.block for own in blocks], tokens_per_pass=TOKENS_PER_PASS) if blocks else ():
                answers = self.network.answers(list(batch.tasks), batch.to(self.device))
                for own in blocks:
                    for task in own.block.tables.keys() & batch.tasks.keys():
                        outputs, row_ids = answers[task].float().cpu().numpy(), batch.tasks[task].row_ids
                        decoded = self.tasks[task].encoding.decode(outputs, own.block.tables[task].rows.take(row_ids))
                        for row, answer in zip(row_ids, decoded, strict=True):
                            found[own.request[row]][task][own.block.keyed[row]] = answer
        return [own.told(answers) for own, answers in zip(prepared, found, strict=True)]

    @property
    def _apart(self) -> Container[str]:
        """Tasks that change the trunk on their own tokens."""
        return {} if self.network.adapters is None else self.network.adapters.wanted

    def scores(self, task: str, rows: Sequence[Row]) -> np.ndarray:
        """What the head gives, for a task that gives one thing for each row: logits [n, C] or numbers [n, ...], in order."""
        encoding = self.task(task).encoding
        encoded = encoding.encode(_columns(rows, encoding, lambda row: f"row {row}"), with_targets=False)
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

    def _encoded(self, tasks: Sequence[str], rows: Sequence[Row], where: Where) -> dict[str, Rows]:
        """The rows as each task reads them: the same tokens."""
        read = {}
        for name in tasks:
            encoding = self.tasks[name].encoding
            read[name] = encoding.encode(_columns(rows, encoding, where), where=where, with_targets=False)
        first = next(iter(read.values()))
        alike = all(np.array_equal(own.tokens.values, first.tokens.values) for own in read.values())
        if not alike and any(isinstance(row, str) for row in rows):
            encoding = self.tasks[tasks[0]].encoding
            split = [{encoding.inputs[0]: row.split()} if isinstance(row, str) else row for row in rows]
            return self._encoded(tasks, split, where)
        if not alike:
            raise DataError(f"{' and '.join(tasks)} read these rows as different tokens. Give lists of words instead of text.")
        return read

    def embed(self, texts: Sequence[str], *, pooling: str = "mean", task: str | None = None) -> np.ndarray:
        """One vector per text, in order: float32 [n, D]. pooling: of the trunk's states, first, last, mean or max. task: a
        contrastive one, whose own vectors these are: its pooling, projection and unit length. Raises UsageError."""
        if task is not None:
            self.check_vectors(task)
        elif not texts:
            self._pool(pooling)
        if not texts:
            return np.zeros((0, self.width), np.float32)
        rows = self._texts(texts)
        return self.embed_rows(rows, pooling=pooling) if task is None else self._vectors(task, rows)

    def check_vectors(self, task: str) -> None:
        """Raises UsageError for a task whose head gives no vector of a text."""
        if not self.network.head(self.task(task).name).vectors:
            raise UsageError(f"task '{task}' makes no vectors of texts. Leave --task out for the trunk's own, by --pooling.")

    def embed_rows(self, rows: Rows, *, pooling: str = "mean") -> np.ndarray:
        """The trunk's own vectors of rows that are encoded already, each one trunk row."""
        pool = self._pool(pooling)
        vectors = np.zeros((len(rows), self.width), np.float32)
        for batch in self._packs({"": _plain(rows)}):
            hidden = self.network.trunk(batch.to(self.device))
            vectors[batch.tasks[""].row_ids] = pool(hidden, batch.index("")).float().cpu().numpy()
        return vectors

    def _vectors(self, task: str, rows: Rows) -> np.ndarray:
        found = list(self._outputs({task: _plain(rows)}))
        order = np.concatenate([row_ids for _, row_ids, _ in found]).argsort()
        return np.asarray(np.concatenate([vectors for _, _, vectors in found])[order], np.float32)

    def _texts(self, texts: Sequence[str]) -> Rows:
        encoded = self.tokenizer.encode(list(texts))
        bounds = itertools.pairwise(encoded.tokens.starts.tolist())
        return rows_of([encoded.tokens.values[a:b].tolist() for a, b in bounds])

    def layers(self, texts: Sequence[str], *, pooling: str = "mean") -> list[np.ndarray]:
        """The same of every layer of the trunk, from the embeddings up: float32 [n, D] each; the last is what `embed` gives."""
        return self.layers_of(self._texts(texts), pooling=pooling)

    def layers_of(self, rows: Rows, *, pooling: str = "mean") -> list[np.ndarray]:
        """Of rows that are encoded already, each one trunk row."""
        pool = self._pool(pooling)
        found = [np.zeros((len(rows), self.width), np.float32) for _ in range(self.network.trunk.num_layers)]
        for batch in self._packs({"": _plain(rows)}):
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


def _columns(rows: Sequence[Row], encoding: Encoding, where: Where) -> dict[str, list[Any]]:
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
            lacking = [number for number, row in enumerate(rows) if isinstance(row, str) or name not in row]
            said = {number: _lacks(name, rows[number]) for number in lacking}
            raise DataError(said[lacking[0]], where=where(lacking[0]), rows=said)
    return columns


def _plain(rows: Rows) -> Table:
    """Rows of which nothing but their tokens is read."""
    return Table(rows, lambda given, _: (given.tokens.values, {}), rows)


def _lacks(name: str, row: Row) -> str:
    return f"has no '{name}'. {nearest(name, [] if isinstance(row, str) else row)}"


@dataclass(frozen=True)
class Prepared:
    """What is asked, read. size: rows. asked: task -> its parts' names -> their tasks; of one that is not joint, itself by "".
    rows: of each of these tasks."""

    size: int
    asked: Mapping[str, Mapping[str, str]]
    rows: Mapping[str, Rows]

    @property
    def num_tokens(self) -> int:
        """Of the task that reads most; what other tasks read alike goes through the trunk once."""
        return max((len(rows.tokens.values) for rows in self.rows.values()), default=0)

    def told(self, answers: Mapping[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
        """The answers by the names asked for, those of a joint task's parts together."""
        told: dict[str, list[dict[str, Any]]] = {}
        for task, parts in self.asked.items():
            each = [answers.get(name, []) for name in parts.values()]
            told[task] = each[0] if "" in parts else [dict(zip(parts, own, strict=True)) for own in zip(*each, strict=True)]
        return told


@dataclass(frozen=True)
class Shared:
    """A block of several requests' rows. request [n]: whose each row is; `block.keyed` is its number there."""

    block: Block
    request: np.ndarray


def shared_blocks(prepared: Sequence[Prepared], encodings: Mapping[str, Encoding], apart: Container[str]) -> list[Shared]:
    """One block of all rows that are read as they are, and one for each task that is `apart` or looks at its rows otherwise."""
    entries: dict[str, list[tuple[int, dict[str, Rows]]]] = {}
    for number, own in enumerate(prepared):
        groups: list[dict[str, Rows]] = []
        for task, rows in own.rows.items():
            encoding = encodings[task]
            if task in apart or encoding.sight != (0,) or not encoding.keeps_tokens:
                entries.setdefault(task, []).append((number, {task: rows}))
                continue
            group = next((group for group in groups if _alike(next(iter(group.values())), rows)), None)
            if group is None:
                groups.append(group := {})
            group[task] = rows
        entries.setdefault("", []).extend((number, group) for group in groups)
    return [_shared(own, encodings) for own in entries.values() if own]


def _shared(entries: Sequence[tuple[int, Mapping[str, Rows]]], encodings: Mapping[str, Encoding]) -> Shared:
    first = [next(iter(group.values())) for _, group in entries]
    sizes = [len(rows) for rows in first]
    tables = {}
    for task in dict.fromkeys(task for _, group in entries for task in group):
        rows = join([group[task] if task in group else _unasked(rows) for (_, group), rows in zip(entries, first, strict=True)])
        asked = np.repeat([task in group for _, group in entries], sizes)
        tables[task] = replace(Table.of(rows, encodings[task]), asked=asked)
    keyed = np.concatenate([np.arange(size) for size in sizes])
    return Shared(Block(tables, keyed), np.repeat([number for number, _ in entries], sizes))


def _alike(one: Rows, other: Rows) -> bool:
    return all(
        np.array_equal(a, b)
        for a, b in (
            (one.tokens.values, other.tokens.values),
            (one.lengths.values, other.lengths.values),
            (one.seconds.values, other.seconds.values),
        )
    )


def _unasked(rows: Rows) -> Rows:
    """Rows about which a task is not asked."""
    return Rows(rows.tokens, rows.lengths, rows.seconds, np.zeros_like(rows.counts), {})
