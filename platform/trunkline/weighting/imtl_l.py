"""Every scaled loss the same size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trunkline.registry import WEIGHTINGS, Positive
from trunkline.weighting.base import Weighting, positive


@WEIGHTINGS.register("imtl_l")
class IMTLL(Weighting):
    """Learn a scale s per task until every scaled loss is 1.

        combined = sum over tasks present of  weight * (exp(s) * loss - s);  s <- s - lr * min(exp(s) * loss - 1, 1)

    Source: Liu et al., Towards Impartial Multi-task Learning, ICLR 2021, section 3.2. s starts at 0 and is learned from
    step-global losses, after each step, as the paper's, so nothing is lagged; it settles where uncertainty does, by plain
    descent in place of Adam. Departure: a slope above 1 is 1, so that no loss, however large, throws a scale away. A task absent
    from the step does not move. lr: > 0; ConfigError otherwise.
    """

    def __init__(self, tasks: Sequence[str], weights: Sequence[float], *, lr: Positive = 0.01) -> None:
        super().__init__(tasks, weights)
        self.unsigned = self.tasks
        self.lr = positive("lr", lr)
        self.scales = torch.zeros(len(self.tasks), dtype=torch.float64)

    def coefficients(self) -> Tensor:
        return self.weights * torch.exp(self.scales)

    def observe(self, losses: Tensor, present: Tensor) -> None:
        slope = (torch.exp(self.scales) * losses.double() - 1).clamp(max=1)
        self.scales = torch.where(present, self.scales - self.lr * slope, self.scales)

    def state(self) -> dict[str, object]:
        return dict(zip(self.tasks, self.scales.tolist(), strict=True))

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.scales = torch.tensor([float(state.get(task, 0.0)) for task in self.tasks], dtype=torch.float64)
