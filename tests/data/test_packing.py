"""Dealing and packing: complete, balanced, indivisible groups, and slices that tile the pack."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import laws
from trunkline.data.dealing import build_step, deal
from trunkline.data.packing import evaluation_packs, pack


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=60), st.integers(1, 5), st.integers(50, 200))
def test_dealing_loses_no_unit_and_never_passes_the_capacity(sizes: list[int], world: int, capacity: int) -> None:
    dealt = deal(sizes, world, capacity)
    assert sorted(unit for rank in dealt for micro in rank for unit in micro) == list(range(len(sizes)))
    assert len({len(rank) for rank in dealt}) == 1
    assert all(sum(sizes[unit] for unit in micro) <= capacity for rank in dealt for micro in rank)


def test_dealing_takes_no_more_micro_batches_than_the_tokens_need() -> None:
    assert [len(rank) for rank in deal([10] * 12, 2, 60)] == [1, 1]
    assert [len(rank) for rank in deal([10] * 13, 2, 60)] == [2, 2]


def test_ranks_are_balanced_within_the_largest_unit() -> None:
    sizes = np.random.default_rng(0).integers(1, 40, 200).tolist()
    loads = [sum(sizes[unit] for micro in rank for unit in micro) for rank in deal(sizes, 4, 5000)]
    assert max(loads) - min(loads) <= max(sizes)


def test_slices_tile_the_pack_in_head_order_and_positions_restart_in_every_row() -> None:
    batch = pack(laws.stream().next_step(1), laws.tables(), seed=0)
    assert list(batch.tasks) == list(laws.TASKS)
    parts = list(batch.tasks.values())
    assert parts[0].tokens.start == 0 and parts[-1].tokens.stop == batch.num_tokens
    assert all(a.tokens.stop == b.tokens.start and a.rows.stop == b.rows.start for a, b in itertools.pairwise(parts))
    starts = batch.row_starts.tolist()
    assert starts[-1] == batch.num_tokens
    for start, stop in itertools.pairwise(starts):
        assert batch.positions[start:stop].tolist() == list(range(stop - start))


def test_a_row_reaches_its_head_with_its_own_tokens_and_targets() -> None:
    made = laws.tables()
    batch = pack(laws.stream().next_step(2), made, seed=0)
    for name in ("topic", "tags"):
        part = batch.tasks[name]
        tokens = batch.tokens[part.tokens].numpy()
        expected = made[name].rows.take(part.row_ids)
        assert tokens.tolist() == expected.tokens.values.tolist()
    tags = batch.tasks["tags"]
    at_positions = batch.tokens[tags.tokens][tags.targets["positions"]]
    assert (at_positions % 4).tolist() == tags.targets["labels"].tolist()


def test_counts_are_those_of_the_whole_step_on_every_rank() -> None:
    units = laws.stream().next_step(1)
    ranks = [build_step(1, units, laws.tables(), seed=0, rank=rank, world=3, tokens_per_pass=80) for rank in range(3)]
    assert ranks[0].counts == ranks[1].counts == ranks[2].counts
    for task, count in ranks[0].counts.items():
        assert count == sum(batch.tasks[task].num_targets for packs in ranks for batch in packs)


def test_evaluation_packs_hold_every_row_once_and_are_as_many_on_every_rank() -> None:
    table = laws.tables()["topic"]
    for world in (1, 2, 3):
        packs = [list(evaluation_packs({"topic": table}, rank=rank, world=world, tokens_per_pass=50)) for rank in range(world)]
        assert len({len(mine) for mine in packs}) == 1
        seen = [row for mine in packs for batch in mine if not batch.tasks["topic"].dummy for row in batch.tasks["topic"].row_ids]
        assert sorted(seen) == list(range(len(table.rows)))
