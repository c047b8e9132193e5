"""One label a word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NoReturn

import numpy as np

from trunkline.data.encoded import EncodedWords
from trunkline.data.encoding.base import SHOWN, Columns, Encoding, Records, Where, chunk_rows, noted, refuse
from trunkline.data.encoding.classification import Label, absent, checked_labels, label_index, label_numbers
from trunkline.data.rows import Ragged, Rows, Target
from trunkline.data.tokenizer import Tokenizer
from trunkline.errors import DataError
from trunkline.registry import ENCODINGS


@ENCODINGS.register("tagging")
class Tagging(Encoding):
    """Words and a tag each: lists, or text with spaces between. A word's tag sits at its first sub-token.

    Words cut off by the length limit lose their tags with them, and are counted. Rows left without a word are dropped. Where
    the labels have a B-X, an I-X that follows neither B-X nor I-X is counted as `tags_not_bio`; nothing else comes of it.
    """

    records_given: ClassVar[frozenset[str]] = frozenset({"prediction", "target", "place", "tag", "predicted_tag"})
    default_loss: ClassVar[str] = "cross_entropy"
    default_metrics: ClassVar[tuple[str, ...]] = ("accuracy", "macro_f1")
    num_inputs: ClassVar[tuple[int, ...]] = (1,)

    def __init__(self, tokenizer: Tokenizer, inputs: Sequence[str], target: str | None, *, labels: Sequence[Label]) -> None:
        super().__init__(tokenizer, inputs, target)
        self.labels = checked_labels(labels)
        self.label_index = label_index(self.labels)
        self.follows = follows(self.labels)

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
        if isinstance(labels := targets.get("labels"), Ragged):
            notes["tags_not_bio"] = self._not_bio(labels)
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
            self._refuse_lengths(bad, words, tags, where)
        flat = [tag for row in tags for tag in row]
        owner = np.repeat(np.arange(len(tags)), [len(row) for row in tags])
        numbers = label_numbers(self.target, flat, self.label_index, lambda place: where(int(owner[place])))
        every = Ragged(numbers, np.concatenate([[0], np.cumsum([len(row) for row in tags])]).astype(np.int64))
        first = every.starts[:-1] + encoded.skipped
        kept = encoded.positions.lengths
        index = np.repeat(first - encoded.positions.starts[:-1], kept) + np.arange(int(kept.sum()))
        return Ragged(every.values[index], encoded.positions.starts)

    def _refuse_lengths(self, bad: Sequence[int], words: Sequence[Any], tags: Sequence[Any], where: Where) -> NoReturn:
        found = {
            row: f"{len(words[row])} words, {len(tags[row]) if isinstance(tags[row], list) else 'no list of'} tags" for row in bad
        }
        shown = "; ".join(f"{where(row)}: {found[row]}" for row in bad[:SHOWN])
        more = f" and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        what = f"'{self.target}' needs one tag per word of '{self.inputs[0]}'"
        rows = chunk_rows({row: f"{what}: {text}" for row, text in found.items()}, where)
        raise DataError(f"{what}: {shown}{more}.", where=where(bad[0]), rows=rows)

    def _not_bio(self, labels: Ragged) -> int:
        """How many labels may not follow the one before them."""
        before = np.concatenate([[0], labels.values[:-1]])[: len(labels.values)]
        before[labels.starts[:-1][labels.lengths > 0]] = len(self.labels)
        return int((~self.follows[before, labels.values]).sum())

    def collate(self, rows: Rows, keys: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """`place` beside the other targets: each word's number within its row, from 0."""
        tokens, targets = super().collate(rows, keys)
        return tokens, {**targets, "place": places(rows)}

    def dummy(self) -> Rows:
        encoded = self.dummy_tokens()
        # The first token where the vocabulary has no ordinary one, as in `task check`.
        position = int(np.isin(encoded.tokens.values, self.tokenizer.normal_ids[:1]).argmax())
        targets = {"positions": Ragged.of([[position]]), "labels": Ragged.of([[0]], np.int64)}
        return self.one_text_rows(encoded, np.ones(1), targets)

    def unseen(self, rows: Rows) -> Sequence[str]:
        tags = rows.targets["labels"]
        assert isinstance(tags, Ragged)
        return absent(self.labels, tags.values)

    def head_arguments(self) -> dict[str, Any]:
        return {"num_labels": len(self.labels), "follows": self.follows.astype(int).tolist()}

    def records(self, outputs: np.ndarray, targets: Mapping[str, np.ndarray]) -> Records:
        """outputs: predicted label numbers [K]. tag, predicted_tag: the same in the user's words, for metrics of spans."""
        prediction, target = outputs.astype(np.int64), targets["labels"].astype(np.int64)
        words = np.array(self.labels)
        return {
            "prediction": prediction,
            "target": target,
            "place": targets["place"],
            "tag": words[target],
            "predicted_tag": words[prediction],
        }

    def baseline(self, train: Rows, evaluated: Rows, keys: np.ndarray) -> Records:
        """The most frequent tag of the training rows, everywhere."""
        del keys
        seen, asked = train.targets["labels"], evaluated.targets["labels"]
        assert isinstance(seen, Ragged) and isinstance(asked, Ragged)
        most = int(np.bincount(seen.values, minlength=len(self.labels)).argmax())
        return self.records(np.full(len(asked.values), most), {"labels": asked.values, "place": places(evaluated)})

    def decode(self, outputs: np.ndarray, rows: Rows) -> list[dict[str, Any]]:
        """tags: one for each word kept."""
        ends = np.cumsum(rows.counts)
        return [
            {"tags": [self.labels[int(tag)] for tag in outputs[end - count : end]]}
            for end, count in zip(ends, rows.counts, strict=True)
        ]


def places(rows: Rows) -> np.ndarray:
    """The number of each word within its row, from 0: int64 [K]."""
    positions = rows.targets["positions"]
    assert isinstance(positions, Ragged)
    return np.arange(len(positions.values)) - np.repeat(positions.starts[:-1], positions.lengths)


def follows(labels: Sequence[str]) -> np.ndarray:
    """[C + 1, C] bool: label j may come after label i; the last line says which may stand first.

    Where there is a B-X, an I-X comes after B-X or I-X only; every other label comes anywhere.
    """
    may = np.ones((len(labels) + 1, len(labels)), np.bool_)
    for number, label in enumerate(labels):
        name = label.removeprefix("I-")
        if name != label and f"B-{name}" in labels:
            may[:, number] = [before in (f"B-{name}", label) for before in labels] + [False]
    return may


def _lists(name: str, values: Sequence[Any], where: Where) -> list[list[str]]:
    rows = [value.split() if isinstance(value, str) else value for value in values]
    bad = [row for row, words in enumerate(rows) if not isinstance(words, list) or not set(map(type, words)) <= {str}]
    if bad:
        refuse(name, "is neither a list of words nor text", bad, values, where)
    return rows
