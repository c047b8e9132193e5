"""The geometric mean of the losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trunkline.registry import WEIGHTINGS
from trunkline.weighting.base import SMALLEST, Weighting, switch


class Latest(Weighting):
    """What weightings share that are functions of each task's latest loss; `known` [T] is NaN before a task is seen.

    exact: that of the step itself, told before its backward; else that of the last step it was in. Raises ConfigError if it is
    neither true nor false.
    """

    def __init__(self, tasks: Sequence[str], weights: Sequence[float], *, exact: bool = False) -> None:
        super().__init__(tasks, weights)
        self._exact = switch("exact", exact)
        self.known = torch.full((len(self.tasks),), torch.nan, dtype=torch.float64)

    @property
    def exact(self) -> bool:
        return self._exact

    def observe(self, losses: Tensor, present: Tensor) -> None:
        self.known = torch.where(present, losses.double(), self.known)

    def state(self) -> dict[str, object]:
        return {task: loss for task, loss in zip(self.tasks, self.known.tolist(), strict=True) if loss == loss}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.known = torch.tensor([state.get(task, torch.nan) for task in self.tasks], dtype=torch.float64)


@WEIGHTINGS.register("gls")
class GLS(Latest):
    """Geometric loss strategy: tasks with large and small losses count alike, whatever their unit.

        combined = T * (product of the losses) ** (1 / T),  so a task's factor is  that geometric mean / its loss

    Source: Chennupati et al., MultiNet++, CVPR Workshops 2019, section 3.2 (arXiv:1904.08492). Departures: lagged unless exact,
    losses are those last seen of each task, where the paper has those of the same step; times T, so that equal losses have
    weight 1. A task absent from the step has its last loss in the mean, one not seen yet has 1 and is not in it; a loss below
    1e-8 is 1e-8. The card's weight multiplies.
    """

    def __init__(self, tasks: Sequence[str], weights: Sequence[float], *, exact: bool = False) -> None:
        super().__init__(tasks, weights, exact=exact)
        self.unsigned = self.tasks

    def coefficients(self) -> Tensor:
        seen = torch.isfinite(self.known)
        logs = self.known[seen].clamp(min=SMALLEST).log()
        found = torch.ones_like(self.known)
        found[seen] = torch.exp(logs.mean() - logs)
        return self.weights * found
