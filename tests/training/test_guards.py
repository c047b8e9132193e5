"""A step in which anything is not finite is left out by all ranks alike, as if its rows had never been trained on."""

from __future__ import annotations

import math

import pytest
import torch

import guarded
import laws
from guarded import BAD, CLIFF
from ranks import Ranks
from trunkline.data.dealing import Step
from trunkline.errors import Diverged
from trunkline.training.guards import Skipped, account

STAGES = (0, 1, 2, 3)
NAN = math.nan


def unchanged(run: guarded.Run, step: int) -> bool:
    """The step changed no parameter, moment, step count or weighting."""
    return laws.bit_equal(run.states[step - 1], run.states[step]) and run.weightings[step - 1] == run.weightings[step]


def same(a: guarded.State, b: guarded.State) -> bool:
    return laws.bit_equal(a, b) and all(bool(value.isfinite().all()) for entry in a.values() for value in entry.values())


@pytest.mark.parametrize("spoilt", [NAN, CLIFF], ids=["loss", "gradient alone"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_spoilt_row_on_one_rank_changes_nothing_on_any_and_training_goes_on(
    two_ranks: Ranks, stage: int, spoilt: float
) -> None:
    found = two_ranks(guarded.train, 5, stage=stage, spoilt=spoilt)
    without = two_ranks(guarded.train, 5, stage=stage, left_out=[BAD])
    assert sorted(run.has_it for run in found) == [False, True]
    for run, other in zip(found, without, strict=True):
        assert run.finite == [number != BAD for number in range(1, 6)]
        assert unchanged(run, BAD) and not unchanged(run, BAD + 1)
        assert same(run.states[-1], other.states[-1]), "the step is not as if its rows had never been trained on"
        assert run.weightings[-1] == other.weightings[-1]
    assert laws.bit_equal(found[0].states[-1], found[1].states[-1])


@pytest.mark.parametrize("stage", STAGES)
def test_without_the_guard_a_spoilt_row_stays_for_ever(two_ranks: Ranks, stage: int) -> None:
    for run in two_ranks(guarded.train, 4, stage=stage, spoilt=NAN, fault="no guard"):
        assert not unchanged(run, BAD)


@pytest.mark.parametrize("fault", ["losses alone", "gradient kept"])
def test_a_guard_with_a_hole_is_found(two_ranks: Ranks, fault: str) -> None:
    first, _ = two_ranks(guarded.train, 4, spoilt=CLIFF, fault=fault)
    without, _ = two_ranks(guarded.train, 4, left_out=[BAD])
    assert not same(first.states[-1], without.states[-1])


@pytest.mark.parametrize("weighting", sorted(laws.WEIGHTING_SETTINGS))
def test_no_weighting_observes_a_step_that_was_left_out(one_rank: Ranks, weighting: str) -> None:
    (run,) = one_rank(guarded.train, 4, spoilt=NAN, weighting=weighting)
    assert unchanged(run, BAD)
    assert weighting == "static" or run.weightings[1] != run.weightings[0], "it has no state that could have changed"


@pytest.mark.parametrize("stage", [0, 3])
def test_a_run_resumed_right_after_a_step_left_out_is_bit_equal(two_ranks: Ranks, stage: int) -> None:
    straight, _ = two_ranks(guarded.train, 5, stage=stage, spoilt=NAN)
    resumed, _ = two_ranks(guarded.train, 5, stage=stage, spoilt=NAN, resume=straight)
    assert resumed.losses == straight.losses[BAD:]
    assert laws.bit_equal(resumed.states[-1], straight.states[-1])


def test_all_ranks_hear_in_the_same_step_that_one_was_asked_to_stop(two_ranks: Ranks) -> None:
    for run in two_ranks(guarded.train, 3, stop_on=(1, 2)):
        assert run.stops == [False, True, False]


def test_a_rank_that_listens_to_itself_alone_does_not_hear_it(two_ranks: Ranks) -> None:
    first, second = two_ranks(guarded.train, 3, stop_on=(1, 2), fault="own rank alone")
    assert first.stops != second.stops


class Kept:
    """A monitor that keeps its events."""

    def __init__(self) -> None:
        self.events: list[dict[str, object]] = []

    def log(self, step: int, values: object) -> None:
        raise AssertionError(f"nothing is logged here: {step} {values}")

    def event(self, name: str, **details: object) -> None:
        self.events.append({"event": name, **details})

    def close(self, *, failed: bool = False) -> None:
        raise AssertionError(failed)


PACKS = Step(7, [], {"topic": 2, "score": 1, "tags": 0}, 9, {"topic": [4, 1], "score": [6]}, 3)


def test_a_step_left_out_is_reported_with_its_tasks_and_rows() -> None:
    monitor, skipped = Kept(), Skipped()
    account(skipped, PACKS, False, [0.5, math.inf, 0.0], monitor, 10)
    account(skipped, PACKS, False, [0.5, 1.0, 0.0], monitor, 10)
    loss, gradient = monitor.events
    assert loss["event"] == "non_finite" and loss["step"] == 7 and loss["what"] == "loss"
    assert loss["tasks"] == ["score"] and loss["rows"] == {"score": [6]}
    assert gradient["what"] == "gradient" and gradient["rows"] == {"topic": [4, 1], "score": [6]}


def test_steps_left_out_in_a_row_end_the_run_and_a_good_one_between_starts_the_count_anew() -> None:
    monitor, skipped = Kept(), Skipped()
    for finite in (False, False, True, False, False):
        account(skipped, PACKS, finite, [1.0, math.nan, 0.0], monitor, 3)
    assert (skipped.steps, skipped.in_a_row) == (4, 2)
    with pytest.raises(Diverged, match=r"step 7: the loss of score is not finite, in 3 steps in a row .*max_bad_steps 3"):
        account(skipped, PACKS, False, [1.0, math.nan, 0.0], monitor, 3)


def test_a_gradient_too_large_to_be_clipped_counts_as_not_finite(one_rank: Ranks) -> None:
    from trunkline.training.guards import tell

    for norm, fine in ((1e38, True), (1e39, False), (math.inf, False), (math.nan, False)):
        (told,) = one_rank(tell, torch.zeros(2, dtype=torch.float64), torch.tensor(norm, dtype=torch.float64), False)
        assert told.finite is fine
