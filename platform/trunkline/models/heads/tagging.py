"""One label per word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from trunkline.batch import RowIndex
from trunkline.models.heads.base import Head
from trunkline.models.heads.chain import Chain, best_path
from trunkline.registry import HEADS, Dropout


@HEADS.register("tagging")
class Tagging(Head):
    """An affine map to C logits at the first sub-token of every word. Rows are words with one label each.

    transitions: for a loss that asks for them, outputs are tables [K, C, C] of a linear chain instead of logits [K, C], and the
    likeliest path is predicted instead of each word's likeliest label. follows [C + 1, C] of 0 and 1: which label may come after
    which, the last line for a row's first word (the encoding knows it from the labels' B- and I-). constrained: predict only
    paths that keep to it. Set it to false where an I- opens spans in the data, as in IOB1; training never constrains.
    """

    stock: ClassVar[tuple[str, str | None] | None] = ("token", None)

    def __init__(
        self,
        width: int,
        num_labels: int,
        follows: Sequence[Sequence[int]] | None = None,
        transitions: bool = False,
        *,
        dropout: Dropout = 0.0,
        constrained: bool = True,
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, num_labels)
        self.chain = Chain(num_labels) if transitions else None
        self.follows = torch.tensor(follows, dtype=torch.bool) if follows is not None and constrained else None

    def forward(self, hidden: Tensor, rows: RowIndex) -> Tensor:
        logits = self.out(self.dropout(hidden[rows.positions]))  # [K, C]
        return logits if self.chain is None else self.chain(logits, rows)  # or [K, C, C]

    def summary(self, outputs: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        """The predicted labels' numbers [K]."""
        if self.chain is None:
            return outputs.argmax(-1)
        return best_path(outputs, targets["place"], None if self.follows is None else self.follows.to(outputs.device))
