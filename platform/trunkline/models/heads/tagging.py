"""One label per word."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from trunkline.batch import RowIndex
from trunkline.models.heads.base import Head
from trunkline.registry import HEADS


@HEADS.register("tagging")
class Tagging(Head):
    """An affine map to C logits at the first sub-token of every word. Rows are words with one label each."""

    def __init__(self, width: int, num_labels: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, num_labels)

    def forward(self, hidden: Tensor, rows: RowIndex) -> Tensor:
        return self.out(self.dropout(hidden[rows.positions]))  # [K, C]

    def summary(self, outputs: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        del targets
        return outputs.argmax(-1)  # [K]
