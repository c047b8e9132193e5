"""Losses that ask of every class for itself whether a row has it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from trunkline.errors import ConfigError
from trunkline.losses.base import Loss, check_length, check_number, weights_of
from trunkline.registry import LOSSES


@LOSSES.register("binary_cross_entropy")
class BinaryCrossEntropy(Loss):
    """One yes-or-no question per class: the mean over C classes of -log sigmoid(+-output).

        value = mean over c of  -(w[c] y[c] log sigmoid(s[c]) + (1 - y[c]) log(1 - sigmoid(s[c])))

    outputs s [K, C]; targets y: either `label_set` [K, C] of 0 and 1 (several classes are yes), or `labels` [K] in 0..C-1 (one
    is, the others are no). Returns [K] in nats.
    pos_weights: w, one number for each class, in the order of the labels; above 1 raises recall. None is 1 for all.
    """

    unit = "target"
    reads = frozenset({"label_set"})

    def __init__(self, *, pos_weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.pos_weights = weights_of("pos_weights", pos_weights)

    @classmethod
    def fits(cls, targets: Collection[str]) -> bool:
        return "label_set" in targets or "labels" in targets

    def check(self, sizes: Mapping[str, Any]) -> None:
        check_length("pos_weights", self.pos_weights, sizes)

    def forward(self, outputs: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        logits = outputs.float()
        given = targets.get("label_set")
        wanted = F.one_hot(targets["labels"].long(), logits.shape[-1]) if given is None else given
        weight = None if self.pos_weights is None else logits.new_tensor(self.pos_weights)
        return F.binary_cross_entropy_with_logits(logits, wanted.float(), reduction="none", pos_weight=weight).mean(-1)


@LOSSES.register("asymmetric")
class Asymmetric(Loss):
    """Binary cross entropy in which easy absent classes fade faster than present ones, and very easy ones count nothing.

        present:  (1 - p) ** gamma_positive * -log p          p = sigmoid(output)
        absent:   q ** gamma_negative * -log(1 - q)           q = max(p - shift, 0)

    outputs [K, C]; targets `label_set` [K, C] of 0 and 1. Returns [K] in nats: the mean over classes.
    Source: Ridnik et al., arXiv:2009.14119, equations 5 to 7. Departures: the mean over C classes where the paper sums, so that
    the size does not grow with C; no clipping of the logarithm, which is computed stably. gamma_positive 0 as in the paper (the
    released code has 1). Both gammas 0 and shift 0 is binary cross entropy.
    """

    unit = "target"
    reads = frozenset({"label_set"})

    def __init__(self, *, gamma_positive: float = 0.0, gamma_negative: float = 4.0, shift: float = 0.05) -> None:
        super().__init__()
        for name, value in (("gamma_positive", gamma_positive), ("gamma_negative", gamma_negative)):
            if 0 < check_number(name, value, 0) < 1:
                raise ConfigError(f"{name}: between 0 and 1 the slope is infinite where a class is right, found {value!r}.")
        self.gamma_positive, self.gamma_negative = gamma_positive, gamma_negative
        self.shift = check_number("shift", shift, 0, 1)

    def forward(self, outputs: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        logits, present = outputs.float(), targets["label_set"].bool()
        here = torch.sigmoid(-logits) ** self.gamma_positive * -F.logsigmoid(logits)
        shifted = (torch.sigmoid(logits) - self.shift).clamp(min=0)
        # log(1 - q) = log min(1 - p + shift, 1), added as logarithms: exact for every logit.
        room = logits.new_tensor(math.log(self.shift) if self.shift else float("-inf"))
        absent = shifted**self.gamma_negative * -torch.logaddexp(F.logsigmoid(-logits), room).clamp(max=0)
        return torch.where(present, here, absent).mean(-1)


@LOSSES.register("soft_margin")
class SoftMargin(Loss):
    """A smooth hinge per class: the mean over C classes of log(1 + exp(margin - y s)), y = +1 for a present class, else -1.

    outputs s [K, C]; targets `label_set` [K, C] of 0 and 1. Returns [K] in nats. margin: 0 is torch's MultiLabelSoftMarginLoss
    (and plain binary cross entropy); above it every class must be right by that much.
    """

    unit = "target"
    reads = frozenset({"label_set"})

    def __init__(self, *, margin: float = 0.0) -> None:
        super().__init__()
        self.margin = check_number("margin", margin, 0)

    def forward(self, outputs: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        side = targets["label_set"].float() * 2 - 1
        return F.softplus(self.margin - side * outputs.float()).mean(-1)
