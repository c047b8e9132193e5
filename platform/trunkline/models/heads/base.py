"""What every head offers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from trunkline.batch import RowIndex
from trunkline.models.pooling import Mix


class Head(nn.Module):
    """hidden [n, D] of one task's slice -> what its loss reads. Its keyword-only arguments come from the card's `head:`.

    mix: how its hidden states are made of the trunk's layers, set by whoever composes; None: the last layer alone.
    """

    mix: Mix | None
    vectors: ClassVar[bool] = False  # its outputs are a vector of unit length for each trunk row
    # What transformers calls this head where it has one: `sequence` (an affine map `out` of the row's first token) or `token` (of
    # every token), and the problem_type of its configuration. For export.
    stock: ClassVar[tuple[str, str | None] | None] = None

    def __init__(self) -> None:
        super().__init__()
        self.mix = None

    @abstractmethod
    def forward(self, hidden: Tensor, rows: RowIndex) -> Tensor: ...

    def answer(self, hidden: Tensor, rows: RowIndex) -> Tensor:
        """What evaluation and prediction keep, straight from the states: for a head that answers otherwise than it learns."""
        return self.summary(self(hidden, rows), rows.targets)

    def summary(self, outputs: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        """What evaluation and prediction keep of the outputs, small enough to gather: first dimension targets (or rows)."""
        del targets
        return outputs
