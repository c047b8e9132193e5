"""The laws of one optimizer step: P1, P2, P3, P4, P5, P11 and P12 of the parity suite, on real gloo ranks.

The reference is plain torch written out task by task, without engine, packing of micro-batches or counts.
"""

from __future__ import annotations

import pytest
import torch

import laws
from ranks import RankError, Ranks
from trunkline.data.units import Unit

STAGES = (0, 1, 2, 3)
# topic on few rows, score nowhere, tags on one rank only: the mixes are asserted below.
UNEVEN = {"topic": 1.0, "score": 0.0, "tags": 0.15, "rank": 0.5, "words": 1.0}
CLOSE = 1e-6


@pytest.mark.parametrize("tokens_per_pass", [240, 80])
@pytest.mark.parametrize("stage", STAGES)
def test_two_ranks_and_any_micro_batches_give_the_gradient_of_one_plain_pass(
    two_ranks: Ranks, stage: int, tokens_per_pass: int
) -> None:
    expected = laws.reference(laws.stream().next_step(1), clip=None)
    first, second = two_ranks(laws.train, 1, stage=stage, tokens_per_pass=tokens_per_pass, clip=None)
    assert laws.furthest(laws.gradients(first.state), expected) < CLOSE
    assert laws.bit_equal(first.state, second.state)
    assert first.micro_batches == [2 if tokens_per_pass == 80 else 1]
    assert first.mixes != second.mixes


@pytest.mark.parametrize("fault", ["mean of means", "fixed accumulation", "dummy counted"])
def test_the_field_s_wrong_formulas_are_rejected(two_ranks: Ranks, fault: str) -> None:
    expected = laws.reference(laws.stream().next_step(1), clip=None)
    first, _ = two_ranks(laws.train, 1, stage=1, tokens_per_pass=80, clip=None, fault=fault)
    assert laws.furthest(laws.gradients(first.state), expected) > 100 * CLOSE


@pytest.mark.parametrize("stage", STAGES)
def test_clipping_happens_once_after_everything_is_summed(two_ranks: Ranks, stage: int) -> None:
    expected = laws.reference(laws.stream().next_step(1), clip=0.5)
    first, _ = two_ranks(laws.train, 1, stage=stage, tokens_per_pass=80, clip=0.5)
    assert laws.furthest(laws.gradients(first.state), expected) < CLOSE


@pytest.mark.parametrize("stage", STAGES)
def test_a_task_absent_on_one_rank_and_one_absent_everywhere_change_nothing(
    two_ranks: Ranks, one_rank: Ranks, stage: int
) -> None:
    step = next(n for n in range(1, 9) if _on_one_rank_only(n))
    first, second = two_ranks(laws.train, step, stage=stage, rates=UNEVEN, tokens_per_pass=120)
    (alone,) = one_rank(laws.train, step, rates=UNEVEN)
    assert {task for mix in (first.mixes[-1], second.mixes[-1]) for micro in mix for task in micro} == {
        "topic",
        "tags",
        "rank",
        "words",
    }
    assert any("tags" in micro for micro in first.mixes[-1]) != any("tags" in micro for micro in second.mixes[-1])
    assert first.rows == alone.rows
    for name, entry in alone.state.items():
        assert torch.allclose(entry["param"], first.state[name]["param"], atol=1e-5), name
    score = {name: entry for name, entry in first.state.items() if name.startswith("heads.score_")}
    assert all(float(entry["exp_avg"].abs().max()) == 0 for entry in score.values()), "an absent head had a gradient"


def test_a_dummy_that_counts_is_rejected_where_a_task_is_absent(two_ranks: Ranks, one_rank: Ranks) -> None:
    first, _ = two_ranks(laws.train, 3, stage=1, rates=UNEVEN, tokens_per_pass=120, fault="dummy counted")
    (alone,) = one_rank(laws.train, 3, rates=UNEVEN)
    assert any(not torch.allclose(entry["param"], first.state[name]["param"], atol=1e-4) for name, entry in alone.state.items())


