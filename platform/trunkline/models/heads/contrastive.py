"""Vectors of texts that a loss or a metric compares."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from trunkline.batch import RowIndex
from trunkline.models.heads.base import Head
from trunkline.registry import HEADS, POOLINGS, Count, Dropout


@HEADS.register("contrastive")
class Contrastive(Head):
    """A bi-encoder: pool every text apart, project, scale to unit length; a score is the dot product of two vectors.

    A drawn row is two trunk rows or more: anchor, positive, negatives. Gives one vector for each trunk row, flat [R, D].
    size: D, by default the trunk's width.
    """

    vectors: ClassVar[bool] = True

    def __init__(self, width: int, *, pooling: str = "mean", size: Count | None = None, dropout: Dropout = 0.0) -> None:
        super().__init__()
        self.pool = POOLINGS.get(pooling)(width)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, size or width)

    def forward(self, hidden: Tensor, rows: RowIndex) -> Tensor:
        return F.normalize(self.out(self.dropout(self.pool(hidden, rows))).float(), dim=-1)  # [R, D]
