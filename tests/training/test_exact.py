"""Weightings of a step's own losses: told before its backward, and what the step made of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import laws
from ranks import Ranks
from trunkline.data.packing import pack

WEIGHTS = torch.tensor(laws.WEIGHTS).double()


def geometric(losses: list[float]) -> Tensor:
    logs = torch.tensor(losses, dtype=torch.float64).log()
    return WEIGHTS * torch.exp(logs.mean() - logs)


def shared(z: Tensor, losses: Tensor) -> Tensor:
    share = z / losses
    return WEIGHTS * len(share) * share / share.sum()


@pytest.mark.parametrize(("stage", "tokens_per_pass"), [(0, 240), (1, 80), (3, 240), (3, 80)])
def test_exact_weights_are_those_of_this_step_s_losses_and_this_step_goes_by_them(
    two_ranks: Ranks, stage: int, tokens_per_pass: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"stage": stage, "tokens_per_pass": tokens_per_pass, "clip": None, "weighting": "gls"}
    first, second = two_ranks(laws.train, 1, **settings)
    assert first.used[0] == second.used[0] == pytest.approx(geometric(first.losses[0]).tolist(), rel=1e-5)
    units = laws.stream().next_step(1)
    monkeypatch.setattr(laws, "WEIGHTS", first.used[0])
    assert laws.furthest(laws.gradients(first.state), laws.reference(units, clip=None)) < 1e-4
    monkeypatch.undo()
    assert laws.furthest(laws.gradients(first.state), laws.reference(units, clip=None)) > 1e-2  # those of a lagged step


def after_first_step(run: laws.Run) -> Tensor:
    """The losses of the first step's rows under the parameters that it left, by plain torch."""
    net = laws.model()
    net.load_state_dict({name: entry["param"] for name, entry in run.saved["engine"].items()}, strict=False)
    batch = pack(laws.stream().next_step(1), laws.tables(), seed=0)
    with torch.no_grad():
        values = laws.task_values(batch, net(batch))
    return torch.stack([values[task] for task in laws.TASKS]).double()


def test_exact_famo_is_its_paper_s_algorithm_and_lagged_is_not(one_rank: Ranks) -> None:
    given: dict[str, Any] = {"lr": 0.5, "decay": 1e-9, "exact": True}
    (run,) = one_rank(laws.train, 2, weighting="famo", settings=given, save_at=1)
    first, second = (torch.tensor(losses, dtype=torch.float64) for losses in run.losses)
    assert run.used[0] == pytest.approx(shared(torch.full((5,), 0.2), first).tolist(), rel=1e-5)
    fall = first.log() - after_first_step(run).log()
    logits = -0.5 * 0.2 * (fall - fall.mean())
    assert [run.saved["weighting"][task]["logit"] for task in laws.TASKS] == pytest.approx(logits.tolist(), rel=1e-3, abs=1e-5)
    assert float(logits.abs().max()) > 1e-3
    known = torch.where(second > 0, second, first)
    assert run.used[1] == pytest.approx(shared(torch.softmax(logits, 0), known).tolist(), rel=1e-3)
    (lagged,) = one_rank(laws.train, 2, weighting="famo", settings={**given, "exact": False})
    assert lagged.used[0] == pytest.approx(list(laws.WEIGHTS)) and lagged.used[1] != pytest.approx(run.used[1], rel=1e-2)


def test_exact_famo_on_two_ranks_is_that_of_one(two_ranks: Ranks, one_rank: Ranks) -> None:
    given: dict[str, Any] = {"lr": 0.5, "exact": True}
    (alone,) = one_rank(laws.train, 3, weighting="famo", settings=given)
    first, second = two_ranks(laws.train, 3, stage=3, tokens_per_pass=80, weighting="famo", settings=given)
    assert first.weights == second.weights
    for one, other in zip(alone.used, first.used, strict=True):
        assert one == pytest.approx(other, rel=1e-3)
