"""Weightings: what they settle at, who moves, and that their state is all they are."""

from __future__ import annotations

import json

import pytest
import torch

from trunkline.weighting.static import Static
from trunkline.weighting.uncertainty import Uncertainty

TASKS = ("a", "b", "c")


def observe(weighting: Uncertainty, losses: list[float], present: list[bool], times: int) -> None:
    for _ in range(times):
        weighting.observe(torch.tensor(losses, dtype=torch.float64), torch.tensor(present))


def test_static_gives_the_weights_for_ever() -> None:
    weighting = Static(TASKS, [1.0, 0.5, 2.0])
    weighting.observe(torch.tensor([9.0, 9.0, 9.0]), torch.tensor([True, True, True]))
    assert weighting.coefficients().tolist() == [1.0, 0.5, 2.0]


def test_uncertainty_settles_where_the_weight_is_the_inverse_loss() -> None:
    # d/ds (exp(-s) L / 2 + s / 2) = 0  <=>  exp(s) = L
    weighting = Uncertainty(TASKS, [1.0, 1.0, 3.0], lr=0.05)
    observe(weighting, [4.0, 0.25, 1.0], [True] * 3, 2000)
    assert weighting.coefficients().tolist() == pytest.approx([0.25, 4.0, 3.0], rel=1e-2)


def test_uncertainty_starts_as_static() -> None:
    assert Uncertainty(TASKS, [1.0, 0.5, 2.0]).coefficients().tolist() == [1.0, 0.5, 2.0]


def test_an_absent_task_does_not_move_even_on_old_momentum() -> None:
    weighting = Uncertainty(TASKS, [1.0] * 3)
    observe(weighting, [4.0, 4.0, 4.0], [True] * 3, 5)
    before = weighting.coefficients()
    observe(weighting, [9.0, 0.0, 9.0], [True, False, True], 5)
    after = weighting.coefficients()
    assert after[1] == before[1] and after[0] != before[0]


def test_state_through_json_continues_exactly() -> None:
    straight = Uncertainty(TASKS, [1.0] * 3)
    observe(straight, [3.0, 0.1, 1.5], [True, True, False], 7)
    resumed = Uncertainty(TASKS, [1.0] * 3)
    resumed.load_state(json.loads(json.dumps(straight.state())))
    for weighting in (straight, resumed):
        observe(weighting, [2.0, 0.3, 1.0], [True] * 3, 3)
    assert torch.equal(straight.coefficients(), resumed.coefficients())


def test_a_state_without_momentum_does_not_continue_exactly() -> None:
    straight = Uncertainty(TASKS, [1.0] * 3)
    observe(straight, [3.0, 0.1, 1.5], [True] * 3, 7)
    state = {task: {**kept, "adam": None} for task, kept in straight.state().items() if isinstance(kept, dict)}
    resumed = Uncertainty(TASKS, [1.0] * 3)
    resumed.load_state(state)
    for weighting in (straight, resumed):
        observe(weighting, [2.0, 0.3, 1.0], [True] * 3, 3)
    assert not torch.equal(straight.coefficients(), resumed.coefficients())
