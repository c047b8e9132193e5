"""Which tasks pull the trunk against each other, in numbers for the log."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


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
    """Means over the steps since the last reading, from the Gram matrices that a weighting asked for anyway.

    grad/cosine/<a>/<b>: of the two tasks' gradients on the probe layers, over the steps that had both. grad/conflict: the share
    of such pairs that point against each other. grad/norm_share/<task>: its gradient's norm over the sum of all in the step.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        self.tasks = list(tasks)
        self._clear()

    def _clear(self) -> None:
        size = len(self.tasks)
        self.cosines, self.pairs, self.against = (torch.zeros(size, size, dtype=torch.float64) for _ in range(3))
        self.shares, self.steps = (torch.zeros(size, dtype=torch.float64) for _ in range(2))

    def see(self, gram: Tensor) -> None:
        """Inner products [T, T] of a step; tasks without a gradient, or with one that is no number, are left out."""
        norms = gram.diagonal().sqrt()
        seen = torch.isfinite(norms) & (norms > 0)
        both = (seen[:, None] & seen).triu(1)
        cosines = torch.where(both, gram / (norms[:, None] * norms), 0.0)
        self.cosines += cosines
        self.pairs += both
        self.against += cosines < 0
        self.shares += torch.where(seen, norms / norms[seen].sum(), 0.0)
        self.steps += seen

    def read(self) -> dict[str, float]:
        """The figures; nothing where nothing was seen."""
        values: dict[str, float] = {}
        for i, one in enumerate(self.tasks):
            for j in range(i + 1, len(self.tasks)):
                if self.pairs[i, j]:
                    values[f"grad/cosine/{one}/{self.tasks[j]}"] = float(self.cosines[i, j] / self.pairs[i, j])
            if self.steps[i]:
                values[f"grad/norm_share/{one}"] = float(self.shares[i] / self.steps[i])
        if self.pairs.any():
            values["grad/conflict"] = float(self.against.sum() / self.pairs.sum())
        self._clear()
        return values
