"""Let every task pull the trunk as hard as its training rate asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trunkline.errors import ConfigError
from trunkline.registry import WEIGHTINGS, Positive
from trunkline.weighting.base import SMALLEST, positive
from trunkline.weighting.gram import LEAST, FromGram


@WEIGHTINGS.register("gradnorm")
class GradNorm(FromGram):
    """Learn weights under which gradients have the same norm, longer for the tasks that lag behind.

        minimise over w  sum of | w * norm - mean(w * norm) * (ratio / mean(ratio)) ** alpha |,  ratio = loss / first loss

    Source: Chen et al., GradNorm, ICML 2018, equations 1 and 2 (arXiv:1711.02257); the mean and the ratios are constants of the
    minimisation, and after each step the weights are scaled to what they summed to. Departures: one step of size
    lr * gradient / mean norm, so that lr does not depend on the size of gradients; only tasks seen in the step move, compared
    among themselves. Needs the norms on the probe layers; lagged. alpha: >= 0, lr: > 0. Raises ConfigError when out of range.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        weights: Sequence[float],
        *,
        every: int = 1,
        exact: bool = False,
        alpha: float = 1.5,
        lr: Positive = 0.025,
    ) -> None:
        super().__init__(tasks, weights, every=every, exact=exact)
        self.alpha = 0.0 if alpha == 0 and not isinstance(alpha, bool) else positive("alpha", alpha)
        self.lr = positive("lr", lr)
        if self.alpha > 100:
            raise ConfigError(f"weighting.alpha must be at most 100, found {alpha!r}.")
        self.unsigned = self.tasks if self.alpha else ()
        self.first: dict[str, float] = {}

    def solve(self, gram: Tensor, seen: Tensor, losses: Tensor) -> Tensor:
        now = losses.clamp(min=SMALLEST)
        names = [self.tasks[number] for number in seen.tolist()]
        for name, loss in zip(names, now.tolist(), strict=True):
            self.first.setdefault(name, loss)
        ratio = now / torch.tensor([self.first[name] for name in names], dtype=torch.float64)
        norm, w = gram.diagonal().sqrt(), self.found[seen]
        pull = w * norm
        slope = torch.sign(pull - pull.mean() * (ratio / ratio.mean()) ** self.alpha) * norm
        moved = (w - self.lr * slope / norm.mean()).clamp(min=LEAST)
        return moved * w.sum() / moved.sum()

    def state(self) -> dict[str, object]:
        return {**super().state(), "first": dict(self.first)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        super().load_state(state)
        self.first = {task: float(value) for task, value in state["first"].items() if task in self.tasks}
