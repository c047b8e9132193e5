"""Losses over numbers: one a row, or M of which the row's value is the mean."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from trunkline.errors import ConfigError
from trunkline.losses.base import Loss
from trunkline.registry import LOSSES


class _Numbers(Loss):
    """Rows carry `target` [R] or [R, M] float; outputs have the same shape."""

    reads = frozenset({"target"})


def _error(outputs: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
    return outputs.float() - targets["target"].float()


def _by_row(values: Tensor) -> Tensor:
    """The mean over a row's M numbers. [R] or [R, M] -> [R]."""
    return values if values.ndim == 1 else values.mean(-1)


@LOSSES.register("mse")
class MSE(_Numbers):
    """(output - target) squared. outputs, targets `target` [R] or [R, M] float. Returns [R] in the target's unit, squared."""

    def forward(self, outputs: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        return _by_row(_error(outputs, targets).square())


@LOSSES.register("mae")
class MAE(_Numbers):
    """|output - target|. outputs, targets `target` [R] or [R, M] float. Returns [R] in the target's unit."""

    def forward(self, outputs: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        return _by_row(_error(outputs, targets).abs())


@LOSSES.register("huber")
class Huber(_Numbers):
    """error squared / 2 up to delta, delta * (|error| - delta / 2) beyond: outliers pull with a constant force.

    outputs, targets `target` [R] or [R, M] float. Returns [R] in the target's unit, squared. delta: in the target's unit.
    Source: Huber, Annals of Mathematical Statistics 35 (1964).
    """

    def __init__(self, *, delta: float = 1.0) -> None:
        super().__init__()
        if isinstance(delta, bool) or not isinstance(delta, int | float) or not 0 < delta < math.inf:
            raise ConfigError(f"delta: a number above 0 is needed, found {delta!r}.")
        self.delta = float(delta)

    def forward(self, outputs: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        error = _error(outputs, targets)
        return _by_row(F.huber_loss(error, torch.zeros_like(error), reduction="none", delta=self.delta))


@LOSSES.register("log_cosh")
class LogCosh(_Numbers):
    """log cosh(error): error squared / 2 near 0, |error| - log 2 far from it, smooth everywhere.

    outputs, targets `target` [R] or [R, M] float. Returns [R]. Computed as |e| + log(1 + exp(-2 |e|)) - log 2, which does not
    overflow. Source: Saleh & Saleh, arXiv:2208.04564, section 2.
    """

    def forward(self, outputs: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        error = _error(outputs, targets)
        return _by_row(error + F.softplus(-2 * error) - math.log(2))  # the same by symmetry, and smooth at 0


@LOSSES.register("heteroscedastic")
class Heteroscedastic(_Numbers):
    """Gaussian likelihood with a variance of each row's own: (exp(-s) * (mean - target) squared + s) / 2, s = log variance.

    outputs [R, 2] or [R, M, 2]: mean and s, which the head gives because this loss asks for it; targets `target` [R] or [R, M]
    float. Returns [R] in nats without the constant log(2 pi) / 2; below 0 where the variance is small.
    Source: Kendall & Gal, arXiv:1703.04977, equations 5 and 8; Nix & Weigend, ICNN 1994.
    """

    asks = {"log_var": True}
    signed = True

    def forward(self, outputs: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        mean, log_var = outputs.float().unbind(-1)
        return _by_row((torch.exp(-log_var) * _error(mean, targets).square() + log_var) / 2)
