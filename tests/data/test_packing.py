"""Packs."""

from __future__ import annotations

import dataclasses
import itertools

import torch

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


def test_dummy_rows_that_the_trunk_reads_alike_lie_in_a_pack_once() -> None:
    made = laws.tables()
    batch = pack([unit for unit in laws.stream().next_step(1) if unit.task == "score"], made, seed=0)
    alike = [batch.tasks[task] for task in ("topic", "tags", "words")]
    assert all(part.dummy for part in alike) and len({(part.tokens.start, part.tokens.stop) for part in alike}) == 1
    assert batch.tokens[alike[0].tokens].tolist() == made["tags"].dummy.tokens.values.tolist()
    assert batch.num_tokens == sum(len(batch.tokens[batch.tasks[task].tokens]) for task in ("topic", "score", "rank"))
    assert alike[1].targets["labels"].tolist() == made["tags"].dummy.targets["labels"].values.tolist()


def test_a_dummy_row_that_the_trunk_reads_otherwise_has_a_place_of_its_own() -> None:
    """The same tokens: `rank`'s are two texts, and the second one's are read back only."""
    made = laws.tables()
    made["tags"] = dataclasses.replace(made["tags"], sight=(-1,))
    places = [part.tokens.start for part in pack([], made, seed=0).tasks.values()]
    assert dict(zip(laws.TASKS, places, strict=True))["topic"] == places[laws.TASKS.index("score")]
    assert len({places[laws.TASKS.index(task)] for task in ("topic", "tags", "rank")}) == 3


def test_the_states_of_the_tasks_are_their_slices_and_so_are_their_gradients() -> None:
    batch = pack([unit for unit in laws.stream().next_step(1) if unit.task != "words"], laws.tables(), seed=0)
    hidden = torch.randn(batch.num_tokens, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    found = batch.states(hidden)
    assert all(torch.equal(found[task], hidden[part.tokens]) for task, part in batch.tasks.items())
    slopes = {task: torch.randn_like(found[task]) for task in ("topic", "rank")}
    (gradient,) = torch.autograd.grad(sum((found[task] * slope).sum() for task, slope in slopes.items()), hidden)
    expected = torch.zeros_like(hidden)
    for task, slope in slopes.items():
        expected[batch.tasks[task].tokens] += slope
    assert torch.equal(gradient, expected)


def test_evaluation_packs_hold_every_row_once_and_are_as_many_on_every_rank() -> None:
    table = laws.tables()["topic"]
    for world in (1, 2, 3):
        packs = [list(evaluation_packs({"topic": table}, rank=rank, world=world, tokens_per_pass=50)) for rank in range(world)]
        assert len({len(mine) for mine in packs}) == 1
        seen = [row for mine in packs for batch in mine if not batch.tasks["topic"].dummy for row in batch.tasks["topic"].row_ids]
        assert sorted(seen) == list(range(len(table.rows)))
