"""Show 5: tasks over the same rows, with labels missing, on real gloo ranks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import laws
import partial
from ranks import Ranks
from trunkline.data.dealing import build_step
from trunkline.data.packing import pack
from trunkline.data.units import Unit
from trunkline.models.multitask import owner
from trunkline.training.optim import parameter_groups

CLOSE = 2e-6


def test_the_world_lacks_two_fifths_of_the_labels() -> None:
    share = np.mean([~keep for keep in partial.labelled().values()])
    assert 0.3 < share < 0.45
    assert {len(table.learned) for table in partial.tables().values()} != {laws.ROWS}


@pytest.mark.parametrize("world", [1, 2])
def test_each_row_goes_through_the_trunk_once(world: int) -> None:
    units = partial.stream().next_step(1)
    made = partial.tables()
    dealt = [build_step(1, units, made, seed=0, rank=rank, world=world, tokens_per_pass=80) for rank in range(world)]
    assert sum(partial.trunk_tokens(packs) for packs in dealt) == sum(unit.tokens for unit in units) == dealt[0].tokens
    drawn = sorted(row for unit in units if unit.task == "topic" for row in unit.rows.tolist())
    assert dealt[0].drawn == len(drawn) + sum(unit.task == "other" for unit in units)
    for task in partial.GUESTS:
        wanted = [row for row in drawn if made[task].rows.counts[row]]
        assert sorted(dealt[0].rows[task]) == wanted
        assert dealt[0].counts[task] == made[task].rows.counts[wanted].sum()
        seen = [row for packs in dealt for batch in packs if not batch.tasks[task].dummy for row in batch.tasks[task].row_ids]
        assert sorted(seen) == wanted


def test_separate_tables_would_read_the_rows_three_times() -> None:
    units = [*partial.stream().next_step(1)]
    apart = {name: dataclasses.replace(table, host=None) for name, table in partial.tables().items()}
    units += [dataclasses.replace(unit, task=name) for unit in units if unit.task == "topic" for name in partial.GUESTS]
    packs = build_step(1, units, apart, seed=0, rank=0, world=1, tokens_per_pass=10**6)
    own = sum(unit.tokens for unit in units if unit.task == "topic")
    assert partial.trunk_tokens(packs) == packs.tokens == 3 * own + sum(u.tokens for u in units if u.task == "other")


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
@pytest.mark.parametrize("tokens_per_pass", [240, 80])
def test_gradients_equal_those_of_a_pass_for_every_task_alone(two_ranks: Ranks, stage: int, tokens_per_pass: int) -> None:
    expected = partial.separate(partial.stream().next_step(1))
    first, second = two_ranks(partial.train, 1, stage=stage, tokens_per_pass=tokens_per_pass)
    assert first.micro_batches == [2 if tokens_per_pass == 80 else 1]
    assert laws.furthest(laws.gradients(first.state), expected) < CLOSE
    assert laws.furthest(laws.gradients(second.state), expected) < CLOSE


def test_one_rank_gives_them_too() -> None:
    units = partial.stream().next_step(1)
    assert laws.furthest(partial.scalar_gradients(units), partial.separate(units)) < CLOSE


def test_counting_rows_without_a_label_is_rejected(two_ranks: Ranks) -> None:
    first, _ = two_ranks(partial.train, 1, stage=1, tokens_per_pass=80, fault="unlabelled counted")
    assert laws.furthest(laws.gradients(first.state), partial.separate(partial.stream().next_step(1))) > 100 * CLOSE


@pytest.mark.parametrize("tokens_per_pass", [240, 80])
def test_a_row_weight_multiplies_each_of_its_rows_values(two_ranks: Ranks, tokens_per_pass: int) -> None:
    expected = partial.separate(partial.stream().next_step(1), weighted=True)
    first, _ = two_ranks(partial.train, 1, stage=1, tokens_per_pass=tokens_per_pass, weighted=True)
    assert laws.furthest(laws.gradients(first.state), expected) < CLOSE


def test_a_forgotten_row_weight_is_rejected(two_ranks: Ranks) -> None:
    expected = partial.separate(partial.stream().next_step(1), weighted=True)
    first, _ = two_ranks(partial.train, 1, stage=1, tokens_per_pass=80, weighted=True, fault="weight forgotten")
    assert laws.furthest(laws.gradients(first.state), expected) > 100 * CLOSE


@pytest.mark.parametrize("stage", [0, 3])
def test_a_run_resumed_is_bit_equal_and_one_rank_sees_the_same_rows(two_ranks: Ranks, one_rank: Ranks, stage: int) -> None:
    straight, _ = two_ranks(partial.train, 4, stage=stage, tokens_per_pass=80, save_at=2)
    resumed, _ = two_ranks(partial.train, 4, stage=stage, tokens_per_pass=80, resume=straight.saved)
    assert resumed.rows == straight.rows[2:] and resumed.losses == straight.losses[2:]
    assert laws.bit_equal(resumed.state, straight.state)
    (alone,) = one_rank(partial.train, 4, resume=straight.saved)
    assert alone.rows == resumed.rows
    assert torch.allclose(torch.tensor(alone.losses), torch.tensor(resumed.losses), atol=1e-5)


def test_a_task_without_a_label_in_the_pack_has_its_dummy_and_no_count() -> None:
    made = partial.tables()
    bare = np.flatnonzero((made["tags"].rows.counts == 0) & (made["topic"].rows.counts == 0))[:2]
    assert len(bare) == 2
    batch = pack([Unit("topic", bare, np.zeros(2, np.int64), 0)], made, seed=0)
    assert list(batch.tasks) == list(partial.TASKS)
    assert [part.dummy for part in batch.tasks.values()] == [False, True, True, True]
    assert batch.tasks["tags"].num_targets == 0 and batch.tasks["score"].num_targets == 2
    assert batch.num_tokens == partial._dummy_tokens(batch) + int(made["topic"].rows.tokens.lengths[bare].sum())
    outputs = partial.model()(batch)
    assert outputs["score"].shape == (2,) and outputs["topic"].shape == (1, 3)


def test_a_guest_that_reads_other_tokens_is_caught() -> None:
    made = partial.tables()
    wrong = dataclasses.replace(made["score"], rows=made["other"].rows)
    with pytest.raises(AssertionError, match="score: other tokens than the rows it shares"):
        pack([Unit("topic", np.arange(4), np.zeros(4, np.int64), 0)], {**made, "score": wrong}, seed=0)


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_head_of_two_tasks_learns_from_both_under_every_sharding(two_ranks: Ranks, stage: int) -> None:
    expected = partial.separate(partial.stream().next_step(1), one_head=True)
    assert {name for name in expected if name.startswith("heads.")} >= {"heads.other_.out.weight"}
    assert not any(name.startswith("heads.topic_") for name in expected)
    first, second = two_ranks(partial.train, 1, stage=stage, tokens_per_pass=80, one_head=True)
    assert laws.furthest(laws.gradients(first.state), expected) < CLOSE
    assert laws.bit_equal(first.state, second.state)


def test_a_head_that_learns_from_one_of_its_tasks_alone_is_rejected() -> None:
    units = partial.stream().next_step(1)
    both, apart = partial.separate(units, one_head=True), partial.separate(units)
    assert float((both["heads.other_.out.weight"] - apart["heads.other_.out.weight"]).abs().max()) > 100 * CLOSE


@pytest.mark.parametrize("stage", [0, 2])
def test_a_run_with_a_head_of_two_tasks_resumes_bit_for_bit(two_ranks: Ranks, stage: int) -> None:
    straight, _ = two_ranks(partial.train, 4, stage=stage, tokens_per_pass=80, one_head=True, save_at=2)
    resumed, _ = two_ranks(partial.train, 4, stage=stage, tokens_per_pass=80, one_head=True, resume=straight.saved)
    assert laws.bit_equal(resumed.state, straight.state)


def test_a_shared_head_is_kept_and_grouped_once() -> None:
    net = partial.model(one_head=True)
    assert net.head("topic") is net.head("other") and set(net.heads) == {"score_", "other_", "tags_"}
    groups = parameter_groups(net, owner, net.trunk.embeddings, lr=1.0, head_lr=1.0)
    listed = [id(parameter) for group in groups for parameter in group["params"]]
    assert len(listed) == len(set(listed)) == len(list(net.parameters()))
    assert {group["name"].removesuffix(":plain") for group in groups} == {
        "embeddings",
        "trunk",
        "head:score",
        "head:other",
        "head:tags",
    }
