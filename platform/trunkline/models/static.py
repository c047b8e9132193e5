"""The static trunk: word vectors and nothing that tells one place of a word from another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

import numpy as np
import torch
from torch import Tensor

from trunkline.batch import Batch
from trunkline.errors import ConfigError, nearest
from trunkline.models.base import Primed, Words
from trunkline.models.own import Own, check_share
from trunkline.registry import TRUNKS, Count, Dropout

SMOOTH: Final = 1e-3  # a of SIF, the middle of the paper's range
MOST_ROWS: Final = 20_000  # rows from which the common direction is learned


@TRUNKS.register("static")
class Static(Own):
    """Embeddings alone: each token's vector times its word's weight, hidden [N, D]; with `pooling: mean` a bag of words.

        hidden[i] = w[token i] * v[token i],  less its part along u where there is one

    hidden_size: D, by default the embeddings' own width. weights: of words, learned from the training rows before the first step:
    `tfidf`, w = ln((1 + n) / (1 + rows with the word)) + 1 over n rows, so that the mean is tf-idf weighted; or `sif`,
    w = a / (a + p(word)) with a = 0.001; special tokens then weigh 0. common: with sif, u is the first singular vector of the
    training rows' weighted means at the start, taken out of every sentence vector. Reads no order, so one-way tasks are refused.
    Source: Sparck Jones, J. Documentation 28 (1972), smoothed as in scikit-learn; SIF: Arora, Liang & Ma, ICLR 2017, algorithm 1.
    """

    kind: ClassVar[str] = "static"
    one_way: ClassVar[str] = "Words without order know no direction: take rnn, lstm, gru, bilm or transformer."

    def __init__(
        self,
        vocab_size: int,
        pad_id: int,
        max_length: int,
        *,
        hidden_size: Count | None = None,
        weights: str | None = None,
        common: bool = False,
        dropout: Dropout = 0.0,
        embeddings: Mapping[str, Any] | None = None,
        pretrained: str | None = None,
    ) -> None:
        super().__init__()
        del pad_id, max_length
        sizes = self.begin(vocab_size, pretrained, embeddings, hidden_size=hidden_size, weights=weights, common=common)
        if sizes["weights"] is not None and sizes["weights"] not in WEIGHTS:
            raise ConfigError(f"trunk.weights: no such weights, found {sizes['weights']!r}. {nearest(str(weights), WEIGHTS)}")
        if sizes["common"] and sizes["weights"] != "sif":
            raise ConfigError("trunk.common: the common direction is a part of SIF. Write weights: sif, or leave it out.")
        self.width = sizes["hidden_size"] or sizes["dim"] or 256
        self.dropout = check_share("dropout", dropout)
        self.embed = self.table(self.width)
        if sizes["common"] and self.embed.project is not None:
            raise ConfigError("trunk.common: the common direction is one of the embeddings. Leave out hidden_size.")
        self.weight_of: Tensor | None
        self.common: Tensor | None
        self.register_buffer("weight_of", None if sizes["weights"] is None else torch.ones(vocab_size))
        self.register_buffer("common", torch.zeros(self.width) if sizes["common"] else None)
        self.open()

    def forward(self, batch: Batch) -> Tensor:
        hidden: Tensor = self.embed(batch)
        if self.weight_of is not None:
            hidden = hidden * self.weight_of[batch.tokens].unsqueeze(-1).to(hidden.dtype)
        if self.common is not None:
            hidden = hidden - (hidden @ self.common).unsqueeze(-1) * self.common
        return torch.nn.functional.dropout(hidden, self.dropout, self.training)

    def prime(self, words: Words) -> Primed:
        primed = super().prime(words)
        if self.folder is not None or self.weight_of is None:
            return primed
        weights = WEIGHTS[self.sizes["weights"]](words, self.vocab_size)
        weights[[token for token, word in enumerate(words.spelled) if not word]] = 0
        tensors = {**primed.tensors, "weight_of": torch.from_numpy(weights.astype(np.float32))}
        told = {
            **primed.told,
            "weights": self.sizes["weights"],
            "weights_from_rows": sum(len(bounds) - 1 for _, bounds in words.rows),
        }
        if self.common is not None:
            table = tensors.get("embed.table.weight", self.embed.table.weight.detach())
            tensors["common"] = _direction(_means(words, table, tensors["weight_of"]))
        return Primed(tensors, told)


def _tfidf(words: Words, size: int) -> np.ndarray:
    rows_with, num_rows = np.zeros(size, np.int64), 0
    for values, bounds in words.rows:
        row = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
        rows_with += np.bincount(np.unique(row * size + values) % size, minlength=size)
        num_rows += len(bounds) - 1
    return np.log((1 + num_rows) / (1 + rows_with)) + 1


def _sif(words: Words, size: int) -> np.ndarray:
    counts = sum((np.bincount(values, minlength=size) for values, _ in words.rows), np.zeros(size, np.int64))
    counts[[token for token, word in enumerate(words.spelled) if not word]] = 0
    return SMOOTH / (SMOOTH + counts / max(1, counts.sum()))


WEIGHTS: Final[Mapping[str, Callable[[Words, int], np.ndarray]]] = {"tfidf": _tfidf, "sif": _sif}


def _means(words: Words, table: Tensor, weights: Tensor) -> Tensor:
    """The weighted means of training rows [n, E], at most MOST_ROWS of them, evenly spread."""
    total = sum(len(bounds) - 1 for _, bounds in words.rows)
    means = []
    for values, bounds in words.rows:
        for row in range(0, len(bounds) - 1, -(-total // MOST_ROWS)):
            tokens = torch.from_numpy(values[bounds[row] : bounds[row + 1]].astype(np.int64))
            means.append((table[tokens] * weights[tokens].unsqueeze(1)).sum(0) / max(1, len(tokens)))
    return torch.stack(means)


def _direction(means: Tensor) -> Tensor:
    """The first right singular vector, of either sign."""
    return torch.linalg.eigh((means.T @ means).double()).eigenvectors[:, -1].float()
