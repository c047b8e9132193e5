"""The pull back to where a trunk started."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch

from trunkline.continual.penalties import anchored
from trunkline.training.optimizers import AdamW


def stepped(share: float | None, fisher: list[float] | None = None, room: str = "trunk", lr: float = 0.5) -> torch.Tensor:
    """A parameter at (1, 2) that started at (0, 0), after one step without a gradient at half the peak rate."""
    parameter = torch.nn.Parameter(torch.tensor([[1.0, 2.0]]))
    groups: list[dict[str, Any]] = [
        {"name": room, "room": room, "params": [parameter], "decays": True, "decay": None, "peak_lr": 1.0}
    ]
    make = functools.partial(AdamW, weight_decay=0.1)
    optimizer = make(groups) if share is None else anchored(make, share, weighed=fisher is not None)(groups)
    moments = {key: torch.zeros(1, 2) for key in ("exp_avg", "exp_avg_sq", "anchor")}
    optimizer.state[parameter] = {"step": torch.zeros(()), **moments}
    if fisher is not None:
        optimizer.state[parameter]["fisher"] = torch.tensor([fisher])
    optimizer.param_groups[0]["lr"] = lr
    parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    return parameter.detach()


def test_a_step_goes_its_share_of_the_way_back_by_hand() -> None:
    assert torch.allclose(stepped(0.2), torch.tensor([[0.9, 1.8]]))  # 0.2 * 0.5 of the way; no decay beside it
    assert torch.allclose(stepped(0.2, lr=1.0), torch.tensor([[0.8, 1.6]]))


def test_fisher_information_weighs_the_pull_and_never_passes_the_start() -> None:
    assert torch.allclose(stepped(0.2, [0.0, 2.0]), torch.tensor([[1.0, 1.6]]))
    assert torch.allclose(stepped(0.2, [100.0, 1.0]), torch.tensor([[0.0, 1.8]]))


@pytest.mark.parametrize("wrong", [stepped(None), stepped(0.2, room="head")])
def test_plain_weight_decay_and_heads_are_not_pulled(wrong: torch.Tensor) -> None:
    assert torch.allclose(wrong, torch.tensor([[0.95, 1.9]]))  # decay 0.1 at lr 0.5
