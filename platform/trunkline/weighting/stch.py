"""Mostly the task that is worst off."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trunkline.registry import WEIGHTINGS
from trunkline.weighting.base import positive
from trunkline.weighting.gls import Latest


@WEIGHTINGS.register("stch")
class STCH(Latest):
    """Smooth Tchebycheff: a maximum of the losses whose edge is rounded, so that the worst task counts most.

        combined = T * mu * log(sum of exp(loss / mu)),  so a task's factor is  T * softmax(loss / mu)

    Source: Lin et al., Smooth Tchebycheff Scalarization, ICML 2024, equation 6 (arXiv:2402.19078), the ideal point at 0.
    Departures: lagged unless exact, losses are those last seen of each task; times T, so that equal losses have weight 1; the
    card's weight multiplies the factor and is not in the softmax. Losses are compared as they are: give them one unit. A task not
    seen yet has 1. mu: > 0, in units of loss; small is the maximum, large is static. Raises ConfigError when out of range.
    """

    def __init__(self, tasks: Sequence[str], weights: Sequence[float], *, mu: float = 1.0, exact: bool = False) -> None:
        super().__init__(tasks, weights, exact=exact)
        self.mu = positive("mu", mu)

    def coefficients(self) -> Tensor:
        seen = torch.isfinite(self.known)
        found = torch.ones_like(self.known)
        found[seen] = torch.softmax(self.known[seen] / self.mu, 0) * seen.sum()
        return self.weights * found
