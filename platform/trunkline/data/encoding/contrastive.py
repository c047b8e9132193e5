"""A query and the text that answers it, each a trunk row of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from trunkline.data.encoding.base import Columns, Encoding, Records, Where, noted
from trunkline.data.keys import text_key
from trunkline.data.rows import Ragged, Rows, beside
from trunkline.data.tokenizer import Tokenizer
from trunkline.errors import ConfigError
from trunkline.registry import ENCODINGS


@ENCODINGS.register("contrastive")
class Contrastive(Encoding):
    """A query column and a column of the right candidate: the second input, or the target.

    Targets are keys of both texts, so that a candidate that stands twice among those compared is no wrong answer.
    """

    records_given: ClassVar[frozenset[str]] = frozenset({"query", "candidate", "key", "query_key"})
    default_loss: ClassVar[str] = "infonce"
    default_metrics: ClassVar[tuple[str, ...]] = ("retrieval_recall", "retrieval_mrr")
    needs_target: ClassVar[bool] = False
    target_is_text: ClassVar[bool] = True

    def __init__(self, tokenizer: Tokenizer, inputs: Sequence[str], target: str | None) -> None:
        super().__init__(tokenizer, inputs, target)
        columns = self.wanted
        if len(columns) != 2 or columns[0] == columns[1]:
            raise ConfigError(
                f"inputs, target: contrastive takes two columns, the query and its right candidate, found {', '.join(columns)}."
            )

    def rows(self, columns: Columns, where: Where, with_targets: bool) -> Rows:
        query, candidate = (self.texts(columns, name, where) for name in self.wanted)
        parts = [self.tokenizer.encode(query), self.tokenizer.encode(candidate)]
        lengths = np.stack([part.tokens.lengths for part in parts], axis=1).astype(np.int32).reshape(-1)
        starts = np.arange(len(query) + 1, dtype=np.int64) * 2
        notes = sum((noted(part, self.tokenizer) for part in parts), Counter())
        targets: dict[str, np.ndarray] = {}
        if with_targets:
            targets = {"key": _keys(candidate), "query_key": _keys(query)}
        tokens = beside([part.tokens for part in parts])
        return Rows(tokens, Ragged(lengths, starts), Ragged(lengths, starts), np.ones(len(query), np.int32), targets, notes)

    def dummy(self) -> Rows:
        one = self.tokenizer.frame([self.tokenizer.normal_ids[:1]]).tokens
        lengths = Ragged.of([[len(one.values)] * 2])
        targets = {"key": np.zeros(1, np.int64), "query_key": np.zeros(1, np.int64)}
        return Rows(beside([one, one]), lengths, lengths, np.ones(1, np.int32), targets)

    def head_arguments(self) -> dict[str, Any]:
        return {}

    def records(self, outputs: np.ndarray, targets: Mapping[str, np.ndarray]) -> Records:
        """outputs: [n, 2, D], the query's vector and its candidate's. Both are given at unit length (zero stays zero)."""
        norms = np.linalg.norm(outputs.astype(np.float64), axis=2, keepdims=True)
        unit = (outputs / np.where(norms > 0, norms, 1.0)).astype(np.float32)
        return {"query": unit[:, 0], "candidate": unit[:, 1], "key": targets["key"], "query_key": targets["query_key"]}

    def baseline(self, train: Rows, evaluated: Rows, keys: np.ndarray) -> Records:
        """Vectors of zero: every candidate ties with every other."""
        del train, keys
        targets = {name: value for name, value in evaluated.targets.items() if isinstance(value, np.ndarray)}
        return self.records(np.zeros((len(evaluated), 2, 1), np.float32), targets)

    def decode(self, outputs: np.ndarray, rows: Rows) -> list[dict[str, Any]]:
        """similarity: the cosine of query and candidate, -1..1."""
        del rows
        norms = np.linalg.norm(outputs, axis=2)
        product = np.sum(outputs[:, 0] * outputs[:, 1], axis=1)
        scale = norms[:, 0] * norms[:, 1]
        return [{"similarity": float(value)} for value in product / np.where(scale > 0, scale, 1.0)]


def _keys(texts: Sequence[str]) -> np.ndarray:
    return np.fromiter((text_key(text) for text in texts), np.int64, len(texts))
