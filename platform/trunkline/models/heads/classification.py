"""One label per row."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from trunkline.batch import RowIndex
from trunkline.models.heads.base import Head
from trunkline.registry import HEADS, POOLINGS, Dropout


@HEADS.register("classification")
class Classification(Head):
    """Pool each row, then one affine map to C logits. Rows (one text or a pair) carry one label in 0..C-1."""

    stock: ClassVar[tuple[str, str | None] | None] = ("sequence", "single_label_classification")

    def __init__(self, width: int, num_labels: int, *, pooling: str = "first", dropout: Dropout = 0.0) -> None:
        super().__init__()
        self.pool = POOLINGS.get(pooling)(width)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, num_labels)

    def forward(self, hidden: Tensor, rows: RowIndex) -> Tensor:
        return self.out(self.dropout(self.pool(hidden, rows)))  # [R, C]
