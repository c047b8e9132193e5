"""Groups larger than a pass: the gradient of one pass over everything, at the memory of a small one, alike on any ranks."""

from __future__ import annotations

import pytest

import divided
import laws
from ranks import Ranks

CLOSE = 1e-6
GROUP, WIDE, NARROW = 8, 400, 60  # rows, tokens of a pass that holds the step, of one that holds few rows


@pytest.fixture(scope="module")
def uncached(one_rank: Ranks) -> divided.Outcome:
    (found,) = one_rank(divided.run, group=GROUP, is_cached=False, tokens_per_pass=WIDE)
    assert found.micro_batches == 1
    return found


def test_many_small_passes_give_the_gradient_and_the_loss_of_one_uncached_pass(
    one_rank: Ranks, uncached: divided.Outcome
) -> None:
    (found,) = one_rank(divided.run, group=GROUP, is_cached=True, tokens_per_pass=NARROW)
    assert found.micro_batches >= 4
    assert laws.furthest(found.gradient, uncached.gradient) < CLOSE
    assert found.losses == pytest.approx(uncached.losses, rel=1e-6)


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_negatives_of_two_ranks_are_those_of_one(two_ranks: Ranks, uncached: divided.Outcome, stage: int) -> None:
    first, second = two_ranks(divided.run, group=GROUP, is_cached=True, tokens_per_pass=NARROW, stage=stage)
    assert first.micro_batches == second.micro_batches >= 2
    for found in (first, second):
        assert laws.furthest(found.gradient, uncached.gradient) < CLOSE
        assert found.losses == pytest.approx(uncached.losses, rel=1e-6)


def test_with_dropout_both_forwards_of_a_micro_batch_draw_the_same(one_rank: Ranks) -> None:
    (found,) = one_rank(divided.run, group=GROUP, is_cached=True, tokens_per_pass=NARROW, dropout=0.2)
    (expected,) = one_rank(divided.by_autograd, group=GROUP, tokens_per_pass=NARROW, dropout=0.2)
    (dry,) = one_rank(divided.by_autograd, group=GROUP, tokens_per_pass=NARROW, dropout=0.0)
    assert laws.furthest(found.gradient, expected) < CLOSE
    assert laws.furthest(found.gradient, dry) > 100 * CLOSE


def test_a_stale_dropout_seed_is_rejected(one_rank: Ranks) -> None:
    settings = {"group": GROUP, "tokens_per_pass": NARROW, "dropout": 0.2}
    (found,) = one_rank(divided.run, is_cached=True, fault="stale dropout seed", **settings)
    (expected,) = one_rank(divided.by_autograd, **settings)
    assert laws.furthest(found.gradient, expected) > 100 * CLOSE


@pytest.mark.parametrize("fault", ["negatives of the own rank alone", "factor applied twice"])
def test_a_wrong_gradient_of_two_ranks_is_rejected(two_ranks: Ranks, uncached: divided.Outcome, fault: str) -> None:
    first, _ = two_ranks(divided.run, group=GROUP, is_cached=True, tokens_per_pass=NARROW, fault=fault)
    assert laws.furthest(first.gradient, uncached.gradient) > 100 * CLOSE


def test_a_loss_counted_on_every_rank_is_rejected(two_ranks: Ranks, uncached: divided.Outcome) -> None:
    fault = "loss counted on every rank"
    first, _ = two_ranks(divided.run, group=GROUP, is_cached=True, tokens_per_pass=NARROW, fault=fault)
    assert laws.furthest(first.gradient, uncached.gradient) < CLOSE  # the gradient does not show it
    assert first.losses != pytest.approx(uncached.losses, rel=0.1)


def test_memory_stays_flat_while_the_group_grows_and_does_not_without_the_cache(one_rank: Ranks) -> None:
    def held(group: int, is_cached: bool, tokens_per_pass: int) -> int:
        (found,) = one_rank(divided.run, group=group, is_cached=is_cached, tokens_per_pass=tokens_per_pass)
        assert found.micro_batches > 1 if is_cached else found.micro_batches == 1
        return found.held_bytes

    assert held(20, True, NARROW) < 1.2 * held(5, True, NARROW)
    assert held(20, False, 1000) > 2.5 * held(5, False, 1000)
