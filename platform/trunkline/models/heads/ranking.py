"""One score for each candidate of a query."""

from __future__ import annotations

from torch import Tensor, nn

from trunkline.batch import RowIndex
from trunkline.models.heads.base import Head
from trunkline.registry import HEADS, POOLINGS, Dropout


@HEADS.register("ranking")
class Ranking(Head):
    """A cross-encoder: pool each trunk row (a query with one of its candidates), then one linear map to its score.

    A drawn row is a whole list, as many trunk rows as it has candidates; a score says nothing outside its list, so there is
    no constant to add: no loss over lists would see it.
    Source: Nogueira & Cho, arXiv:1901.04085, section 3.2.
    """

    def __init__(self, width: int, *, pooling: str = "first", dropout: Dropout = 0.1) -> None:
        super().__init__()
        self.pool = POOLINGS.get(pooling)(width)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, 1, bias=False)

    def forward(self, hidden: Tensor, rows: RowIndex) -> Tensor:
        return self.out(self.dropout(self.pool(hidden, rows))).squeeze(-1)  # [R]
