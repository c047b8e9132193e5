"""Model + losses + weighting: the one scalar that is minimised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trunkline.batch import ROW_WEIGHT, Batch
from trunkline.losses.base import Loss
from trunkline.models.base import Trunk
from trunkline.models.multitask import MultiTask

LossModule = nn.Module


class Objective(nn.Module):
    """scalar = sum over tasks of factor[t] * (sum of the task's losses in this micro-batch).

    With factor[t] = coefficient[t] / (targets of task t in the WHOLE step), the sum of the scalars of all ranks and
    micro-batches is exactly sum over tasks of coefficient * mean loss: each task's loss is its own mean (law 2).
    losses: task -> module (outputs, targets) -> one value per target; where the slice carries `row_weight`, each value times the
    weight of its row, still divided by the COUNT: weights twice as large make a loss twice as large. precision: float32, or
    bf16 through autocast. probes: names of the trunk's layers on which gradients are compared, as `Trunk.probed` has them.
    """

    def __init__(
        self,
        model: nn.Module,
        losses: Mapping[str, LossModule],
        precision: str = "float32",
        probes: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.tasks = list(losses)
        self._losses = list(losses.values())  # a plain list: losses hold no parameters
        self.precision, self.probes = precision, probes
        self.inner: list[Tensor] | None = None  # where a list is, forward leaves its scalar, for a look that is not the engine's

    def over(self, model: nn.Module) -> Objective:
        """The same of another model."""
        return Objective(model, dict(zip(self.tasks, self._losses, strict=True)), self.precision, self.probes)

    def forward(self, batch: Batch, factors: Tensor) -> tuple[Tensor, Tensor]:
        """factors float32 [T], read again when the backward comes. Returns the scalar and the detached loss sums [T], zeros for
        tasks without a row here."""
        outputs = self.outputs(batch)
        sums = torch.stack([self._sum(number, outputs[task], batch) for number, task in enumerate(self.tasks)])
        scalar: Tensor = Weighed.apply(sums, factors)
        if self.inner is not None:
            self.inner.append(scalar)
            scalar = scalar.view(())  # another node: the engine hangs its own backward on what is returned
        return scalar, sums.detach()

    @property
    def trunk(self) -> Trunk:
        """The part all tasks share."""
        assert isinstance(self.model, MultiTask)
        return self.model.trunk

    def outputs(self, batch: Batch) -> dict[str, Tensor]:
        """What every head gives, by task."""
        with torch.autocast(batch.tokens.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            found: dict[str, Tensor] = self.model(batch)
        return found

    def values(self, task: str, outputs: Tensor, targets: Mapping[str, Tensor], count: int) -> Tensor:
        """A task's loss, one value for each of `count` targets, each times its row's weight where rows have one."""
        values: Tensor = self._losses[self.tasks.index(task)](outputs, targets)
        assert values.shape == (count,), f"{task}: loss gave {tuple(values.shape)} values for {count} targets"
        weights = targets.get(ROW_WEIGHT)
        return values if weights is None else values * weights

    def distance(self, task: str, outputs: Tensor, others: Tensor) -> Tensor:
        """How far a task's outputs lie from others of the same rows, by its loss's own measure."""
        loss = self._losses[self.tasks.index(task)]
        assert isinstance(loss, Loss)
        return loss.distance(outputs, others)

    def _sum(self, number: int, outputs: Tensor, batch: Batch) -> Tensor:
        task = self.tasks[number]
        part = batch.tasks[task]
        if part.dummy:
            # Selection, not a factor of 0: 0 x inf is NaN. The empty sum still carries a zero gradient to every
            # parameter of the head, so that all ranks reduce the same buckets in the same order.
            return outputs.flatten()[:0].float().sum()
        if part.known is not None:
            return part.known.told(outputs)
        return self.values(task, outputs, part.targets, part.num_targets).sum()


class Weighed(torch.autograd.Function):
    """sum of sums * factors, whose backward reads the factors as they are then: they may be decided after the forward."""

    @staticmethod
    def forward(ctx: Any, sums: Tensor, factors: Tensor) -> Tensor:
        ctx.factors = factors
        return (sums * factors).sum()

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        return slopes[0] * ctx.factors, None


def factors(coefficients: Tensor, counts: Mapping[str, int]) -> Tensor:
    """coefficient / count per task in float32, 0 for a task absent from the whole step. counts: in the order of [T]."""
    number = torch.tensor(list(counts.values()), dtype=torch.float64)
    return torch.where(number > 0, coefficients.double() / number.clamp(min=1), 0.0).float()
