"""Gradients that hurt another task's are turned until they do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trunkline.errors import ConfigError
from trunkline.registry import WEIGHTINGS
from trunkline.weighting.gram import FromGram, ordered, whole_number


@WEIGHTINGS.register("pcgrad")
class PCGrad(FromGram):
    """Each gradient loses what points against another task's, task by task in an order drawn by lot.

        g[i] <- g[i] - (g[i] . g[j]) / |g[j]|^2 * g[j]  for j != i  where g[i] . g[j] < 0;  combined = sum of g[i]

    Source: Yu et al., Gradient Surgery, NeurIPS 2020, algorithm 1 (arXiv:2001.06782), by TorchJD. Needs the Gram matrix of the
    probe layers alone; the coefficients are used for the whole model, a step later. The order is a function of (seed, step).
    """

    def __init__(
        self, tasks: Sequence[str], weights: Sequence[float], *, every: int = 1, exact: bool = False, seed: int = 0
    ) -> None:
        super().__init__(tasks, weights, every=every, exact=exact)
        self.seed = whole_number("seed", seed)

    def solve(self, gram: Tensor, seen: Tensor, losses: Tensor) -> Tensor:
        from torchjd.aggregation import PCGradWeighting

        del seen, losses
        return ordered(PCGradWeighting(), gram, self.seed, self.step)


@WEIGHTINGS.register("gradvac")
class GradVac(FromGram):
    """Gradients are turned towards each other wherever their cosine is below what it has been on average.

        target[i, j] <- (1 - beta) * target[i, j] + beta * cosine(g[i], g[j])

    Source: Wang et al., Gradient Vaccine, ICLR 2021 (arXiv:2010.05874), by TorchJD. Needs the Gram matrix; lagged. Targets start
    at 0 and stand still for pairs that are not both in the step. beta: in [0, 1]. The order is a function of (seed, step).
    Raises ConfigError when out of range.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        weights: Sequence[float],
        *,
        every: int = 1,
        exact: bool = False,
        beta: float = 0.01,
        seed: int = 0,
    ) -> None:
        super().__init__(tasks, weights, every=every, exact=exact)
        if isinstance(beta, bool) or not isinstance(beta, int | float) or not 0 <= beta <= 1:
            raise ConfigError(f"weighting.beta must be a number from 0 to 1, found {beta!r}.")
        self.beta, self.seed = float(beta), whole_number("seed", seed)
        self.targets = torch.zeros(len(self.tasks), len(self.tasks), dtype=torch.float64)

    def solve(self, gram: Tensor, seen: Tensor, losses: Tensor) -> Tensor:
        from torchjd.aggregation import GradVacWeighting

        del losses
        vaccine = GradVacWeighting(beta=self.beta)
        # Its targets are private to torchjd 0.18; test_gram.py holds that they are read and written here.
        vaccine._ensure_state(len(seen), gram.dtype)
        held = vaccine.get_buffer("_phi_t").copy_(self.targets[seen][:, seen])
        found = ordered(vaccine, gram, self.seed, self.step)
        self.targets[seen[:, None], seen] = held
        return found

    def state(self) -> dict[str, object]:
        targets = {
            task: dict(zip(self.tasks, row, strict=True)) for task, row in zip(self.tasks, self.targets.tolist(), strict=True)
        }
        return {**super().state(), "targets": targets}

    def load_state(self, state: Mapping[str, Any]) -> None:
        super().load_state(state)
        for i, one in enumerate(self.tasks):
            for j, other in enumerate(self.tasks):
                self.targets[i, j] = state["targets"].get(one, {}).get(other, 0.0)


@WEIGHTINGS.register("upgrad")
class UPGrad(FromGram):
    """Each gradient is projected onto the directions that hurt no task, and the projections are added.

    Source: Quinton & Rey, Jacobian Descent, section 3 (arXiv:2406.16232), by TorchJD, times T: 1 each where nothing conflicts.
    Needs the Gram matrix; lagged. A ten-thousandth of the trace is added to its diagonal, as TorchJD does, for its solver.
    """

    def solve(self, gram: Tensor, seen: Tensor, losses: Tensor) -> Tensor:
        from torchjd.aggregation import UPGradWeighting

        del losses
        return UPGradWeighting()(gram) * len(seen)


@WEIGHTINGS.register("dualproj")
class DualProj(FromGram):
    """The mean gradient is projected onto the directions that hurt no task.

    Source: Lopez-Paz & Ranzato, Gradient Episodic Memory, NeurIPS 2017, equation 11 (arXiv:1706.08840), by TorchJD, times T: 1
    each where the mean hurts none. Needs the Gram matrix; lagged. Its diagonal is raised as for upgrad.
    """

    def solve(self, gram: Tensor, seen: Tensor, losses: Tensor) -> Tensor:
        from torchjd.aggregation import DualProjWeighting

        del losses
        return DualProjWeighting()(gram) * len(seen)
