"""One direction that is fair to every gradient: none too long, none left behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from trunkline.errors import ConfigError, nearest
from trunkline.registry import WEIGHTINGS
from trunkline.weighting.base import positive
from trunkline.weighting.gram import FromGram, mean_one

Scale = Literal["min", "median", "rmse"]
STATIONARY = 1e-4


@WEIGHTINGS.register("mgda")
class MGDA(FromGram):
    """The shortest convex combination of the gradients: it improves every task, or there is no such direction.

    Source: Sener & Koltun, NeurIPS 2018, algorithm 2 (arXiv:1810.04650), times T: weights are 1 on average. Needs the Gram
    matrix; lagged. It favours the tasks with the shortest gradients. TorchJD has the same loop over small tensors; it took 2.5 %
    of a step of eight tasks.
    """

    def solve(self, gram: Tensor, seen: Tensor, losses: Tensor) -> Tensor:
        del losses
        return torch.from_numpy(shortest(gram.cpu().double().numpy())).to(gram) * len(seen)


def shortest(gram: np.ndarray, *, epsilon: float = 1e-3, rounds: int = 100) -> np.ndarray:
    """The point of the simplex [T] whose combination of gradients is shortest, by Frank-Wolfe; ends as TorchJD's does."""
    weights = np.full(len(gram), 1 / len(gram))
    slopes = gram @ weights
    for _ in range(rounds):
        task = int(slopes.argmin())
        own, across, length = gram[task, task], slopes[task], weights @ slopes
        if own <= across:
            share = 1.0
        elif length <= across:
            share = 0.0
        else:
            share = (length - across) / (length + own - 2 * across)
        weights, slopes = (1 - share) * weights, (1 - share) * slopes + share * gram[task]
        weights[task] += share
        if share < epsilon:
            break
    return weights


@WEIGHTINGS.register("imtl_g")
class IMTLG(FromGram):
    """The direction on which every task's gradient has a projection of the same length.

    Source: Liu et al., Towards Impartial Multi-task Learning, ICLR 2021, section 3.1, by TorchJD. Needs the Gram matrix;
    lagged. The solution may be negative for a task, which is 0 here and the rest in proportion: weights are 1 on average.
    """

    def solve(self, gram: Tensor, seen: Tensor, losses: Tensor) -> Tensor:
        from torchjd.aggregation import IMTLGWeighting

        del seen, losses
        return mean_one(IMTLGWeighting()(gram))


@WEIGHTINGS.register("aligned_mtl")
class AlignedMTL(FromGram):
    """Gradients are made orthogonal and equally long, moving each as little as can be.

    Source: Senushkin et al., Independent Component Alignment, CVPR 2023, algorithm 1 (arXiv:2305.19000), by TorchJD, times T.
    Needs the Gram matrix; lagged. scale: how long they become: as the shortest principal component (min, the paper's), the
    median, or the mean of squares (rmse, the authors' code). Raises ConfigError for another word.
    """

    def __init__(
        self, tasks: Sequence[str], weights: Sequence[float], *, every: int = 1, exact: bool = False, scale: Scale = "min"
    ) -> None:
        super().__init__(tasks, weights, every=every, exact=exact)
        if scale not in get_args(Scale):
            raise ConfigError(f"weighting.scale: no scale named {scale!r}. {nearest(str(scale), get_args(Scale))}")
        self.scale: Scale = scale

    def solve(self, gram: Tensor, seen: Tensor, losses: Tensor) -> Tensor:
        from torchjd.aggregation import AlignedMTLWeighting

        del losses
        return AlignedMTLWeighting(scale_mode=self.scale)(gram) * len(seen)


