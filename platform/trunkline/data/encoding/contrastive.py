"""Texts that belong together, each a trunk row of its own: pairs, pairs with hard negatives, pairs with a score."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from trunkline.data.encoding.base import Columns, Encoding, Records, Where, noted, refuse
from trunkline.data.encoding.regression import numbers
from trunkline.data.keys import text_key
from trunkline.data.rows import Ragged, Rows, beside
from trunkline.data.tokenizer import Tokenizer
from trunkline.errors import ConfigError
from trunkline.registry import ENCODINGS


@ENCODINGS.register("contrastive")
class Contrastive(Encoding):
    """An anchor column and a column of its positive, the text that belongs to it: the second input, or the target.

    negatives: a column of texts that do not belong to the anchor though they look like it: a text or a list of them in each row,
    or nothing. The trunk rows of a row are anchor, positive, negatives. A negative that is the row's positive is left out, and
    counted as `negatives_like_positive_dropped`.
    Two inputs and a target beside them are pairs with a score: see `ScoredPairs`, which alone takes `score_range`.
    Targets: `key` [n] of the positive, `query_key` [n] of the anchor, hashes of the text, so that a text that stands twice among
    those compared is no wrong answer; `vectors` [n]: trunk rows of each row; with `negatives` also `negative_key`, flat.
    """

    records_given: ClassVar[frozenset[str]] = frozenset({"query", "candidate", "key", "query_key"})
    default_loss: ClassVar[str] = "infonce"
    default_metrics: ClassVar[tuple[str, ...]] = ("retrieval_recall", "retrieval_mrr")
    needs_target: ClassVar[bool] = False
    target_is_text: ClassVar[bool] = True

    def __init__(
        self,
        tokenizer: Tokenizer,
        inputs: Sequence[str],
        target: str | None,
        *,
        negatives: str | None = None,
        score_range: Sequence[float] | None = None,
    ) -> None:
        super().__init__(tokenizer, inputs, target)
        self.negatives, self.score_range = negatives, score_range
        self.check()

    @classmethod
    def suited(cls, inputs: Sequence[str], target: str | None) -> type[Encoding]:
        return ScoredPairs if len(inputs) == 2 and target is not None else cls

    def check(self) -> None:
        """Raises ConfigError if columns and arguments make no sense together."""
        columns = self.wanted
        if len(columns) != 2 or columns[0] == columns[1]:
            raise ConfigError(
                f"inputs, target: contrastive takes two columns, the anchor and its positive, found {', '.join(columns)}. "
                "Two inputs with a target are pairs with a score."
            )
        if self.score_range is not None:
            raise ConfigError("score_range: these rows have no score. Name two inputs, and the column of scores as target.")
        if self.negatives is not None and (not isinstance(self.negatives, str) or self.negatives in columns):
            raise ConfigError(f"negatives: a third column is needed, found {self.negatives!r}.")

    @property
    def pair(self) -> tuple[str, ...]:
        """The columns of the two texts."""
        return self.wanted

    @property
    def optional(self) -> tuple[str, ...]:
        return () if self.negatives is None else (self.negatives,)

    def rows(self, columns: Columns, where: Where, with_targets: bool) -> Rows:
        first, second = (self.texts(columns, name, where) for name in self.pair)
        notes: Counter[str] = Counter()
        wrong: list[list[str]] = [[] for _ in first]
        if with_targets and self.negatives is not None:
            wrong = self._negatives(self.negatives, columns, second, where, notes)
        targets = self.targets(columns, where) if with_targets else {}
        if with_targets and self.negatives is not None:
            targets["negative_key"] = Ragged.of([_keys(texts) for texts in wrong], np.int64)
        return self._laid_out(first, second, wrong, targets, notes)

    def _laid_out(
        self,
        first: Sequence[str],
        second: Sequence[str],
        wrong: Sequence[Sequence[str]],
        targets: Mapping[str, np.ndarray | Ragged],
        notes: Counter[str],
    ) -> Rows:
        """Every row's texts one after the other, each a trunk row."""
        parts = [self.tokenizer.encode(first), self.tokenizer.encode(second)]
        tokens = [part.tokens for part in parts]
        lengths = [Ragged.single(part.lengths.astype(np.int32)) for part in tokens]
        if flat := [text for texts in wrong for text in texts]:
            parts.append(self.tokenizer.encode(flat))
            starts = np.concatenate([[0], np.cumsum([len(texts) for texts in wrong])]).astype(np.int64)
            more = parts[-1].tokens
            tokens.append(Ragged(more.values, more.starts[starts]))
            lengths.append(Ragged(more.lengths.astype(np.int32), starts))
        notes = sum((noted(part, self.tokenizer) for part in parts), notes)
        laid = beside(lengths)
        return Rows(beside(tokens), laid, laid, np.ones(len(first), np.int32), targets, notes)

    def targets(self, columns: Columns, where: Where) -> dict[str, np.ndarray | Ragged]:
        """What the loss compares the rows by, beside their negatives."""
        first, second = (self.texts(columns, name, where) for name in self.pair)
        return {"key": _keys(second), "query_key": _keys(first)}

    def _negatives(
        self, name: str, columns: Columns, positives: Sequence[str], where: Where, notes: Counter[str]
    ) -> list[list[str]]:
        """The texts of each row's negatives, without its positive."""
        values = self.column(columns, name)
        lists = [[] if value is None or value == "" else [value] if isinstance(value, str) else value for value in values]
        bad = [
            row for row, own in enumerate(lists) if not isinstance(own, list | tuple) or not all(isinstance(t, str) for t in own)
        ]
        if bad:
            refuse(name, "is neither a text nor a list of texts", bad, values, where)
        kept = [[text for text in own if text != positive] for own, positive in zip(lists, positives, strict=True)]
        if dropped := sum(map(len, lists)) - sum(map(len, kept)):
            notes["negatives_like_positive_dropped"] = dropped
        if without := sum(not own for own in kept):
            notes["without_negatives"] = without
        return kept

    def collate(self, rows: Rows, keys: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """`vectors` beside the other targets: how many trunk rows each row has."""
        tokens, targets = super().collate(rows, keys)
        return tokens, {**targets, "vectors": rows.lengths.lengths}

    def dummy(self) -> Rows:
        one = self.tokenizer.frame([self.tokenizer.normal_ids[:1]]).tokens
        lengths = Ragged.of([[len(one.values)] * 2])
        return Rows(beside([one, one]), lengths, lengths, np.ones(1, np.int32), self.dummy_targets())

    def dummy_targets(self) -> dict[str, np.ndarray | Ragged]:
        targets: dict[str, np.ndarray | Ragged] = {"key": np.zeros(1, np.int64), "query_key": np.zeros(1, np.int64)}
        return targets if self.negatives is None else {**targets, "negative_key": Ragged.of([[]], np.int64)}

    def head_arguments(self) -> dict[str, Any]:
        return {}

    def records(self, outputs: np.ndarray, targets: Mapping[str, np.ndarray]) -> Records:
        """outputs: [R, D], vectors of every row's texts. Anchor's and positive's are given at unit length (zero stays zero)."""
        first, second = _pairs(outputs, targets["vectors"])
        return {"query": first, "candidate": second, "key": targets["key"], "query_key": targets["query_key"]}

    def baseline(self, train: Rows, evaluated: Rows, keys: np.ndarray) -> Records:
        """Vectors of zero: every candidate ties with every other."""
        del train, keys
        targets = {name: value for name, value in evaluated.targets.items() if isinstance(value, np.ndarray)}
        zeros = np.zeros((len(evaluated.lengths.values), 1), np.float32)
        return self.records(zeros, {**targets, "vectors": evaluated.lengths.lengths})

    def decode(self, outputs: np.ndarray, rows: Rows) -> list[dict[str, Any]]:
        """similarity: the cosine of the two texts, -1..1."""
        first, second = _pairs(outputs, rows.lengths.lengths)
        return [{"similarity": float(value)} for value in _cosine(first, second)]


class ScoredPairs(Contrastive):
    """Two input columns and a target: a number that says how alike the two texts are.

    score_range: [lowest, highest] score there can be, which are made 0 and 1; without it scores stay as they are. A loss that
    wants cosines of the scores themselves (`cosine`) needs them from -1 to 1: others are counted as `scores_beyond_cosine`.
    Targets: `score` [n] float32, `vectors` [n].
    """

    records_given: ClassVar[frozenset[str]] = frozenset({"prediction", "target"})
    default_loss: ClassVar[str] = "cosent"
    default_metrics: ClassVar[tuple[str, ...]] = ("spearman", "pearson")
    needs_target: ClassVar[bool] = True
    target_is_text: ClassVar[bool] = False

    def check(self) -> None:
        if self.negatives is not None:
            raise ConfigError("negatives: pairs with a score have none. Leave the target out, or the negatives.")
        given = self.score_range
        if given is not None:
            fine = isinstance(given, list | tuple) and len(given) == 2
            fine = fine and all(isinstance(n, int | float) and not isinstance(n, bool) for n in given)
            if not fine or not -np.inf < given[0] < given[1] < np.inf:
                raise ConfigError(f"score_range: the lowest and the highest score are needed, such as [0, 5], found {given!r}.")

    @property
    def pair(self) -> tuple[str, ...]:
        return self.inputs

    def rows(self, columns: Columns, where: Where, with_targets: bool) -> Rows:
        rows = super().rows(columns, where, with_targets)
        if with_targets:
            score = rows.targets["score"]
            assert isinstance(score, np.ndarray)
            if beyond := int((np.abs(score) > 1).sum()):
                rows.notes["scores_beyond_cosine"] = beyond
        return rows

    def targets(self, columns: Columns, where: Where) -> dict[str, np.ndarray | Ragged]:
        assert self.target is not None
        values = self.column(columns, self.target)
        scores = numbers(self.target, values, where)
        if self.score_range is not None:
            low, high = self.score_range
            bad = np.flatnonzero((scores < low) | (scores > high)).tolist()
            if bad:
                refuse(self.target, f"has scores outside of score_range [{low}, {high}]", bad, values, where)
            scores = ((scores - low) / (high - low)).astype(np.float32)
        return {"score": scores}

    def dummy_targets(self) -> dict[str, np.ndarray | Ragged]:
        return {"score": np.zeros(1, np.float32)}

    def records(self, outputs: np.ndarray, targets: Mapping[str, np.ndarray]) -> Records:
        """prediction: the cosine; target: the score, in `score_range`."""
        prediction = _cosine(*_pairs(outputs, targets["vectors"])).astype(np.float32)
        return {"prediction": prediction, "target": targets["score"].astype(np.float32)}

    def baseline(self, train: Rows, evaluated: Rows, keys: np.ndarray) -> Records:
        """The mean score of the training rows, as if it were a cosine."""
        del keys
        seen, asked = train.targets["score"], evaluated.targets["score"]
        assert isinstance(seen, np.ndarray) and isinstance(asked, np.ndarray)
        return {"prediction": np.full(len(asked), seen.mean(dtype=np.float64), np.float32), "target": asked}


def _keys(texts: Sequence[str]) -> np.ndarray:
    return np.fromiter((text_key(text) for text in texts), np.int64, len(texts))


def _pairs(outputs: np.ndarray, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first two vectors of each row at unit length, float32 [n, D] each. outputs [R, D]; vectors [n]: how many are whose."""
    first = np.cumsum(vectors) - vectors
    both = outputs[np.stack([first, first + 1])].astype(np.float64)
    norms = np.linalg.norm(both, axis=-1, keepdims=True)
    anchor, positive = (both / np.where(norms > 0, norms, 1.0)).astype(np.float32)
    return anchor, positive


def _cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Of vectors at unit length [n, D]."""
    cosine: np.ndarray = np.sum(first.astype(np.float64) * second, axis=1)
    return cosine
