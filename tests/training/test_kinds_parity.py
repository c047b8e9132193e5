"""P1 and P2 for every loss and head of kinds.py, on real gloo ranks."""

from __future__ import annotations

import pytest

import kinds
import laws
from ranks import Ranks
from trunkline.losses import LOSSES

CLOSE = 2e-6


@pytest.mark.parametrize("name", sorted(kinds.CASES))
def test_two_ranks_and_micro_batches_give_the_gradient_written_out_row_by_row(two_ranks: Ranks, name: str) -> None:
    (first, micro), (second, _) = two_ranks(kinds.gradient, name, stage=1, tokens_per_pass=80)
    expected = kinds.reference(name)
    assert micro == 2
    assert all(float(value.abs().max()) > 0 for key, value in expected.items() if key.startswith("heads.subject_"))
    assert laws.furthest(first, expected) < CLOSE
    assert laws.furthest(second, expected) < CLOSE


@pytest.mark.parametrize("name", sorted(kinds.CASES))
def test_a_mean_of_means_is_rejected(two_ranks: Ranks, name: str) -> None:
    (first, _), _ = two_ranks(kinds.gradient, name, stage=1, tokens_per_pass=80, fault="mean of means")
    assert laws.furthest(first, kinds.reference(name)) > 100 * CLOSE


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_a_chains_parameters_are_sharded_with_their_head(two_ranks: Ranks, stage: int) -> None:
    (first, _), _ = two_ranks(kinds.gradient, "crf", stage=stage, tokens_per_pass=240)
    expected = kinds.reference("crf")
    assert {"heads.subject_.chain.start", "heads.subject_.chain.transitions", "heads.subject_.chain.end"} <= first.keys()
    assert laws.furthest(first, expected) < CLOSE


def test_every_loss_is_proved_here_or_in_the_small_world_of_laws() -> None:
    there = {"cross_entropy", "mse"}
    assert {case.loss for case in kinds.CASES.values()} | there == set(LOSSES)
