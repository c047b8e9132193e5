"""P4, P5 and P11 under every sampling and every weighting there is, on real gloo ranks."""

from __future__ import annotations

import pytest
import torch

import laws
from ranks import RankError, Ranks
from trunkline.registry import SAMPLERS, WEIGHTINGS, Registry
from trunkline.sampling.life import Life

SETTINGS = {"stage": 1, "tokens_per_pass": 80, "dropout": 0.1}
MIXES = [*({"sampling": name} for name in laws.SAMPLINGS), *({"weighting": name} for name in laws.WEIGHTING_SETTINGS)]
STILL = ("proportional", "uniform", "temperature", "explicit", "unimax")
ADAPTIVE = ("mixture", "gap", "exp3", "ucb1")
MOVING = [name for name in laws.SAMPLINGS if name not in (*STILL, *ADAPTIVE)]
LIVES = {
    "topic": Life(stop=0.5),
    "score": Life(start=0.3, warmup=0.5),
    "tags": Life(patience=1, returns=0.0),
    "rank": Life(min_share=0.3),
    "words": Life(max_share=0.2, patience=2),
}
# An exact one decides every step from that step's own gradients.
STATEFUL = [name for name, given in laws.WEIGHTING_SETTINGS.items() if name != "static" and not given.get("exact")]


def names(mixes: list[dict[str, str]]) -> list[str]:
    return [" ".join(mix.values()) for mix in mixes]


@pytest.mark.parametrize(("registry", "covered"), [(SAMPLERS, laws.SAMPLINGS), (WEIGHTINGS, laws.WEIGHTING_SETTINGS)])
def test_every_part_of_our_own_is_covered(registry: Registry, covered: dict[str, object]) -> None:
    assert set(covered) == {line.name for line in registry.listing() if line.source == "trunkline"}


@pytest.mark.parametrize(("number", "mix"), list(enumerate(MIXES)), ids=names(MIXES))
def test_a_run_resumed_under_it_is_bit_equal_and_its_weights_are_equal_on_all_ranks(
    two_ranks: Ranks, number: int, mix: dict[str, str]
) -> None:
    save_at = 1 + number % (laws.STEPS - 1)  # any step will do; together they are all of them
    straight, beside = two_ranks(laws.train, laws.STEPS, save_at=save_at, **SETTINGS, **mix)
    resumed, _ = two_ranks(laws.train, laws.STEPS, resume=straight.saved, **SETTINGS, **mix)
    assert straight.saved["weighting"] == beside.saved["weighting"]
    assert straight.saved["stream"] == beside.saved["stream"]
    assert resumed.rows == straight.rows[save_at:]
    assert resumed.losses == straight.losses[save_at:]
    assert laws.bit_equal(resumed.state, straight.state)


@pytest.mark.parametrize("mix", MIXES, ids=names(MIXES))
def test_under_it_one_rank_sees_the_rows_losses_and_parameters_that_two_ranks_see(
    two_ranks: Ranks, one_rank: Ranks, mix: dict[str, str]
) -> None:
    straight, _ = two_ranks(laws.train, 4, stage=1, tokens_per_pass=80, **mix)
    (alone,) = one_rank(laws.train, 4, **mix)
    assert alone.rows == straight.rows
    assert torch.allclose(torch.tensor(alone.losses), torch.tensor(straight.losses), atol=1e-4)
    for name, entry in alone.state.items():
        assert torch.allclose(entry["param"], straight.state[name]["param"], atol=1e-4), name


@pytest.mark.parametrize("weighting", STATEFUL)
def test_a_resume_that_forgets_the_weighting_s_state_is_rejected(two_ranks: Ranks, weighting: str) -> None:
    # Where tasks do not conflict, as in step 3 here, dualproj has nothing to forget.
    straight, _ = two_ranks(laws.train, laws.STEPS, save_at=4, weighting=weighting, **SETTINGS)
    settings = {"weighting": weighting, "fault": "weighting forgotten", **SETTINGS}
    resumed, _ = two_ranks(laws.train, laws.STEPS, resume=straight.saved, **settings)
    assert not laws.bit_equal(resumed.state, straight.state)


@pytest.mark.parametrize("sampling", MOVING)
def test_a_resume_that_starts_the_schedule_again_is_rejected(two_ranks: Ranks, sampling: str) -> None:
    straight, _ = two_ranks(laws.train, laws.STEPS, save_at=3, sampling=sampling, **SETTINGS)
    settings = {"sampling": sampling, "fault": "step forgotten", **SETTINGS}
    resumed, _ = two_ranks(laws.train, laws.STEPS, resume=straight.saved, **settings)
    assert resumed.rows != straight.rows[3:]


@pytest.mark.parametrize("sampling", ADAPTIVE)
def test_a_resume_that_forgets_what_the_sampler_learnt_is_rejected(two_ranks: Ranks, sampling: str) -> None:
    straight, _ = two_ranks(laws.train, laws.STEPS, save_at=3, sampling=sampling, **SETTINGS)
    settings = {"sampling": sampling, "fault": "sampler forgotten", **SETTINGS}
    resumed, _ = two_ranks(laws.train, laws.STEPS, resume=straight.saved, **settings)
    assert resumed.rows != straight.rows[3:]


def test_ranks_that_learn_from_scores_of_their_own_are_stopped(two_ranks: Ranks) -> None:
    with pytest.raises(RankError, match="RanksDisagree: step 2: ranks hold different heads, counts"):
        two_ranks(laws.train, 4, sampling="gap", stage=1, fault="verdicts of one rank")


def test_tasks_that_come_and_go_resume_bit_equal_and_on_one_rank_see_the_same_rows(two_ranks: Ranks, one_rank: Ranks) -> None:
    mix = {"sampling": "uniform", "lives": LIVES}
    straight, _ = two_ranks(laws.train, laws.STEPS, save_at=3, **SETTINGS, **mix)
    resumed, _ = two_ranks(laws.train, laws.STEPS, resume=straight.saved, **SETTINGS, **mix)
    assert resumed.rows == straight.rows[3:]
    assert laws.bit_equal(resumed.state, straight.state)
    still, _ = two_ranks(laws.train, laws.STEPS, stage=1, tokens_per_pass=80, **mix)  # which elements drop out is each rank's own
    (alone,) = one_rank(laws.train, laws.STEPS, **mix)
    assert alone.rows == still.rows
    forgotten, _ = two_ranks(laws.train, laws.STEPS, resume=straight.saved, fault="sampler forgotten", **SETTINGS, **mix)
    assert forgotten.rows != straight.rows[3:]
