"""The objective: a dummy leaves no trace even if it overflows, a miscounted slice is caught, bf16 runs."""

from __future__ import annotations

import pytest
import torch

import laws
from trunkline.batch import Batch
from trunkline.data.packing import pack
from trunkline.training.objective import Objective, factors


def without(task: str) -> list[laws.Unit]:
    return [unit for unit in laws.stream().next_step(1) if unit.task != task]


def test_a_dummy_whose_head_overflows_leaves_no_trace() -> None:
    net = laws.model()
    with torch.no_grad():
        net.head("score").out.bias.fill_(float("inf"))
    batch = pack(without("score"), laws.tables(), seed=0)
    assert batch.tasks["score"].dummy
    counts = {task: part.num_targets for task, part in batch.tasks.items()}
    scalar, sums = Objective(net, laws.losses())(batch, factors(torch.tensor(laws.WEIGHTS), counts))
    scalar.backward()
    assert torch.isfinite(scalar) and sums[laws.TASKS.index("score")] == 0
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
    assert all(float(p.grad.abs().max()) == 0 for p in net.head("score").parameters() if p.grad is not None)


class Zeroed(Objective):
    """The planted fault: the dummy's loss is weighted with 0 instead of left out."""

    def _sum(self, number: int, outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
        part = batch.tasks[self.tasks[number]]
        total = self._losses[number](outputs, part.targets).sum()
        return total * 0 if part.dummy else total


def test_a_dummy_weighted_with_zero_is_rejected() -> None:
    net = laws.model()
    with torch.no_grad():
        net.head("score").out.bias.fill_(float("inf"))
    scalar, _ = Zeroed(net, laws.losses())(pack(without("score"), laws.tables(), seed=0), torch.ones(len(laws.TASKS)))
    assert not torch.isfinite(scalar)


def test_a_loss_that_gives_another_number_of_values_than_targets_is_caught() -> None:
    class Mean(torch.nn.Module):
        def forward(self, outputs: torch.Tensor, targets: dict[str, torch.Tensor]) -> torch.Tensor:
            return (outputs - targets["target"]).square().mean().unsqueeze(0)

    batch = pack(laws.stream().next_step(1), laws.tables(), seed=0)
    objective = Objective(laws.model(), {**laws.losses(), "score": Mean()})
    with pytest.raises(AssertionError, match="score: loss gave"):
        objective(batch, torch.ones(len(laws.TASKS)))


def test_factors_are_coefficient_over_count_and_zero_where_absent() -> None:
    found = factors(torch.tensor([1.0, 3.0, 5.0]), {"a": 4, "b": 0, "c": 10})
    assert found.tolist() == pytest.approx([0.25, 0.0, 0.5])


def test_bf16_is_near_float32_and_sums_stay_float32() -> None:
    batch = pack(laws.stream().next_step(1), laws.tables(), seed=0)
    scale = torch.ones(len(laws.TASKS))
    exact, _ = Objective(laws.model(), laws.losses())(batch, scale)
    half, sums = Objective(laws.model(), laws.losses(), "bf16")(batch, scale)
    assert sums.dtype == torch.float32 and half != exact
    assert half.item() == pytest.approx(exact.item(), rel=0.05)
