"""How one micro-batch is gone through: once, or again with the embeddings moved to where the loss is worse.

A pass is a part, one per run. What it steps with is the gradient it leaves behind; the objective's factors are in it already, so
a pass adds nothing that depends on ranks or micro-batches. All passes of a micro-batch draw the same dropout, but those of
`rdrop`, which compares two draws.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from trunkline.batch import Batch, Known
from trunkline.errors import ConfigError
from trunkline.registry import PASSES
from trunkline.training.engine import Engine
from trunkline.training.perturbation import Rows, Shift

OTHER = 0x5DEECE66D  # apart from every other micro-batch's seed, which are hashes


@dataclass(frozen=True)
class Micro:
    """One micro-batch, on the device. factors [T]. last: the optimizer steps after it.

    reseed: sets dropout's generator to what it is in this micro-batch. key: of the run's seed and the step, for noise.
    """

    engine: Engine
    batch: Batch
    factors: Tensor
    last: bool
    reseed: Callable[[], None]
    key: int = 0

    def learn(self, shift: Shift | None = None, *, share: float = 1.0, last: bool = True, batch: Batch | None = None) -> Tensor:
        """Forward and backward with the embeddings moved by `shift`, in which its own gradient is left. The loss sums [T].

        share: of the gradient. last: of this micro-batch's passes. batch: in place of its own.
        """
        with self._under(shift):
            scalar, sums = self.engine.forward(batch or self.batch, self.factors * share, last=last and self.last)
        self.engine.backward(scalar)
        return sums

    def slope(self, shift: Shift, value: Callable[[dict[str, Tensor]], Tensor] | None = None) -> Tensor:
        """The gradient with respect to the shift of the objective, or of `value` of the heads' outputs; no parameter's."""
        module = self.engine.module
        with self._under(shift):
            scalar = module(self.batch, self.factors)[0] if value is None else value(module.outputs(self.batch))
        return torch.autograd.grad(scalar, shift.delta)[0]

    def outputs(self, shift: Shift | None = None) -> dict[str, Tensor]:
        """What the heads give, float32, without a gradient."""
        with self._under(shift):
            found = self.engine.outputs(self.batch)
        return {task: value.float() for task, value in found.items()}

    def other(self) -> Micro:
        """The same rows under other dropout, as much a function of (seed, step, rank, micro-batch)."""

        def reseed() -> None:
            self.reseed()
            torch.manual_seed(torch.initial_seed() ^ OTHER)

        return replace(self, reseed=reseed)

    def _under(self, shift: Shift | None) -> contextlib.AbstractContextManager[None]:
        self.reseed()
        return contextlib.nullcontext() if shift is None else shift.on(self.engine.module.trunk.embeddings)


class Pass(ABC):
    """run: the passes of one micro-batch; returns its loss sums [T]. plain: one forward, one backward, nothing else."""

    plain: ClassVar[bool] = False

    @abstractmethod
    def run(self, micro: Micro) -> Tensor: ...


@PASSES.register("plain")
class Plain(Pass):
    """One forward and one backward."""

    plain = True

    def run(self, micro: Micro) -> Tensor:
        return micro.learn()


@PASSES.register("fgm")
class FGM(Pass):
    """The loss, and the loss again where the embeddings moved by `epsilon` along their gradient: L(x) + L(x + d).

        d = epsilon * g / |g|     g: of the own row, |g| over all its tokens

    Source: Miyato, Dai & Goodfellow, arXiv:1605.07725, equations 4 and 5. Departure: the embeddings are not normalised, so
    `epsilon` is in their own unit. About twice the time of a plain step. Losses shown are those of the plain rows.
    """

    def __init__(self, *, epsilon: float = 1.0) -> None:
        self.epsilon = positive("epsilon", epsilon)

    def run(self, micro: Micro) -> Tensor:
        rows = Rows(micro.batch)
        plain = Shift(rows)
        sums = micro.learn(plain, last=False)
        micro.learn(plain.to(self.epsilon * rows.directions(plain.slope)))
        return sums


@PASSES.register("pgd")
class PGD(Pass):
    """The loss at the worst place that `steps` steps of projected ascent find within `epsilon`: L(x + d).

        d = inside(d + alpha * g / |g|, epsilon)     `steps` times, from 0; lengths over all tokens of the own row

    Source: Madry et al., arXiv:1706.06083, equation 2.1 and section 2.1, in the L2 ball. Only the last gradient is learned from.
    `steps` + 1 times the time of a plain step. Losses shown are those of the moved rows.
    """

    def __init__(self, *, epsilon: float = 1.0, alpha: float = 0.3, steps: int = 3) -> None:
        self.epsilon, self.alpha, self.steps = positive("epsilon", epsilon), positive("alpha", alpha), counted("steps", steps)

    def run(self, micro: Micro) -> Tensor:
        rows = Rows(micro.batch)
        shift = Shift(rows)
        for _ in range(self.steps):
            slope = micro.slope(shift)
            shift = shift.to(rows.inside(shift.delta + self.alpha * rows.directions(slope), self.epsilon))
        return micro.learn(shift)


@PASSES.register("freelb")
class FreeLB(Pass):
    """The mean loss over the places of `steps` steps of ascent, each of which is learned from on the way.

        d = U(-epsilon, epsilon) / sqrt(elements of the row);   d = inside(d + alpha * g / |g|, epsilon) after each backward

    Source: Zhu et al., arXiv:1909.11764, algorithm 1, with the same dropout in all steps (section 3.3). The noise is a function
    of seed, step and the row's tokens. `steps` times the time of a plain step. Losses shown are the mean over the places.
    """

    def __init__(self, *, epsilon: float = 0.3, alpha: float = 0.1, steps: int = 3) -> None:
        self.epsilon, self.alpha, self.steps = positive("epsilon", epsilon), positive("alpha", alpha), counted("steps", steps)

    def run(self, micro: Micro) -> Tensor:
        rows = Rows(micro.batch, micro.key)
        shift = Shift(rows, lambda width: self.epsilon * rows.uniform(width) / rows.elements(width).sqrt())
        sums = torch.zeros_like(micro.factors, dtype=torch.float64)
        for number in range(1, self.steps + 1):
            sums += micro.learn(shift, share=1 / self.steps, last=number == self.steps) / self.steps
            shift = shift.to(rows.inside(shift.delta + self.alpha * rows.directions(shift.slope), self.epsilon))
        return sums


@PASSES.register("smart")
class SMART(Pass):
    """The loss, and `weight` times how far the outputs go when the embeddings move by at most `epsilon`: L(x) + w * D(x + d, x).

        d = N(0, sigma^2);   d = clip(d + alpha * g / max|g|, -epsilon, epsilon)     `steps` times, g of D, by row

    D is the loss's own `distance`: symmetric KL for losses over classes, the mean squared difference elsewhere. The gradient goes
    through both sides of D. Source: Jiang et al., arXiv:1911.03437, section 3.1 and algorithm 1 (their values are the defaults).
    Departure: without the Bregman proximal term, which needs a second model. About `steps` + 3 times the time of a plain
    step. Losses shown are those of the plain rows, without D.
    """

    def __init__(
        self, *, epsilon: float = 1e-5, alpha: float = 1e-3, sigma: float = 1e-5, steps: int = 1, weight: float = 1.0
    ) -> None:
        self.epsilon, self.alpha, self.sigma = positive("epsilon", epsilon), positive("alpha", alpha), positive("sigma", sigma)
        self.steps, self.weight = counted("steps", steps), positive("weight", weight)

    def run(self, micro: Micro) -> Tensor:
        rows, clean = Rows(micro.batch, micro.key), micro.outputs()
        shift = Shift(rows, lambda width: self._near(self.sigma * rows.normal(width)))
        for _ in range(self.steps):
            slope = micro.slope(shift, lambda outputs: self._far(micro, outputs, clean))
            shift = shift.to(self._near(shift.delta + self.alpha * rows.directions(slope, largest=True)))
        moved = micro.outputs(shift)
        sums = micro.learn(batch=told(micro, clean, moved, weight=self.weight, share=1.0), last=False)
        micro.learn(shift, batch=told(micro, moved, clean, weight=self.weight, share=0.0))
        return sums

    def _near(self, delta: Tensor) -> Tensor:
        return delta.clamp(-self.epsilon, self.epsilon)

    def _far(self, micro: Micro, outputs: dict[str, Tensor], others: dict[str, Tensor]) -> Tensor:
        """The objective with D in place of every loss."""
        values = [
            factor * micro.engine.module.distance(task, outputs[task].float(), others[task]).sum()
            for factor, (task, part) in zip(micro.factors, micro.batch.tasks.items(), strict=True)
            if not part.dummy
        ]
        # Every head on every rank has a backward: an empty slice gives it a gradient of 0.
        return torch.stack([*values, *(value.flatten()[:0].float().sum() for value in outputs.values())]).sum()


@PASSES.register("rdrop")
class RDrop(Pass):
    """Two forwards with dropout of their own, and how far they lie apart: (L1 + L2) / 2 + `weight` * D(x1, x2).

    D is the loss's own `distance`, over classes KL(1 || 2) + KL(2 || 1); the gradient goes through both sides. Source: Wu et al.,
    arXiv:2106.14448, equations 2 to 4. Departure: the mean of the two losses, not their sum, so that a learning rate means what
    it does under plain passes; their alpha is 4 * `weight`. Without dropout it is plain training. About 4 times the time
    of a plain step. Losses shown are (L1 + L2) / 2.
    """

    def __init__(self, *, weight: float = 0.25) -> None:
        self.weight = positive("weight", weight)

    def run(self, micro: Micro) -> Tensor:
        other = micro.other()
        first, second = micro.outputs(), other.outputs()
        sums = micro.learn(batch=told(micro, first, second, weight=self.weight, share=0.5), last=False)
        return sums + other.learn(batch=told(other, second, first, weight=self.weight, share=0.5))


def told(micro: Micro, here: dict[str, Tensor], there: dict[str, Tensor], *, weight: float, share: float) -> Batch:
    """The batch with every loss known at the outputs `here`: `share` of the loss itself, and `weight` times D to `there`."""
    tasks = dict(micro.batch.tasks)
    for task, part in tasks.items():
        if part.dummy:
            continue
        with torch.enable_grad():
            outputs = here[task].detach().requires_grad_()
            far = weight * micro.engine.module.distance(task, outputs, there[task].detach()).sum()
            loss = micro.engine.module.values(task, outputs, part.targets, part.num_targets).sum() if share else far * 0
            (slope,) = torch.autograd.grad(far + share * loss, outputs)
        tasks[task] = replace(part, known=Known(share * loss.detach(), slope))
    return replace(micro.batch, tasks=tasks)


def positive(name: str, value: float) -> float:
    """Raises ConfigError unless it is a finite number from 0 up."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise ConfigError(f"{name}: a number from 0 up is needed, found {value!r}.")
    return float(value)


def counted(name: str, value: int) -> int:
    """Raises ConfigError unless it is a whole number from 1 up."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name}: a whole number from 1 up is needed, found {value!r}.")
    return value
