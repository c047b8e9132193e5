"""Losses over numbers."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from trunkline.losses.base import Loss
from trunkline.registry import LOSSES


@LOSSES.register("mse")
class MSE(Loss):
    """(output - target) squared. outputs [R], targets `target` [R] float. Returns [R] in the target's unit, squared."""

    reads = frozenset({"target"})

    def forward(self, outputs: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        return (outputs.float() - targets["target"].float()).square()


@LOSSES.register("mae")
class MAE(Loss):
    """|output - target|. outputs [R], targets `target` [R] float. Returns [R] in the target's unit."""

    reads = frozenset({"target"})

    def forward(self, outputs: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        return (outputs.float() - targets["target"].float()).abs()
