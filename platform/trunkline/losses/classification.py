"""Losses over classes: one row or one token with one label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from trunkline.losses.base import Loss, check_length, check_number, weights_of
from trunkline.registry import LOSSES


class OverClasses(Loss):
    """A loss whose outputs are logits over C classes that exclude each other."""

    def distance(self, outputs: Tensor, others: Tensor) -> Tensor:
        """KL(p || q) + KL(q || p) of the two softmaxes, in nats."""
        mine, theirs = outputs.log_softmax(-1), others.log_softmax(-1)
        return ((mine.exp() - theirs.exp()) * (mine - theirs)).sum(-1)


@LOSSES.register("cross_entropy")
class CrossEntropy(OverClasses):
    """-log softmax(outputs)[label], with label smoothing e: (1 - e) of it + e / C times the sum over all classes.

        value = w[label] * (1 - e) * -log p[label] + e / C * sum over c of w[c] * -log p[c]

    outputs [K, C]; targets `labels` [K] in 0..C-1. Returns [K] in nats. Source: Szegedy et al., arXiv:1512.00567, section 7.
    class_weights: w, one number for each class, in the order of the labels; None is 1 for all. Departure from torch, whose
    weighted mean divides by the sum of the weights drawn: the objective divides by the COUNT, as for every loss (law 2). So
    weights twice as large make a loss twice as large, and a step of a single class keeps its weight, where torch's division
    cancels it. For a loss of the usual size choose weights whose mean over the rows is 1.
    """

    unit = "target"
    reads = frozenset({"labels"})

    def __init__(self, *, label_smoothing: float = 0.0, class_weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.label_smoothing = check_number("label_smoothing", label_smoothing, 0, 1)
        self.class_weights = weights_of("class_weights", class_weights)

    def check(self, sizes: Mapping[str, Any]) -> None:
        check_length("class_weights", self.class_weights, sizes)

    def forward(self, outputs: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        logits, labels = outputs.float(), targets["labels"].long()
        weight = None if self.class_weights is None else logits.new_tensor(self.class_weights)
        return F.cross_entropy(logits, labels, weight, reduction="none", label_smoothing=self.label_smoothing)


@LOSSES.register("focal")
class Focal(OverClasses):
    """Cross entropy that fades for what is already right: (1 - p) ** gamma * -log p, p = softmax(outputs)[label].

    outputs [K, C]; targets `labels` [K] in 0..C-1. Returns [K] in nats; gamma 0 is cross entropy. Source: Lin et al.,
    arXiv:1708.02002, equations 4 and 5. Departure: softmax over C classes where the paper has one sigmoid.
    class_weights: the paper's alpha, one for each class; the mean is over the count, as in `cross_entropy`.
    """

    unit = "target"
    reads = frozenset({"labels"})

    def __init__(self, *, gamma: float = 2.0, class_weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.gamma = check_number("gamma", gamma, 0)
        self.class_weights = weights_of("class_weights", class_weights)

    def check(self, sizes: Mapping[str, Any]) -> None:
        check_length("class_weights", self.class_weights, sizes)

    def forward(self, outputs: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        logits, labels = outputs.float(), targets["labels"].long()
        loss = F.cross_entropy(logits, labels, reduction="none")
        # -expm1(-loss) is 1 - p without cancellation; its floor keeps the slope of a gamma below 1 finite where p is 1.
        faded = (-(-loss).expm1()).clamp(min=1e-12) ** self.gamma * loss
        return faded if self.class_weights is None else logits.new_tensor(self.class_weights)[labels] * faded


@LOSSES.register("hinge")
class Hinge(Loss):
    """How far the right class is from leading all others by `margin`: max(0, margin + max over c != label of s[c] - s[label]).

    outputs s [K, C]; targets `labels` [K] in 0..C-1. Returns [K], in the unit of the scores, which are no log-probabilities then.
    Source: Crammer & Singer, JMLR 2 (2001), equation 3.
    """

    unit = "target"
    reads = frozenset({"labels"})

    def __init__(self, *, margin: float = 1.0) -> None:
        super().__init__()
        self.margin = check_number("margin", margin, 0)

    def forward(self, outputs: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        scores, labels = outputs.float(), targets["labels"].long().unsqueeze(-1)
        rival = scores.scatter(-1, labels, float("-inf")).max(-1).values
        return (self.margin + rival - scores.gather(-1, labels).squeeze(-1)).clamp(min=0)
