"""One number per row."""

from __future__ import annotations

from torch import Tensor, nn

from trunkline.batch import RowIndex
from trunkline.models.heads.base import Head
from trunkline.registry import HEADS, POOLINGS


@HEADS.register("regression")
class Regression(Head):
    """Pool each row, then one affine map to a number. Rows (one text or a pair) carry one float."""

    def __init__(self, width: int, *, pooling: str = "first", dropout: float = 0.0) -> None:
        super().__init__()
        self.pool = POOLINGS.get(pooling)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, 1)

    def forward(self, hidden: Tensor, rows: RowIndex) -> Tensor:
        return self.out(self.dropout(self.pool(hidden, rows))).squeeze(-1)  # [R]
