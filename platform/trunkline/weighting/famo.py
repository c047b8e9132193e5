"""Let every task's loss fall at the same rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trunkline.registry import WEIGHTINGS, Positive
from trunkline.weighting.base import SMALLEST, Weighting, positive, switch


@WEIGHTINGS.register("famo")
class FAMO(Weighting):
    """Fast adaptive multitask optimization: more for the tasks whose log loss falls least.

        z = softmax(logits);  coefficient = T * (z / loss) / sum of (z / loss)
        logits -= lr * (jacobian of softmax @ (log loss before - log loss now) + decay * logits)

    Source: Liu, Feng, Stone & Liu, NeurIPS 2023, algorithm 1 (arXiv:2306.03792). exact is the paper's: the losses of the step
    itself, and those of the same rows after it, by one more forward. Departures: lagged unless exact, losses are those of the
    step before, and now and before are two steps' rows; times T, so that weights are 1 on average; the update is the paper's, not
    the Adam of its authors' code, and no least loss is taken off. Only tasks present move, by the softmax among themselves; one
    not seen yet counts as a loss of 1, one absent as its last, and a loss below 1e-8 as 1e-8. The card's weight multiplies.
    lr, decay: > 0; ConfigError otherwise.
    """

    def __init__(
        self, tasks: Sequence[str], weights: Sequence[float], *, lr: Positive = 0.025, decay: float = 0.01, exact: bool = False
    ) -> None:
        super().__init__(tasks, weights)
        self.unsigned = self.tasks
        self.lr, self.decay, self._exact = positive("lr", lr), positive("decay", decay), switch("exact", exact)
        self.logits = torch.zeros(len(self.tasks), dtype=torch.float64)
        self.losses = torch.ones(len(self.tasks), dtype=torch.float64)
        self.seen = torch.zeros(len(self.tasks), dtype=torch.bool)

    @property
    def exact(self) -> bool:
        return self._exact

    @property
    def looks_back(self) -> bool:
        return self._exact

    def coefficients(self) -> Tensor:
        share = torch.softmax(self.logits, 0) / self.losses
        return self.weights * share / share.sum() * len(self.tasks)

    def observe(self, losses: Tensor, present: Tensor) -> None:
        now = losses.double().clamp(min=SMALLEST)
        if not self._exact:
            self._compare(now, present & self.seen)
        self.losses = torch.where(present, now, self.losses)
        self.seen = self.seen | present

    def look_back(self, losses: Tensor, present: Tensor) -> None:
        self._compare(losses.double().clamp(min=SMALLEST), present)

    def _compare(self, now: Tensor, moving: Tensor) -> None:
        """With the losses known, for tasks that are `moving`."""
        if moving.any():
            z = torch.softmax(self.logits[moving], 0)
            fall = (self.losses.log() - now.log())[moving]
            slope = z * (fall - (z * fall).sum())
            self.logits[moving] -= self.lr * (slope + self.decay * self.logits[moving])

    def state(self) -> dict[str, object]:
        values = zip(self.tasks, self.logits.tolist(), self.losses.tolist(), self.seen.tolist(), strict=True)
        return {task: {"logit": logit, "loss": loss, "seen": seen} for task, logit, loss, seen in values}

    def load_state(self, state: Mapping[str, Any]) -> None:
        for number, task in enumerate(self.tasks):
            if task in state:
                self.logits[number], self.losses[number] = state[task]["logit"], state[task]["loss"]
                self.seen[number] = state[task]["seen"]
