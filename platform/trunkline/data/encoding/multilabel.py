"""Any number of labels a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from trunkline.data.encoding.base import Columns, Encoding, Records, Where, refuse
from trunkline.data.encoding.classification import Label, absent, checked_labels, label_index, label_numbers
from trunkline.data.encoding.scores import LEAST, score_lists
from trunkline.data.rows import Rows
from trunkline.data.tokenizer import Tokenizer
from trunkline.errors import ConfigError
from trunkline.registry import ENCODINGS


@ENCODINGS.register("multilabel")
class Multilabel(Encoding):
    """One text or a pair, any number of C labels, none too. labels: all of them; their order is the order of the logits.

    The target column holds a list of labels, or text with `separator` between them (an empty text is no label; spaces around
    a label do not count), or a single whole number. Labels are matched as in `classification`; one that stands twice counts
    once. Targets: `label_set` [n, C] of 0 and 1. A label is predicted where its probability is above
    `threshold`; with rare labels a lower one often gives a better F1.
    """

    records_given: ClassVar[frozenset[str]] = frozenset({"scores", "prediction", "target"})
    default_loss: ClassVar[str] = "binary_cross_entropy"
    default_metrics: ClassVar[tuple[str, ...]] = ("micro_f1", "macro_f1")
    learns_from_teacher: ClassVar[bool] = True

    def __init__(
        self,
        tokenizer: Tokenizer,
        inputs: Sequence[str],
        target: str | None,
        *,
        labels: Sequence[Label],
        separator: str = ",",
        threshold: float = 0.5,
    ) -> None:
        super().__init__(tokenizer, inputs, target)
        if not isinstance(separator, str) or not separator:
            raise ConfigError(f"separator: the text between two labels is needed, found {separator!r}.")
        if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 < threshold < 1:
            raise ConfigError(f"threshold: a probability between 0 and 1 is needed, found {threshold!r}.")
        self.labels, self.separator, self.threshold = checked_labels(labels), separator, float(threshold)
        self.label_index = label_index(self.labels)
        torn = [label for label in self.labels if separator in label]
        if torn:
            raise ConfigError(f"separator: {separator!r} stands within the label {torn[0]!r}. Name another separator.")

    def rows(self, columns: Columns, where: Where, with_targets: bool) -> Rows:
        encoded = self.encode_inputs(columns, where)
        targets: dict[str, np.ndarray] = {}
        if with_targets and self.target is not None:
            targets["label_set"] = self._label_sets(self.target, self.column(columns, self.target), where)
        return self.one_text_rows(encoded, np.ones(len(encoded.cut)), targets)

    def _label_sets(self, column: str, values: Sequence[Any], where: Where) -> np.ndarray:
        lists = [self._split(value) for value in values]
        bad = [row for row, own in enumerate(lists) if own is None]
        if bad:
            refuse(column, "has values that are neither a list of labels nor text", bad, values, where)
        owner = np.repeat(np.arange(len(lists)), [len(own or ()) for own in lists])
        flat = [label for own in lists for label in own or ()]
        numbers = label_numbers(column, flat, self.label_index, lambda place: where(int(owner[place])))
        sets = np.zeros((len(lists), len(self.labels)), np.uint8)
        sets[owner, numbers] = 1
        return sets

    def _split(self, value: Any) -> list[Any] | None:
        if isinstance(value, str):
            return [part.strip() for part in value.split(self.separator) if part.strip()]
        if isinstance(value, int):
            return [value]
        return list(value) if isinstance(value, list | tuple) else None

    def dummy(self) -> Rows:
        return self.one_text_rows(self.dummy_tokens(), np.ones(1), {"label_set": np.zeros((1, len(self.labels)), np.uint8)})

    def teacher_scores(self, column: str, values: Sequence[Any], where: Where, *, form: str) -> np.ndarray:
        """Logits, float32 [n, C]: C numbers a row in the order of the labels. Probabilities become their log-odds."""
        scores = score_lists(column, values, len(self.labels), where, probabilities=form == "probabilities")
        if form == "probabilities":
            scores = np.log(np.maximum(scores, LEAST)) - np.log(np.maximum(1 - scores, LEAST))
        return scores.astype(np.float32)

    def unseen(self, rows: Rows) -> Sequence[str]:
        sets = rows.targets["label_set"]
        assert isinstance(sets, np.ndarray)
        return absent(self.labels, np.flatnonzero(sets.any(0)))

    def head_arguments(self) -> dict[str, Any]:
        return {"num_labels": len(self.labels)}

    def records(self, outputs: np.ndarray, targets: Mapping[str, np.ndarray]) -> Records:
        """outputs: logits [n, C]. prediction, target: uint8 [n, C], 1 where the label is given."""
        scores = outputs.astype(np.float32)
        chosen = probabilities(scores) > self.threshold
        return {"scores": scores, "prediction": chosen.astype(np.uint8), "target": targets["label_set"].astype(np.uint8)}

    def baseline(self, train: Rows, evaluated: Rows, keys: np.ndarray) -> Records:
        """The labels' frequencies (add-one) as log-odds: what more than `threshold` of the rows have is predicted."""
        del keys
        seen, asked = train.targets["label_set"], evaluated.targets["label_set"]
        assert isinstance(seen, np.ndarray) and isinstance(asked, np.ndarray)
        count = seen.sum(0, dtype=np.float64)
        odds = np.log((count + 1) / (len(seen) - count + 1))
        return self.records(np.tile(odds, (len(evaluated), 1)), {"label_set": asked})

    def decode(self, outputs: np.ndarray, rows: Rows) -> list[dict[str, Any]]:
        """labels: those above the threshold, in the card's order, and the probabilities of all."""
        del rows
        return [
            {
                "labels": [label for label, share in zip(self.labels, row, strict=True) if share > self.threshold],
                "probabilities": dict(zip(self.labels, row, strict=True)),
            }
            for row in probabilities(outputs).tolist()
        ]


def probabilities(logits: np.ndarray) -> np.ndarray:
    """The sigmoid, without overflow: float64 like logits."""
    return (1 + np.tanh(logits.astype(np.float64) / 2)) / 2
