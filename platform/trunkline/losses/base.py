"""What every loss is: head outputs and targets in, one value per target out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn


class Loss(nn.Module):
    """forward(outputs, targets) -> [number of targets], unreduced: the objective alone divides, once, by the step's count.

    unit: what one value stands for (target, row, pair, group). reads: the targets it needs, by name. group: rows that must
    come together (1 unless rows couple).
    """

    unit: ClassVar[str] = "row"
    reads: ClassVar[frozenset[str]]
    group: int = 1

    @abstractmethod
    def forward(self, outputs: Tensor, targets: Mapping[str, Tensor]) -> Tensor: ...
