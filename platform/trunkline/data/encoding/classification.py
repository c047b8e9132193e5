"""One label a row."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from trunkline.data.encoding.base import Columns, Encoding, Records, Where, refuse
from trunkline.data.encoding.scores import LEAST, score_lists
from trunkline.data.rows import Rows
from trunkline.data.tokenizer import Tokenizer
from trunkline.errors import ConfigError, nearest
from trunkline.registry import ENCODINGS

Label = str | int | bool


@ENCODINGS.register("classification")
class Classification(Encoding):
    """One text or a pair, one of C labels. labels: all of them; their order is the order of the logits.

    Values of the target column are matched as text, so 1 and "1" are the same label, and true, True and "true"; a float never
    is one.
    """

    records_given: ClassVar[frozenset[str]] = frozenset({"scores", "prediction", "target"})
    default_loss: ClassVar[str] = "cross_entropy"
    default_metrics: ClassVar[tuple[str, ...]] = ("accuracy", "macro_f1")
    learns_from_teacher: ClassVar[bool] = True

    def __init__(self, tokenizer: Tokenizer, inputs: Sequence[str], target: str | None, *, labels: Sequence[Label]) -> None:
        super().__init__(tokenizer, inputs, target)
        self.labels = checked_labels(labels)
        self.label_index = label_index(self.labels)

    def rows(self, columns: Columns, where: Where, with_targets: bool) -> Rows:
        encoded = self.encode_inputs(columns, where)
        targets: dict[str, np.ndarray] = {}
        if with_targets and self.target is not None:
            targets["labels"] = label_numbers(self.target, self.column(columns, self.target), self.label_index, where)
        return self.one_text_rows(encoded, np.ones(len(encoded.cut)), targets)

    def dummy(self) -> Rows:
        return self.one_text_rows(self.dummy_tokens(), np.ones(1), {"labels": np.zeros(1, np.int64)})

    def teacher_scores(self, column: str, values: Sequence[Any], where: Where, *, form: str) -> np.ndarray:
        """Logits, float32 [n, C]: C numbers a row in the order of the labels. Probabilities become their logarithms."""
        scores = score_lists(column, values, len(self.labels), where, probabilities=form == "probabilities")
        if form == "probabilities":
            bad = np.flatnonzero(np.abs(scores.sum(1) - 1) > 0.01).tolist()
            if bad:
                refuse(column, "has probabilities that do not add up to 1", bad, values, where)
            scores = np.log(np.maximum(scores, LEAST))
        return scores.astype(np.float32)

    def unseen(self, rows: Rows) -> Sequence[str]:
        return absent(self.labels, _dense(rows, "labels"))

    def head_arguments(self) -> dict[str, Any]:
        return {"num_labels": len(self.labels)}

    def records(self, outputs: np.ndarray, targets: Mapping[str, np.ndarray]) -> Records:
        """outputs: logits [n, C]. scores are the logits."""
        scores = outputs.astype(np.float32)
        return {"scores": scores, "prediction": scores.argmax(1).astype(np.int64), "target": targets["labels"].astype(np.int64)}

    def baseline(self, train: Rows, evaluated: Rows, keys: np.ndarray) -> Records:
        """The labels' frequencies (add-one) as log-probabilities; the most frequent one is predicted."""
        del keys
        counts = np.bincount(_dense(train, "labels"), minlength=len(self.labels)) + 1.0
        scores = np.log(counts / counts.sum()).astype(np.float32)
        return self.records(np.tile(scores, (len(evaluated), 1)), {"labels": _dense(evaluated, "labels")})

    def decode(self, outputs: np.ndarray, rows: Rows) -> list[dict[str, Any]]:
        """label, its probability, and the probabilities of all labels."""
        del rows
        shifted = np.exp(outputs.astype(np.float64) - outputs.max(axis=1, keepdims=True))
        shares = shifted / shifted.sum(axis=1, keepdims=True)
        decoded = []
        for row in shares:
            best = int(row.argmax())
            probabilities = dict(zip(self.labels, row.tolist(), strict=True))
            decoded.append({"label": self.labels[best], "probability": float(row[best]), "probabilities": probabilities})
        return decoded


def _dense(rows: Rows, name: str) -> np.ndarray:
    value = rows.targets[name]
    assert isinstance(value, np.ndarray)
    return value


def label_index(labels: Sequence[str]) -> dict[str, int]:
    """Label -> number. Truth values are found however YAML, JSON or Python spells them."""
    index = {name: number for number, name in enumerate(labels)}
    for name, number in list(index.items()):
        if name.lower() in ("true", "false"):
            index.setdefault(name.lower(), number)
            index.setdefault(name.capitalize(), number)
    return index


def absent(labels: Sequence[str], numbers: np.ndarray) -> list[str]:
    """The labels whose number does not come up."""
    return [labels[number] for number in np.setdiff1d(np.arange(len(labels)), numbers)]


def checked_labels(labels: Sequence[Label]) -> list[str]:
    """Labels as text. Raises ConfigError unless there are two or more, each once, none of them a float or null."""
    if isinstance(labels, str) or not all(isinstance(value, str | int) for value in labels):
        raise ConfigError(f"labels: a list of texts or whole numbers is needed, found {labels!r}.")
    names = [str(value) for value in labels]
    if len(names) < 2:
        raise ConfigError(f"labels: two or more are needed, found {len(names)}.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"labels: {', '.join(map(repr, twice))} stand(s) there twice. Name each label once.")
    return names


def label_numbers(column: str, values: Sequence[Any], index: Mapping[str, int], where: Where) -> np.ndarray:
    """Labels as numbers, int64. Raises DataError that shows the first unknown ones and the nearest label."""
    numbers = [index.get(str(value), -1) if isinstance(value, str | int) else -1 for value in values]
    bad = [row for row, number in enumerate(numbers) if number < 0]
    if bad:
        value = values[bad[0]]
        if isinstance(value, float) and value.is_integer() and str(int(value)) in index:
            advice = f"{value!r} is a float. Write {int(value)}."
        else:
            close = difflib.get_close_matches(str(value).casefold(), {name.casefold(): name for name in index}, n=1)
            advice = f"Did you mean '{close[0]}'? " if close and close[0] in index else ""
            advice += nearest(str(value), index).removeprefix(advice)
        refuse(
            column, f"has {len(bad)} value(s) that are no label", bad, values, where, advice, each="has a value that is no label"
        )
    return np.array(numbers, np.int64)
