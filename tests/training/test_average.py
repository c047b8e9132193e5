"""The moving average of the parameters: one on any ranks and stages, restored bit for bit, and no trace when it steps aside."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import averaged
import laws
from ranks import Ranks

STAGES = [0, pytest.param(1, marks=pytest.mark.slow), 2, 3]


@pytest.fixture(scope="module")
def alone(one_rank: Ranks) -> averaged.Kept:
    (found,) = one_rank(averaged.train, 4)
    return found


def furthest(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    assert found.keys() == expected.keys()
    return max(float((found[name] - expected[name]).abs().max()) for name in expected)


@pytest.mark.parametrize("stage", STAGES)
def test_two_ranks_average_what_one_does_and_resume_bit_for_bit(two_ranks: Ranks, alone: averaged.Kept, stage: int) -> None:
    first, second = two_ranks(averaged.train, 4, stage=stage, save_at=2, look=True)
    assert furthest(first.average, alone.average) < 1e-5
    assert furthest(first.average, second.average) == 0
    resumed, _ = two_ranks(averaged.train, 4, stage=stage, resume=first.saved)
    assert furthest(resumed.average, first.average) == 0, "or looking at the average left a trace"
    assert furthest({n: e["param"] for n, e in resumed.state.items()}, {n: e["param"] for n, e in first.state.items()}) == 0


@pytest.mark.parametrize("stage", STAGES)
def test_evaluation_sees_the_average_and_training_the_parameters(two_ranks: Ranks, stage: int) -> None:
    found, _ = two_ranks(averaged.train, 2, stage=stage, look=True)
    parameters = {name: entry["param"] for name, entry in found.state.items()}
    assert furthest(found.inside, averaged.plain(found.average)) < 1e-5
    assert furthest(found.outside, averaged.plain(parameters)) < 1e-5
    assert furthest(found.inside, found.outside) > 1e-3


def test_an_average_that_counts_micro_batches_is_rejected(two_ranks: Ranks, alone: averaged.Kept) -> None:
    found, _ = two_ranks(averaged.train, 4, fault="once a micro-batch of any rank")
    assert furthest(found.average, alone.average) > 1e-3


def test_a_resume_that_forgets_the_average_is_rejected(one_rank: Ranks) -> None:
    (straight,) = one_rank(averaged.train, 3, save_at=2)
    (resumed,) = one_rank(averaged.train, 3, resume=straight.saved, fault="average forgotten")
    assert furthest(resumed.average, straight.average) > 1e-4


def test_the_average_by_hand(one_rank: Ranks) -> None:
    (one,) = one_rank(averaged.train, 1)
    (two,) = one_rank(averaged.train, 2)
    start = dict(laws.model().named_parameters())
    for name, value in start.items():
        first, second = one.state[name]["param"], two.state[name]["param"]
        by_hand = value.detach() * 2 / 11 + first * 9 / 11  # step 1: d = 2 / 11; step 2: d = 3 / 12
        assert torch.allclose(two.average[name], by_hand * 3 / 12 + second * 9 / 12, atol=1e-6)
