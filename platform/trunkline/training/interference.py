"""Which tasks pull the trunk against each other, in numbers for the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

LOOKS = 10.0  # of a running mean: the newest look counts one part in so many
KEPT = ("cosines", "against", "pairs", "shares", "steps")


def alignment(tasks: Sequence[str], gram: Tensor) -> dict[str, float]:
    """The cosine of each task's gradient with the sum of the others'; of those that have one, where two have.

    gram: inner products [T, T] of a step.
    """
    norms = gram.diagonal()
    seen = (torch.isfinite(norms) & (norms > 0)).nonzero().flatten()
    if len(seen) < 2:
        return {}
    own = gram[seen][:, seen]
    along = own.sum(1) - own.diagonal()  # of each with the sum of the others
    others = (own.sum() - 2 * own.sum(1) + own.diagonal()).clamp(min=1e-30).sqrt()
    cosines = (along / (others * own.diagonal().sqrt())).clamp(-1, 1)
    return {tasks[number]: cosine for number, cosine in zip(seen.tolist(), cosines.tolist(), strict=True)}


class Interference:
    """Running means of how the tasks' gradients lie, from the Gram matrices of the steps that were looked at.

        mean <- mean + r * (now - mean),  r = 1 / looks so far, at least 0.1

    grad/cosine/<a>/<b>: of the two tasks' gradients on the probe layers, over the steps that had both. grad/conflict: how often
    two of them point against each other, the mean over the pairs. grad/norm_share/<task>: its gradient's norm over the sum of all
    in the step. So the newest look counts a tenth after the first ten, and a pair that is not met any more stays as it was.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        self.tasks, size = list(tasks), len(tasks)
        self.cosines, self.against, self.pairs = (torch.zeros(size, size, dtype=torch.float64) for _ in range(3))
        self.shares, self.steps = (torch.zeros(size, dtype=torch.float64) for _ in range(2))

    def see(self, gram: Tensor) -> None:
        """Inner products [T, T] of a step; tasks without a gradient, or with one that is no number, are left out."""
        norms = gram.diagonal().sqrt()
        seen = torch.isfinite(norms) & (norms > 0)
        both = (seen[:, None] & seen).triu(1)
        cosines = gram / (norms[:, None] * norms)
        self.pairs += both
        self.steps += seen
        self.cosines = _moved(self.cosines, cosines, both, self.pairs)
        self.against = _moved(self.against, (cosines < 0).double(), both, self.pairs)
        self.shares = _moved(self.shares, norms / norms[seen].sum(), seen, self.steps)

    def read(self) -> dict[str, float]:
        """The figures; nothing where nothing was seen."""
        values: dict[str, float] = {}
        for i, one in enumerate(self.tasks):
            for j in range(i + 1, len(self.tasks)):
                if self.pairs[i, j]:
                    values[f"grad/cosine/{one}/{self.tasks[j]}"] = float(self.cosines[i, j])
            if self.steps[i]:
                values[f"grad/norm_share/{one}"] = float(self.shares[i])
        if self.pairs.any():
            values["grad/conflict"] = float(self.against.sum() / (self.pairs > 0).sum())
        return values

    def state(self) -> dict[str, Any]:
        """Nothing where nothing was seen."""
        return {name: getattr(self, name).tolist() for name in KEPT} if self.steps.any() else {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        for name in KEPT:
            if name in state:
                setattr(self, name, torch.tensor(state[name], dtype=torch.float64))


def _moved(mean: Tensor, now: Tensor, seen: Tensor, looks: Tensor) -> Tensor:
    """The running mean where something was seen, as it was elsewhere. looks: so far, this one among them."""
    return torch.where(seen, mean + (now - mean) / looks.clamp(min=1, max=LOOKS), mean)