def _on_one_rank_only(step: int) -> bool:
    from trunkline.data.dealing import build_step

    flow = laws.stream(UNEVEN)
    for number in range(1, step + 1):
        units = flow.next_step(number)
    dealt = [build_step(step, units, laws.tables(), seed=0, rank=rank, world=2, tokens_per_pass=120) for rank in (0, 1)]
    here = [any(not batch.tasks["tags"].dummy for batch in packs.batches) for packs in dealt]
    mixed = all(len(packs.batches) >= 1 for packs in dealt)
    return here[0] != here[1] and mixed and {unit.task for unit in units} == {"topic", "tags", "rank", "words"}


def test_ranks_that_hold_different_heads_are_stopped_before_they_hang(two_ranks: Ranks) -> None:
    with pytest.raises(RankError, match="RanksDisagree"):
        two_ranks(laws.disagree)


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_stopped_and_resumed_is_bit_equal_to_one_never_stopped(two_ranks: Ranks, stage: int) -> None:
    settings = {"stage": stage, "tokens_per_pass": 80, "dropout": 0.1, "weighting": "uncertainty"}
    straight, _ = two_ranks(laws.train, 6, save_at=3, **settings)
    resumed, _ = two_ranks(laws.train, 6, resume=straight.saved, **settings)
    assert resumed.rows == straight.rows[3:]
    assert resumed.losses == straight.losses[3:]
    assert laws.bit_equal(resumed.state, straight.state)


@pytest.mark.parametrize("fault", ["moments forgotten", "weighting forgotten", "generator not reseeded"])
def test_a_resume_that_forgets_something_is_rejected(two_ranks: Ranks, fault: str) -> None:
    settings = {"stage": 1, "tokens_per_pass": 80, "dropout": 0.1, "weighting": "uncertainty"}
    straight, _ = two_ranks(laws.train, 6, save_at=3, **settings)
    resumed, _ = two_ranks(laws.train, 6, resume=straight.saved, fault=fault, **settings)
    assert not laws.bit_equal(resumed.state, straight.state)


@pytest.mark.parametrize("stage", STAGES)
def test_another_world_size_and_zero_stage_sees_the_same_rows_and_losses(two_ranks: Ranks, one_rank: Ranks, stage: int) -> None:
    straight, _ = two_ranks(laws.train, 6, stage=stage, tokens_per_pass=80, save_at=3)
    (resumed,) = one_rank(laws.train, 6, stage=(stage + 1) % 4, resume=straight.saved)
    assert resumed.rows == straight.rows[3:]
    assert torch.allclose(torch.tensor(resumed.losses), torch.tensor(straight.losses[3:]), atol=1e-5)


def test_learned_weights_are_equal_on_all_ranks_and_independent_of_ranks_and_micro_batches(
    two_ranks: Ranks, one_rank: Ranks
) -> None:
    first, second = two_ranks(laws.train, 4, tokens_per_pass=80, weighting="uncertainty", save_at=4, rates=UNEVEN)
    (alone,) = one_rank(laws.train, 4, weighting="uncertainty", save_at=4, rates=UNEVEN)
    assert first.saved["weighting"] == second.saved["weighting"]
    for task, kept in alone.saved["weighting"].items():
        assert kept["s"] == pytest.approx(first.saved["weighting"][task]["s"], abs=1e-6)
    assert alone.saved["weighting"]["score"] == {"s": 0.0, "adam": None}


def test_doubling_every_row_and_group_leaves_every_gradient_unchanged() -> None:
    units = laws.stream().next_step(1)
    once, twice = laws.reference(units, clip=None), laws.objective_gradient([*units, *units])
    assert laws.furthest(once, twice) < CLOSE


def test_a_sum_instead_of_a_mean_is_rejected_by_doubling() -> None:
    units = laws.stream().next_step(1)
    once, twice = laws.objective_gradient(units, count=1), laws.objective_gradient([*units, *units], count=1)
    assert laws.furthest(once, twice) > 100 * CLOSE


def test_a_group_is_never_divided() -> None:
    for step in range(1, 8):
        flow = laws.stream()
        units: list[Unit] = []
        for number in range(1, step + 1):
            units = flow.next_step(number)
        for rank in (0, 1):
            packs = laws.build_step(step, units, laws.tables(), seed=0, rank=rank, world=2, tokens_per_pass=80)
            whole = {tuple(unit.rows) for unit in units if unit.task == "rank"}
            for batch in packs.batches:
                part = batch.tasks["rank"]
                if not part.dummy:
                    found = part.row_ids.reshape(-1, 4)
                    assert {tuple(group) for group in found} <= whole
