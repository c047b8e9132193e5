"""One label a word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from trunkline.data.encoding.base import Columns, Encoding, Records, Where, noted, refuse
from trunkline.data.encoding.classification import Label, checked_labels, label_index, label_numbers
from trunkline.data.rows import Ragged, Rows, Target
from trunkline.data.tokenizer import EncodedWords, Tokenizer
from trunkline.errors import DataError
from trunkline.registry import ENCODINGS


@ENCODINGS.register("tagging")
class Tagging(Encoding):
    """Words and a tag each: lists, or text with spaces between. A word's tag sits at its first sub-token.

    Words cut off by the length limit lose their tags with them, and are counted. Rows left without a word are dropped.
    """

    records_given: ClassVar[frozenset[str]] = frozenset({"prediction", "target"})
    default_loss: ClassVar[str] = "cross_entropy"
    default_metrics: ClassVar[tuple[str, ...]] = ("accuracy", "macro_f1")
    num_inputs: ClassVar[tuple[int, ...]] = (1,)

    def __init__(self, tokenizer: Tokenizer, inputs: Sequence[str], target: str | None, *, labels: Sequence[Label]) -> None:
        super().__init__(tokenizer, inputs, target)
        self.labels = checked_labels(labels)
        self.label_index = label_index(self.labels)

    def rows(self, columns: Columns, where: Where, with_targets: bool) -> Rows:
        words = _lists(self.inputs[0], self.column(columns, self.inputs[0]), where)
        encoded = self.tokenizer.encode_words(words)
        targets: dict[str, Target] = {"positions": encoded.positions}
        if with_targets and self.target is not None:
            targets["labels"] = self._labels(columns, words, encoded, where)
        counts = encoded.positions.lengths.astype(np.int32)
        rows = self.one_text_rows(encoded, counts, targets)
        notes = noted(encoded, self.tokenizer)
        notes["words_cut"] = int(encoded.dropped.sum())
        filled = np.flatnonzero(counts)
        if with_targets and len(filled) < len(rows):
            notes["without_words_dropped"] = len(rows) - len(filled)
            rows = rows.take(filled)
        rows.notes.clear()
        rows.notes.update(+notes)
        return rows

    def _labels(self, columns: Columns, words: Sequence[Sequence[str]], encoded: EncodedWords, where: Where) -> Ragged:
        assert self.target is not None
        values = self.column(columns, self.target)
        tags = [value.split() if isinstance(value, str) else value for value in values]
        bad = [
            row
            for row, (own, tag) in enumerate(zip(words, tags, strict=True))
            if not isinstance(tag, list) or len(tag) != len(own)
        ]
        if bad:
            lengths = [
                f"{len(words[row])} words, {len(tags[row]) if isinstance(tags[row], list) else 'no list of'} tags"
                for row in bad[:5]
            ]
            shown = "; ".join(f"{where(row)}: {text}" for row, text in zip(bad, lengths, strict=False))
            more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
            raise DataError(f"'{self.target}' needs one tag per word of '{self.inputs[0]}': {shown}{more}.", where=where(bad[0]))
        flat = [tag for row in tags for tag in row]
        owner = np.repeat(np.arange(len(tags)), [len(row) for row in tags])
        numbers = label_numbers(self.target, flat, self.label_index, lambda place: where(int(owner[place])))
        every = Ragged(numbers, np.concatenate([[0], np.cumsum([len(row) for row in tags])]).astype(np.int64))
        first = every.starts[:-1] + encoded.skipped
        kept = encoded.positions.lengths
        index = np.repeat(first - encoded.positions.starts[:-1], kept) + np.arange(int(kept.sum()))
        return Ragged(every.values[index], encoded.positions.starts)

    def dummy(self) -> Rows:
        encoded = self.dummy_tokens()
        position = np.flatnonzero(encoded.tokens.values == self.tokenizer.normal_ids[0])[:1]
        targets = {"positions": Ragged.of([position]), "labels": Ragged.of([[0]], np.int64)}
        return self.one_text_rows(encoded, np.ones(1), targets)

    def head_arguments(self) -> dict[str, Any]:
        return {"num_labels": len(self.labels)}

    def records(self, outputs: np.ndarray, targets: Mapping[str, np.ndarray]) -> Records:
        """outputs: predicted label numbers [K]."""
        return {"prediction": outputs.astype(np.int64), "target": targets["labels"].astype(np.int64)}

    def baseline(self, train: Rows, evaluated: Rows, keys: np.ndarray) -> Records:
        """The most frequent tag of the training rows, everywhere."""
        del keys
        seen, asked = train.targets["labels"], evaluated.targets["labels"]
        assert isinstance(seen, Ragged) and isinstance(asked, Ragged)
        most = int(np.bincount(seen.values, minlength=len(self.labels)).argmax())
        return self.records(np.full(len(asked.values), most), {"labels": asked.values})

    def decode(self, outputs: np.ndarray, counts: np.ndarray) -> list[dict[str, Any]]:
        """tags: one for each word kept."""
        ends = np.cumsum(counts)
        return [
            {"tags": [self.labels[int(tag)] for tag in outputs[end - count : end]]}
            for end, count in zip(ends, counts, strict=True)
        ]


def _lists(name: str, values: Sequence[Any], where: Where) -> list[list[str]]:
    rows = [value.split() if isinstance(value, str) else value for value in values]
    bad = [row for row, words in enumerate(rows) if not isinstance(words, list) or not set(map(type, words)) <= {str}]
    if bad:
        refuse(name, "is neither a list of words nor text", bad, values, where)
    return rows
