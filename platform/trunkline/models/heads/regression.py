"""One number per row, or several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from trunkline.batch import RowIndex
from trunkline.models.heads.base import Head
from trunkline.registry import HEADS, POOLINGS, Dropout


@HEADS.register("regression")
class Regression(Head):
    """Pool each row, then one affine map to a number, or to M. Rows (one text or a pair) carry one float, or M.

    num_values: M, None for a single number (outputs [R], else [R, M]). log_var: a second map gives each number's log variance
    beside it, for a loss that asks for it (outputs [R, 2] or [R, M, 2]: mean, log variance).
    """

    stock: ClassVar[tuple[str, str | None] | None] = ("sequence", "regression")

    def __init__(
        self,
        width: int,
        num_values: int | None = None,
        log_var: bool = False,
        *,
        pooling: str = "first",
        dropout: Dropout = 0.0,
    ) -> None:
        super().__init__()
        self.pool = POOLINGS.get(pooling)(width)
        self.dropout = nn.Dropout(dropout)
        self.log_var = log_var
        self.shape = (*([] if num_values is None else [num_values]), *([2] if log_var else []))
        self.out = nn.Linear(width, (num_values or 1) * (2 if log_var else 1))

    def forward(self, hidden: Tensor, rows: RowIndex) -> Tensor:
        return self.out(self.dropout(self.pool(hidden, rows))).reshape(-1, *self.shape)  # [R], [R, M], [R, 2] or [R, M, 2]

    def summary(self, outputs: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        """The means: [R] or [R, M]."""
        del targets
        return outputs[..., 0] if self.log_var else outputs
