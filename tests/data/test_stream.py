"""The stream: every row once before any twice, full steps, and a state that resumes exactly."""

from __future__ import annotations

import functools
import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.data import stream as streams
from trunkline.data.order import Orders, philox
from trunkline.data.rows import Ragged, Sizes
from trunkline.data.stream import Stream
from trunkline.data.units import Unit
from trunkline.errors import ConfigError, DataError
from trunkline.sampling.base import Horizon
from trunkline.sampling.temperature import Temperature
from trunkline.sampling.uniform import Uniform


def stream(seed: int = 5, tokens_per_step: int = 90, groups: dict[str, int] | None = None) -> Stream:
    rng = np.random.default_rng(0)
    sizes = {"a": rng.integers(2, 20, 37), "b": rng.integers(2, 20, 11), "c": rng.integers(2, 9, 53)}
    horizon = Horizon(100, tokens_per_step, {name: float(size.mean()) for name, size in sizes.items()})
    sampler = Temperature({name: len(size) for name, size in sizes.items()}, horizon, temperature=1.5)
    return Stream(sizes, sampler, seed=seed, tokens_per_step=tokens_per_step, unit_limit=90, groups=groups)


def ids(units: list[Unit]) -> list[tuple[str, list[int]]]:
    return [(unit.task, unit.rows.tolist()) for unit in units]


def one_by_one(flow: Stream, steps: int) -> list[list[tuple[str, list[int], list[int]]]]:
    """What the stream draws, by the definition: a draw at a time, every order sorted out whole."""
    cursors, found, pending, draws = dict.fromkeys(flow.names, 0), [], [], 0
    for step in range(1, steps + 1):
        rates = flow.sampler.rates(step)
        chances = np.cumsum([rates[name] / flow.groups[name] for name in flow.names])
        units, pending, room = pending, [], flow.tokens_per_step - sum(size for *_, size in pending)
        while not pending:
            block, offset = divmod(draws, 256)
            uniform = (philox(flow.seed, "draw", block).random_raw(256)[offset] >> np.uint64(11)) * 2.0**-53
            name = flow.names[int(np.searchsorted(chances, uniform * chances[-1], side="right"))]
            places = range(cursors[name], cursors[name] + flow.groups[name])
            count = len(flow.sizes[name])
            turns = [place // count for place in places]
            orders = {turn: np.argsort(philox(flow.seed, name, turn).random_raw(count), kind="stable") for turn in turns}
            rows = [int(orders[turn][place % count]) for place, turn in zip(places, turns, strict=True)]
            size = int(flow.sizes[name][rows].sum())
            draws, cursors[name] = draws + 1, places.stop
            (units if size <= room else pending).append((name, rows, turns, size))
            room -= size
        found.append([(name, rows, turns) for name, rows, turns, _ in units])
    return found


@pytest.mark.parametrize("settings", [{}, {"groups": {"c": 4, "a": 2}}, {"tokens_per_step": 5000}])
def test_draws_decided_together_are_those_decided_one_by_one(settings: dict[str, Any]) -> None:
    flow = stream(**settings)
    fast = [[(u.task, u.rows.tolist(), u.passes.tolist()) for u in flow.next_step(step)] for step in range(1, 30)]
    assert fast == one_by_one(stream(**settings), 29)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64, 1000])
def test_a_network_s_order_has_every_row_once_and_another_in_each_turn(size: int) -> None:
    def turn(number: int) -> list[int]:
        orders = Orders(3, ["a"], [size], largest=0, page=7)
        pages = [np.arange(start, min(start + 7, size)) for start in range(0, size, 7)]
        same = [(np.zeros(len(page), int), np.full(len(page), number), page) for page in pages]
        return [int(row) for places in same for row in orders.rows(*places)]

    first, second = turn(0), turn(1)
    assert sorted(first) == sorted(second) == list(range(size))
    assert size < 5 or first != second != list(range(size))
    if size == 1000:
        assert abs(np.corrcoef(first, np.arange(size))[0, 1]) < 0.1  # 3 standard deviations


