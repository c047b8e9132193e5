"""Packs."""

from __future__ import annotations

import itertools

import laws
from trunkline.data.packing import evaluation_packs, pack


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


def test_evaluation_packs_hold_every_row_once_and_are_as_many_on_every_rank() -> None:
    table = laws.tables()["topic"]
    for world in (1, 2, 3):
        packs = [list(evaluation_packs({"topic": table}, rank=rank, world=world, tokens_per_pass=50)) for rank in range(world)]
        assert len({len(mine) for mine in packs}) == 1
        seen = [row for mine in packs for batch in mine if not batch.tasks["topic"].dummy for row in batch.tasks["topic"].row_ids]
        assert sorted(seen) == list(range(len(table.rows)))
