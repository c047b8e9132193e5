"""Dealing and packing: complete, balanced, indivisible groups, and slices that tile the pack."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import laws
from trunkline.data.dealing import build_step, deal
from trunkline.data.units import Unit, Units


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


def test_counts_are_those_of_the_whole_step_on_every_rank() -> None:
    units = laws.stream().next_step(1)
    ranks = [build_step(1, units, laws.tables(), seed=0, rank=rank, world=3, tokens_per_pass=80) for rank in range(3)]
    assert ranks[0].counts == ranks[1].counts == ranks[2].counts
    for task, count in ranks[0].counts.items():
        assert count == sum(batch.tasks[task].num_targets for packs in ranks for batch in packs)


def python_calls(work: Callable[[], Any]) -> int:
    """How many Python functions it calls."""
    calls = 0

    def watch(frame: Any, event: str, argument: Any) -> None:
        del frame, argument
        nonlocal calls
        calls += event == "call"

    sys.setprofile(watch)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


def calls_for(rows: int, given: Callable[[Units], Iterable[Unit]]) -> int:
    """Of making one rank's packs of a step of so many rows; its tasks are all there, on one micro-batch."""
    tables = laws.tables()
    drawn = laws.stream(tokens_per_step=40 * rows).next_step(1)[:rows]
    assert len(drawn) == rows and set(drawn.seen()) == set(tables)
    units = given(drawn)
    return python_calls(lambda: build_step(1, units, tables, seed=0, rank=0, world=1, tokens_per_pass=40 * rows))


def test_no_python_function_is_called_for_a_row() -> None:
    assert calls_for(400, lambda drawn: drawn) == calls_for(50, lambda drawn: drawn)


def test_packs_made_from_single_objects_would_be_seen() -> None:
    assert calls_for(400, list) > calls_for(50, list) + 350