def test_a_stream_over_tasks_too_large_to_sort_has_every_row_once_in_each_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "Orders", functools.partial(Orders, largest=20, page=8))
    flow = stream(groups={"c": 4})
    units = [unit for step in range(1, 90) for unit in flow.next_step(step)]
    for name, size in (("a", 37), ("c", 53), ("b", 11)):
        rows = [int(row) for unit in units if unit.task == name for row in unit.rows]
        for start in range(0, len(rows) - size, size):
            assert sorted(rows[start : start + size]) == list(range(size))


def test_every_row_comes_once_before_any_comes_twice() -> None:
    flow = stream(groups={"c": 4})
    seen: dict[str, list[int]] = {"a": [], "b": [], "c": []}
    for step in range(1, 60):
        for unit in flow.next_step(step):
            seen[unit.task] += unit.rows.tolist()
    for name, rows in seen.items():
        size = len(flow.sizes[name])
        for start in range(0, len(rows) - size, size):
            assert sorted(rows[start : start + size]) == list(range(size))


def test_two_passes_have_different_orders_and_the_pass_is_told() -> None:
    flow = stream()
    units = [unit for step in range(1, 40) for unit in flow.next_step(step) if unit.task == "b"]
    rows, passes = np.concatenate([u.rows for u in units]), np.concatenate([u.passes for u in units])
    assert rows[:11].tolist() != rows[11:22].tolist()
    assert passes[:22].tolist() == [0] * 11 + [1] * 11


def test_a_step_is_as_full_as_the_next_draw_allows() -> None:
    flow = stream()
    for step in range(1, 50):
        units = flow.next_step(step)
        used = sum(unit.tokens for unit in units)
        assert flow.pending is not None
        waiting = flow._waiting()[0].tokens
        assert used <= 90 < used + waiting


def test_the_draw_that_did_not_fit_opens_the_next_step() -> None:
    flow = stream()
    flow.next_step(1)
    assert flow.pending is not None
    expected = flow._waiting()[0]
    assert ids(flow.next_step(2))[0] == ids([expected])[0]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(0, 2**31))
def test_a_state_that_went_through_json_continues_exactly(stop: int, seed: int) -> None:
    flow = stream(seed, groups={"c": 3})
    for step in range(1, stop + 1):
        flow.next_step(step)
    resumed = stream(seed, groups={"c": 3})
    resumed.load_state(json.loads(json.dumps(flow.state())))
    for step in range(stop + 1, stop + 4):
        assert ids(flow.next_step(step)) == ids(resumed.next_step(step))


def test_a_resume_that_forgets_the_pending_draw_is_told_apart() -> None:
    flow = stream()
    flow.next_step(1)
    resumed = stream()
    resumed.load_state({**flow.state(), "pending": None})
    assert ids(flow.next_step(2)) != ids(resumed.next_step(2))


def test_another_seed_draws_other_rows() -> None:
    assert ids(stream(1).next_step(1)) != ids(stream(2).next_step(1))


def test_a_group_that_can_not_fit_a_pass_is_refused_with_both_keys_named() -> None:
    sizes = {"a": np.full(10, 30, np.int64)}
    with pytest.raises(ConfigError, match=r"tokens_per_pass.*max_length"):
        Stream(
            sizes, Uniform({"a": 10}, Horizon(1, 400, {"a": 30.0})), seed=0, tokens_per_step=400, unit_limit=100, groups={"a": 4}
        )


def one_task(limit: int, step: int, group: int, divisible: bool) -> Stream:
    sizes = {"a": np.full(10, 30, np.int64)}
    sampler = Uniform({"a": 10}, Horizon(1, step, {"a": 30.0}))
    apart = {"a"} if divisible else set()
    return Stream(sizes, sampler, seed=0, tokens_per_step=step, unit_limit=limit, groups={"a": group}, divisible=apart)


