"""A query's right candidate above the others."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from trunkline.batch import RowIndex
from trunkline.models.heads.base import Head
from trunkline.registry import HEADS, POOLINGS


@HEADS.register("contrastive")
class Contrastive(Head):
    """A bi-encoder: pool query and candidate apart, project both, scale to unit length; a score is their dot product.

    A drawn row is two trunk rows, the query then its candidate. size: width of the vectors, by default the trunk's.
    """

    def __init__(self, width: int, *, pooling: str = "mean", size: int | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        self.pool = POOLINGS.get(pooling)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, size or width)

    def forward(self, hidden: Tensor, rows: RowIndex) -> Tensor:
        vectors = F.normalize(self.out(self.dropout(self.pool(hidden, rows))).float(), dim=-1)
        return vectors.unflatten(0, (-1, 2))  # [n, 2, D]