@WEIGHTINGS.register("cagrad")
class CAGrad(FromGram):
    """The direction near the mean gradient under which the worst task improves most.

        w = the point of the simplex that minimises  g_w . g_0 + c * |g_0| * |g_w|;  combined = g_0 + c * |g_0| / |g_w| * g_w

    Source: Liu et al., Conflict-Averse Gradient Descent, NeurIPS 2021, algorithm 1 (arXiv:2110.14048), times T. g_0 is the mean
    gradient, g_w the one weighted by w. Needs the Gram matrix; lagged. Solved as by the authors, with scipy's SLSQP, where
    TorchJD takes another package to the same solution; not divided by 1 + c^2 afterwards, as TorchJD does not. Where no direction
    improves all tasks every coefficient is 0. c: in [0, 1), how far from the mean. Raises ConfigError when out of range.
    """

    def __init__(
        self, tasks: Sequence[str], weights: Sequence[float], *, every: int = 1, exact: bool = False, c: float = 0.5
    ) -> None:
        super().__init__(tasks, weights, every=every, exact=exact)
        if isinstance(c, bool) or not isinstance(c, int | float) or not 0 <= c < 1:
            raise ConfigError(f"weighting.c must be a number from 0 to below 1, found {c!r}.")
        self.c = float(c)

    def solve(self, gram: Tensor, seen: Tensor, losses: Tensor) -> Tensor:
        from scipy.optimize import minimize

        del losses
        own = gram.numpy() / len(seen)  # of trace 1, as TorchJD has it
        even = np.full(len(seen), 1 / len(seen))
        radius = self.c * np.sqrt(max(even @ own @ even, 0))

        def length(w: np.ndarray) -> float:
            return float(np.sqrt(max(w @ own @ w, 0) + 1e-16))

        def value(w: np.ndarray) -> float:
            return float(w @ own @ even + radius * length(w))

        def slope(w: np.ndarray) -> np.ndarray:
            found: np.ndarray = own @ even + radius * (own @ w) / length(w)
            return found

        whole = {"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like}
        solved = minimize(
            value, even, jac=slope, method="SLSQP", bounds=[(0, 1)] * len(seen), constraints=whole, options={"ftol": 1e-12}
        )
        if length(solved.x) < STATIONARY:
            return torch.zeros_like(gram[0])
        return torch.from_numpy(even + radius / length(solved.x) * solved.x) * len(seen)


@WEIGHTINGS.register("fairgrad")
class FairGrad(FromGram):
    """Shares a step so that no task can gain much without another losing more; alpha says how much fairness counts.

        Gram @ w = w ** (-1 / alpha),  w > 0

    Source: Ban & Ji, Fair Resource Allocation, ICML 2024, equation 4 (arXiv:2402.15638), by TorchJD. Departure: in proportion
    alone, weights are 1 on average. Needs the Gram matrix; lagged. alpha: > 0; 1 is nash_mtl, large is max-min. Raises
    ConfigError when out of range.
    """

    def __init__(
        self, tasks: Sequence[str], weights: Sequence[float], *, every: int = 1, exact: bool = False, alpha: float = 2.0
    ) -> None:
        super().__init__(tasks, weights, every=every, exact=exact)
        self.alpha = positive("alpha", alpha)

    def solve(self, gram: Tensor, seen: Tensor, losses: Tensor) -> Tensor:
        from torchjd.aggregation import FairGradWeighting

        del seen, losses
        return mean_one(FairGradWeighting(self.alpha)(gram))


@WEIGHTINGS.register("nash_mtl")
class NashMTL(FromGram):
    """The step on which tasks that bargain with each other would agree.

        Gram @ w = 1 / w,  w > 0

    Source: Navon et al., Multi-Task Learning as a Bargaining Game, ICML 2022, equation 2 (arXiv:2202.01017). Departures: the
    equation is solved itself, as fairgrad's with alpha 1 (by TorchJD), not by the authors' chain of convex problems, which
    begins where the last step ended; in proportion alone, weights are 1 on average. Needs the Gram matrix; lagged.
    """

    def solve(self, gram: Tensor, seen: Tensor, losses: Tensor) -> Tensor:
        from torchjd.aggregation import FairGradWeighting

        del seen, losses
        return mean_one(FairGradWeighting(1.0)(gram))
