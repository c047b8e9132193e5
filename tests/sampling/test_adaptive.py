"""Schedules that learn, or are made of others: values by hand, what they promise, what they refuse."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from trunkline.batch import Verdict
from trunkline.data.stream import Stream
from trunkline.errors import ConfigError
from trunkline.registry import SAMPLERS
from trunkline.sampling.base import Horizon
from trunkline.sampling.life import Life, Lives, bounded

SIZES = {"a": 100, "b": 400, "c": 900}
HORIZON = Horizon(steps=101, tokens_per_step=60, row_tokens={"a": 4.0, "b": 2.0, "c": 8.0})


def make(kind: str, sizes: dict[str, int] = SIZES, **settings: Any) -> Any:
    sampler = SAMPLERS.get(kind)(sizes, HORIZON, **settings)
    sampler.check()
    return sampler


def skills(**values: float) -> dict[str, Verdict]:
    return {task: Verdict(value, value) for task, value in values.items()}


def shares(sampler: Any, step: int = 1) -> dict[str, float]:
    rates = sampler.rates(step)
    return {task: rate / sum(rates.values()) for task, rate in rates.items()}


def flow(sampler: Any, tokens: dict[str, np.ndarray], **settings: Any) -> Stream:
    return Stream(tokens, sampler, seed=1, tokens_per_step=60, unit_limit=60, **settings)


def test_rates_multiply_down_the_tree() -> None:
    tree = {
        "top": {"of": ["ab", "c"], "kind": "explicit", "rates": {"ab": 3, "c": 1}},
        "ab": {"of": ["a", "b"], "kind": "temperature", "temperature": 2},
    }
    # sqrt(100) : sqrt(400) = 1 : 2 of three quarters
    assert shares(make("mixture", mixtures=tree)) == pytest.approx({"a": 0.25, "b": 0.5, "c": 0.25})


def test_a_mixture_is_as_large_as_its_tasks_and_a_task_in_two_mixtures_has_both_rates() -> None:
    tree = {
        "all": {"of": ["ab", "bc"], "kind": "proportional"},
        "ab": {"of": ["a", "b"]},
        "bc": {"of": ["b", "c"], "kind": "uniform"},
    }
    found = shares(make("mixture", mixtures=tree, top="all"))
    small, large = 500 / 1800, 1300 / 1800
    assert found == pytest.approx({"a": small * 0.2, "b": small * 0.8 + large / 2, "c": large / 2})


def test_a_mixture_of_all_tasks_draws_the_rows_that_its_schedule_alone_draws() -> None:
    tokens = {task: np.full(size, 4) for task, size in SIZES.items()}
    alone = flow(make("temperature", temperature=2.0), tokens)
    nested = flow(make("mixture", mixtures={"top": {"of": list(SIZES), "kind": "temperature", "temperature": 2.0}}), tokens)
    for step in range(1, 20):
        assert [unit.task for unit in alone.next_step(step)] == [unit.task for unit in nested.next_step(step)]


def test_block_steps_hold_one_task_and_their_rows_follow_the_rates() -> None:
    tokens = {task: np.full(size, int(HORIZON.row_tokens[task])) for task, size in SIZES.items()}
    drawn = flow(make("block", of={"kind": "explicit", "rates": {"a": 1, "b": 2, "c": 1}}, length=2), tokens)
    steps = [{unit.task for unit in drawn.next_step(step)} for step in range(1, 2001)]
    assert all(len(tasks) == 1 for tasks in steps)
    assert steps[0::2] == steps[1::2]
    total = sum(drawn.cursors.values())
    assert {task: count / total for task, count in drawn.cursors.items()} == pytest.approx(
        {"a": 0.25, "b": 0.5, "c": 0.25}, abs=0.04
    )


def test_a_curriculum_draws_no_row_before_it_is_released_and_each_before_any_twice() -> None:
    rng = np.random.default_rng(0)
    tokens = {"a": rng.integers(2, 20, 300)}
    horizon = Horizon(200, 60, {"a": float(tokens["a"].mean())})
    sampler = SAMPLERS.get("curriculum")({"a": 300}, horizon, start=0.1, end=0.5)
    drawn, ordered = flow(sampler, tokens, difficulty=tokens), np.sort(tokens["a"])
    widest, in_stage = 0, []
    for step in range(1, 201):
        pool = max(1, round(sampler.released(step) * 300))
        in_stage = in_stage if pool == widest else []
        assert pool >= widest
        widest = pool
        rows = [int(row) for unit in drawn.next_step(step) for row in unit.rows]
        assert tokens["a"][rows].max() <= ordered[pool - 1]
        in_stage += rows
        for start in range(0, len(in_stage) - pool, pool):
            assert len(set(in_stage[start : start + pool])) == pool
    assert widest == 300
    seen = [(int(row), int(turn)) for row, turn in _keyed(sampler, tokens)]
    assert len(seen) == len(set(seen))


def _keyed(sampler: Any, tokens: dict[str, np.ndarray]) -> list[tuple[int, int]]:
    """(row, pass) of every draw that was trained on, but for those given back when the pool grew."""
    drawn = flow(sampler, tokens, difficulty=tokens)
    return [pair for step in range(1, 201) for unit in drawn.next_step(step) for pair in zip(unit.rows, unit.passes, strict=True)]


def test_without_difficulty_the_longest_rows_come_at_once() -> None:
    tokens = {"a": np.random.default_rng(0).integers(2, 20, 300)}
    drawn = flow(SAMPLERS.get("proportional")({"a": 300}, HORIZON), tokens)
    assert max(unit.tokens for step in range(1, 5) for unit in drawn.next_step(step)) > np.quantile(tokens["a"], 0.5)


def test_competence_is_the_paper_s_root_and_tasks_come_in_their_order() -> None:
    sampler = make("curriculum", by="tasks", order=["c", "a", "b"], start=0.2, end=0.5)
    assert sampler.competence(1) == pytest.approx(0.2) and sampler.competence(51) == 1.0
    assert sampler.competence(26) == pytest.approx(math.sqrt(0.5 * 0.96 + 0.04))
    assert [task for task, rate in sampler.rates(1).items() if rate] == ["c"]
    assert [task for task, rate in sampler.rates(10).items() if rate] == ["a", "c"]  # sqrt(0.18 * 0.96 + 0.04) = 0.46 of three
    assert all(sampler.rates(60).values())


def test_a_curriculum_s_state_continues_and_one_without_its_pools_does_not() -> None:
    tokens = {"a": np.random.default_rng(0).integers(2, 20, 90)}
    horizon = Horizon(100, 60, {"a": 10.0})

    def new() -> Stream:
        return flow(SAMPLERS.get("curriculum")({"a": 90}, horizon), tokens, difficulty=tokens)

    def rows(stream: Stream, steps: range) -> list[list[int]]:
        return [[int(row) for unit in stream.next_step(step) for row in unit.rows] for step in steps]

    straight = new()
    rows(straight, range(1, 31))
    state = json.loads(json.dumps(straight.state()))
    resumed, forgotten = new(), new()
    resumed.load_state(state)
    forgotten.load_state({name: value for name, value in state.items() if name != "pools"})
    expected = rows(straight, range(31, 60))
    assert rows(resumed, range(31, 60)) == expected
    assert rows(forgotten, range(31, 60)) != expected


def test_the_rate_grows_with_the_distance_to_the_score_alone() -> None:
    sampler = make("gap", scores={"a": 0.8, "b": 0.5, "c": 2.0}, floor=0.0)
    assert shares(sampler) == pytest.approx(dict.fromkeys("abc", 1 / 3))
    sampler.judge({"a": Verdict(0.6, 0.1), "b": Verdict(0.7, 0.1), "c": Verdict(3.0, 0.1, higher_is_better=False)})
    # distances 0.25, none, 0.5
    assert shares(sampler) == pytest.approx({"a": 1 / 3, "b": 0, "c": 2 / 3})
    floored = make("gap", scores={"a": 0.8, "b": 0.5, "c": 2.0}, floor=0.1)
    floored.judge({"a": Verdict(0.6, 0.1), "b": Verdict(0.7, 0.1), "c": Verdict(3.0, 0.1, higher_is_better=False)})
    assert shares(floored) == pytest.approx({"a": 0.25 / 0.8, "b": 0.05 / 0.8, "c": 0.5 / 0.8})


def test_a_task_that_is_not_evaluated_keeps_its_share_under_gap() -> None:
    sampler = make("gap", scores=dict.fromkeys(SIZES, 0.8), of={"kind": "explicit", "rates": {"a": 1, "b": 1, "c": 2}})
    sampler.judge(skills(a=0.4, b=0.6))
    assert shares(sampler) == pytest.approx({"a": 1 / 3, "b": 1 / 6, "c": 1 / 2})


def test_exp3_is_its_formula_by_hand() -> None:
    sampler = make("exp3", floor=0.0, explore=0.1)
    sampler.judge(skills(a=0.1, b=0.1, c=0.1))  # nothing to compare with: no turn
    assert shares(sampler) == pytest.approx(dict.fromkeys("abc", 1 / 3))
    sampler.judge(skills(a=0.3, b=0.1, c=0.0))
    # Gains are 0.6, 0, -0.3; e' of turn 0 is 1/3; e of turn 1 is 0.1 * sqrt(ln 3 / 3)
    explored = 0.1 * math.sqrt(math.log(3) / 3)
    weights = [math.exp(gain / 3) for gain in (0.6, 0.0, -0.3)]
    expected = [(1 - 3 * explored) * weight / sum(weights) + explored for weight in weights]
    assert list(shares(sampler).values()) == pytest.approx(expected)


def test_exp3_pays_for_the_share_that_was_drawn_with_the_floor_in_it_by_hand() -> None:
    sampler = make("exp3", reward="alignment", turn=1, floor=0.2, explore=0.1)
    sampler.align({"a": 0.5, "b": 0.0, "c": -0.5})
    assert sampler.gains == pytest.approx({"a": 1.5, "b": 0.0, "c": -1.5})  # all had a third
    # e' is 1/3: softmax of 1/2, 0, -1/2; e of turn 1 is 0.1 * sqrt(ln 3 / 3). Rows: 0.2 each, and 0.4 by share.
    explored = 0.1 * math.sqrt(math.log(3) / 3)
    parts = {"a": math.exp(0.5), "b": 1.0, "c": math.exp(-0.5)}
    rows = {task: 0.2 + 0.4 * ((1 - 3 * explored) * part / sum(parts.values()) + explored) for task, part in parts.items()}
    assert shares(sampler) == pytest.approx(rows)
    sampler.align({"a": 0.5, "b": 0.5, "c": -0.5})
    expected = {"a": 1.5 + 0.5 / rows["a"], "b": 0.5 / rows["b"], "c": -1.5 - 0.5 / rows["c"]}
    assert sampler.gains == pytest.approx(expected)


def test_a_bandit_finds_the_task_that_pays_and_leaves_none_out() -> None:
    for kind in ("exp3", "ucb1"):
        sampler = make(kind, reward="alignment", turn=1, **({"explore": 0.3} if kind == "exp3" else {}))
        for _ in range(300):
            sampler.align({"a": -0.2, "b": 0.9, "c": 0.0})
        found = shares(sampler)
        assert max(found, key=lambda task: found[task]) == "b" and min(found.values()) >= 0.05 - 1e-9


def test_ucb1_gives_each_task_a_turn_first_and_then_the_largest_bound_by_hand() -> None:
    sampler = make("ucb1", reward="alignment", turn=1, floor=0.0)
    order = []
    for _ in range(4):
        order.append(max(shares(sampler), key=lambda task: shares(sampler)[task]))
        sampler.align({"a": 0.0, "b": 0.5, "c": 0.1})
    assert order == ["a", "b", "c", "b"]
    # After four turns: b 0.5 + sqrt(2 ln 4 / 2) = 1.68, a sqrt(2 ln 4) = 1.67, c 0.1 + 1.67 = 1.77
    assert shares(sampler) == {"a": 0.0, "b": 0.0, "c": 1.0}


def test_rewards_of_alignment_are_means_over_the_steps_of_a_turn() -> None:
    sampler = make("exp3", reward="alignment", turn=2, floor=0.0)
    sampler.align({"a": 1.0, "b": 0.0})
    assert sampler.turns == 0
    sampler.align({"a": 0.0})
    assert sampler.turns == 1 and sampler.gains == pytest.approx({"a": 1.5, "b": 0.0, "c": 0.0})


def test_those_that_learn_from_evaluations_say_so_wherever_they_stand() -> None:
    exp3 = {"kind": "exp3"}
    assert (
        make("exp3").needs_verdicts and make("ucb1").needs_verdicts and make("gap", scores=dict.fromkeys(SIZES, 1)).needs_verdicts
    )
    assert make("block", of=exp3).needs_verdicts
    assert make("mixture", mixtures={"top": {"of": list(SIZES), **exp3}}).needs_verdicts
    assert not make("exp3", reward="alignment").needs_verdicts and not make("block", of="uniform").needs_verdicts
    assert not make("mixture", mixtures={"top": {"of": list(SIZES)}}).needs_verdicts


def lived(**lives: Life) -> Lives:
    return Lives(make("uniform"), lives)


def test_a_task_is_drawn_between_its_start_and_its_stop_and_its_rate_rises_over_its_warm_up() -> None:
    sampler = lived(a=Life(start=0.2, stop=0.6), b=Life(start=0.1, warmup=0.2))
    drawn = [{task for task, rate in sampler.rates(step).items() if rate} for step in (1, 11, 21, 60, 61, 101)]
    assert drawn == [{"c"}, {"b", "c"}, {"a", "b", "c"}, {"a", "b", "c"}, {"b", "c"}, {"b", "c"}]
    rungs = [sampler.rates(step)["b"] / sampler.rates(step)["c"] for step in (11, 16, 21, 31, 90)]
    assert rungs == pytest.approx([0.01 / 0.2, 0.06 / 0.2 - 0.0005, 0.11 / 0.2, 1, 1], abs=0.01)


def test_patience_stops_a_task_that_stalls_and_it_returns_when_it_has_degraded() -> None:
    sampler = lived(a=Life(patience=2, returns=0.1))
    for skill, on in ((0.5, True), (0.4, True), (0.5, False), (0.45, False), (0.3, True), (0.2, True), (0.35, True)):
        sampler.judge(skills(a=skill, b=0.1, c=0.1))
        assert bool(sampler.rates(5)["a"]) is on, skill


def test_should_every_task_stall_all_go_on() -> None:
    sampler = Lives(make("uniform"), {task: Life(patience=1) for task in SIZES})
    for _ in range(3):
        sampler.judge(skills(a=0.5, b=0.5, c=0.5))
    assert all(sampler.rates(5).values())


def test_bounds_hold_and_the_rest_keep_their_proportions() -> None:
    lives = {"a": Life(min_share=0.3), "c": Life(max_share=0.4)}
    assert bounded({"a": 0.1, "b": 0.1, "c": 0.8}, lives) == pytest.approx({"a": 0.3, "b": 0.3, "c": 0.4})
    assert bounded({"a": 0.1, "b": 0.6, "c": 0.3}, lives) == pytest.approx({"a": 0.3, "b": 0.7 * 2 / 3, "c": 0.7 / 3})
    assert bounded({"a": 0.0, "b": 0.5, "c": 0.5}, lives) == pytest.approx({"a": 0.0, "b": 0.6, "c": 0.4})
    assert bounded({"a": 0.5, "b": 0.0, "c": 0.5}, lives) == pytest.approx({"a": 0.6, "b": 0.0, "c": 0.4})


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_shares_bounds_that_can_hold_do(seed: int) -> None:
    rng = np.random.default_rng(seed)
    given = rng.dirichlet(np.full(6, 0.3))
    lives = {str(n): Life(min_share=float(low), max_share=float(high)) for n, (low, high) in enumerate(
        zip(rng.uniform(0, 1 / 6, 6), rng.uniform(1 / 6, 1, 6), strict=True))}  # fmt: skip
    found = bounded({str(n): float(part) for n, part in enumerate(given)}, lives)
    assert sum(found.values()) == pytest.approx(1)
    for name, part in found.items():
        assert lives[name].min_share - 1e-9 <= part <= lives[name].max_share + 1e-9


TREE = {"top": {"of": ["ab", "c"]}, "ab": {"of": ["a", "b"]}}


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        ("mixture", {"mixtures": {**TREE, "ab": {"of": ["a", "b", "top"]}}}, r"a mixture contains itself: top -> ab -> top"),
        ("mixture", {"mixtures": {**TREE, "ab": {"of": ["ab", "a", "b"]}}}, r"a mixture contains itself: ab -> ab"),
        ("mixture", {"mixtures": {**TREE, "ab": {"of": ["a", "d"]}}}, r"mixtures\.ab\.of: there is no task or mixture 'd'"),
        ("mixture", {"mixtures": {**TREE, "ab": {"of": ["a", "a"]}}}, r"mixtures\.ab\.of names one twice"),
        ("mixture", {"mixtures": {**TREE, "ab": {"of": ["a"]}}}, r"b is not in 'top'"),
        ("mixture", {"mixtures": {**TREE, "a": {"of": ["b"]}}}, r"mixtures\.a: 'a' is a task"),
        ("mixture", {"mixtures": TREE, "top": "tpo"}, r"sampling\.top: there is no mixture 'tpo'\. Did you mean 'top'"),
        ("mixture", {"mixtures": {}}, r"sampling\.mixtures must name mixtures"),
        (
            "mixture",
            {"mixtures": {**TREE, "ab": {"of": ["a", "b"], "kind": "temperature", "temperature": -1}}},
            r"sampling\.mixtures\.ab\.temperature",
        ),
        ("mixture", {"mixtures": {**TREE, "ab": {"of": ["a", "b"], "kind": "unifrom"}}}, r"ab\.kind: .*Did you mean 'uniform'"),
        ("mixture", {"mixtures": {**TREE, "ab": {"of": ["a", "b"], "temprature": 1}}}, r"mixtures\.ab: .* takes no 'temprature'"),
        ("mixture", {"mixtures": {**TREE, "ab": {"of": ["a", "b"], "kind": "curriculum"}}}, r"ab: 'curriculum' watches"),
        ("block", {"length": 0}, r"sampling\.length"),
        ("block", {"of": 3}, r"sampling\.of must be a sampling schedule"),
        ("block", {"of": {"kind": "exp3", "reward": "alignment"}}, r"sampling\.of compares the tasks' gradients"),
        ("curriculum", {"start": 0}, r"sampling\.start"),
        ("curriculum", {"end": 1.5}, r"sampling\.end"),
        ("curriculum", {"by": "tasks"}, r"sampling\.order must list"),
        ("curriculum", {"by": "tasks", "order": ["a", "b"]}, r"sampling\.order must name each .*missing: c"),
        ("curriculum", {"by": "tasks", "order": ["a", "b", "d"]}, r"sampling\.order: the recipe has no task 'd'"),
        ("curriculum", {"order": ["a", "b", "c"]}, r"sampling\.order is of tasks"),
        ("curriculum", {"of": "curriculum"}, r"a curriculum stands in a curriculum"),
        ("gap", {"scores": {"a": 1, "b": 1}}, r"sampling\.scores: no score for c"),
        ("gap", {"scores": {"a": 1, "b": 1, "c": 0}}, r"sampling\.scores\.c must be a finite number, not 0"),
        ("gap", {"scores": {"a": 1, "b": 1, "c": 1, "d": 1}}, r"the recipe has no task 'd'"),
        ("gap", {"scores": {"a": 1, "b": 1, "c": 1}, "floor": -1}, r"sampling\.floor"),
        ("exp3", {"reward": "valdation"}, r"sampling\.reward: .*Did you mean 'validation'"),
        ("exp3", {"floor": 0.5}, r"sampling\.floor: 3 tasks can not have"),
        ("exp3", {"explore": 0}, r"sampling\.explore"),
        ("ucb1", {"turn": 0}, r"sampling\.turn"),
        ("ucb1", {"smoothing": 2}, r"sampling\.smoothing"),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused_before_sizes_are_known(kind: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        SAMPLERS.get(kind)(dict.fromkeys(SIZES, 1), Horizon(101, 400, dict.fromkeys(SIZES, 1.0)), **settings)


def test_lives_that_can_not_be_are_refused() -> None:
    for life, said in ((Life(start=0.5, stop=0.5), "stop: "), (Life(min_share=0.5, max_share=0.4), "max_share: ")):
        with pytest.raises(ConfigError, match=said):
            life.check()
    with pytest.raises(ConfigError, match=r"min_share add up to 1\.2, above 1"):
        lived(a=Life(min_share=0.6), b=Life(min_share=0.6))
    with pytest.raises(ConfigError, match=r"max_share add up to 0\.9, below 1"):
        lived(**dict.fromkeys(SIZES, Life(max_share=0.3)))
    with pytest.raises(ConfigError, match="rates at step 1 must be at least 0, finite and not all 0"):
        Lives(make("uniform"), dict.fromkeys(SIZES, Life(start=0.1))).check()
