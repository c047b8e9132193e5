"""Losses over classes: one row or one token with one label."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional as F

from trunkline.losses.base import Loss
from trunkline.registry import LOSSES


@LOSSES.register("cross_entropy")
class CrossEntropy(Loss):
    """-log softmax(outputs)[label], with label smoothing e: (1 - e) of it + e / C times the sum over all classes.

    outputs [K, C]; targets `labels` [K] in 0..C-1. Returns [K] in nats. Source: Szegedy et al., arXiv:1512.00567, section 7.
    """

    unit = "target"
    reads = frozenset({"labels"})

    def __init__(self, *, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(self, outputs: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        return F.cross_entropy(outputs.float(), targets["labels"].long(), reduction="none", label_smoothing=self.label_smoothing)


@LOSSES.register("binary_cross_entropy")
class BinaryCrossEntropy(Loss):
    """One yes-or-no question per class: the mean over C classes of -log sigmoid(+-output).

    outputs [K, C]; targets `labels` [K] in 0..C-1 (one class is yes, the others no). Returns [K] in nats.
    """

    unit = "target"
    reads = frozenset({"labels"})

    def forward(self, outputs: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        wanted = F.one_hot(targets["labels"].long(), outputs.shape[-1]).float()
        return F.binary_cross_entropy_with_logits(outputs.float(), wanted, reduction="none").mean(-1)
