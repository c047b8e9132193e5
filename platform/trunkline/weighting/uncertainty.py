"""Learn how noisy each task is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trunkline.registry import WEIGHTINGS, Positive
from trunkline.weighting.base import Weighting


@WEIGHTINGS.register("uncertainty")
class Uncertainty(Weighting):
    """Learn a log-variance s per task; a noisy task grows s and counts less.

        combined = sum over tasks present of  weight * (exp(-s) * loss / 2 + s / 2)

    Source: Kendall, Gal & Cipolla, CVPR 2018 (arXiv:1705.07115). s starts at 0 and is learned by an Adam of its own, from
    step-global losses: no weight decay, lr its own, no step for a task absent from the step. Departure: the trunk sees
    2 * exp(-s) / 2, i.e. exp(-s), so that at the start a run equals a static one.
    """

    def __init__(self, tasks: Sequence[str], weights: Sequence[float], *, lr: Positive = 0.01) -> None:
        super().__init__(tasks, weights)
        self.unsigned = self.tasks
        self.log_vars = [torch.zeros((), dtype=torch.float64, requires_grad=True) for _ in self.tasks]
        self.optimizer = torch.optim.Adam(self.log_vars, lr=lr)

    def coefficients(self) -> Tensor:
        return self.weights * torch.exp(-torch.stack([s.detach() for s in self.log_vars]))

    def observe(self, losses: Tensor, present: Tensor) -> None:
        for s, loss, here in zip(self.log_vars, losses.double(), present, strict=True):
            # d/ds (exp(-s) loss / 2 + s / 2); None keeps Adam from moving an absent task on old momentum.
            s.grad = (1 - torch.exp(-s.detach()) * loss) / 2 if here else None
        self.optimizer.step()

    def state(self) -> dict[str, object]:
        moments = [
            {key: float(value) for key, value in self.optimizer.state[s].items()} if s in self.optimizer.state else None
            for s in self.log_vars
        ]
        return {task: {"s": float(s.detach()), "adam": m} for task, s, m in zip(self.tasks, self.log_vars, moments, strict=True)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        for task, s in zip(self.tasks, self.log_vars, strict=True):
            kept = state.get(task)
            if kept is None:
                continue
            s.data.fill_(kept["s"])
            if kept["adam"]:
                adam = {key: torch.tensor(value, dtype=torch.float64) for key, value in kept["adam"].items()}
                adam["step"] = adam["step"].float()
                self.optimizer.state[s] = adam