def test_a_divisible_group_may_exceed_a_pass_but_no_row_of_it_and_not_the_step() -> None:
    (unit,) = one_task(100, 250, 8, divisible=True).next_step(1)
    assert len(unit.rows) == 8 and unit.tokens == 240
    with pytest.raises(ConfigError, match=r"a group of 8 rows can hold 240 tokens, above train\.tokens_per_pass 100"):
        one_task(100, 250, 8, divisible=False)
    with pytest.raises(ConfigError, match=r"a group of 1 rows can hold 30 tokens, above train\.tokens_per_pass 20"):
        one_task(20, 250, 8, divisible=True)
    with pytest.raises(ConfigError, match=r"a group of 8 rows can hold 240 tokens, above train\.tokens_per_step 200"):
        one_task(100, 200, 8, divisible=True)


@pytest.mark.parametrize("divisible", [False, True])
def test_a_group_larger_than_the_data_is_refused(divisible: bool) -> None:
    with pytest.raises(DataError, match="task 'a': its loss draws 11 rows at a time, and there are 10 training rows"):
        one_task(1000, 1000, 11, divisible=divisible)


def test_draws_do_not_depend_on_how_many_were_decided_at_once() -> None:
    # A draw is a function of its number: replaying one step at a time from saved states gives the same stream.
    straight = stream()
    expected = [ids(straight.next_step(step)) for step in range(1, 80)]
    state, found = stream().state(), []
    for step in range(1, 80):
        fresh = stream()
        fresh.load_state(state)
        found.append(ids(fresh.next_step(step)))
        state = fresh.state()
    assert found == expected
    assert Counter(name for units in expected for name, _ in units).keys() == {"a", "b", "c"}


def listed(large: tuple[str, ...], longest: int = 40) -> Stream:
    """Two tasks; the sizes of `large` ones are read where they are asked for."""
    rng = np.random.default_rng(1)
    sizes = {"a": rng.integers(2, 20, 300), "b": rng.integers(2, 20, 80)}
    starts = {name: np.concatenate([[0], np.cumsum(size)]) for name, size in sizes.items()}
    given = {name: Sizes(starts[name], longest) if name in large else size for name, size in sizes.items()}
    sampler = Uniform({name: len(size) for name, size in sizes.items()}, Horizon(50, 90, {name: 11.0 for name in sizes}))
    return Stream(given, sampler, seed=5, tokens_per_step=90, unit_limit=90, groups={"b": 4})


@pytest.mark.parametrize("large", [("a",), ("b",), ("a", "b")])
def test_sizes_that_are_read_where_they_are_asked_for_draw_the_same_rows(large: tuple[str, ...]) -> None:
    plain, lazy = listed(()), listed(large)
    for step in range(1, 40):
        assert ids(lazy.next_step(step)) == ids(plain.next_step(step))
    assert lazy.account() == plain.account()


def test_a_bound_on_the_longest_row_that_is_too_wide_is_looked_into_and_a_row_too_long_refused() -> None:
    assert listed(("b",), longest=1000).next_step(1)
    with pytest.raises(ConfigError, match="task 'a': a group of 1 rows can hold 91 tokens"):
        sizes = Sizes(np.array([0, 5, 96]), 91)
        Stream({"a": sizes}, Uniform({"a": 2}, Horizon(5, 90, {"a": 48.0})), seed=0, tokens_per_step=90, unit_limit=90)


def test_a_store_of_many_rows_lays_out_no_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    ragged = Ragged(np.arange(10), np.array([0, 3, 4, 10]), longest=6)
    assert isinstance(ragged.sizes, np.ndarray)
    monkeypatch.setattr("trunkline.data.rows.MANY", 2)
    found = ragged.sizes
    assert isinstance(found, Sizes) and len(found) == 3
    assert np.array_equal(found, ragged.lengths) and np.array_equal(found[np.array([2, 0])], [6, 3])
    assert found.mean() == ragged.lengths.mean()
    assert isinstance(Ragged(ragged.values, ragged.starts).sizes, np.ndarray)
